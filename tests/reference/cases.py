"""Reading the reference cases: those in `cases/`, and further ones outside the repository.

`cases/README.md` explains their fields.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.checkpoints.official_layout import load_official
from core.nn.discriminators import PatchDiscriminator, PixelDiscriminator
from core.nn.resnet import ResnetGenerator
from core.nn.unet import UnetGenerator
from cyclegan.cut import networks as cut
from tests.conftest import reference_dir

OWN = Path(__file__).parent / "cases"
"""The cases that are part of the repository."""


@cache
def fill_rule(root: Path = OWN) -> ModuleType:
    """The `fill.py` beside a folder's cases: weights and inputs from names and seeds."""
    path = root / "fill.py" if (root / "fill.py").exists() else OWN / "fill.py"
    spec = importlib.util.spec_from_file_location("reference_fill", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dcgan_kind(data: Mapping[str, Any]) -> str:
    """These cases do not name their kind; what they hold tells it."""
    if "vocabulary" in data:
        return "dcgan_text"
    if data.get("after_step"):
        return "dcgan_iteration"
    return "dcgan_forward" if {"outputs", "mode"} <= data.keys() else "dcgan_unknown"


def wgan_kind(data: Mapping[str, Any]) -> str:
    """Likewise; an iteration says how its critic was constrained."""
    constrained = {"lambda", "clip"} & data.get("hyperparameters", {}).keys()
    return "wgan_iteration" if constrained and "after_step" in data else "wgan_unknown"


PHOTO_KINDS = {
    "betas": "matting_smoothing",
    "remapping": "label_rules",
    "pairs": "wct",
    "minimum_pixels": "wct_masks",
    "smoothing": "pipeline",
    "input_range": "encoder_decoder",
    "levels": "cascade",
    "patch": "affine_smoothing",
    "eps_unit": "guided_filter",
}
"""Hyperparameter -> kind, for the cases of FastPhotoStyle, which do not name theirs."""


def photo_kind(data: Mapping[str, Any]) -> str:
    """The kind that the hyperparameters tell, or `unknown`."""
    hyper = data["hyperparameters"]
    return next((kind for key, kind in PHOTO_KINDS.items() if key in hyper), "unknown")


UNNAMED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "dcgan": dcgan_kind,
    "fastphotostyle": photo_kind,
    "wgan": wgan_kind,
}
"""Family -> how to tell the kind of a case that does not name it."""

OPS: dict[str, Callable[..., Tensor]] = {
    "mul": lambda x, number: x * number,
    "add": lambda x, number: x + number,
    "relu": torch.relu,
    "uint8": lambda x: ((x + 1) * 127.5 + 0.5).floor().clamp(0, 255),
    "zero_channels": lambda x, numbers: x.index_fill(1, torch.tensor(numbers), 0.0),
    "channel_pow10": lambda x, power: (
        x * 10.0 ** (power * torch.arange(x.shape[1], dtype=x.dtype))[:, None, None]
    ),
}
"""What a case may do to an input after filling it."""


@dataclass(frozen=True, eq=False)
class Case:
    """One reference case: what was run, and what came out."""

    folder: Path
    data: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Of most families by itself; `<family>/<kind>` where a family has kinds of its own."""
        if "case_kind" in self.data:
            return self.data["case_kind"]
        if "kind" in self.data:
            return f"{self.family}/{self.data['kind']}"
        return UNNAMED.get(self.family, lambda _: "unknown")(self.data)

    @property
    def family(self) -> str:
        return self.folder.parent.name

    @property
    def name(self) -> str:
        return f"{self.family}/{self.folder.name}"

    @property
    def rule(self) -> ModuleType:
        """What fills this case's weights and inputs."""
        return fill_rule(self.folder.parent.parent)

    @property
    def hyper(self) -> dict[str, Any]:
        """Published values, overridden by those of this case; Adam's stand at the top too."""
        published = self.data["hyperparameters"]
        return published.get("optimizer", {}) | published | published.get("this_case", {})

    @property
    def arrays(self) -> dict[str, Tensor]:
        """The golden arrays, float32 rounded from float64."""
        with np.load(self.folder / "golden.npz") as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}

    def has(self, name: str) -> bool:
        return name in self.data["inputs"]

    def input(self, name: str, dtype: torch.dtype = torch.float64) -> Tensor:
        """A named input: the float32 numbers of the fill rule, then its `ops` in float64."""
        entry = self.data["inputs"][name]
        make = {"image": self.rule.image, "noise": self.rule.noise}[entry["kind"]]
        x = torch.from_numpy(make(name, entry["shape"], entry["seed"])).double()
        for op, *numbers in entry.get("ops", []):
            x = OPS[op](x, *numbers)
        return x.to(dtype)

    def weights(self, network: str) -> dict[str, Tensor]:
        """A network's official state dict as a released file would hold it (float32)."""
        return dict(_filled(self, network))

    def describe(self, network: str) -> dict[str, Any]:
        return self.data["networks"][network]


@lru_cache(maxsize=8)
def _filled(case: Case, network: str) -> dict[str, Tensor]:
    """Kept, because a case's tests ask for the same weights several times; not to be changed."""
    seed = case.data.get("seeds", case.data["seed"])
    seed = seed[network] if isinstance(seed, dict) else seed
    filled = case.rule.fill(case.data["spec"][network], seed)
    return {key: torch.from_numpy(np.asarray(value)) for key, value in filled.items()}


def read(folder: Path) -> Case:
    return Case(folder, json.loads((folder / "case.json").read_text(encoding="utf-8")))


