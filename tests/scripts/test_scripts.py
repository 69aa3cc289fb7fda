"""Every script runs; every config loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from core.checkpoints import store
from core.config import load_config
from core.jobs.translate import Task, find_jobs, translate_all
from core.runtime.distributed import World
from families import FAMILIES, load
from tests.conftest import ROOT
from tests.processes import Script
from tests.runs import changed, make_trainer, small_tree

CONFIGS = [
    path
    for path in sorted((ROOT / "configs").rglob("*.yaml"))
    if yaml.safe_load(path.read_text())["family"] in FAMILIES
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_loads_and_says_something(path: Path) -> None:
    config = load_config(path, FAMILIES)
    assert (config.folder or config.family) == path.parent.name
    assert config.name == f"{path.parent.name}/{path.stem}"
    FAMILIES[config.family].Config.model_validate(config.model_dump())
    stated = yaml.safe_load(path.read_text())
    fields = type(config).model_fields
    needed = {n: getattr(config, n) for n, field in fields.items() if field.is_required()}
    needed |= {"family": config.family, "data": {"root": config.data.root}}
    plain = type(config)(**needed).model_dump(mode="json")
    for section, keys in stated.items():
        if isinstance(keys, dict) and (section == "data" or section not in needed):
            same = [k for k, v in keys.items() if k != "root" and plain[section][k] == v]
            assert not same, f"{section}: {same} repeat the default"


@pytest.fixture(scope="module")
def run_dir(unpaired: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small CycleGAN run."""
    folder = tmp_path_factory.mktemp("run")
    tree = changed(small_tree("cyclegan", unpaired), train={"num_epochs": 0, "ema_decay": 0.5})
    tree = changed(tree, optim={"policy": "constant"})
    assert make_trainer(tree, folder).train()
    return folder


def test_train_then_test_a_data_set(
    run_dir: Path, unpaired: Path, tmp_path: Path, script: Script
) -> None:
    where = ("--input", unpaired, "--output", tmp_path)
    done = script("test", "--checkpoint", run_dir, *where, "--reconstruct")
    assert done.returncode == 0, done.stderr
    assert "speed: auto" in done.stdout
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")}
    labels = ("real_A", "fake_B", "rec_A"), ("real_B", "fake_A", "rec_B")
    assert names == {
        f"images/test{domain}/{n}_{label}.png"
        for domain, three in zip("AB", labels, strict=True)
        for n in range(3)
        for label in three
    }
    page = (tmp_path / "index.html").read_text()
    assert all(name in page for name in names)


