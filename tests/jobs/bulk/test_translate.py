"""Whole data sets: what is written, that it can be broken off, and what does not stop it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.images import read_picture
from core.errors import UserError
from core.jobs.bulk.manifest import Manifest, Written
from families import load
from tests.data.image_files import write_image
from tests.jobs.bulk.checkpoints import write_checkpoint
from tests.processes import Script, file_size_limit


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("cyclegan") / "c.pt", "cyclegan")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of two sizes, in a folder and one within."""
    for number in range(5):
        write_image(tmp_path / "in" / f"{number}.png", seed=number)
    write_image(tmp_path / "in" / "sub" / "wide.png", 20, 9)
    return tmp_path / "in"


def files(folder: Path) -> dict[str, bytes]:
    """{name: content} of a folder's results."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.*")
        if ".translate" not in path.parts
    }


def test_results_are_those_of_single_pictures_whatever_the_batch(
    checkpoint: Path, photos: Path, tmp_path: Path, script: Script
) -> None:
    words = ("--checkpoint", checkpoint, "--input", photos, "--output")
    assert script("translate", *words, tmp_path / "one").returncode == 0
    assert script("translate", *words, tmp_path / "four", "--batch-size", 4).returncode == 0
    assert files(tmp_path / "one") == files(tmp_path / "four")
    translate = load(checkpoint, "cpu")
    for name in ("0.png", "sub/wide.png"):
        expected = translate(read_picture(photos / name), "AtoB").stored()
        assert np.array_equal(read_picture(tmp_path / "one" / name).stored(), expected)


def test_a_second_start_makes_what_is_missing_and_no_more(
    checkpoint: Path, photos: Path, tmp_path: Path, script: Script
) -> None:
    (photos / "damaged.jpg").write_bytes(b"no picture")
    write_image(photos / "1.jpg")  # its result would be that of 1.png
    out = tmp_path / "out"
    words = ("--checkpoint", checkpoint, "--input", photos, "--output", out)
    assert script("translate", *words).returncode == 1
    failed = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    reasons = {entry["name"]: entry["reason"] for entry in failed}
    assert reasons.keys() - {"1.png", "1.jpg"} == {"damaged.jpg"} and len(reasons) == 2
    assert "not an image" in reasons["damaged.jpg"]
    (photos / "damaged.jpg").unlink()
    for path in photos.glob("1.*"):
        if path.name in reasons:
            path.unlink()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    write_image(photos / "new.png")
    (out / "3.png").unlink()
    assert script("translate", *words).returncode == 0
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    made = {path.name for path, time in after.items() if before.get(path) != time}
    assert made == {"new.png", "3.png"} and not (out / "failed.jsonl").exists()
    refused = script("translate", *words, "--seed", 1)
    assert refused.returncode == 2 and "holds results made with seed 0, not 1" in refused.stderr


def test_a_line_that_was_cut_off_counts_as_none(tmp_path: Path) -> None:
    with Manifest(tmp_path, {}) as manifest:
        for name in ("a.png", "b.png"):
            assert manifest.claim(name, name[0])
            manifest.record(name, name[0], [Written(name, 1, 2)])
        with pytest.raises(UserError, match="another job is writing there"):
            Manifest(tmp_path, {})
    lines = tmp_path / ".translate" / "done-00000.jsonl"
    os.truncate(lines, lines.stat().st_size - 9)
    with Manifest(tmp_path, {}) as manifest:
        assert not manifest.claim("a.png", "a") and manifest.claim("b.png", "b")
        manifest.record("b.png", "b", [Written("b.png", 1, 2)])
    with Manifest(tmp_path, {}) as manifest:
        assert [entry["name"] for entry in manifest.entries()] == ["a.png", "b.png"]
        assert manifest.num_done == 2


def test_a_full_disk_stops_the_job_in_one_line_and_loses_nothing(
    checkpoint: Path, photos: Path, tmp_path: Path, script: Script
) -> None:
    Image.effect_noise((120, 90), 60).convert("RGB").save(photos / "sub" / "large.png")
    out = tmp_path / "out"
    words = ("--checkpoint", checkpoint, "--input", photos, "--output", out)
    with file_size_limit(4096):
        done = script("translate", *words)
    assert done.returncode == 2
    assert "sub/large.png: cannot be written (File too large)" in done.stderr.splitlines()[-1]
    assert "0.png" in files(out) and "sub/large.png" not in files(out)
    assert script("translate", *words).returncode == 0
    assert "sub/large.png" in files(out) and not list((out / ".translate").glob(".*.tmp"))
