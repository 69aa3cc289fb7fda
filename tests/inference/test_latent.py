"""Noise space: files, paths, arithmetic, nearest neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.family import to_float
from core.inference.latent import (
    nearest,
    path_between,
    read_mean,
    read_noise,
    save_numbers,
    slerp,
)

DIM = 7


def vectors(num: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, DIM, generator=torch.Generator().manual_seed(seed))


def test_a_vector_survives_its_file(tmp_path: Path) -> None:
    noise = vectors(1)[0]
    save_numbers(noise, tmp_path / "deep" / "z.npy")
    assert torch.equal(read_noise(tmp_path / "deep" / "z.npy", DIM), noise)


@pytest.mark.parametrize("shape", [(DIM,), (1, DIM)])
def test_shapes_that_are_one_vector(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "z.npy", np.arange(DIM).reshape(shape))
    assert read_noise(tmp_path / "z.npy", DIM).tolist() == list(range(DIM))


def test_mean_of_files(tmp_path: Path) -> None:
    noise = vectors(3)
    for index, vector in enumerate(noise):
        save_numbers(vector, tmp_path / f"{index}.npy")
    mean = read_mean(sorted(tmp_path.glob("*.npy")), DIM)
    torch.testing.assert_close(mean, noise.mean(dim=0))


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.zeros(DIM + 1), "shape [8], but this generator's noise is [7]"),
        (np.zeros((2, DIM)), "shape [2, 7]"),
        (np.zeros((DIM, 1)), "shape [7, 1]"),
        (np.array(1.0), "shape []"),
        (np.full(DIM, np.nan), "not finite"),
        (np.full(DIM, "x"), "expected real numbers"),
        (np.zeros(DIM, dtype=complex), "expected real numbers"),
        (np.array([object()] * DIM), "not a .npy file of plain numbers"),
    ],
)
def test_a_wrong_array_is_refused(tmp_path: Path, array: np.ndarray, part: str) -> None:
    np.save(tmp_path / "z.npy", array, allow_pickle=True)
    with pytest.raises(UserError) as caught:
        read_noise(tmp_path / "z.npy", DIM)
    assert part in str(caught.value)
    assert "z.npy" in str(caught.value)


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "several.npz", a=np.zeros(DIM))
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, part in {
        "several.npz": "several arrays",
        "text.npy": "not a .npy file",
        "empty.npy": "not a .npy file",
        "absent.npy": "No such file",
    }.items():
        with pytest.raises(UserError, match=part):
            read_noise(tmp_path / name, DIM)


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_paths_begin_and_end_where_they_should(kind: str) -> None:
    a, b = vectors(2)
    path = path_between(a, b, 5, kind)  # type: ignore[arg-type]
    assert path.shape == (5, DIM)
    torch.testing.assert_close(path[[0, -1]], torch.stack([a, b]))


def test_a_great_circle_keeps_the_length_and_turns_evenly() -> None:
    a, b = torch.nn.functional.normalize(vectors(2).double()) * 3
    path = slerp(a, b, torch.linspace(0, 1, 9))
    torch.testing.assert_close(path.norm(dim=1), torch.full((9,), 3.0, dtype=torch.float64))
    turns = torch.acos((path[1:] * path[:-1]).sum(dim=1) / 9)
    torch.testing.assert_close(turns, turns.mean().expand(8))


def test_without_a_single_great_circle_the_way_is_straight() -> None:
    a = vectors(1)[0]
    share = torch.tensor([0.0, 0.25, 1.0])
    torch.testing.assert_close(slerp(a, 3 * a, share)[1], 1.5 * a)
    torch.testing.assert_close(slerp(a, -a, share)[1], 0.5 * a)
    assert bool(torch.isfinite(slerp(a * 0, a, share)).all())


def test_nearest_finds_a_copy_and_tells_its_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 252, (5, 3, 6, 5), generator=generator, dtype=torch.uint8)
    images = to_float(pictures.clone())
    images[2] += 3 / 127.5
    names = [f"{index}.png" for index in range(5)]
    found = nearest(images[[2, 4]], [(pictures[:3], names[:3]), (pictures[3:], names[3:])])
    assert [neighbour.name for neighbour in found] == ["2.png", "4.png"]
    assert torch.equal(found[0].image, pictures[2])
    assert [neighbour.distance for neighbour in found] == pytest.approx([3, 0], abs=1e-4)
    with pytest.raises(UserError, match="no training images"):
        nearest(images, [])
