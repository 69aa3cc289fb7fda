"""Checkpoints: whole or refused, old or new, and never a pickle executed."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core.checkpoints import store
from core.errors import UserError
from core.nn.discriminators import PatchDiscriminator
from tests.processes import file_size_limit

STATE = {"step": 7, "names": ["a", None], "weights": {"w": torch.arange(6.0).reshape(2, 3)}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "step_00000007.pt"
    store.save(STATE, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "step_00000001.pt"


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "c.pt"
    store.save(STATE, path)
    assert store.verify(path) is None
    state = store.read(path)
    assert state["step"] == 7
    assert state["names"] == ["a", None]
    assert torch.equal(state["weights"]["w"], STATE["weights"]["w"])
    assert [entry.name for entry in path.parent.iterdir()] == ["c.pt"]


def test_plain_torch_reads_it_too(tmp_path: Path) -> None:
    store.save(STATE, tmp_path / "c.pt")
    assert torch.load(tmp_path / "c.pt", weights_only=True)["step"] == 7


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_cut_at_any_byte(whole: bytes, scratch: Path, data: st.DataObject) -> None:
    scratch.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert store.verify(scratch) is not None
    assert str(scratch) in refusal(lambda: store.read(scratch))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_flipped_byte(whole: bytes, scratch: Path, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(bytes(changed))
    assert store.verify(scratch) is not None


def test_something_appended(whole: bytes, scratch: Path) -> None:
    scratch.write_bytes(whole + b"x")
    assert store.verify(scratch) is not None


def test_find_takes_the_newest_intact_one(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    for step in (1, 2, 3, 4):
        store.save({"step": step}, store.step_path(folder, step))
    (folder / "step_best.pt").write_bytes(b"not one of ours")
    for step in (3, 4):
        damaged = store.step_path(folder, step)
        damaged.write_bytes(damaged.read_bytes()[:-100])
    for place in (tmp_path / "run", folder):
        found, problems = store.find(place)
        assert found == store.step_path(folder, 2)
        assert [line.split(":")[0] for line in problems] == [
            str(store.step_path(folder, step)) for step in (4, 3)
        ]
    assert store.find(folder / "step_00000003.pt") == (folder / "step_00000003.pt", [])


def test_find_explains_what_is_missing(tmp_path: Path) -> None:
    assert "no such" in refusal(lambda: store.find(tmp_path / "absent"))
    assert "none there" in refusal(lambda: store.find(tmp_path))
    store.step_path(tmp_path, 1).write_bytes(b"short")
    assert "all 1 damaged" in refusal(lambda: store.find(tmp_path))


def steps(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("step_")) for path in store.listed(folder)]


def test_prune_keeps_the_newest_intact_ones(tmp_path: Path) -> None:
    for step in (1, 2, 4, 5, 99_999_999, 100_000_000):
        written = store.step_path(tmp_path, step)
        store.save({"step": step}, written)
    (tmp_path / "step_best.pt").write_bytes(b"")
    store.prune(written, keep_last=2, keep_every=(4,))
    assert steps(tmp_path) == [100_000_000, 99_999_999, 4]
    store.prune(written, keep_last=1)
    assert steps(tmp_path) == [100_000_000]
    assert (tmp_path / "step_best.pt").exists()


def test_prune_keeps_the_best_of_every_checkpoint_that_is_kept(tmp_path: Path) -> None:
    """Whoever goes back to step 4 finds 1, the best of then; 2 is nobody's any more."""
    for step in range(1, 8):
        store.save({"step": step}, store.step_path(tmp_path, step))
    best = {1: 1, 2: 2, 3: 2, 4: 1, 5: 5, 6: 5, 7: 5}
    store.prune(store.step_path(tmp_path, 7), keep_last=1, keep_every=(4,), best_at=best.get)
    assert steps(tmp_path) == [7, 5, 4, 1]


def test_prune_never_counts_a_damaged_file_nor_deletes_what_was_just_written(
    tmp_path: Path,
) -> None:
    for step in (1, 2, 3, 5):
        store.save({"step": step}, store.step_path(tmp_path, step))
    store.step_path(tmp_path, 3).write_bytes(b"damaged")
    store.save({"step": 4}, store.step_path(tmp_path, 4))
    store.prune(store.step_path(tmp_path, 4), keep_last=2)
    assert steps(tmp_path) == [5, 4, 3, 2]


