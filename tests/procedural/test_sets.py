from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.procedural.faces import EYE_COLOURS, HAIR_COLOURS, draw_face, read_attributes, render_face
from core.procedural.known_truth import score_translations
from core.procedural.materials import LABELS
from core.procedural.scene import SceneStyle, draw_scene
from core.procedural.seasons import colour_labels, label_map, render
from core.procedural.sets import make_faces, make_seasons

SIZE = 64


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def unpaired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seasons") / "unpaired"
    make_seasons(root, layout="unpaired", size=SIZE, num_train=3, num_test=2, seed=1)
    return root


def test_unpaired_layout(unpaired: Path) -> None:
    files = contents(unpaired)
    assert {name.split("/")[0] for name in files} == {
        *("trainA", "trainB", "testA", "testB", "truthA", "truthB", "labelsA", "labelsB"),
        "meta.json",
    }
    assert len(files) == 2 * 3 + 2 * 2 * 3 + 1
    for domain, other in ("AB", "BA"):
        for path in (unpaired / f"test{domain}").iterdir():
            assert read(path).shape == (SIZE, SIZE, 3)
            assert read(unpaired / f"truth{other}" / path.name).shape == (SIZE, SIZE, 3)
            assert Image.open(unpaired / f"labels{domain}" / path.name).mode == "L"
    # No file appears twice: the domains share no scene.
    pictures = [data for name, data in files.items() if name != "meta.json"]
    assert len(set(pictures)) == len(pictures)


def test_meta_names_request_labels_and_styles(unpaired: Path) -> None:
    meta = json.loads((unpaired / "meta.json").read_text())
    assert meta["request"]["seed"] == 1
    assert meta["labels"] == list(LABELS)
    style = SceneStyle(**meta["styles"]["testB"]["b00001.png"])
    scene = draw_scene((1, 3, 1))
    assert style == scene.style
    picture = read(unpaired / "testB" / "b00001.png")
    assert np.array_equal(render(scene, "winter", SIZE, style), picture)


def test_same_seed_same_bytes_other_seed_other_bytes(unpaired: Path, tmp_path: Path) -> None:
    options = {"layout": "unpaired", "size": SIZE, "num_train": 3, "num_test": 2}
    make_seasons(tmp_path / "same", **options, seed=1)
    assert contents(tmp_path / "same") == contents(unpaired)
    make_seasons(tmp_path / "other", **options, seed=2)
    same, other = contents(tmp_path / "same"), contents(tmp_path / "other")
    assert not set(same.values()) & set(other.values())


def test_paired_layout(tmp_path: Path) -> None:
    root = tmp_path / "new" / "paired"
    make_seasons(root, layout="paired", size=SIZE, num_train=2, num_test=1, seed=1)
    assert sorted(contents(root)) == [
        *("labels/00000.png", "meta.json", "train/00000.png", "train/00001.png", "val/00000.png")
    ]
    pair, labels = read(root / "val/00000.png"), read(root / "labels/00000.png")
    assert np.array_equal(pair[:, SIZE:], colour_labels(labels))
    assert np.array_equal(pair[:, :SIZE], render(draw_scene((1, 2, 0)), "summer", SIZE))


