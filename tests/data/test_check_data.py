from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from core.data.check import check_folder
from core.errors import UserError
from core.options import DataOptions, SingleDataOptions
from tests.data.image_files import write_idx, write_image, write_unpaired
from tests.processes import Script


def test_a_good_set_is_described_with_a_config(tmp_path: Path, script: Script) -> None:
    write_unpaired(tmp_path, 3, 2, width=140, height=130)
    write_image(tmp_path / "trainA" / "wide.png", 300, 130, mode="RGBA")
    done = script("check_data", tmp_path)
    assert done.returncode == 0
    out = done.stdout
    assert "train: unpaired, trainA and trainB" in out
    assert "trainA: 4 images, modes: RGB 3, RGBA 1" in out
    assert "width 140 to 300 (median 140), height 130, most common 140 x 130 (3 of 4)" in out
    lines = check_folder(tmp_path).config_lines()
    config = yaml.safe_load("\n".join(lines))
    assert config["family"] == "cyclegan"
    assert DataOptions.model_validate(config["data"]).crop_size == 128
    assert config["data"]["load_size"] == 143


def test_broken_files_are_all_named(tmp_path: Path, script: Script) -> None:
    write_unpaired(tmp_path, 3, 2)
    (tmp_path / "trainA" / "01.png").write_bytes(b"")
    (tmp_path / "trainB" / "00.png").write_bytes(b"no image")
    done = script("check_data", tmp_path)
    assert done.returncode == 2
    out = done.stdout
    assert "01.png: the file is empty" in out and "00.png: not an image" in out
    assert "on_error: skip" in out and "2 problems" in out


@pytest.mark.parametrize("folders", [("train", None), ("A", "B"), ("A/train", "B/train")])
def test_pairs_are_recognised(tmp_path: Path, folders: tuple[str, str | None]) -> None:
    for folder in filter(None, folders):
        write_image(tmp_path / folder / "0.png", 40, 20)
    report = check_folder(tmp_path)
    assert report.paired and report.usable
    assert len(report.layouts) == 1
    assert "family: pix2pix" in report.config_lines()


def test_unmatched_pairs_are_a_problem(tmp_path: Path) -> None:
    for name in ("A/0.png", "A/1.png", "B/0.png"):
        write_image(tmp_path / name)
    report = check_folder(tmp_path)
    assert not report.usable
    assert "1 images have no partner" in report.problems[0]


def test_what_looks_odd_is_noted(tmp_path: Path) -> None:
    for name in ("trainA/0.png", "trainA/1.png", "trainB/0.png", "testA/0.png", "testB/0.png"):
        write_image(tmp_path / name)
    hints = check_folder(tmp_path).hints
    assert "1 names are in both and 1 in one only" in hints[0]
    assert "the names match" in hints[1]
    write_image(tmp_path / "pairs" / "train" / "x.png", 20, 20)
    assert "too narrow" in check_folder(tmp_path / "pairs").hints[0]
    write_image(tmp_path / "two" / "A" / "x.png", 20, 20)
    write_image(tmp_path / "two" / "B" / "x.png", 20, 21)
    assert "sizes of 1 pairs differ" in check_folder(tmp_path / "two").hints[0]


def test_a_set_without_a_domain_or_without_training_images_is_a_problem(tmp_path: Path) -> None:
    write_image(tmp_path / "trainA" / "0.png")
    assert "trainB/" in check_folder(tmp_path).problems[0]
    write_unpaired(tmp_path / "other", 1, 1, split="test")
    assert "no train split" in check_folder(tmp_path / "other").problems[0]


def test_a_plain_folder_is_one_domain(tmp_path: Path) -> None:
    write_image(tmp_path / "TrainA" / "0.png")
    report = check_folder(tmp_path)
    assert report.usable and report.paired is None
    assert "did you mean 'TrainA'" in report.hints[0]
    assert "family: dcgan" in report.config_lines()


def test_tags_are_looked_over(tmp_path: Path) -> None:
    for number in range(2):
        write_image(tmp_path / "images" / f"{number}.png", 33, 40)
    (tmp_path / "tags.csv").write_text("0,red hair\n1,blue hair\n")
    report = check_folder(tmp_path)
    assert report.usable
    assert any("blue | red hair" in hint for hint in report.hints)
    config = yaml.safe_load("\n".join(report.config_lines()))
    assert config["model"] == {"text": {}}
    data = SingleDataOptions.model_validate(config["data"])
    assert (data.tags, data.load_size, data.crop_size) == ("tags.csv", 32, 32)
    (tmp_path / "tags.csv").write_text("0,red hair\n2,blue hair\n")
    assert "1 images have no line in it (1)" in check_folder(tmp_path).problems[0]


