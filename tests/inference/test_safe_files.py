"""Models as safetensors, as a folder with a card, and at an address of Hugging Face."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from core.checkpoints import store
from core.convert.card import _without_folders
from core.convert.official import inference_state
from core.errors import UserError
from core.inference.safe_files import save_safetensors
from families import load, load_sampler
from tests.processes import Script
from tests.small import GENERATIVE, SMALL, any_family, family


def checkpoint(name: str, path: Path, built: Any = None) -> Path:
    """A checkpoint of step 1234 in a run folder with a sample grid."""
    store.save(
        inference_state(built or any_family(name), 1234), path / "checkpoints" / "step_1234.pt"
    )
    (path / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(path / "samples" / "step_00001234.png")
    return path


def results(name: str, path: Path | str) -> list[torch.Tensor]:
    """What a model makes of fixed inputs."""
    if name not in SMALL:
        sampler = load_sampler(path, "cpu")
        noise = sampler.family.random_noise(2, torch.Generator().manual_seed(0))
        return [sampler(noise, ["red hair green eyes"] if "words" in name else [])]
    translator = load(path, "cpu", test_mode="eval")
    images = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    return [translator(images, direction) for direction in translator.directions]


@pytest.mark.parametrize("name", [*SMALL, *GENERATIVE])
def test_exact_round_trip(
    name: str, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = checkpoint(name, tmp_path / "run")
    expected = results(name, run)
    arguments = ("convert", "--export", run, "--output", tmp_path, "--format", "safetensors")
    assert script(*arguments).returncode == 0
    done = script("export", "--checkpoint", run, "--output", tmp_path / "mine", "--card")
    assert done.returncode == 0, done.stderr

    def snapshot_download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert (name, revision) == ("someone/mine", "v2") and len(allow_patterns) == 2
        return str(tmp_path / "mine")

    hub = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    for path in (tmp_path / "model.safetensors", tmp_path / "mine", "hf://someone/mine@v2"):
        for ours, theirs in zip(results(name, path), expected, strict=True):
            assert torch.equal(ours, theirs)
    # To safetensors and back: no tensor, no option is lost.
    before = store.load(run / "checkpoints" / "step_1234.pt")
    tensors = load_file(tmp_path / "model.safetensors")
    for network, weights in before["networks"].items():
        for key, value in weights.items():
            assert torch.equal(tensors.pop(f"{network}.{key}"), value)
    assert not tensors


def test_the_card(script: Script, tmp_path: Path) -> None:
    run = checkpoint("dcgan with words", tmp_path / "run")
    done = script("export", "--checkpoint", run, "--output", tmp_path / "mine", "--card")
    names = ["model.safetensors", "config.json", "samples.png", "README.md"]
    assert done.stdout.split() == [str(tmp_path / "mine" / name) for name in names]
    _, front, body = (tmp_path / "mine" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "text-to-image"
    assert "license" not in yaml.safe_load(front) and "# license" in front
    assert "1,234 steps" in body and '["blue hair green eyes"]' in body
    run = checkpoint("pix2pix", tmp_path / "other", _at("/home/someone/maps"))
    done = script("export", "--checkpoint", run, "--output", tmp_path / "maps", "--card")
    texts = [(tmp_path / "maps" / name).read_text() for name in ("README.md", "config.json")]
    assert not any("someone" in text for text in texts) and all("maps" in text for text in texts)
    (tmp_path / "maps" / "README.md").write_text("filled in by hand")
    done = script("export", "--checkpoint", run, "--output", tmp_path / "maps", "--card")
    assert "README.new.md" in done.stdout
    assert (tmp_path / "maps" / "README.md").read_text() == "filled in by hand"
    code = texts[0].split("```python\n")[1].split("```")[0]
    Image.new("RGB", (16, 16)).save(tmp_path / "photo.jpg")
    local = code.replace("hf://OWNER/NAME", f"{tmp_path}/maps").replace(
        '("photo', f'("{tmp_path}/photo'
    )
    exec(local.replace('"translated', f'"{tmp_path}/translated'))
    assert Image.open(tmp_path / "translated.png").size == (16, 16)


def test_folders_leave_paths_within_lists_too() -> None:
    options = {"style": {"images": ["/home/someone/a.jpg", "b.jpg"]}, "sizes": [64, "/x/y"]}
    assert _without_folders(options) == {
        "style": {"images": ["a.jpg", "b.jpg"]},
        "sizes": [64, "y"],
    }


def _at(root: str) -> Any:
    built = family("pix2pix")
    data = built.config.data.model_copy(update={"root": root})
    built.config = built.config.model_copy(update={"data": data})
    return built


def test_a_converted_generator_as_safetensors(script: Script, tmp_path: Path) -> None:
    state = family("cyclegan").networks["G_A"].state_dict()
    torch.save(state, tmp_path / "latest_net_G.pth")
    arguments = ("--family", "cyclegan", "--input", tmp_path / "latest_net_G.pth")
    output = tmp_path / "zebra.safetensors"
    done = script("convert", *arguments, "--output", output, "--format", "safetensors")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(output)
    done = script("convert", *arguments, "--output", output)
    assert done.returncode == 2 and "say --format safetensors" in done.stderr
    assert load(output, "cpu").directions == ("AtoB",)


def test_what_is_no_model_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    state = inference_state(family("cyclegan"), 0)
    good, bad = tmp_path / "model.safetensors", tmp_path / "x.safetensors"
    save_safetensors(state, good)
    for content in (b"", b"12345678{", good.read_bytes()[:-100]):
        bad.write_bytes(content)
        with pytest.raises(UserError, match=r"x.safetensors: a damaged"):
            load(bad, "cpu")
    save_file({"a": torch.zeros(1)}, bad)
    with pytest.raises(UserError, match="says nothing of family"):
        load(bad, "cpu")
    key = next(iter(state["networks"]["G_A"]))
    del state["networks"]["G_A"][key]
    save_safetensors(state, bad)
    with pytest.raises(UserError, match=f"x.safetensors: .*network G_A: lacks 1 key.*{key}"):
        load(bad, "cpu")
    options = json.loads(json.dumps({k: v for k, v in state.items() if k != "networks"}))
    (tmp_path / "config.json").write_text(json.dumps(options | {"step": 1}))
    with pytest.raises(UserError, match=r"config.json: says otherwise"):
        load(tmp_path, "cpu")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(UserError, match=r"config.json: .* not a JSON object"):
        load(tmp_path, "cpu")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    done = script("test", "--checkpoint", "hf://a/b", "--input", tmp_path, "--output", tmp_path)
    assert done.returncode == 2 and "pip install -e '.[hub]'" in done.stderr

    def fails(*_args: object, **_options: object) -> str:
        raise FileNotFoundError("404 Client Error\nmore")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fails))
    with pytest.raises(UserError, match=r"^hf://a/b: cannot be fetched: 404 Client Error$"):
        load("hf://a/b", "cpu")
    with pytest.raises(UserError, match=r"^hf://a: expected hf://owner/name"):
        load("hf://a", "cpu")