def test_inputs_show_one_scene_and_depth_grows_upwards(tmp_path: Path) -> None:
    make_seasons(tmp_path / "set", layout="inputs", size=SIZE, num_train=1, num_test=1, seed=1)
    kinds = ("depth", "mask", "rgb")
    names = [f"{kind}/{split}/00000.png" for kind in kinds for split in ("test", "train")]
    assert sorted(contents(tmp_path / "set")) == sorted([*names, "meta.json"])
    depth = read(tmp_path / "set" / "depth/train/00000.png")
    labels = read(tmp_path / "set" / "mask/train/00000.png")
    names_of = np.array([*LABELS])[labels]
    assert depth.dtype == np.uint16 and depth.max() == 30000 and 2900 < depth.min() < 4000
    far = depth[np.isin(names_of, ("sky", "sun", "hill"))] == 30000
    assert far.mean() > 0.97, "but for edges, which belong to what is nearer"
    ground = names_of == "ground"
    rows = [np.median(row[seen]) for row, seen in zip(depth, ground, strict=True) if seen.any()]
    assert (np.diff(rows[-SIZE // 4 :]) < 0).all(), "the ground comes nearer towards the viewer"


def test_asking_again_changes_nothing(tmp_path: Path) -> None:
    options = {"layout": "paired", "size": 32, "num_train": 1, "num_test": 1}
    make_seasons(tmp_path / "set", **options)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    make_seasons(tmp_path / "set", **options)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")} == before
    with pytest.raises(UserError, match="delete it or name another folder"):
        make_seasons(tmp_path / "set", **options | {"num_train": 2})
    assert {path.name for path in tmp_path.iterdir()} == {"set"}


@pytest.mark.parametrize("meta", [None, "not json", "[]"])
def test_a_folder_of_other_origin_is_left_alone(tmp_path: Path, meta: str | None) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    if meta is not None:
        (tmp_path / "meta.json").write_text(meta)
    with pytest.raises(UserError, match="exists"):
        make_faces(tmp_path, size=32, num_images=1)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("core.procedural.sets.render_face", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_faces(tmp_path / "faces", size=32, num_images=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"size": 8}, "size: 8"),
        ({"num_train": 0}, "num_train: 0"),
        ({"seed": -1}, "seed: -1"),
        ({"layout": "triples"}, "layout: 'triples'"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, bad: dict[str, object], message: str) -> None:
    options = {"layout": "paired", "size": 32, "num_train": 1, "num_test": 1}
    with pytest.raises(UserError, match=message):
        make_seasons(tmp_path / "set", **options | bad)
    assert not list(tmp_path.iterdir())


def test_scene_is_the_same_at_any_size() -> None:
    scene = draw_scene(5)
    large = render(scene, "summer", 128).astype(float)
    halved = large.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - render(scene, "summer", SIZE)).mean() < 6
    agree = label_map(scene, 128)[::2, ::2] == label_map(scene, SIZE)
    assert agree.mean() > 0.95


def test_labels_cover_the_classes_and_the_seasons_differ() -> None:
    seen: set[int] = set()
    for index in range(12):
        scene = draw_scene((9, index))
        seen |= set(np.unique(label_map(scene, SIZE)).tolist())
        summer, winter = render(scene, "summer", SIZE), render(scene, "winter", SIZE)
        ground = label_map(scene, SIZE) == list(LABELS).index("ground")
        greenness = [
            (picture[ground][:, 1].astype(float) - picture[ground][:, 2]).mean()
            for picture in (summer, winter)
        ]
        assert greenness[0] > greenness[1] + 40
    assert seen == set(range(len(LABELS)))


def test_style_is_separate_from_geometry() -> None:
    scene, other = draw_scene(1), draw_scene(2)
    own = render(scene, "winter", SIZE)
    assert not np.array_equal(render(scene, "winter", SIZE, other.style), own)
    assert np.array_equal(render(scene, "winter", SIZE, scene.style), own)
    restyled = replace(scene, style=other.style)
    assert np.array_equal(label_map(restyled, SIZE), label_map(scene, SIZE))


def test_snow_follows_its_style_variable() -> None:
    scene = draw_scene(3)
    light = [
        render(scene, "winter", SIZE, replace(scene.style, snow_cover=cover))[SIZE // 2 :].mean()
        for cover in (0.5, 0.75, 1.0)
    ]
    assert light[0] < light[1] < light[2]


def test_faces_layout(tmp_path: Path) -> None:
    root = tmp_path / "faces"
    make_faces(root, size=32, num_images=3, seed=4)
    assert sorted(contents(root)) == [
        *("attributes.json", "images/0.png", "images/1.png", "images/2.png"),
        *("meta.json", "tags.csv"),
    ]
    attributes = json.loads((root / "attributes.json").read_text())
    for index, line in enumerate((root / "tags.csv").read_text().splitlines()):
        face = draw_face((4, index))
        assert line == f"{index},{face.hair} hair {face.eyes} eyes"
        assert attributes[str(index)]["hair_style"] == face.hair_style
        assert np.array_equal(read(root / "images" / f"{index}.png"), render_face(face, 32))


def test_tags_use_the_words_of_the_real_set(shared_data: Path) -> None:
    lines = (shared_data / "anime_tags" / "tags.csv").read_text().splitlines()
    tags = [line.split(",")[1].split() for line in lines]
    assert {words[0] for words in tags} == set(HAIR_COLOURS)
    assert {words[2] for words in tags} == set(EYE_COLOURS)


@pytest.mark.parametrize("size", [48, 64, 128])
def test_attributes_are_read_back(size: int) -> None:
    faces = [draw_face((11, size, index)) for index in range(400)]
    seen = [read_attributes(render_face(face, size)) for face in faces]
    for name in ("hair", "eyes", "glasses", "mask"):
        right = [
            getattr(face, name) == getattr(read, name)
            for face, read in zip(faces, seen, strict=True)
        ]
        assert np.mean(right) >= 0.99, name


def test_scores_stand_between_copy_and_truth() -> None:
    scenes = [draw_scene((2, index)) for index in range(3)]
    inputs = [render(scene, "summer", SIZE) for scene in scenes]
    truths = [render(scene, "winter", SIZE) for scene in scenes]
    labels = [label_map(scene, SIZE) for scene in scenes]
    perfect = score_translations(truths, inputs, truths, labels)
    assert perfect.psnr == float("inf")
    assert perfect.ssim == pytest.approx(1)
    assert perfect.agreement == perfect.agreement_ceiling > 0.5
    assert perfect.agreement_copy < 0.75 * perfect.agreement
    copied = score_translations(inputs, inputs, truths, labels)
    assert copied.psnr == copied.psnr_copy == perfect.psnr_copy
    assert copied.ssim == copied.ssim_copy < 0.7
    assert "label agreement" in str(copied)
    assert "3 images" in str(copied)


def test_scores_name_what_does_not_fit() -> None:
    image, labels = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)
    with pytest.raises(UserError, match="1 translated, 2 inputs"):
        score_translations([image], [image, image], [image], [labels])
    with pytest.raises(UserError, match="image 0"):
        score_translations([image], [image], [image[:8]], [labels])
