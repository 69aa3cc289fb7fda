"""Which files become inputs, what results are called, and what is said on the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.inference.translator import Translator
from core.jobs.styles import choose_task
from core.jobs.translate import Task, find_jobs, translate_all
from tests.data.image_files import write_image, write_plain
from tests.small import family
from tests.toy_styles import Tint

CPU = torch.device("cpu")


def of(name: str, **data: object) -> Translator:
    """A translator that hands its input back."""
    built = family(name)
    built.translate = lambda images, direction: images
    options = built.config.data.model_copy(update=data)
    built.config = built.config.model_copy(update={"data": options})
    return Translator(built, CPU)


def test_a_second_run_and_a_list_stay_in_their_folders(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_image(photos / "a.png")
    write_image(tmp_path / "b.png")
    translator, out = of("cyclegan"), photos / "out"
    for _ in range(2):
        jobs = find_jobs(photos, translator, "AtoB", None, out)
        assert [job.name for job in jobs] == ["a"]
        assert not translate_all(Task(translator), jobs, out, "title")
    with pytest.raises(UserError, match="is the input folder"):
        find_jobs(photos, translator, "AtoB", None, photos)
    (photos / "list.txt").write_text("a.png\n../b.png\n")
    jobs = find_jobs(photos / "list.txt", translator, "AtoB", None, out)
    assert not translate_all(Task(translator), jobs, tmp_path / "two", "title")
    assert [job.name for job in jobs] == ["a", "b"]
    written = {path.name for path in tmp_path.glob("*")}
    assert written == {"photos", "b.png", "two"}, "nothing beside the output"


def test_pairs_without_a_test_split_are_not_translated_whole(tmp_path: Path) -> None:
    for number in range(4):
        write_image(tmp_path / "train" / f"{number}.png", 20, 10, seed=number)
    with pytest.raises(UserError, match="holds pairs in train and no test split"):
        find_jobs(tmp_path, of("pix2pix"), None, None)
    (job,) = find_jobs(tmp_path, of("pix2pix", val_fraction=0.25), None, None)
    assert job.truth == job.path and job.path.parent.name == "train"


def test_names_that_are_no_text_and_links_that_lead_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    write_image(photos / os.fsdecode(b"caf\xe9.png"))
    write_plain(photos / "blank.png", 255)
    (photos / "gone.png").symlink_to(tmp_path / "nowhere.png")
    translator = Translator(Tint(), CPU)  # type: ignore[arg-type]
    jobs = find_jobs(photos, translator, "AtoB", None)
    task = choose_task(translator, jobs, num_styles=1)
    (failure,) = translate_all(task, jobs, tmp_path / "out", "title")
    assert "gone.png: there is no such file" in failure
    said = capsys.readouterr().out
    assert "blank.png: all of one colour" in said and said.count("all of one colour") == 1
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "caf%25E9_real_A.png" in page
    with Image.open(tmp_path / "out" / "images" / "caf%E9_real_A.png") as real:
        assert np.asarray(real).shape == (10, 12, 3)
