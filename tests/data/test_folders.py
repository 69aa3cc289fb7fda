from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.folders import find_paired, find_single, find_unpaired, has_split
from core.data.listing import list_images
from core.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def relative(root: Path, paths: tuple[Path, ...]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_domains_are_searched_recursively_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "trainA/b.JPG", "trainA/sub/a.png", "trainA/a.webp", "trainA/notes.txt")
    touch(tmp_path, "trainA/.hidden.png", "trainA/.trash/x.png", "trainB/x.tiff")
    found = find_unpaired(tmp_path, "train")
    assert relative(tmp_path, found.a) == ["trainA/a.webp", "trainA/b.JPG", "trainA/sub/a.png"]
    assert relative(tmp_path, found.b) == ["trainB/x.tiff"]


def test_the_number_of_images_is_cut_after_sorting(tmp_path: Path) -> None:
    touch(tmp_path, *(f"trainA/{name}.png" for name in "cab"), "trainB/x.png")
    found = find_unpaired(tmp_path, "train", max_images=2)
    assert relative(tmp_path, found.a) == ["trainA/a.png", "trainA/b.png"]


def test_lists_keep_their_order_and_allow_comments(tmp_path: Path) -> None:
    touch(tmp_path, "all/2.png", "all/1.png", "all/with space #3.png", "trainB/x.png")
    lines = ["\ufeff# horses", "", "all/2.png", "  all/with space #3.png  ", "all/1.png", ""]
    (tmp_path / "trainA.txt").write_text("\r\n".join(lines), encoding="utf-8")
    found = find_unpaired(tmp_path, "train")
    assert relative(tmp_path, found.a) == ["all/2.png", "all/with space #3.png", "all/1.png"]


def test_a_list_with_missing_files_names_their_lines(tmp_path: Path) -> None:
    touch(tmp_path, "trainB/x.png", "1.png")
    (tmp_path / "trainA.txt").write_text("# list\n1.png\n2.png\n3.png\n")
    with pytest.raises(UserError, match=r"trainA\.txt: 2 of its files.*line 3: .*2\.png, line 4"):
        find_unpaired(tmp_path, "train")


def test_an_empty_or_binary_list_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "trainB/x.png", "trainA.txt")
    with pytest.raises(UserError, match="names no files"):
        find_unpaired(tmp_path, "train")
    (tmp_path / "trainA.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a UTF-8 text file"):
        find_unpaired(tmp_path, "train")


def test_a_missing_root_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "horse2zebra").mkdir()
    with pytest.raises(UserError, match=r"no such folder; did you mean .*horse2zebra"):
        find_unpaired(tmp_path / "horse2zebr", "train")
    touch(tmp_path, "file")
    with pytest.raises(UserError, match="is a file"):
        find_unpaired(tmp_path / "file", "train")


def test_a_missing_domain_names_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "trainA/x.png", "TrainB/x.png")
    with pytest.raises(UserError, match=r"trainB/ .*missing.*there is TrainB/, trainA/.*'TrainB'"):
        find_unpaired(tmp_path, "train")


def test_a_missing_split_names_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "horses/x.png")
    with pytest.raises(UserError, match=r"no unpaired data for split 'train'.*there is horses/"):
        find_unpaired(tmp_path, "train")
    with pytest.raises(UserError, match=r"no pairs for split 'train'.*there is horses/"):
        find_paired(tmp_path, "train")


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "trainA/x.eps", "trainB/x.png")
    with pytest.raises(UserError, match=r"trainA/: no images .*\.jpg.*1 other files, e\.g\. x"):
        find_unpaired(tmp_path, "train")


def test_a_domain_given_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "trainA/x.png", "trainB/x.png", "trainA.txt")
    with pytest.raises(UserError, match=r"both trainA/ and trainA\.txt"):
        find_unpaired(tmp_path, "train")


@pytest.mark.parametrize(("asked", "there"), [("test", "val"), ("val", "test")])
def test_val_and_test_stand_in_for_each_other(tmp_path: Path, asked: str, there: str) -> None:
    touch(tmp_path, f"{there}A/x.png", f"{there}B/x.png")
    assert find_unpaired(tmp_path, asked).split == there
    assert has_split(tmp_path, asked, paired=False)
    assert not has_split(tmp_path, "train", paired=False)
    touch(tmp_path, f"{asked}A/x.png", f"{asked}B/x.png")
    assert find_unpaired(tmp_path, asked).split == asked