def test_any_image_keeps_its_size_and_transparency(
    run_dir: Path, tmp_path: Path, script: Script
) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (33, 50, 4), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(inputs / "alpha.png")
    picture.convert("L").save(inputs / "gray.png")
    picture.convert("RGB").convert("CMYK").save(inputs / "cmyk.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(inputs / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # quarter turn
    picture.convert("RGB").save(inputs / "turned.jpg", exif=exif)
    picture.convert("RGB").save(inputs / "twin.jpg")
    picture.convert("RGB").save(inputs / "twin.png")
    Image.new("RGB", (1, 1)).save(inputs / "dot.png")
    (inputs / "broken.png").write_bytes(b"\x89PNG broken")
    done = script("test", "--checkpoint", run_dir, "--input", inputs, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "1 of 9 images left out" in done.stderr and "broken.png" in done.stderr
    out = tmp_path / "out" / "images"

    def fake(stem: str) -> Image.Image:
        return Image.open(out / f"{stem}_fake_B.png")

    assert fake("alpha").mode == "RGBA"
    assert np.array_equal(np.asarray(fake("alpha"))[..., 3], pixels[..., 3])
    assert {stem: fake(stem).size for stem in ("gray", "cmyk", "deep", "turned", "dot")} == {
        "gray": (50, 33),
        "cmyk": (50, 33),
        "deep": (50, 33),
        "turned": (33, 50),
        "dot": (1, 1),
    }
    assert fake("twin_jpg").size == fake("twin_png").size == (50, 33)


def test_one_image_one_direction_and_the_official_size(
    run_dir: Path, unpaired: Path, tmp_path: Path, script: Script
) -> None:
    image = unpaired / "testB" / "0.png"
    done = script(
        "test",
        "--checkpoint",
        run_dir,
        "--input",
        image,
        "--output",
        tmp_path,
        "--direction",
        "BtoA",
        "--preprocess",
        "official",
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "images" / "0_fake_A.png").size == (32, 32)


def test_tiles_equal_the_whole(run_dir: Path, tmp_path: Path) -> None:
    images = torch.rand(1, 3, 90, 121) * 2 - 1
    whole, tiled = load(run_dir, "cpu", tile=0), load(run_dir, "cpu", tile=32)
    torch.testing.assert_close(tiled(images), whole(images), rtol=0, atol=1e-5)


def test_python_api_takes_pictures_and_tensors(run_dir: Path) -> None:
    translate = load(run_dir, "cpu")
    assert translate.directions == ("AtoB", "BtoA")
    assert translate(torch.zeros(2, 3, 17, 30), "BtoA").shape == (2, 3, 17, 30)
    assert translate(torch.zeros(3, 17, 30)).shape == (3, 17, 30)
    assert translate(Image.new("RGB", (30, 17))).size == (30, 17)


def test_averaged_weights_are_the_ones_that_translate(run_dir: Path) -> None:
    state = store.load(store.find(run_dir)[0])
    weights = load(run_dir, "cpu").family.networks["G_A"].state_dict()
    assert all(torch.equal(weights[k], v) for k, v in state["ema"]["G_A"].items())
    assert any(not torch.equal(weights[k], v) for k, v in state["networks"]["G_A"].items())


def test_convert_both_ways(run_dir: Path, tmp_path: Path, script: Script) -> None:
    done = script("convert", "--export", run_dir, "--output", tmp_path / "official")
    assert done.returncode == 0, done.stderr
    done = script(
        "convert",
        "--family",
        "cyclegan",
        "--input",
        tmp_path / "official",
        "--output",
        tmp_path / "back.pt",
    )
    assert done.returncode == 0, done.stderr
    before, after = load(run_dir, "cpu"), load(tmp_path / "back.pt", "cpu")
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(before(x), after(x))
    state = torch.load(tmp_path / "official" / "latest_net_G_A.pth", weights_only=True)
    torch.save(state, tmp_path / "latest_net_G.pth")
    done = script(
        "convert",
        "--family",
        "cyclegan",
        "--input",
        tmp_path / "latest_net_G.pth",
        "--direction",
        "BtoA",
        "--output",
        tmp_path / "one.pt",
    )
    assert done.returncode == 0, done.stderr
    one = load(tmp_path / "one.pt", "cpu")
    assert one.directions == ("BtoA",)
    assert torch.equal(one(x), before(x, "AtoB"))
    done = script("train", "--resume", tmp_path / "one.pt", "--run-dir", tmp_path / "no")
    assert done.returncode == 2 and "no optimizers" in done.stderr


@pytest.mark.usefixtures("quick_spawn")
def test_benchmark(unpaired: Path, tmp_path: Path, script: Script) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(small_tree("cyclegan", unpaired)))
    done = script(
        "benchmark",
        "--config",
        config,
        "--repeats",
        1,
        "--fast",
        "channels_last=true",
        "--curves",
        2,
        "--json",
        tmp_path / "numbers.json",
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["ratio"] > 0
    for term in numbers["curves"]["terms"].values():
        assert term["mean_abs_difference"] < 1e-3
    done = script("benchmark", "--config", config, "--repeats", 1, "--loader")
    assert json.loads(done.stdout)["loader"]["ratio"] > 0


def test_operations_of_a_step_are_counted(paired: Path, tmp_path: Path, script: Script) -> None:
    """Published pix2pix but for its widths: version 0.1.0 needed 656, a quarter more."""
    config = tmp_path / "pix2pix.yaml"
    data = {"root": str(paired), "num_workers": 0}
    model = {"ngf": 2, "ndf": 2}
    config.write_text(yaml.safe_dump({"family": "pix2pix", "data": data, "model": model}))
    plain = ("--set", "train.speed=off")  # kernels of ours for a CPU are several of torch's
    done = script("benchmark", "--config", config, "--operations", "--device", "cpu", *plain)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["most_frequent"]["aten.convolution.default"] == 31
    assert report["operations"] <= 0.75 * 656


@pytest.mark.parametrize(
    ("family", "stem", "narrow"),
    [
        ("cut", "demo", ["model.ngf=4", "model.ndf=4"]),
        ("cyclegan", "demo", ["model.ngf=4", "model.ndf=4"]),
        ("pix2pix", "demo", ["model.ngf=4", "model.ndf=4"]),
        ("munit", "demo", ["model.gen.dim=4", "model.dis.dim=4"]),
        ("unit", "mini", ["model.gen.dim=4", "model.dis.dim=4"]),
    ],
)
def test_demo(
    family: str,
    stem: str,
    narrow: list[str],
    tmp_path: Path,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["train.num_steps=2", "train.num_steps_decay=0", *narrow]
    done = script(
        "demo",
        "--config",
        ROOT / "configs" / family / f"{stem}.yaml",
        "--num-train",
        4,
        "--num-test",
        2,
        *[word for s in settings for word in ("--set", s)],
    )
    assert done.returncode == 0, done.stderr
    assert "label agreement" in done.stdout and "input copied" in done.stdout
    assert (tmp_path / "runs" / family / stem / "index.html").exists()
    assert (tmp_path / "results" / family / stem / "index.html").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_trains_on_a_gpu(unpaired: Path, tmp_path: Path, script: Script) -> None:
    tree = changed(
        small_tree("cyclegan", unpaired),
        train={"precision": "bf16", "channels_last": True, "compile": True},
    )
    config = tmp_path / "gpu.yaml"
    config.write_text(yaml.safe_dump(tree))
    done = script("train", "--config", config, "--run-dir", tmp_path / "run", "--device", "cuda")
    assert done.returncode == 0, done.stderr


def test_each_process_translates_its_share(run_dir: Path, unpaired: Path, tmp_path: Path) -> None:
    translator = load(run_dir, "cpu")
    jobs = find_jobs(unpaired, translator, "AtoB", None)
    for rank, count in ((1, 1), (0, 3)):  # process 0 comes last here: it writes the page
        translate_all(Task(translator), jobs, tmp_path, "shares", World(rank, 2))
        assert len(list(tmp_path.rglob("*_fake_B.png"))) == count
    assert (tmp_path / "index.html").read_text().count("<article") == 3


def test_pairs_come_with_their_truth(paired: Path, tmp_path: Path, script: Script) -> None:
    tree = changed(small_tree("pix2pix", paired), data={"direction": "BtoA"})
    make_trainer(changed(tree, train={"num_epochs": 0}), tmp_path / "run").train()
    out = tmp_path / "out"
    done = script("test", "--checkpoint", tmp_path / "run", "--input", paired, "--output", out)
    assert done.returncode == 0, done.stderr
    pair = np.asarray(Image.open(paired / "val" / "0.png"))
    real_A = np.asarray(Image.open(out / "images" / "val" / "0_real_A.png"))
    real_B = np.asarray(Image.open(out / "images" / "val" / "0_real_B.png"))
    assert np.array_equal(real_A, pair[:, 36:]), "BtoA: the right half is the model's A"
    assert np.array_equal(real_B, pair[:, :36])
    assert (out / "images" / "val" / "0_fake_B.png").exists()