def test_later_checkpoints_are_set_aside(tmp_path: Path) -> None:
    for _ in range(2):
        for step in (2, 4, 6):
            store.save({"step": step}, store.step_path(tmp_path, step))
        moved = store.set_aside(tmp_path, 2)
        assert [store.read(path)["step"] for path in moved] == [6, 4]
        assert store.find(tmp_path)[0] == store.step_path(tmp_path, 2)
    names = sorted(path.name for path in (tmp_path / "abandoned").iterdir())
    assert names == [
        "step_00000004.pt",
        "step_00000004_2.pt",
        "step_00000006.pt",
        "step_00000006_2.pt",
    ]


def test_sweep_removes_what_killed_saves_left(tmp_path: Path) -> None:
    store.save({"step": 1}, store.step_path(tmp_path, 1))
    (tmp_path / ".step_00000002.pt.abc123").write_bytes(b"half")
    store.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001.pt"]


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.pt"
    store.save(STATE, path)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = refusal(lambda: store.save({"step": 8}, path))
    assert "No space left" in message
    assert str(path) in message
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_size_limit_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """The write itself fails, inside torch.save, as on a full disk."""
    path = tmp_path / "c.pt"
    store.save({"step": 1}, path)
    with file_size_limit(100_000):
        message = refusal(lambda: store.save({"big": torch.zeros(1_000_000)}, path))
    assert "cannot write the checkpoint: File too large" in message
    assert len(message.splitlines()) == 1
    assert store.read(path)["step"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")  # root may write into any folder, not into a file
    message = refusal(lambda: store.save(STATE, tmp_path / "file" / "c.pt"))
    assert "cannot write the checkpoint" in message


def test_interrupt_leaves_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.save(STATE, tmp_path / "c.pt")
    assert list(tmp_path.iterdir()) == []


def test_our_bugs_keep_their_trace(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        store.save({"f": lambda: None}, tmp_path / "c.pt")
    assert list(tmp_path.iterdir()) == []


class Hostile:
    """Creates a file when unpickled."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.target),)


def test_hostile_pickle_is_refused(tmp_path: Path) -> None:
    """Even with a right checksum under it."""
    path, target = tmp_path / "step_00000001.pt", tmp_path / "executed"
    torch.save({"format": store.FORMAT, "x": Hostile(str(target))}, path)
    body = path.read_bytes()
    path.write_bytes(body + f"\nsha256:{hashlib.sha256(body).hexdigest()}\n".encode())
    assert store.verify(path) is None
    assert "not loaded" in refusal(lambda: store.read(path))
    assert not target.exists()


@pytest.mark.parametrize("state", [{"format": 99}, {"step": 1}])
def test_other_formats(tmp_path: Path, state: dict[str, Any]) -> None:
    path = tmp_path / "c.pt"
    torch.save(state, path)
    body = path.read_bytes()
    path.write_bytes(body + f"\nsha256:{hashlib.sha256(body).hexdigest()}\n".encode())
    assert "expected 1" in refusal(lambda: store.read(path))


def test_official_file_is_told_apart(tmp_path: Path) -> None:
    torch.save(nn.Linear(8, 8).state_dict(), tmp_path / "latest_net_G.pth")
    assert "convert" in refusal(lambda: store.read(tmp_path / "latest_net_G.pth"))


def test_load_network_names_what_disagrees() -> None:
    network = PatchDiscriminator(3, 4, 1)
    good = network.state_dict()
    store.load_network(network, good, "D_A", "file.pt")

    def message(state: dict[str, torch.Tensor]) -> str:
        return refusal(lambda: store.load_network(network, state, "D_A", "file.pt"))

    lacking = message({k: v for k, v in good.items() if k != "model.2.bias"})
    assert "file.pt" in lacking
    assert "network D_A" in lacking
    assert "lacks 1 key(s), first `model.2.bias`" in lacking
    assert "unknown key(s), first `extra`" in message(good | {"extra": torch.zeros(1)})
    wide = PatchDiscriminator(3, 8, 1).state_dict()
    assert "first `model.0.weight`: file [8, 3, 4, 4], network [4, 3, 4, 4]" in message(wide)