def _same(a: Case, b: Case) -> bool:
    files = ("case.json", "golden.npz")
    return all((a.folder / f).read_bytes() == (b.folder / f).read_bytes() for f in files)


@cache
def all_cases() -> dict[str, Case]:
    """{name: case} of the repository's cases and of those at `reference_dir()`.

    A case that stands in both places is there once; one that only has the name of another, with
    other numbers, goes by `<name>@<folder>`.
    """
    found: dict[str, Case] = {}
    for root in (OWN, reference_dir()):
        for path in sorted(root.glob("*/*/case.json")):
            case = read(path.parent)
            known = found.get(case.name)
            if known is not None and _same(known, case):
                continue
            found[f"{case.name}@{root.name}" if known else case.name] = case
    return found


TESTED: set[str] = set()
"""Kinds for which `each` was called."""


def each(*kinds: str) -> pytest.MarkDecorator:
    """Parametrise `case` over every case of these kinds.

    Where there is none the only value is None: `conftest.py` leaves such tests out, and
    `test_kinds.py` skips once for the kind.
    """
    TESTED.update(kinds)
    chosen = {name: case for name, case in all_cases().items() if case.kind in kinds}
    chosen = chosen or {"none": None}
    return pytest.mark.parametrize("case", chosen.values(), ids=chosen.keys())


@contextmanager
def no_initial_weights() -> Iterator[None]:
    """Within, new networks are left as they are in memory: a case's weights come at once.

    To draw millions of weights takes longer than many a forward.
    """
    names = [n for n in vars(nn.init) if n.endswith(("normal_", "uniform_", "orthogonal_"))]
    with ExitStack() as patches:
        for name in names:
            patches.enter_context(patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield


@no_initial_weights()
def build(description: Mapping[str, Any]) -> nn.Module:
    """A single network from a case's description of it."""
    d = description
    makers: dict[str, Callable[[], nn.Module]] = {
        "resnet": lambda: (cut.Generator if "antialias" in d else ResnetGenerator)(
            *(d[key] for key in ("input_nc", "output_nc", "ngf", "n_blocks", "norm", "dropout")),
            **{key: d[key] for key in ("antialias", "antialias_up") if key in d},
        ),
        "unet": lambda: UnetGenerator(
            d["input_nc"], d["output_nc"], d["ngf"], d["num_downs"], d["norm"], d["dropout"]
        ),
        "patch": lambda: (
            cut.AntialiasedPatchDiscriminator if d.get("antialias") else PatchDiscriminator
        )(d["input_nc"], d["ndf"], d["n_layers"], d["norm"]),
        "patch_sample": lambda: cut.PatchSampleF(d["in_channels"], d["nc"] if d["mlp"] else None),
        "pixel": lambda: PixelDiscriminator(d["input_nc"], d["ndf"], d["norm"]),
    }
    return makers[d["kind"]]()


def loaded(case: Case, name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A described network with the case's weights, through the official layout."""
    network = build(case.describe(name))
    load_official(network, case.weights(name), name, case.folder)
    return network.to(dtype)


class DropoutMasks:
    """Replaces every random dropout mask by the case's named noise.

    An element is kept where the noise is positive, and doubled. Masks are taken in the order in
    which forwards meet them; those of a further iteration carry its number behind them
    (`dropout_mask_1_2`) or go on counting; where there are none, the first ones serve again.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._met = 0
        self._suffix = ""

    def begin_iteration(self, number: int) -> None:
        """Turn to the masks of an iteration, counted from 1."""
        if number > 1 and self._case.has(f"dropout_mask_1_{number}"):
            self._met, self._suffix = 0, f"_{number}"
        elif not self._case.has(f"dropout_mask_{self._met + 1}"):
            self._met = 0

    def _replace(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if not module.training:
            return output
        self._met += 1
        noise = self._case.input(f"dropout_mask_{self._met}{self._suffix}", output.dtype)
        assert noise.shape == output.shape
        return inputs[0] * (noise > 0) * 2

    @contextmanager
    def of(self, *networks: nn.Module) -> Iterator[DropoutMasks]:
        """Within, the networks' dropouts use the named masks."""
        dropouts = [m for net in networks for m in net.modules() if isinstance(m, nn.Dropout)]
        handles = [dropout.register_forward_hook(self._replace) for dropout in dropouts]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()


def close(ours: Tensor, golden: Tensor, *, rtol: float = 1e-6, atol: float = 1e-6) -> None:
    """Arrays agree; the default is the rounding of the stored float32."""
    torch.testing.assert_close(ours.detach().double(), golden.double(), rtol=rtol, atol=atol)


SAMPLES_FIRST = (1, 2, 4)
"""Numbers of dimensions of arrays that are batches; a single image or map has three."""


def agree(
    ours: Mapping[str, Tensor],
    golden: Mapping[str, Tensor],
    *,
    rtol: float = 1e-6,
    atol: float = 1e-6,
) -> None:
    """Every golden array is one of ours; it may hold the first samples of a batch only."""
    assert golden.keys() <= ours.keys(), f"nothing gives {sorted(golden.keys() - ours.keys())}"
    for name, array in golden.items():
        found = ours[name].detach().double()
        if array.dim() in SAMPLES_FIRST and 0 < len(array) < len(found):
            found = found[: len(array)]
        torch.testing.assert_close(
            found,
            array.double(),
            rtol=rtol,
            atol=atol,
            msg=lambda text, name=name: f"{name}: {text}",
        )
