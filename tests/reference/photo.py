"""Inputs, weights and comparisons of the FastPhotoStyle cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.checkpoints.store import load_network
from style.photo.cascade import PhotoWCT
from style.photo.wct import Statistics, kept, moments, spectrum
from tests.reference.cases import Case, no_initial_weights
from tests.reference.training import numbers_agree, summary


def photo_input(case: Case, name: str) -> Any:
    """A named input: a float64 tensor, uint8 [H, W, 3], or an integer label map."""
    entry = case.data["inputs"][name]
    if entry["kind"] == "labels":
        labels = np.full(entry["shape"], entry["base"], dtype=np.int64)
        for label, y0, y1, x0, x1 in entry["rects"]:
            labels[y0:y1, x0:x1] = label
        return labels
    x = case.input(name)
    return pixels(x[0]).to(torch.uint8).numpy() if ["uint8"] in entry.get("ops", []) else x


def results(case: Case) -> dict[str, Tensor]:
    """The golden arrays without the inputs that the case also stores, which are what they say."""
    golden = case.arrays
    for name in case.data["inputs"].keys() & golden.keys():
        assert np.array_equal(golden.pop(name).numpy(), photo_input(case, name)), name
    return golden


def planes(pixels: Any, scale: float = 255.0) -> Tensor:
    """[H, W, 3] to float64 [3, H, W], divided by `scale`."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).double() / scale


def pixels(image: Tensor) -> Tensor:
    """[3, H, W] to [H, W, 3]."""
    return image.permute(1, 2, 0)


def picture(array: Any) -> Image.Image:
    return Image.fromarray(np.asarray(array))


@no_initial_weights()
def cascade(case: Case, dtype: torch.dtype = torch.float64) -> PhotoWCT:
    """The published networks with the case's weights, through the released layout."""
    state = {key: value.double() for key, value in case.weights("PhotoWCT").items()}
    changes = case.data.get("weight_changes", {})
    for key, value in changes.get("replace", {}).items():
        state[key] = torch.tensor(value, dtype=torch.float64).reshape(state[key].shape)
    for key, factor in changes.get("multiply", {}).items():
        state[key] = state[key] * factor
    networks = PhotoWCT().to(dtype)
    load_network(networks, state, "PhotoWCT", case.folder)
    return networks.requires_grad_(False)


def stats_agree(
    case: Case, ours: Mapping[str, Any], rel: float = 1e-9, *, whole: bool = False
) -> None:
    """Numbers, and of tensors sum and L2 norm, are those of the case.

    Args:
        case: with `reference_values.stats`.
        ours: {name: tensor or number}; what the case has not stored is left out.
        rel: bound.
        whole: ours are all that the case may store.
    """
    golden = case.data["reference_values"]["stats"]
    found = {n: summary(x) if isinstance(x, Tensor) else x for n, x in ours.items()}
    names = golden.keys() if whole else golden.keys() & found.keys()
    numbers_agree(found, {name: golden[name] for name in names}, rel=rel, abs=1e-9)


def singular_values(features: Tensor, how: Statistics, *, identity: bool) -> Tensor:
    """Of the features' covariance, from the largest on."""
    _, covariance = moments(features[0].flatten(1), how, identity=identity)
    return spectrum(covariance)[0].flatten().sort(descending=True).values


def spectrum_agrees(values: Tensor, golden: Mapping[str, Any]) -> None:
    """How many singular values are kept, and those next to the limits."""
    number = int(kept(values).sum())
    assert number == golden["kept"]
    ours = {"largest": values[0].item(), "smallest_kept": values[number - 1].item()}
    numbers_agree(ours, {name: golden[name] for name in ours}, rel=1e-5, abs=1e-7)


def same_bytes(ours: Any, golden: Tensor, exact: Tensor, near: float = 1e-3) -> None:
    """Truncated bytes agree except where the value lies within `near` of an integer."""
    ours_, wanted = torch.from_numpy(np.array(ours)), golden
    fraction = (exact - exact.round()).abs()
    differs = ours_ != wanted
    assert not (differs & (fraction > near)).any()
    assert (ours_.int() - wanted.int()).abs().max() <= 1


def near_bytes(ours: Any, golden: Tensor) -> None:
    """Rounded bytes agree but for single ones, by one level."""
    levels = np.asarray(ours).astype(int) - golden.numpy().astype(int)
    assert np.abs(levels).max() <= 1
    assert (levels != 0).mean() < 1e-3
