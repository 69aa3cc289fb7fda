"""Each alarm rings once, and again only after it was over."""

from __future__ import annotations

import torch

from core.training.alarms import Alarms


def test_a_discriminator_at_zero() -> None:
    alarms = Alarms()
    said = [alarms.check_losses({"D_A": 1e-5, "D_B": 0.3, "G_A": 0.0}) for _ in range(8)]
    assert [len(messages) for messages in said] == [0, 0, 0, 0, 1, 0, 0, 0]
    assert "D_A" in said[4][0]
    assert alarms.check_losses({"D_A": 0.2}) == []
    again = [alarms.check_losses({"D_A": 0.0}) for _ in range(5)]
    assert [len(messages) for messages in again] == [0, 0, 0, 0, 1]


def test_pictures() -> None:
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    alarms = Alarms()
    (copied,) = alarms.check_pictures("AtoB", x, x + 1e-4)
    assert "output equals input" in copied
    assert alarms.check_pictures("AtoB", x, x) == []
    (negative,) = alarms.check_pictures("BtoA", x, -x)
    assert "negative" in negative
    assert alarms.check_pictures("BtoA", x, x.flip(3)) == []
    assert alarms.check_pictures("BtoA", x, x[:, :1]) == []


def test_collapsed_styles() -> None:
    alarms = Alarms()
    assert alarms.check_diversity("AtoB", 0.2) == []
    (collapsed,) = alarms.check_diversity("AtoB", 0.001)
    assert "styles have collapsed" in collapsed
    assert alarms.check_diversity("AtoB", 0.002) == []
    assert len(alarms.check_diversity("BtoA", 0.0)) == 1, "each direction by itself"
