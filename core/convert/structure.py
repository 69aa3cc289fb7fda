"""Recognise a ResNet or U-Net generator by its convolutions and norms, whatever their names are.

What a state dict holds of a network is the order and the shapes of its layers. From these come the
kind of the generator, its widths, channels and number of blocks; the layers are then renamed to the
official ones. Strides, activations and the final tanh leave no trace and are taken to be the
published ones. Padding and norms without parameters leave one only where layers are numbered
(`nn.Sequential`); where they leave none, whoever converts says what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from core.checkpoints.official_layout import STATISTICS, official_names
from core.nn.norms import NormName
from core.nn.resnet import ResnetGenerator
from core.nn.unet import UnetGenerator

State = Mapping[str, Tensor]


class UnfitError(ValueError):
    """Why a state dict is not one of a generator that can be read."""


class UntoldError(UnfitError):
    """What a state dict does not tell of a generator that can be read otherwise."""


class ToldWrongError(UnfitError):
    """What was said of a generator contradicts what the state dict tells."""


@dataclass(frozen=True)
class Told:
    """What a person says of a network because a file may not show it.

    Attributes:
        norm: the norm, where it has no parameters: "instance" or "none".
        reflects: convolutions of stride 1 pad by reflection.
    """

    norm: Literal["instance", "none"] | None = None
    reflects: bool = False


NOTHING_TOLD = Told()


@dataclass(frozen=True)
class Recognised:
    """A generator under the official keys, and what it is, for a person."""

    state: dict[str, Tensor]
    text: str


@dataclass
class _Layer:
    name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def shape(self) -> torch.Size:
        """Of the weight; of a convolution out, in, and the kernel, of a transposed one in, out."""
        return self.tensors["weight"].shape

    @property
    def bias(self) -> Tensor | None:
        return self.tensors.get("bias")

    @property
    def number(self) -> int | None:
        """Its place in an `nn.Sequential`, if it has one."""
        last = self.name.rpartition(".")[2]
        return int(last) if last.isdigit() else None


def natural(key: str) -> list[tuple[str, int]]:
    """Return a sort key that orders numbers within names as numbers."""
    return [(text, int(number or 0)) for text, number in re.findall(r"([^\d]*)(\d*)", key)]


def recognise(state: State, told: Told, *, ordered: bool) -> Recognised:
    """Recognise one generator.

    Args:
        state: {key: tensor}.
        told: what a person says of it.
        ordered: the keys come in the order in which the network has its layers. A safetensors
            file's do not.

    Raises:
        UnfitError: not a generator that can be read.
        UntoldError: one that the file does not tell all of.
    """
    convs, norms = _layers(state, ordered)
    kernels = {tuple(conv.shape[2:]) for conv in convs}
    if kernels == {(7, 7), (3, 3)}:
        kind, forward = "ResNet", _resnet_order(convs, norms, ordered)
    elif kernels == {(4, 4)}:
        kind, forward = "U-Net", _unet_order(convs, ordered)
    else:
        found = ", ".join(f"{h}x{w}" for h, w in sorted(kernels)) or "no"
        raise UnfitError(
            f"{found} convolutions; a ResNet generator has 7x7 and 3x3 ones, a U-Net 4x4 ones"
        )
    norm = _norm(kind, forward, norms, state, told)
    if kind == "ResNet" and not told.reflects:
        _require_reflection(forward)
    network = _like(kind, forward, norm)
    renamed = _renamed(network, forward, convs, norms)
    (a, b), width = (forward[0].shape[1], _out(forward[-1], kind == "U-Net")), forward[0].shape[0]
    size = (
        f"{(len(forward) - 6) // 2} blocks" if kind == "ResNet" else f"{len(forward) // 2} levels"
    )
    text = f"a {kind} generator of {size}, width {width}, {a} to {b} channels, norm {norm}"
    return Recognised(renamed, text)


def _layers(state: State, ordered: bool) -> tuple[list[_Layer], list[_Layer]]:
    """Split a state dict into convolutions and norms, each in order."""
    layers: dict[str, _Layer] = {}
    for key in state if ordered else sorted(state, key=natural):
        name, _, leaf = key.rpartition(".")
        if leaf not in ("weight", "bias", *STATISTICS):
            raise UnfitError(f"`{key}` belongs to no convolution and no norm")
        layers.setdefault(name, _Layer(name)).tensors[leaf] = state[key]
    convs, norms = [], []
    for layer in layers.values():
        weight, bias = layer.tensors.get("weight"), layer.bias
        if weight is not None and weight.dim() == 4 and set(layer.tensors) <= {"weight", "bias"}:
            convs.append(layer)
        elif "running_mean" in layer.tensors or (
            weight is not None and bias is not None and weight.dim() == bias.dim() == 1
        ):
            norms.append(layer)
        else:
            raise UnfitError(
                f"`{layer.name}` is neither a convolution nor a norm of four dimensions"
            )
    return convs, norms


def _out(conv: _Layer, transposed: bool) -> int:
    return conv.shape[1] if transposed else conv.shape[0]


# -- the order in which a network uses its layers ---------------------------------------------


def _require_order(layers: Iterable[_Layer], ordered: bool) -> None:
    """Refuse layers of an unordered file whose names do not tell their order by numbers."""
    for a, b in pairwise([] if ordered else layers):
        parts = zip(a.name.split("."), b.name.split("."), strict=False)
        x, y = next(((x, y) for x, y in parts if x != y), ("", ""))
        if re.sub(r"\d+", "", x) != re.sub(r"\d+", "", y):
            raise UnfitError(
                f"the order of `{a.name}` and `{b.name}` is not told by a safetensors file; "
                "convert the .pth file it was made from"
            )


def _resnet_order(convs: list[_Layer], norms: list[_Layer], ordered: bool) -> list[_Layer]:
    """Return first convolution, two halvings, residual pairs, two doublings, last convolution."""
    ends = [conv for conv in convs if conv.shape[2] == 7]
    if len(ends) != 2:
        raise UnfitError(f"{len(ends)} convolutions of 7x7; a ResNet generator has two")
    first, last = sorted(ends, key=lambda conv: conv.shape[1] > conv.shape[0])
    width = first.shape[0]
    inner = [conv for conv in convs if conv.shape[2] == 3]
    for conv in inner:
        if 2 * conv.shape[0] == conv.shape[1]:
            raise UnfitError(
                f"`{conv.name}` halves the channels by a plain convolution, as after resizing; "
                "only transposed convolutions double the size here"
            )
    turns = {}
    for channels in (width, 2 * width):
        pair = [conv for conv in inner if tuple(conv.shape[:2]) == (2 * channels, channels)]
        if len(pair) != 2:
            raise UnfitError(
                f"{len(pair)} convolutions between {channels} and {2 * channels} channels; a ResNet"
                " generator of this width has one down and one up"
            )
        turns[channels] = _down_and_up(pair, channels, norms, ordered)
    body = [conv for conv in inner if tuple(conv.shape[:2]) == (4 * width, 4 * width)]
    if len(inner) != len(body) + 4 or not body or len(body) % 2:
        raise UnfitError(
            f"{len(inner)} convolutions of 3x3, {len(body)} of them with {4 * width} channels; a "
            "ResNet generator has two halvings, two doublings, and two for each residual block"
        )
    _require_order(body, ordered)
    (down, up), (down_2, up_2) = turns[width], turns[2 * width]
    return [first, down, down_2, *body, up_2, up, last]


def _down_and_up(
    pair: list[_Layer], channels: int, norms: list[_Layer], ordered: bool
) -> list[_Layer]:
    """Order a halving and a doubling, whose weights have the same shape, by their biases."""
    widths = [None if conv.bias is None else len(conv.bias) for conv in pair]
    if widths == [channels, 2 * channels]:
        return pair[::-1]
    if None in widths:
        _require_order(pair, ordered)
    elif widths != [2 * channels, channels]:
        raise UnfitError(
            f"`{pair[0].name}` and `{pair[1].name}` both halve, or both double, the size"
        )
    return pair


def _unet_order(convs: list[_Layer], ordered: bool) -> list[_Layer]:
    """Return the convolutions on the way down, then those on the way up."""
    if len(convs) % 2 or not 10 <= len(convs) <= 20:
        raise UnfitError(
            f"{len(convs)} convolutions of 4x4; a U-Net of 5 to 10 levels has two on each"
        )
    _require_order(convs, ordered)
    down, up = convs[: len(convs) // 2], convs[len(convs) // 2 :]
    chain = [down[0].shape[1], *(conv.shape[0] for conv in down)]
    fits = all(conv.shape[1] == channels for conv, channels in zip(down, chain, strict=False))
    backs = [chain[-1], *(2 * channels for channels in chain[-2:0:-1])]
    fits = fits and all(c.shape[0] == channels for c, channels in zip(up, backs, strict=True))
    if not fits:
        raise UnfitError(
            "its 4x4 convolutions are not a way down and a way up with skip connections at every "
            "level, in this order"
        )
    return convs


# -- what a file may not show -----------------------------------------------------------------


def _gap(conv: _Layer, state: State) -> int | None:
    """Return how far the next layer with parameters is in the same `nn.Sequential`."""
    parent, number = conv.name.rpartition(".")[0], conv.number
    prefix = f"{parent}." if parent else ""
    places = (key.removeprefix(prefix).partition(".")[0] for key in state if key.startswith(prefix))
    later = [int(p) for p in places if p.isdigit() and number is not None and int(p) > number]
    return min(later) - number if later and number is not None else None


def _norm(
    kind: str, forward: list[_Layer], norms: list[_Layer], state: State, told: Told
) -> NormName:
    leaves = {frozenset(norm.tensors) - {"num_batches_tracked"} for norm in norms}
    if len(leaves) > 1:
        raise UnfitError("its norms are of different kinds")
    (found,) = leaves or {frozenset()}
    if "weight" in found:
        norm: NormName = "batch" if "running_mean" in found else "instance_affine"
        if told.norm:
            raise ToldWrongError(f"--norm {told.norm}: its norms have parameters; leave it out")
        return norm
    conv, least = (forward[0], 3) if kind == "ResNet" else (forward[1], 2)
    gap = _gap(conv, state)
    biased = conv.bias is not None
    if found or (biased and gap is not None and gap >= least):
        return "instance"
    if told.norm is None:
        raise UntoldError(
            "its norms leave no trace in the file: instance norm without parameters, or none? Say "
            "--norm instance or --norm none"
        )
    if told.norm == "none" and biased:
        raise ToldWrongError(
            "--norm none: a network without norms has convolutions without biases here"
        )
    return told.norm


def _require_reflection(forward: list[_Layer]) -> None:
    """Refuse a ResNet in which no layer stands in front of the convolutions that pad."""
    for conv in (forward[0], forward[3]):
        if conv.number != 1:
            raise UntoldError(
                f"how `{conv.name}` pads leaves no trace in the file; say --padding reflect if by "
                "reflection, which is the one that can be read"
            )


# -- the official names -----------------------------------------------------------------------


def _like(kind: str, forward: list[_Layer], norm: NormName) -> nn.Module:
    """Make the network of ours that these layers belong to, without memory."""
    first, last = forward[0].shape, forward[-1].shape
    with torch.device("meta"):
        if kind == "U-Net":
            return UnetGenerator(first[1], last[1], first[0], len(forward) // 2, norm, False)
        return ResnetGenerator(first[1], last[0], first[0], (len(forward) - 6) // 2, norm)


def _places(network: nn.Module) -> list[tuple[str, str | None]]:
    """Name the convolutions of a network in the order of their use, each with its norm."""
    parts: list[tuple[str, nn.Module]] = []
    if isinstance(network, ResnetGenerator):
        parts = [("model", network.model)]
    if isinstance(network, UnetGenerator):
        parts = [(f"down.{i}", part) for i, part in enumerate(network.down)]
        parts += [(f"up.{i}", part) for i, part in reversed([*enumerate(network.up)])]
    places: list[tuple[str, str | None]] = []
    for prefix, part in parts:
        for name, module in part.named_modules(prefix=prefix):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                places.append((name, None))
            elif isinstance(module, nn.modules.batchnorm._NormBase):
                places[-1] = (places[-1][0], name)
    return places


def _renamed(
    network: nn.Module, forward: list[_Layer], convs: list[_Layer], norms: list[_Layer]
) -> dict[str, Tensor]:
    """Return the layers under the official keys.

    Norms stand in the file in the order of the convolutions with as many channels. A bias before a
    norm has no effect but on the norm's running mean, which takes it in; where the official network
    has one and the file none, it is zero.
    """
    own, state = network.state_dict(), {}
    names = {conv.name: each for conv, each in zip(forward, _places(network), strict=True)}
    waiting = [norm for norm in norms if "weight" in norm.tensors]
    for conv in convs:
        name, norm_name = names[conv.name]
        state[f"{name}.weight"] = conv.tensors["weight"]
        transposed = isinstance(network.get_submodule(name), nn.ConvTranspose2d)
        channels, bias = _out(conv, transposed), conv.bias
        norm = None
        if f"{norm_name}.weight" in own:
            norm = next((n for n in waiting if len(n.tensors["weight"]) == channels), None)
            if norm is None:
                raise UnfitError(f"no norm of {channels} channels is left for `{conv.name}`")
            waiting.remove(norm)
            state |= {f"{norm_name}.{leaf}": value for leaf, value in norm.tensors.items()}
        if f"{name}.bias" in own:
            state[f"{name}.bias"] = torch.zeros(channels) if bias is None else bias
        elif bias is not None and norm is not None:
            state[f"{norm_name}.running_mean"] = norm.tensors["running_mean"] - bias
        elif bias is not None:
            raise UnfitError(
                f"`{conv.name}` has a bias, which a network of these norms has not here"
            )
    if waiting:
        raise UnfitError(f"`{waiting[0].name}` is a norm that follows no convolution")
    official = {ours: theirs for theirs, ours in official_names(network).items()}
    return {official[key]: value for key, value in state.items()}
