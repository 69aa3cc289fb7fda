"""The pipeline on a Ray cluster of two actors, and its steps without Ray."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.jobs.bulk import cluster, job
from families import load
from tests.data.image_files import write_image
from tests.jobs.bulk.checkpoints import write_checkpoint
from tests.jobs.bulk.test_translate import files
from tests.processes import Script
from tests.thorough import only_if_thorough


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    """Three cores: one for each of two actors, and one to read and write."""
    ray = pytest.importorskip("ray", reason="needs Ray: pip install -e '.[cluster]'")
    only_if_thorough("starts a Ray cluster and loads torch in four processes")
    variables = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ray.init(
        "local",
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=10**8,
        runtime_env={"env_vars": variables},
    )
    yield
    ray.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """What engines get wrong: dots in names, 16 bits, rotation, a damaged file beside good ones."""
    folder = tmp_path / "in"
    for number in range(6):
        write_image(folder / f"v1.{number}.png", seed=number)
    write_image(folder / "sub" / "wide.png", 20, 9)
    deep = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20) * 100
    Image.fromarray(deep).save(folder / "deep.png")
    turned = Image.new("RGB", (20, 24), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    (folder / "damaged.jpg").write_bytes(b"no picture")
    return folder


class Columns:
    """Stands in for Ray's data set: applies what it is given at once, to one batch."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def map_batches(self, step: Any, fn_constructor_args: Any = None, **_: object) -> Columns:
        step = pickle.loads(pickle.dumps(step))
        call = step if fn_constructor_args is None else step(*fn_constructor_args)
        made = [call(batch) for batch in self.batches]
        return Columns(*chain(*([each] if isinstance(each, dict) else each for each in made)))

    def iter_batches(self, **_: object) -> Iterator[Any]:
        return iter(self.batches)


def test_the_steps_give_what_the_local_pipeline_gives(
    photos: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SimpleNamespace(
        DataContext=SimpleNamespace(get_current=SimpleNamespace),
        range=lambda number, **_: Columns(*({"id": [i]} for i in range(number))),
        ActorPoolStrategy=SimpleNamespace,
    )
    fake = SimpleNamespace(
        data=data,
        put=pickle.dumps,
        get=pickle.loads,
        cluster_resources=lambda: {"CPU": 3.0},
        exceptions=SimpleNamespace(RayActorError=TimeoutError),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(cluster, "_connected", lambda address: fake)
    checkpoint = write_checkpoint(tmp_path / "c.pt", "cyclegan")
    write_image(photos / "v1.0.jpg")  # its result would be that of v1.0.png
    words = ("--checkpoint", checkpoint, "--input", photos, "--output")
    local = script("translate", *words, tmp_path / "local")
    done = script("translate", *words, tmp_path / "ray", "--engine", "ray", "--batch-size", 2)
    assert (local.returncode, done.returncode) == (1, 1), done.stderr
    mine, theirs = files(tmp_path / "ray"), files(tmp_path / "local")
    assert mine.keys() == theirs.keys() and len(mine) == 10
    one_of_them = {"failed.jsonl", "v1.0.png"}  # which of the two is the first walked
    assert all(mine[name] == theirs[name] for name in mine.keys() - one_of_them)
    again = script("translate", *words, tmp_path / "ray", "--engine", "ray")
    assert "0 images in" in again.stdout and again.returncode == 1
    done = script("translate", *words, tmp_path / "ray", "--engine", "ray", "--workers", 2)
    assert (done.returncode, done.stderr) == (2, "error: --workers: not with --engine ray\n")
    done = script("translate", *words, tmp_path / "ray", "--address", "auto")
    assert (done.returncode, done.stderr) == (2, "error: --address auto: goes with --engine ray\n")


def deadly(make_again: Callable[..., Any], marker: Path, *args: Any) -> Any:
    """An engine whose process dies of one picture, the first time that it sees it."""
    engine = make_again(*args)
    honest = engine.run

    def run(names: Any, pictures: Any) -> Any:
        if "v1.3" in names and not marker.exists():
            marker.touch()
            os._exit(1)
        return honest(names, pictures)

    engine.run = run
    return engine


def test_a_cluster_ends_what_one_machine_began(
    photos: Path, tmp_path: Path, script: Script, _cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "c.pt", "munit")
    words = ("--checkpoint", checkpoint, "--num-styles", 2, "--seed", 4, "--output")
    whole, out, marker = tmp_path / "whole", tmp_path / "out", tmp_path / "died"
    assert script("translate", *words, whole, "--input", photos).returncode == 1
    half = tmp_path / "half"
    shutil.copytree(photos, half, ignore=shutil.ignore_patterns("v1.[0-3]*", "damaged*"))
    assert script("translate", *words, out, "--input", half).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}

    again = partial(deadly, job._checkpoint_again, marker)
    monkeypatch.setattr(job, "_checkpoint_again", again)
    words = (*words, out, "--input", photos, "--engine", "ray")
    ended = script("translate", *words)
    assert ended.returncode == 1, ended.stderr
    assert marker.exists(), "an actor has died"
    assert f"{out}: 4 images in" in ended.stdout
    assert "damaged.jpg" in (out / "failed.jsonl").read_text()
    assert files(out) == files(whole)
    assert before.items() <= {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}.items()
    lines = (out / ".translate" / "done-00000.jsonl").read_text().splitlines()
    names = [json.loads(line)["name"] for line in lines]
    assert len(names) == len(set(names)) == 9


def test_the_batch_function_on_ray_data(tmp_path: Path, _cluster: None) -> None:
    import ray.data

    checkpoint = write_checkpoint(tmp_path / "c.pt", "cyclegan")
    work = load(checkpoint, "cpu").batch_function("BtoA")
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (20 + 4 * (i % 2), 24, 3), np.uint8) for i in range(6)]
    rows = ray.data.from_items([{"number": i, "image": each} for i, each in enumerate(images)])
    made = {row["number"]: row["image"] for row in rows.map_batches(work, batch_size=4).iter_rows()}
    expected = work.translate(images)
    assert all(np.array_equal(made[i], each) for i, each in enumerate(expected))
