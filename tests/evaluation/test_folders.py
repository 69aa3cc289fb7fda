"""Folders of pictures, whoever made them, by the command."""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.evaluation.metrics.fid import frechet_distance
from core.evaluation.networks import RandomFeatures
from tests.processes import Script


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pictures in `real`, the same one level brighter in `generated`, in JPEG's place PNG."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for i in range(8):
        pixels = rng.integers(0, 255, (20, 24, 3)).astype(np.uint8)
        for folder, picture in (("real", pixels), ("generated", pixels + 1)):
            (tmp_path / folder / "inner").mkdir(parents=True, exist_ok=True)
            suffix = "bmp" if folder == "real" else "png"
            Image.fromarray(picture).save(tmp_path / folder / "inner" / f"{i}.{suffix}")
    return tmp_path


def measures(path: Path) -> dict[str, dict[str, float]]:
    found = json.loads(path.read_text())["directions"]["generated"]["measures"]
    assert isinstance(found, dict)
    return found


def features(folder: Path) -> torch.Tensor:
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.*"))]
    return RandomFeatures()(torch.from_numpy(np.stack(pictures)).movedim(3, 1)).values


def test_two_folders(sets: Path, script: Script) -> None:
    arguments = ["--generated", sets / "generated", "--features", "random", "--weights", sets]
    done = script(
        "evaluate",
        *arguments,
        "--real",
        sets / "real",
        "--paired",
        "--source",
        sets / "real",
        "--kid-subset-size",
        8,
        "--save-statistics",
        sets / "real.npz",
    )
    assert done.returncode == 0, done.stderr
    found = measures(sets / "generated.evaluation.json")
    expected = frechet_distance(features(sets / "generated"), features(sets / "real"))
    assert found["fid_random"]["value"] == pytest.approx(expected)
    assert found["fid_random"]["low"] <= found["fid_random"]["value"] <= found["fid_random"]["high"]
    assert found["precision_random"]["value"] == found["coverage_random"]["value"] == 1
    assert found["psnr"]["value"] == pytest.approx(20 * math.log10(255), abs=1e-6)
    assert found["edge_correlation"]["value"] == pytest.approx(1)
    assert "protocol: features random" in done.stdout and "lpips not measured" in done.stdout
    # Pictures in a shard are the same pictures.
    with tarfile.open(sets / "made.tar", "w") as archive:
        archive.add(sets / "generated" / "inner", "inner")
    shard = ["--generated", sets / "made.tar", *arguments[2:], "--real", sets / "real", "--paired"]
    assert script("evaluate", *shard, "--kid-subset-size", 8).returncode == 0
    of_shard = measures(sets / "made.tar.evaluation.json")
    assert of_shard["psnr"] == found["psnr"] and of_shard.keys() == found.keys() - {
        "edge_correlation",
        "color_inversion",
        "structure_distance",
    }
    # Its statistics give the same FID, and nothing that needs the pictures.
    done = script("evaluate", *arguments, "--real", sets / "real.npz", "--output", sets / "o.json")
    again = measures(sets / "o.json")
    assert again["fid_random"]["value"] == pytest.approx(expected, rel=1e-6)
    assert "detail_distance" not in again and "psnr" not in again


def test_label_maps_by_colour_and_by_a_segmenter(
    sets: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    colours = {"road": [128, 64, 128], "sky": [70, 130, 180]}
    (sets / "palette.yaml").write_text(json.dumps(colours))
    for i in range(8):
        truth = np.array(colours["road"], np.uint8) * np.ones((20, 24, 1), np.uint8)
        truth[:10] = colours["sky"]
        made = truth.copy()
        made[:5] = colours["road"]  # a quarter of the picture is wrong
        for folder, picture in (("labels", truth), ("drawn", made + np.uint8(3))):
            (sets / folder / "inner").mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(sets / folder / "inner" / f"{i}.png")
    arguments = ["--labels", sets / "labels", "--palette", sets / "palette.yaml"]
    assert script("evaluate", "--generated", sets / "drawn", *arguments).returncode == 0
    found = measures(sets / "drawn.evaluation.json")
    assert found["pixel_accuracy"]["value"] == pytest.approx(0.75)
    assert found["class_accuracy"]["value"] == pytest.approx((1 + 0.5) / 2)
    assert found["mean_iou"]["value"] == pytest.approx((10 / 15 + 0.5) / 2)
    (sets / "segmenter.py").write_text(
        "import torch\n"
        "def sky(images):\n"
        "    return torch.ones(images[:, 0].shape, dtype=torch.long)\n"
    )
    monkeypatch.syspath_prepend(sets)
    done = script(
        "evaluate", "--generated", sets / "generated", *arguments, "--segmenter", "segmenter:sky"
    )
    assert done.returncode == 0, done.stderr
    assert measures(sets / "generated.evaluation.json")["pixel_accuracy"]["value"] == 0.5
    generated = ["--generated", sets / "generated", *arguments]
    done = script("evaluate", *generated, "--segmenter", "os.path:join")
    assert done.returncode == 2 and "the segmenter failed: TypeError" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --checkpoint or --generated"),
        (["--generated", "generated"], "measured against --real, --source or --labels"),
        (["--generated", "generated", "--labels", "real"], "--labels and --palette go together"),
        (["--generated", "real", "--source", "one"], "no source for"),
        (
            ["--generated", "real", "--source", "one", "--data", "x"],
            "--data goes with --checkpoint",
        ),
        (["--checkpoint", "x", "--real", "real"], "--real goes with --generated"),
        (["--generated", "real", "--source", "one", "--paired"], "--paired and --save-statistics"),
        (["--generated", "real", "--real", "real", "--segmenter", "a:b"], "goes with --labels"),
        (["--generated", "generated", "--source", "other"], "both must be of one size"),
        (["--generated", "generated", "--real", "bad.npz"], "bad.npz"),
        (["--generated", "generated", "--labels", "real", "--palette", "bad.npz"], "palette"),
    ],
)
def test_mistakes_are_one_line(
    sets: Path, script: Script, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(sets)
    Path("bad.npz").write_text("nothing")
    for folder, side in (("one", 24), ("other", 30)):
        for i in range(1 if folder == "one" else 8):
            Path(folder, "inner").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (side, 20)).save(f"{folder}/inner/{i}.png")
    done = script("evaluate", *arguments, *(["--features", "random"] if arguments else []))
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
