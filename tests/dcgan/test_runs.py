"""Runs of generative families: exact resume, previews and GIF, two processes, sampling, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from core.checkpoints import store
from core.errors import UserError
from core.jobs.samples import write_samples
from core.procedural.known_truth import caption_agreement, score_captions
from core.training.alarms import Alarms
from families import load_sampler
from tests.conftest import ROOT
from tests.pages import Page
from tests.processes import Script
from tests.runs import (
    Tree,
    assert_resumes,
    changed,
    differences,
    make_trainer,
    small_tree,
    train_to_end,
    train_two,
    train_until_signal,
)

HAIR, EYES = ("blue", "green", "red"), ("blue", "red")


@pytest.fixture(scope="session")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of 20x18 px with tags."""
    root = tmp_path_factory.mktemp("tagged")
    generator = np.random.default_rng(0)
    lines = []
    (root / "images").mkdir()
    for number in range(7):
        pixels = generator.integers(0, 256, (18, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        lines.append(f"{number},{HAIR[number % 3]} hair {EYES[number % 2]} eyes")
    (root / "tags.csv").write_text("\n".join(lines))
    return root


def small(root: Path, *, text: bool = False) -> Tree:
    """Options of a run of eight steps that takes a fraction of a second."""
    tree: Tree = {
        "family": "dcgan",
        "name": "dcgan/small",
        "data": {"root": str(root), "load_size": 16, "crop_size": 16, "num_workers": 0},
        "train": {"num_epochs": 2, "batch_size": 2},
        "model": {"nz": 5, "ngf": 4, "ndf": 4},
        "log": {"every": 2, "samples_every_epochs": 0, "num_samples": 4},
        "checkpoint": {"every": 1000},
    }
    if text:
        words = {"projection_dim": 4, "interpolation": 1.0}
        tree = changed(tree, data={"tags": "tags.csv"}, model={"text": words})
    return tree


VARIANTS: dict[str, Tree] = {
    "plain": {},
    "workers": {"data": {"num_workers": 2, "cache": "ram"}},
    "ema": {"train": {"ema_decay": 0.9}},
    "bf16": {"train": {"precision": "bf16", "channels_last": True}},
    "soft": {"model": {"real_label": [0.7, 1.0], "fake_label": [0.0, 0.3]}},
    "lsgan": {"model": {"objective": "lsgan"}},
    "previews": {"log": {"samples_every": 1, "samples_every_epochs": 1}},
}


@pytest.mark.parametrize("variant", [*VARIANTS, "text"])
def test_resumed_equals_unbroken(variant: str, tagged: Path, tmp_path: Path) -> None:
    tree = small(tagged, text=variant == "text")
    tree = changed(tree, **VARIANTS.get(variant, {}))
    unbroken = train_to_end(tree, tmp_path / "unbroken")
    state = train_until_signal(tree, tmp_path / "broken", 3)
    resumed = train_to_end(tree, tmp_path / "broken", state)
    assert unbroken["step"] == resumed["step"] == 8
    assert differences(unbroken, resumed) == []
    assert differences(unbroken["networks"], state["networks"])
    if variant == "previews":
        for name in ("step_00000008.png", "samples.gif"):
            one, other = (tmp_path / run / "samples" / name for run in ("unbroken", "broken"))
            assert one.read_bytes() == other.read_bytes()


def test_previews_of_the_same_noise_at_every_epoch(tagged: Path, tmp_path: Path) -> None:
    tree = changed(small(tagged), log={"samples_every_epochs": 1, "num_samples": 5})
    tree = changed(tree, optim={"lr": 1e-12}, checkpoint={"every": 4, "keep_last": 9})
    train_to_end(tree, tmp_path)
    samples = sorted((tmp_path / "samples").glob("step_*.png"))
    assert [path.stem for path in samples] == ["step_00000000", "step_00000004", "step_00000008"]
    with Image.open(tmp_path / "samples" / "samples.gif") as film:
        assert film.n_frames == 3
        assert film.size == Image.open(samples[0]).size
    page = Page(tmp_path / "index.html")
    assert page.images[0]["src"] == "samples/samples.gif" and len(page.images) == 4
    assert "step 8 of 8" in page.words and "CPU, 1 thread" in page.words
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    measured = [record["measures"] for record in records if "measures" in record]
    assert [m.keys() for m in measured] == [{"diversity", "diversity_real"}] * 3
    assert len({m["diversity_real"] for m in measured}) == 1
    # Uniform noise differs by a third of the range, less what the resize smooths.
    assert 0.3 < measured[0]["diversity_real"] < 0.7
    # Going on from the middle, the film has every epoch once.
    state = store.load(store.step_path(tmp_path / "checkpoints", 4))
    train_to_end(changed(tree, train={"num_epochs": 3}), tmp_path, state)
    with Image.open(tmp_path / "samples" / "samples.gif") as film:
        assert film.n_frames == 4


def test_previews_of_captions(tagged: Path, tmp_path: Path) -> None:
    log = {"samples_every_epochs": 1, "num_samples": 24}
    trainer = make_trainer(changed(small(tagged, text=True), log=log), tmp_path)
    seen: list[tuple[int, ...]] = []
    inner = trainer.family.sample

    def sample(noise: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(noise.shape))
        assert (conditions == conditions[0]).all()
        return inner(noise, conditions)

    trainer.family.sample = sample
    assert trainer.train()
    assert seen == [(8, 5)] * 9  # three captions of eight noises, three times


def test_collapse_is_told_once() -> None:
    alarms = Alarms()
    assert [alarms.check_samples(0.01, 0.5) for _ in range(4)] == [[]] * 4
    (message,) = alarms.check_samples(0.01, 0.5)
    assert "mode collapse" in message and "0.0100 of 2" in message
    assert alarms.check_samples(0.01, 0.5) == alarms.check_samples(0.3, 0.5) == []
    assert alarms.check_samples(0.01, 0.5) != []  # it had varied, so this is a fall


def test_two_processes(tagged: Path, tmp_path: Path) -> None:
    tree = changed(small(tagged, text=True), train={"batch_size": 1})
    tree = changed(tree, checkpoint={"every": 3, "keep_last": 9})
    # One image a process: batch norm at 4x4 still sees sixteen places.
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump(tree))
    train_two(config, tmp_path / "run")
    local = assert_resumes(config, tmp_path / "run")["local"]
    assert len(local) == 2
    assert differences(local[0]["rng"], local[1]["rng"])


def test_the_vocabulary_is_learnt_once(tagged: Path, tmp_path: Path) -> None:
    tree = small(tagged, text=True)
    trainer = make_trainer(tree, tmp_path / "run")
    state = store.load(trainer.save())
    words = {"hair": list(HAIR), "eyes": list(EYES)}
    assert state["config"]["model"]["text"]["vocabulary"] == words
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["model"]["text"][
        "vocabulary"
    ] == {name: list(values) for name, values in words.items()}
    make_trainer(tree, tmp_path / "again", state)  # learns the same from the file
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    for number in range(7):
        Image.new("RGB", (20, 18)).save(other / "images" / f"{number}.png")
    tags = "".join(f"{i},{'pink' if i else 'gray'} hair red eyes\n" for i in range(7))
    (other / "tags.csv").write_text(tags)
    with pytest.raises(UserError, match=r"saved with model\.text\.vocabulary\.hair"):
        make_trainer(changed(tree, data={"root": str(other)}), tmp_path / "new", state)


def test_images_of_another_size_are_refused(tagged: Path, tmp_path: Path) -> None:
    tree = changed(small(tagged), data={"preprocess": "none"})
    with pytest.raises(UserError, match=r"images/\d\.png: 20x16 px .* makes images of 16x16 px"):
        make_trainer(tree, tmp_path).train()


# -- sampling ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_dir(tagged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert make_trainer(changed(small(tagged), train={"ema_decay": 0.5}), folder).train()
    return folder


@pytest.fixture(scope="module")
def text_run(tagged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text_run")
    assert make_trainer(small(tagged, text=True), folder).train()
    return folder


def read(folder: Path) -> dict[str, np.ndarray]:
    return {p.name: np.asarray(Image.open(p)) for p in sorted((folder / "images").iterdir())}


def test_samples_follow_from_the_seed(run_dir: Path, tmp_path: Path, script: Script) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ["--num", 5, "--seed", seed, "--device", "cpu"]
        done = script("test", "--checkpoint", run_dir, "--output", tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str(tmp_path / name / "index.html")
    a, b, c = (read(tmp_path / name) for name in "abc")
    assert list(a) == [f"{i:04d}.png" for i in range(5)]
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not all(np.array_equal(a[name], c[name]) for name in a)
    assert (tmp_path / "a" / "grid.png").exists()
    page = (tmp_path / "a" / "index.html").read_text()
    assert all(f"images/{name}" in page for name in a)


def test_noise_from_a_file(run_dir: Path, tmp_path: Path, script: Script) -> None:
    sampler = load_sampler(run_dir, "cpu")
    noise = sampler.family.random_noise(3, torch.Generator().manual_seed(4))
    np.save(tmp_path / "z.npy", noise.numpy())
    options = ["--noise", tmp_path / "z.npy", "--output", tmp_path / "file"]
    done = script("test", "--checkpoint", run_dir, *options)
    assert done.returncode == 0, done.stderr
    write_samples(sampler, tmp_path / "seed", "x", num=3, seed=4)
    from_file, from_seed = read(tmp_path / "file"), read(tmp_path / "seed")
    assert all(np.array_equal(from_file[name], from_seed[name]) for name in from_seed)


def test_samples_of_captions(text_run: Path, tmp_path: Path, script: Script) -> None:
    (tmp_path / "texts.txt").write_text("green hair red eyes\n\nRed hair blue eyes\n")
    options = ["--text", "blue hair red eyes", "--texts", tmp_path / "texts.txt", "--num", 2]
    done = script("test", "--checkpoint", text_run, "--output", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    names = [name.split("_", 1)[1] for name in read(tmp_path / "out")]
    said = ["blue_hair_red_eyes", "green_hair_red_eyes", "red_hair_blue_eyes"]
    assert names == [f"{caption}.png" for caption in said for _ in range(2)]
    assert "green hair red eyes" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("which", "options", "message"),
    [
        ("text", ["--text", "pink hair red eyes"], "unknown word 'pink'; known are: blue | green"),
        ("text", [], "this model draws what it is told"),
        ("plain", ["--text", "blue hair red eyes"], "trained without captions"),
        ("plain", ["--num", 0], "--num 0: at least 1"),
        ("plain", ["--noise", "z.npy"], "z.npy: shape [3, 4], but this model takes [N, 5]"),
        ("plain", ["--noise", "nan.npy"], "nan.npy: holds values that are not finite"),
        ("plain", ["--noise", "empty.npy"], "shape [0, 5], but this model takes"),
        ("plain", ["--noise", "text.npy"], "not a .npy file of plain numbers"),
        ("plain", ["--noise", "absent.npy"], "No such file"),
        ("plain", ["--noise", "z.npy", "--num", 2], "give one of the two"),
        ("plain", ["--texts", "absent.txt"], "there is no such file"),
        ("plain", ["--texts", "blank.txt"], "holds no captions"),
        ("plain", ["--input", "."], "makes pictures from noise and translates none"),
    ],
)
def test_one_line_for_bad_input(
    which: str, options: list[Any], message: str, run_dir: Path, text_run: Path, tmp_path: Path,
    script: Script, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "z.npy", np.zeros((3, 4), dtype=np.float32))
    np.save(tmp_path / "nan.npy", np.full((3, 5), np.nan, dtype=np.float32))
    np.save(tmp_path / "empty.npy", np.zeros((0, 5), dtype=np.float32))
    (tmp_path / "text.npy").write_text("noise")
    (tmp_path / "blank.txt").write_text("\n \n")
    run = {"plain": run_dir, "text": text_run}[which]
    done = script("test", "--checkpoint", run, "--output", "out", *options)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0], done.stderr
    assert "Traceback" not in done.stderr


def test_a_translator_is_told_from_a_sampler(
    unpaired: Path, tmp_path: Path, script: Script
) -> None:
    make_trainer(small_tree("cyclegan", unpaired), tmp_path / "run").save()
    done = script("test", "--checkpoint", tmp_path / "run", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "cyclegan translates images; give them with --input" in done.stderr


def test_official_files_there_and_back(run_dir: Path, tmp_path: Path, script: Script) -> None:
    done = script("convert", "--export", run_dir, "--output", tmp_path / "theirs")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "theirs").iterdir()) == [
        "netD_epoch_1.pth",
        "netG_epoch_1.pth",
    ]
    source = ["--family", "dcgan", "--input", tmp_path / "theirs"]
    done = script("convert", *source, "--output", tmp_path / "back.pt")
    assert done.returncode == 0, done.stderr
    ours, back = (load_sampler(path, "cpu") for path in (run_dir, tmp_path / "back.pt"))
    noise = ours.family.random_noise(4)
    assert torch.equal(ours(noise), back(noise))


# -- the procedural faces ------------------------------------------------------------------------


def test_agreement_with_captions(tmp_path: Path) -> None:
    from core.procedural.faces import draw_face, read_attributes, render_face

    faces = [draw_face(seed) for seed in range(40)]
    seen = [read_attributes(render_face(face, 32)) for face in faces]
    right = caption_agreement(seen, [face.tags for face in faces])
    assert (right.hair, right.eyes, right.both) == (1.0, 1.0, 1.0)
    shifted = [
        f"{a.hair} hair {b.eyes} eyes" for a, b in zip(faces, [*faces[1:], faces[0]], strict=True)
    ]
    mixed = caption_agreement(seen, shifted)
    assert mixed.hair == 1.0 and mixed.eyes < 0.4
    assert mixed.both == mixed.eyes
    assert "hair 100.0%" in str(right)


def test_demo_of_captions(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {
        "data.root": tmp_path / "faces",
        "train.num_steps": 2,
        "train.batch_size": 4,
        "model.ngf": 4,
        "model.ndf": 4,
        "log.samples_every_epochs": 0,
    }
    settings = [x for key, value in options.items() for x in ("--set", f"{key}={value}")]
    config = ROOT / "configs" / "dcgan" / "faces_text.yaml"
    done = script("demo", "--config", config, "--num-train", 200, *settings)
    assert done.returncode == 0, done.stderr
    assert "as asked: hair" in done.stdout
    assert (tmp_path / "results" / "dcgan" / "faces_text" / "grid.png").exists()


def test_scores_need_hair_and_eyes(run_dir: Path) -> None:
    with pytest.raises(UserError, match="whose captions name just these"):
        score_captions(load_sampler(run_dir, "cpu"))


@pytest.mark.parametrize(
    ("config", "folder"),
    [("anime_text", "anime_tags"), ("mnist", "mnist"), ("widths_few", "anime_tags")],
)
def test_configs_train_on_the_real_sets(
    config: str, folder: str, shared_data: Path, tmp_path: Path, script: Script
) -> None:
    if not (shared_data / folder).is_dir():
        pytest.skip(f"no {folder} at {shared_data}")
    settings = {
        "data.root": shared_data / folder,
        "data.num_workers": 0,
        "data.max_images": 64,
        "train.num_steps": 2,
        "train.batch_size": 8,
        "log.num_samples": 16,
    }
    if config != "widths_few":
        settings |= {"model.ngf": 4, "model.ndf": 4}
    options = [x for key, value in settings.items() for x in ("--set", f"{key}={value}")]
    run = tmp_path / "run"
    path = ROOT / "configs" / "dcgan" / f"{config}.yaml"
    done = script("train", "--config", path, "--run-dir", run, *options)
    assert done.returncode == 0, done.stderr
    assert (run / "samples" / "samples.gif").exists()


def test_evaluate_compares_samples(
    run_dir: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    output = tmp_path / "found.json"
    options = ("--device", "cpu", "--max-images", 3, "--output", output)
    done = script("evaluate", "--checkpoint", run_dir, *options)
    assert done.returncode == 0, done.stderr
    assert "samples, 3 images" in done.stdout
    assert "fid and kid not measured" in done.stdout
    record = json.loads(output.read_text())
    assert record["directions"]["samples"]["num_real"] == 3
    assert any("no test split" in note for note in record["notes"])
