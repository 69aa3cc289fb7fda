"""LPIPS against the published package, with a random trunk so that nothing is downloaded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from core.errors import UserError
from core.evaluation.metrics.lpips import LPIPS, lpips_diversity

WIDTHS = (64, 192, 384, 256, 256)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def linear() -> dict[str, Tensor]:
    """Weights that are not negative, as learnt ones are."""
    generator = torch.Generator().manual_seed(1)
    return {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for i, width in enumerate(WIDTHS)
    }


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return torchvision.models.alexnet(weights=None).features.state_dict(prefix="features.")


def random_trunk(net: Any) -> dict[str, Tensor]:
    """State of a `lpips` or torchmetrics trunk: its slices keep torchvision's numbers."""
    state = net.net.state_dict()
    return {f"features.{key.split('.', 1)[1]}": value for key, value in state.items()}


@pytest.mark.parametrize("package", ["lpips", "torchmetrics.functional.image.lpips"])
def test_equals_the_published_package(package: str) -> None:
    module = pytest.importorskip(package, reason="pip install -e '.[metrics]'")
    torch.manual_seed(0)
    if package == "lpips":
        theirs = module.LPIPS(net="alex", pnet_rand=True, verbose=False)
    else:
        theirs = module._LPIPS(net="alex", pretrained=True, pnet_rand=True)
    theirs = theirs.double()
    state = {key: value for key, value in theirs.state_dict().items() if key.startswith("lin")}
    ours = LPIPS(random_trunk(theirs), state).double()
    x, y = images(3, 3, 40, 57).double(), images(3, 3, 40, 57, seed=1).double()
    with torch.no_grad():
        torch.testing.assert_close(ours(x, y), theirs(x, y).flatten(), rtol=1e-6, atol=1e-9)
    assert (ours(x, y) > 0).all()


def test_a_distance(trunk: dict[str, Tensor]) -> None:
    metric = LPIPS(trunk, linear())
    x, y = images(2, 3, 31, 40), images(2, 3, 31, 40, seed=1)
    assert torch.equal(metric(x, x), torch.zeros(2))
    torch.testing.assert_close(metric(x, y), metric(y, x))
    assert (metric(x, x + 0.1 * (y - x)) < metric(x, y)).all()
    assert not any(p.requires_grad for p in metric.parameters())
    assert not metric.train().training


def test_diversity_is_the_mean_over_pairs(trunk: dict[str, Tensor]) -> None:
    metric = LPIPS(trunk, linear())
    x = images(3, 3, 32, 32)
    expected = (metric(x[:1], x[1:2]) + metric(x[:1], x[2:]) + metric(x[1:2], x[2:])) / 3
    torch.testing.assert_close(lpips_diversity(metric, x), expected[0])
    assert float(lpips_diversity(metric, x[:1].expand(4, -1, -1, -1))) == pytest.approx(0, abs=1e-9)


def test_other_weights_are_refused(trunk: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match="not the weights of LPIPS"):
        LPIPS({"features.0.weight": torch.zeros(64, 3, 11, 11)}, linear())
    with pytest.raises(UserError, match="not the weights of LPIPS"):
        LPIPS(trunk, {key: value[:, :5] for key, value in linear().items()})
