"""Inputs, weights and comparisons of the FastPhotoStyle cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from style.photo.cascade import PhotoWCTCascade
from style.photo.official import load_photo_wct
from tests.reference.cases import Case, fill_rule


def photo_input(case: Case, name: str) -> Any:
    """A named input: a float64 tensor, uint8 [H, W, 3], or an integer label map."""
    entry = case.data["inputs"][name]
    if entry["kind"] == "labels":
        labels = np.full(entry["shape"], entry["base"], dtype=np.int64)
        for label, y0, y1, x0, x1 in entry["rects"]:
            labels[y0:y1, x0:x1] = label
        return labels
    make = {"image": fill_rule().image, "noise": fill_rule().noise}[entry["kind"]]
    x = make(name, entry["shape"], entry["seed"]).astype(np.float64)
    for op, *arguments in entry.get("ops", []):
        if op == "add":
            x = x + arguments[0]
        elif op == "mul":
            x = x * arguments[0]
        elif op == "relu":
            x = np.maximum(x, 0)
        elif op == "zero_channels":
            x[:, arguments[0]] = 0
        elif op == "channel_pow10":
            x = x * 10.0 ** (arguments[0] * np.arange(x.shape[1]))[:, None, None]
        elif op == "uint8":
            x = np.clip(np.floor((x + 1) * 127.5 + 0.5), 0, 255)
            return x[0].transpose(1, 2, 0).astype(np.uint8)
        else:
            raise AssertionError(f"{case.folder}: unknown op {op}")
    return torch.from_numpy(x)


def stored_inputs_agree(case: Case) -> None:
    """Inputs that the case also stores are what the rule gives."""
    golden = case.arrays
    for name in case.data["inputs"]:
        if name in golden:
            assert np.array_equal(golden[name].numpy(), photo_input(case, name)), name


def planes(pixels: Any, scale: float = 255.0) -> Tensor:
    """[H, W, 3] to float64 [3, H, W], divided by `scale`."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).double() / scale


def pixels(image: Tensor) -> Tensor:
    """[3, H, W] to [H, W, 3]."""
    return image.permute(1, 2, 0)


def picture(array: Any) -> Image.Image:
    return Image.fromarray(np.asarray(array))


def cascade(case: Case, dtype: torch.dtype = torch.float64) -> PhotoWCTCascade:
    """The published networks with the case's weights, through the released layout."""
    state = {key: value.double() for key, value in case.weights("PhotoWCT").items()}
    changes = case.data.get("weight_changes", {})
    for key, value in changes.get("replace", {}).items():
        state[key] = torch.tensor(value, dtype=torch.float64).reshape(state[key].shape)
    for key, factor in changes.get("multiply", {}).items():
        state[key] = state[key] * factor
    networks = PhotoWCTCascade().to(dtype)
    load_photo_wct(networks.networks, state, case.folder)
    return networks.requires_grad_(False)


def sums_agree(case: Case, name: str, value: Tensor, rtol: float = 1e-9) -> None:
    """Sum and L2 norm as stored, to float64 rounding."""
    expected = case.data["reference_values"]["stats"][name]
    found = [float(value.double().sum()), float(value.double().norm())]
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-9)


def same_bytes(ours: Any, golden: Tensor, exact: Tensor, near: float = 1e-3) -> None:
    """Truncated bytes agree except where the value lies within `near` of an integer."""
    ours_, wanted = torch.from_numpy(np.array(ours)), golden
    fraction = (exact - exact.round()).abs()
    differs = ours_ != wanted
    assert not (differs & (fraction > near)).any()
    assert (ours_.int() - wanted.int()).abs().max() <= 1
