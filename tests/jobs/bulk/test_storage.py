"""Pictures in other storage than files: fsspec's addresses, data sets and parquet."""

from __future__ import annotations

import io
import json
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from core.jobs.bulk.sources import find_source
from tests.data.image_files import write_image
from tests.jobs.bulk.checkpoints import write_checkpoint
from tests.processes import Script


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("cyclegan") / "c.pt", "cyclegan")


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((12, 10), 20 + seed).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def test_remote_storage_in_and_out(checkpoint: Path, tmp_path: Path, script: Script) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(3):
        content = png(number)
        memory.pipe_file(f"/photos/sub/{number}.png", content)
        (tmp_path / "in" / "sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "sub" / f"{number}.png").write_bytes(content)
    memory.pipe_file("/photos/.hidden/no.png", png(9))
    memory.pipe_file("/photos/bad.png", b"no picture")
    options = ("--checkpoint", checkpoint, "--workers", 0, "--input")
    assert (
        script("translate", *options, tmp_path / "in", "--output", tmp_path / "o").returncode == 0
    )
    words = (*options, "memory://photos", "--output", "memory://results")
    assert script("translate", *words).returncode == 1
    for number in range(3):
        expected = (tmp_path / "o" / "sub" / f"{number}.png").read_bytes()
        assert memory.cat_file(f"/results/sub/{number}.png") == expected
    (failed,) = memory.glob("/results/.translate/failed-*")
    assert json.loads(memory.cat_file(failed))["name"] == "bad.png"
    memory.rm_file("/photos/bad.png")
    memory.pipe_file("/results/sub/1.png", b"damaged")
    again = script("translate", *words)
    assert again.returncode == 0 and "0 images" in again.stdout
    checked = script("translate", *words, "--check")
    assert checked.returncode == 0 and "1 images" in checked.stdout
    assert memory.cat_file("/results/sub/1.png") != b"damaged"
    assert script("translate", *words, "--seed", 3).returncode == 2


def test_rows_of_tables(checkpoint: Path, tmp_path: Path, script: Script) -> None:
    datasets = pytest.importorskip("datasets")
    for number in range(3):
        write_image(tmp_path / f"{number}.png", seed=number)
    rows = [{"bytes": (tmp_path / f"{n}.png").read_bytes(), "path": None} for n in range(3)]
    rows[1] = {"bytes": b"no picture", "path": None}
    table = datasets.Dataset.from_dict({"image": rows, "label": [1, 2, 3]})
    table = table.cast_column("image", datasets.Image(decode=False))
    table.save_to_disk(tmp_path / "table")
    table.to_parquet(tmp_path / "rows-0.parquet")
    (tmp_path / "rows-1.parquet").write_bytes(b"PAR1 cut")
    options = ("--checkpoint", checkpoint, "--workers", 0, "--output", tmp_path / "out", "--input")
    assert script("translate", *options, tmp_path / "rows-{0..1}.parquet").returncode == 1
    made = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/*/*.png"))
    assert made == ["rows-0/00000000.png", "rows-0/00000002.png"]
    reasons = (tmp_path / "out" / "failed.jsonl").read_text()
    assert "rows-0/00000001" in reasons and "rows-1.parquet: no parquet file" in reasons
    items = list(find_source(Path(f"{tmp_path / 'table'}#image")).items(""))
    (first,) = (item for item in items[:1] if not isinstance(item, Exception))
    assert first.name == "00000000" and first.read(None).pixels.shape == (10, 12, 3)