def test_mnist_files_are_described(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((3, 28, 28), dtype=np.uint8))
    report = check_folder(tmp_path)
    assert report.layouts == ["train: one domain, train-images-idx3-ubyte.gz"]
    assert yaml.safe_load("\n".join(report.config_lines()))["model"] == {"nc": 1}


@pytest.mark.parametrize("share", ["nan", "1.5", "-1", "0"])
def test_a_share_that_is_none(tmp_path: Path, script: Script, share: str) -> None:
    done = script("check_data", tmp_path, f"--split={share}")
    assert done.returncode == 2 and "--split" in done.stderr and "between 0 and 1" in done.stderr


def test_a_missing_folder_is_one_line(tmp_path: Path, script: Script) -> None:
    done = script("check_data", tmp_path / "nix")
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    with pytest.raises(UserError, match="no images found"):
        check_folder(tmp_path)


def test_depth_and_spread_are_said_and_a_sheet_is_drawn(tmp_path: Path, script: Script) -> None:
    for folder, top in (("trainA", 1000), ("trainB", 60000)):
        (tmp_path / folder).mkdir()
        values = np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)
        for name in ("0.png", "1.png"):
            Image.fromarray(values).save(tmp_path / folder / name)
    done = script("check_data", tmp_path, "--sheet", tmp_path / "sheet.jpg")
    assert done.returncode == 2 and "is written as PNG; name it sheet.png" in done.stderr
    done = script("check_data", tmp_path, "--sheet", tmp_path / "sheet.png")
    assert (
        "trainA: 2 images use less than half of their depth (values from 0 to 1000)" in done.stdout
    )
    assert "trainB: 2 images use" not in done.stdout
    assert f"  black █{' ' * 15} white" in done.stdout, "1000 of 65535 is one step of 16"
    lines = done.stdout.splitlines()
    config = yaml.safe_load("\n".join(lines[lines.index("config:") + 1 : -1]))
    assert config["data"]["white"] == "auto" and config["data"]["cache"] == "ram"
    assert config["model"] == {"input_nc": 1, "output_nc": 1}
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 2 * 128 and sheet.height > 2 * 128


def test_values_without_a_white_are_a_problem_that_the_config_mends(tmp_path: Path) -> None:
    for folder in ("trainA", "trainB"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.linspace(-3, 5, 64, dtype=np.float32).reshape(8, 8)).save(
            tmp_path / folder / "0.tif"
        )
    report = check_folder(tmp_path)
    assert "have no agreed black and white (F, values from -3 to 5)" in report.problems[0]
    assert not report.usable and "    white: auto" in report.lines()


def test_folders_of_equal_names_and_addresses(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, top in (("depth", 4000), ("mask", 5), ("rgb", 0)):
        (tmp_path / name).mkdir()
        for i in range(3):
            shape = (40, 40) if top else (40, 40, 3)
            values = rng.integers(0, top or 256, shape).astype(
                np.uint16 if top == 4000 else np.uint8
            )
            if top:
                values[0, 0] = top - 1
            Image.fromarray(values).save(tmp_path / name / f"{i}.png")
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (4, 36, 36), dtype=np.uint8))
    config = yaml.safe_load("\n".join(check_folder(tmp_path).config_lines()))
    assert config["family"] == "pix2pix" and "white" not in config["data"]
    depth, mask = {"path": "depth/", "white": 3999.0}, {"path": "mask/", "labels": 5}
    assert (config["data"]["a"], config["data"]["b"]) == ([depth, mask], "rgb/")
    report = check_folder(tmp_path / "x.npy")
    assert report.usable and report.parts[0].sizes == ((36, 36),) * 4
    config = yaml.safe_load("\n".join(report.config_lines()))
    assert config["data"]["a"] == str(tmp_path / "x.npy") and config["model"] == {"nc": 1}
    with pytest.raises(UserError, match="there is no such file"):
        check_folder(f"{tmp_path}/s.tar#png")
