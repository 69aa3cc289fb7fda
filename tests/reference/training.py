"""What the tests of training iterations share: watching updates, and comparing with tables.

Tables are nested dicts, {network: {official key: number}}. What is kept of a large tensor is its
sum and its L2 norm.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from core.checkpoints.official_layout import official_names, to_official
from tests.reference.cases import Case

DTYPES = (torch.float64, torch.float32)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])

Table = dict[str, dict[str, Any]]
States = dict[str, dict[str, Tensor]]


def summary(value: Tensor) -> list[float]:
    """[sum, L2 norm], as the cases summarise."""
    return [value.double().sum().item(), value.double().norm().item()]


def norm(_key: str, gradient: Tensor) -> float:
    return gradient.double().norm().item()


@dataclass
class Iteration:
    """What one training iteration gave."""

    terms: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """{network: at each of its updates {official key: L2 norm, or what else was measured}}"""
    values: Table = field(default_factory=dict)
    """[sum, norm] of each entry after the iteration."""
    deltas: Table = field(default_factory=dict)
    """The same of its change since the beginning of the case."""
    per_layer: dict[str, list[float]] = field(default_factory=dict)
    """{loss: its value of each layer}, of CUT."""


class Watch:
    """Notes the gradients before each step of a family's optimizers, and weights on demand.

    Args:
        family: with `networks` and `optimizers`.
        measure: what to keep of a gradient, from its official key and its value.
        prefix: what the cases put before our names of networks.
    """

    def __init__(
        self,
        family: Any,
        measure: Callable[[str, Tensor], Any] = norm,
        prefix: str = "",
    ) -> None:
        self.networks = {prefix + name: network for name, network in family.networks.items()}
        self.measure = measure
        self.gradients: dict[str, list[dict[str, Any]]] = {name: [] for name in self.networks}
        self.owners: dict[Tensor, tuple[str, str]] = {}
        for name, network in self.networks.items():
            theirs = {ours: key for key, ours in official_names(network).items()}
            for ours, parameter in network.named_parameters():
                self.owners[parameter] = name, theirs[ours]
        for optimizer in family.optimizers.values():
            optimizer.register_step_pre_hook(self._note)
        self.start = self.states()

    def _note(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        tables: Table = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name, key = self.owners[parameter]
                gradient = torch.zeros(()) if parameter.grad is None else parameter.grad
                tables.setdefault(name, {})[key] = self.measure(key, gradient)
        for name, table in tables.items():
            self.gradients[name].append(table)

    def states(self) -> States:
        """Copies of the networks' official state dicts."""
        return {
            name: {key: value.clone() for key, value in to_official(network).items()}
            for name, network in self.networks.items()
        }

    def iteration(self, terms: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Iteration:
        """What was seen since the last call, and where the weights are now."""
        now = self.states()
        gradients, self.gradients = self.gradients, {name: [] for name in now}
        return Iteration(
            {name: term.item() for name, term in terms.items()},
            dict(outputs),
            gradients,
            {name: {k: summary(v) for k, v in state.items()} for name, state in now.items()},
            {
                name: {k: summary(v.double() - self.start[name][k]) for k, v in state.items()}
                for name, state in now.items()
            },
        )


def follow(follower: Any, leader: Any) -> None:
    """Bring a family to the weights, buffers and moments of another one, in its own precision.

    Rounding grows from update to update: the first Adam steps are nearly the sign of a gradient, a
    unit whose input is about 0 is on in one run and off in the other. So a float32 run starts each
    iteration where that of float64 has come to; what is left is the rounding of one iteration.
    """
    for name, network in leader.networks.items():
        follower.networks[name].load_state_dict(network.state_dict())
    for name, optimizer in leader.optimizers.items():
        # Loaded as it is the count of steps would be shared, and advance twice.
        follower.optimizers[name].load_state_dict(deepcopy(optimizer.state_dict()))


def in_both_precisions(
    make: Callable[[torch.dtype], Any], number: int
) -> dict[torch.dtype, list[Iteration]]:
    """The first iterations of a case in float64, and in float32 beside it.

    Args:
        make: an object with a `family` and `run(number) -> Iteration`, counted from 1.
        number: of iterations.
    """
    done = _iterated(make, number)
    # Hooks and networks hold each other, and the collector does not see how large they are.
    gc.collect()
    return done


def _iterated(
    make: Callable[[torch.dtype], Any], number: int
) -> dict[torch.dtype, list[Iteration]]:
    exact, single = (make(dtype) for dtype in DTYPES)
    done: dict[torch.dtype, list[Iteration]] = {dtype: [] for dtype in DTYPES}
    for iteration in range(1, number + 1):
        follow(single.family, exact.family)
        for dtype, runner in zip(DTYPES, (exact, single), strict=True):
            done[dtype].append(runner.run(iteration))
    return done


def numbers_agree(
    ours: Any, golden: Any, *, rel: float, abs: float = 0.0, skip: Iterable[str] = (), at: str = ""
) -> None:
    """Every number of a golden nest of dicts and lists is ours at the same place.

    Args:
        ours: the same nest, perhaps with more in it.
        golden: the case's.
        rel: bound, of the golden number.
        abs: bound.
        skip: keys to leave out.
        at: the place, for the message.
    """
    if isinstance(golden, Mapping):
        assert golden.keys() <= ours.keys(), f"{at}: no {sorted(golden.keys() - ours.keys())}"
        for key in golden.keys() - set(skip):
            numbers_agree(ours[key], golden[key], rel=rel, abs=abs, skip=skip, at=f"{at} {key}")
    elif isinstance(golden, list):
        assert len(ours) == len(golden), at
        for place, (own, number) in enumerate(zip(ours, golden, strict=True)):
            numbers_agree(own, number, rel=rel, abs=abs, skip=skip, at=f"{at} {place}")
    else:
        assert ours == pytest.approx(golden, rel=rel, abs=abs), at


def zero_keys(case: Case, entry: str) -> set[str]:
    """Parameters without a true gradient, of a network or of one of its tables (`netD_step5`)."""
    known = case.data.get("zero_gradient_keys", {})
    return set(known.get(entry, known.get(entry.partition("_")[0], ())))


def rows(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A golden table without the notes that may stand in it."""
    return {name: row for name, row in table.items() if isinstance(row, Mapping)}


def gradients_agree(
    case: Case,
    ours: Mapping[str, Mapping[str, float]],
    golden: Mapping[str, Mapping[str, float]],
    *,
    rel: float,
    nothing: float,
    abs: float = 1e-12,
) -> None:
    """L2 norms agree, and are at most `nothing` where the true gradient is zero."""
    for network, table in rows(golden).items():
        zero = {key for key in table if table[key] == 0} | zero_keys(case, network)
        numbers_agree(ours[network], table, rel=rel, abs=abs, skip=zero, at=network)
        for key in zero & table.keys():
            assert ours[network][key] <= nothing, (network, key)


def weights_agree(
    case: Case,
    ours: Table,
    golden: Mapping[str, Mapping[str, Any]],
    *,
    rel: float,
    per_root: float,
    drift: float,
    extra: float = 0.0,
) -> None:
    """Sums and L2 norms of the entries of state dicts agree.

    Args:
        case: whose weights they are.
        ours: {network: {official key: [sum, norm]}}.
        golden: the same.
        rel: bound of norms.
        per_root: absolute bound of sums, for each square root of the number of elements.
        drift: how far an element may have moved that has no true gradient: rounding decides.
        extra: absolute bound of sums, added.
    """
    for network, table in rows(golden).items():
        for key, (total, norm) in table.items():
            number = max(1, torch.Size(case.data["spec"][network][key]).numel())
            free = drift if key in zero_keys(case, network) else 0.0
            sums = per_root * number**0.5 + free * number + extra
            our_total, our_norm = ours[network][key]
            assert our_total == pytest.approx(total, rel=1e-9, abs=sums), (network, key)
            assert our_norm == pytest.approx(norm, rel=rel, abs=free * number**0.5), (network, key)


def norms_of(table: Table) -> dict[str, dict[str, float]]:
    """The second of each pair."""
    return {name: {key: pair[1] for key, pair in row.items()} for name, row in rows(table).items()}


def changes_agree(
    case: Case, ours: Table, golden: Mapping[str, Mapping[str, float]], *, rel: float, drift: float
) -> None:
    """L2 norms of changes agree; without a true gradient no element has moved beyond `drift`."""
    for network, table in rows(golden).items():
        zero, found = zero_keys(case, network), norms_of(ours)[network]
        numbers_agree(found, table, rel=rel, abs=1e-12, skip=zero, at=network)
        for key in zero & table.keys():
            root = torch.Size(case.data["spec"][network][key]).numel() ** 0.5
            assert found[key] <= drift * root * (1 + 1e-6), (network, key)


# -- further iterations -----------------------------------------------------------------------

ORDINALS = ("first", "second", "third", "fourth", "fifth")


def further_iterations(case: Case) -> dict[int, dict[str, Any]]:
    """{number: golden tables} of the iterations after the first, counted from 1."""
    named = [name for name in case.data if name.endswith("_iteration")]
    return {ORDINALS.index(n.removesuffix("_iteration")) + 1: case.data[n] for n in named}


# -- bounds in words ------------------------------------------------------------------------

NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"
PER_ROOT = r"entries\):"
"""The word before a bound of sums, which grows with the square root of the number of entries."""
MARGIN = 5
"""How many times the deviation of the one measured run another processor may be off."""
MEASURED = {
    ("losses", "rtol"): "losses, relative",
    ("arrays", "atol"): "arrays, absolute",
    ("grad_l2", "rtol"): "grad_l2, relative",
    ("after_step_l2", "rtol"): "after_step l2",
    ("after_step_sum", PER_ROOT): "after_step sum/sqrt(n)",
    ("delta_l2", "rtol"): "delta_l2, relative",
}


def stated(text: str, word: str, default: float | None = None) -> float:
    """The number behind a word, e.g. 1e-4 of "lr 1e-4, ..."."""
    found = re.search(rf"{word} {NUMBER}", text)
    if found is None and default is not None:
        return default
    assert found is not None, f"no {word} in {text!r}"
    return float(found[1])


def at_least(bound: float, measured: float | None) -> float:
    """A case's bound, or what its own float32 run calls for, if more."""
    return max(bound, MARGIN * (measured or 0.0))


def float32_bound(case: Case, name: str, word: str = "rtol", default: float | None = None) -> float:
    """A bound that a case states in words, or what its own float32 run calls for, if more."""
    measured = case.data.get("measured_float32_deviation", {})
    seen = measured.get(MEASURED.get((name, word), ""), {"value": 0.0})["value"]
    return at_least(stated(case.data["tolerance"]["float32"][name], word, default), seen)
