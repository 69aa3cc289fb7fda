"""Whole data sets: what is written, that it can be broken off, and what does not stop it."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.images import read_picture
from core.errors import UserError
from core.inference.styles import seed_of
from core.jobs.bulk.manifest import Manifest, Written
from families import load
from tests.data.image_files import write_image
from tests.jobs.bulk.checkpoints import write_checkpoint
from tests.processes import Script, file_size_limit, run_ranks


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


@pytest.mark.parametrize("family", ["munit", "pix2pix"])
def test_what_is_drawn_for_a_picture_follows_from_its_name(
    family: str, photos: Path, tmp_path: Path, script: Script
) -> None:
    drawn = {"munit": (), "pix2pix": ("--direction", "AtoB")}[family]
    checkpoint = write_checkpoint(tmp_path / "c.pt", family)
    options = ("--checkpoint", checkpoint, "--workers", 0, "--seed", 5, *drawn)
    if family == "munit":
        options += ("--num-styles", 2)
    for size, folder in ((1, "one"), (4, "four")):
        words = ("--input", photos, "--output", tmp_path / folder, "--batch-size", size)
        assert script("translate", *options, *words).returncode == 0
    assert files(tmp_path / "one") == files(tmp_path / "four")
    (photos / "0.png").unlink()
    words = ("--input", photos, "--output", tmp_path / "fewer")
    assert script("translate", *options, *words).returncode == 0
    assert files(tmp_path / "fewer").items() <= files(tmp_path / "one").items()
    if family == "munit":
        translate = load(checkpoint, "cpu")
        codes = translate.random_styles(2, seed_of("sub/wide", 5))
        expected = translate.in_styles(read_picture(photos / "sub" / "wide.png"), codes)[1]
        found = read_picture(tmp_path / "one" / "sub" / "wide_style_01.png")
        assert np.array_equal(found.pixels, expected.pixels)


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
            manifest.claim(name, name[0])
            manifest.record(name, name[0], [Written(name, 1, 2)])
        with pytest.raises(UserError, match="another job is writing there"):
            Manifest(tmp_path, {})
    lines = tmp_path / ".translate" / "done-00000.jsonl"
    (tmp_path / ".translate" / ".7-ab.tmp").write_bytes(b"of a killed process")
    os.truncate(lines, lines.stat().st_size - 9)
    with Manifest(tmp_path, {}) as manifest:
        assert manifest.has("a.png") and not manifest.has("b.png")
        with pytest.raises(UserError, match="the name of another's, a; rename"):
            manifest.claim("a.jpg", "a")
        manifest.record("b.png", "b", [Written("b.png", 1, 2)])
    with Manifest(tmp_path, {}) as manifest:
        assert [entry["name"] for entry in manifest.entries()] == ["a.png", "b.png"]
        assert manifest.num_done == 2 and not list(tmp_path.glob(".translate/.*.tmp"))


def test_a_full_disk_stops_the_job_in_one_line_and_loses_nothing(
    checkpoint: Path, photos: Path, tmp_path: Path, script: Script
) -> None:
    Image.effect_noise((120, 90), 60).convert("RGB").save(photos / "sub" / "large.png")
    out = tmp_path / "out"
    words = ("--checkpoint", checkpoint, "--input", photos, "--output", out, "--workers", 0)
    with file_size_limit(4096):
        done = script("translate", *words, "--batch-size", 1)
    assert done.returncode == 2
    assert "sub/large.png: cannot be written (File too large)" in done.stderr.splitlines()[-1]
    assert "0.png" in files(out) and "sub/large.png" not in files(out)
    assert script("translate", *words).returncode == 0
    assert "sub/large.png" in files(out) and not list((out / ".translate").glob(".*.tmp"))


def members(shard: Path) -> dict[str, bytes]:
    """{name: content} of a shard, of which no name may come twice."""
    with tarfile.open(shard) as archive:
        found = [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_shards_go_on_within_a_shard(
    checkpoint: Path, photos: Path, tmp_path: Path, script: Script
) -> None:
    out, words = tmp_path / "out", ("--checkpoint", checkpoint, "--input", photos, "--output")
    assert script("translate", *words, out / "files").returncode == 0
    assert script("translate", *words, out / "s-{0..1}.tar").returncode == 0
    shards = [members(out / f"s-{number}.tar") for number in range(2)]
    assert all(shards) and shards[0] | shards[1] == files(out / "files")
    # As a killed process leaves it: in the manifest's folder, the last picture written by half.
    partial = (out / "s-0.tar").rename(out / ".translate" / "s-0.tar")
    os.truncate(partial, partial.stat().st_size - 1024 - 100)
    lost = list(shards[0])[-1]
    assert script("translate", *words, out / "s-{0..1}.tar").returncode == 0
    assert members(out / "s-0.tar") == shards[0] and not partial.exists()
    assert list(members(out / "s-0.tar"))[-1] == lost
    again = script("translate", *words, out / "s-{0..1}.tar")
    assert again.returncode == 0 and "0 images" in again.stdout


def test_a_shard_that_is_cut_is_named_and_mended_later(
    checkpoint: Path, photos: Path, tmp_path: Path, script: Script
) -> None:
    shards = tmp_path / "in-{00..01}.tar"
    for number, names in enumerate((("0.png", "1.png"), ("2.png", "sub/wide.png"))):
        with tarfile.open(tmp_path / f"in-{number:02d}.tar", "w") as archive:
            for name in names:
                archive.add(photos / name, name)
            archive.addfile(tarfile.TarInfo("label.txt"))
    whole = (tmp_path / "in-01.tar").read_bytes()
    os.truncate(tmp_path / "in-01.tar", 1200)  # in the second header
    words = ("--checkpoint", checkpoint, "--input", shards, "--output")
    for output in (tmp_path / "out-{0..1}.tar", tmp_path / "files"):
        (tmp_path / "in-01.tar").write_bytes(whole[:1200])
        done = script("translate", *words, output)
        assert done.returncode == 1, done.stderr
        failed = output if output.suffix == "" else output.parent
        assert "in-01.tar: no shard" in (failed / "failed.jsonl").read_text()
        (tmp_path / "in-01.tar").write_bytes(whole)
        assert script("translate", *words, output).returncode == 0
    assert list(members(tmp_path / "out-0.tar")) == ["0.png", "1.png"]
    assert list(members(tmp_path / "out-1.tar")) == ["2.png", "sub/wide.png"]
    flat = {name.split("/", 1)[1]: data for name, data in files(tmp_path / "files").items()}
    assert flat == members(tmp_path / "out-0.tar") | members(tmp_path / "out-1.tar")
    three = script("translate", *words, tmp_path / "x-{0..2}.tar")
    assert three.returncode == 2 and "2 shards come in and 3 would go out" in three.stderr


def test_two_processes_share_the_names(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(5, 12):
        write_image(photos / f"{number}.png", seed=number)
    (photos / "damaged.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    words = ("--checkpoint", checkpoint, "--input", photos, "--output", out)
    done = run_ranks(tmp_path, "translate", *words, "--device", "cpu", "--workers", 0)
    assert done.returncode == 1, done.stderr
    shares = [path.read_text().splitlines() for path in sorted(out.glob(".translate/done-*"))]
    names = [json.loads(line)["name"] for lines in shares for line in lines]
    assert len(shares) == 2 and all(shares) and len(set(names)) == len(names) == 13
    assert len(list(out.glob("failed*.jsonl"))) == 1
    assert {name for name in files(out) if name.endswith("png")} == set(names)