PAIRED_LAYOUTS = {
    "two domains": ("trainA/{}.png", "trainB/{}.jpg"),
    "domain, split": ("A/train/{}.png", "B/train/{}.jpg"),
    "split, domain": ("train/A/{}.png", "train/B/{}.jpg"),
    "no splits": ("A/{}.png", "B/{}.jpg"),
}
STEMS = st.sets(
    st.text("abcXYZ019._- é", min_size=1, max_size=6).filter(
        lambda s: s.strip() == s and s.strip(".") == s
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("layout", PAIRED_LAYOUTS)
@settings(max_examples=15, deadline=None)
@given(stems=STEMS)
def test_two_folders_are_paired_by_stem(layout: str, stems: set[str]) -> None:
    form_a, form_b = PAIRED_LAYOUTS[layout]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        touch(root, *(form.format(stem) for stem in stems for form in (form_a, form_b)))
        found = find_paired(root, "train")
        assert not found.side_by_side
        assert {path.stem for path in found.a} == stems
        assert [path.stem for path in found.a] == [path.stem for path in found.b]


def test_side_by_side_pairs(tmp_path: Path) -> None:
    touch(tmp_path, "train/2.jpg", "train/1.jpg", "val/3.jpg")
    found = find_paired(tmp_path, "train")
    assert (found.side_by_side and found.a is found.b) or found.a == found.b
    assert relative(tmp_path, found.a) == ["train/1.jpg", "train/2.jpg"]
    assert find_paired(tmp_path, "test").split == "val"


def test_a_list_of_pairs(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.png", "y/one.png")
    (tmp_path / "train.txt").write_text("# photo, drawing\nx/1.png\ty/one.png\n")
    found = find_paired(tmp_path, "train")
    assert relative(tmp_path, found.a + found.b) == ["x/1.png", "y/one.png"]
    (tmp_path / "train.txt").write_text("x/1.png y/one.png\n")
    with pytest.raises(UserError, match=r"train\.txt, line 1: .*tab"):
        find_paired(tmp_path, "train")
    (tmp_path / "train.txt").write_text("x/1.png\ty/two.png\n")
    with pytest.raises(UserError, match=r"line 1: .*two\.png"):
        find_paired(tmp_path, "train")


def test_unmatched_pairs_are_counted_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "trainA/1.png", "trainA/2.png", "trainA/3.png", "trainB/1.png")
    touch(tmp_path, "trainB/4.png", "trainB/5.png")
    with pytest.raises(UserError, match=r"4 images have no partner.*2 only in trainA, .*4 only in"):
        find_paired(tmp_path, "train")


def test_an_ambiguous_partner_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "A/1.png", "A/1.jpg", "B/1.png")
    with pytest.raises(UserError, match="same name but for the extension"):
        find_paired(tmp_path, "train")


def test_a_missing_side_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "A/train/1.png")
    with pytest.raises(UserError, match=r"B/train/: there is no such folder"):
        find_paired(tmp_path, "train")


def test_pairs_given_twice_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png", "trainA/1.png", "trainB/1.png")
    with pytest.raises(UserError, match="more than once"):
        find_paired(tmp_path, "train")


def test_a_single_domain_is_a_folder_a_list_or_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.png", "notes.md")
    assert relative(tmp_path, find_single(tmp_path)) == ["a.png", "b.png"]
    assert find_single(tmp_path, max_images=1) == (tmp_path / "a.png",)
    assert find_single(tmp_path / "b.png") == (tmp_path / "b.png",)
    (tmp_path / "list.txt").write_text("b.png\n")
    assert find_single(tmp_path / "list.txt") == (tmp_path / "b.png",)
    with pytest.raises(UserError, match="neither a folder"):
        find_single(tmp_path / "notes.md")
    with pytest.raises(UserError, match="did you mean"):
        find_single(tmp_path / "bb.png")


def test_a_folder_that_cannot_be_listed_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def without_permission(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without_permission)
    with pytest.raises(UserError, match=r"closed: the folder cannot be listed \(Permission"):
        list_images(tmp_path)


def test_the_real_sets_are_found(shared_data: Path) -> None:
    found = find_unpaired(shared_data / "horse2zebra", "train")
    assert found.a and found.b
    assert find_paired(shared_data / "facades", "train").side_by_side
