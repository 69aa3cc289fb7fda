"""DRIT's training: a content-only iteration and a full one, stage by stage.

Of the three readings of the generator's second gradient that a case stores, `same_weights` is the
one tested: see `drit/family.py`.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from unittest.mock import patch

import torch
from torch import Tensor

import drit.family
from core.training.update import Updater
from drit.family import Side
from tests.reference.cases import Case, each
from tests.reference.drit_cases import (
    Step,
    Steps,
    build,
    losses_agree,
    optional,
    outputs_agree,
    stage_agrees,
    values_agree,
)
from tests.reference.training import every_dtype
from tests.thorough import only_if_thorough

SECOND = "update_EG_phase2_same_weights"
STAGES = {"disContent": ("update_D_content", "update_D")} | dict.fromkeys(
    ("enc_c", "enc_a", "gen"), ("update_EG_phase1", SECOND)
)
"""The stages of a network's first and second Adam step; of all others the one is `update_D`."""
FLIPS = 4
"""Elements of a tensor that may step the other way in float32: a first step is nearly a sign."""


@dataclass
class Run:
    """What the two iterations gave."""

    losses: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    stages: dict[str, dict[str, Step]] = field(default_factory=dict)


def thinned(case: Case, name: str, x: Tensor) -> Tensor:
    """A tensor as the case stores it: its `outputs` give slices, e.g. [:, :, ::4, ::4]."""
    for patterns, text in case.data["outputs"].items():
        slices = re.search(r"\[([:\d, ]+)\]", text)
        if slices and any(fnmatch(name, pattern.strip()) for pattern in patterns.split(",")):
            parts = (part.strip().split(":") for part in slices[1].split(","))
            return x[tuple(slice(*(int(n) if n else None for n in part)) for part in parts)]
    return x


def named(case: Case, A: Side, B: Side) -> dict[str, Tensor]:
    """The forward's tensors under the case's names, thinned out as it stores them."""
    found: dict[str, Tensor | None] = {}
    for side, other, large, small in ((A, B, "A", "a"), (B, A, "B", "b")):
        found[f"fake_{large}_encoded"] = side.fake
        found[f"fake_{large * 2}_encoded"] = side.same
        found[f"fake_{large}_recon"] = side.recon
        labels = ("random", "random2")
        found |= {f"fake_{large}_{n}": x for n, x in zip(labels, side.random, strict=False)}
        # Content passes over to the other domain and comes back.
        contents = {"": side.codes, "recon_": other.again}
        for label, codes in contents.items():
            found[f"z_content_{label}{small}"] = codes.content
        for label, codes in {"": side.codes, "recon_": side.again}.items():
            found[f"z_attr_{label}{small}"] = codes.attribute
            if codes.logvar is not None:
                found[f"mu_{label}{small}"] = codes.mean
                found[f"logvar_{label}{small}"] = codes.logvar
        regressed = "mu2" if side.codes.logvar is not None else "z_attr_random"
        found[f"{regressed}_{small}"] = side.regressed
    return {n: thinned(case, n, x.detach()) for n, x in found.items() if x is not None}


def draws(case: Case, dtype: torch.dtype) -> list[Tensor]:
    """What a full iteration draws, in its order."""
    names = (
        *("noise_content_a", "noise_content_b", "eps_a", "eps_b", "z_random", "z_random2"),
        *("noise_content_fake_a", "noise_content_fake_b", "eps_recon_a", "eps_recon_b"),
    )
    return [drawn for name in names if (drawn := optional(case, name, dtype)) is not None]


@contextmanager
def drawing(tensors: list[Tensor]) -> Iterator[None]:
    """Within, DRIT draws these, and all of them."""
    left = iter(tensors)

    def draw(_like: Tensor, *shape: int) -> Tensor:
        drawn = next(left)
        assert drawn.shape == shape
        return drawn

    with patch.object(drit.family, "normal", draw):
        yield
    assert next(left, None) is None


def iterate(case: Case, dtype: torch.dtype) -> Run:
    whole = case.name.endswith("mode_seeking")
    if not whole and (dtype == torch.float64 or case.hyper["concat"]):
        only_if_thorough("DRIT++, of which it is a part, runs always, the older DRIT in float32")
    return iterated(case, dtype)


@cache
def iterated(case: Case, dtype: torch.dtype) -> Run:
    run = _iterate(case, dtype)
    # Hooks and networks hold each other, and the collector does not see how large they are.
    gc.collect()
    return run


def _iterate(case: Case, dtype: torch.dtype) -> Run:
    family, run = build(case, dtype), Run()
    steps, update, num = Steps(family), Updater(), case.hyper["encoded_samples"]
    first = [case.input(f"first_image_{s}", dtype)[:num] for s in ("a", "b")]
    with drawing([case.input(f"first_noise_content_{s}", dtype) for s in ("a", "b")]):
        terms = family.content_iteration(*first, update)
    assert {name for name, done in steps.items() if done} == {"disContent"}
    run.losses |= {f"update_D_content/{name}": x.item() for name, x in terms.items()}

    def forward(*reals: Tensor) -> tuple[Side, Side, tuple[Tensor, ...]]:
        A, B, attributes = original(*reals)
        run.outputs |= named(case, A, B)
        return A, B, attributes

    original = family.forward
    a, b = (case.input(f"image_{s}", dtype) for s in ("a", "b"))
    with patch.object(family, "forward", forward), drawing(draws(case, dtype)):
        terms = family.full_iteration(a[:num], b[:num], a[num:], b[num:], update)
    for name, value in terms.items():
        stage = "update_D" if name.startswith("dis") else "update_EG"
        run.losses[f"{stage}/{name}"] = value.item()
    assert not update.skipped
    twice = ("disContent", "enc_c", "gen")
    for name, done in steps.items():
        assert len(done) == (2 if name in twice else 1)
        for stage, step in zip(STAGES.get(name, ("update_D",)), done, strict=False):
            run.stages.setdefault(stage, {})[name] = step
    return run


@each("drit/train_step")
@every_dtype
def test_losses(case: Case, dtype: torch.dtype) -> None:
    losses_agree(case, iterate(case, dtype).losses, dtype)


@each("drit/train_step")
@every_dtype
def test_outputs(case: Case, dtype: torch.dtype) -> None:
    outputs_agree(case, iterate(case, dtype).outputs, dtype)


@each("drit/train_step")
@every_dtype
def test_every_stage(case: Case, dtype: torch.dtype) -> None:
    """Gradients, weights and changes of weights; the other readings of the second are left out.

    Adam divides by the size of the gradient: where that is rounding, so is the step. The suggested
    bounds are five times one run's deviation, which had no element of the discriminators step the
    other way; in float32 a few may, on whatever processor.
    """
    stages = iterate(case, dtype).stages
    others = {"update_EG_phase2", "update_EG_phase2_new_forward"}
    for kind in ("grad_l2", "after_step", "update"):
        known = {stage.removesuffix("_before_clipping") for stage in case.data[kind]}
        assert known - others == stages.keys()
    for stage, steps in stages.items():
        stage_agrees(case, stage, steps, dtype, sharp=1e-8, slack=3.0, flips=FLIPS)
    totals = {
        f"{stage}_total_grad_norm_before_clipping": torch.tensor(
            list(stages[stage]["disContent"].unclipped.values()), dtype=torch.float64
        )
        .norm()
        .item()
        for stage in STAGES["disContent"]
    }
    values_agree(case, totals, dtype, sharp=1e-9)
