"""Fast networks give what plain ones give, in any company, and are not trained again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.checkpoints import store
from core.inference.loading import load_translator
from core.inference.translator import Translator
from tests.small import TABLE, family

# Wide enough for minimal filtering, whose layers have 128 channels and more.
WIDE = {
    "cyclegan": {"ngf": 32},
    "munit": {"gen": {"dim": 32, "mlp_dim": 8, "style_dim": 3, "n_res": 1}},
    "drit": {"dim": 32},
}


def checkpoint(name: str, path: Path) -> Path:
    built = family(name, WIDE[name])
    state = {
        "family": name,
        "config": built.config.model_dump(mode="json"),
        "step": 0,
        "networks": {key: network.state_dict() for key, network in built.networks.items()},
    }
    store.save(state, path)
    return path


@pytest.mark.parametrize("name", WIDE)
def test_same_results(name: str, tmp_path: Path) -> None:
    file = checkpoint(name, tmp_path / "step_00000000.pt")
    plain = load_translator(file, TABLE, "cpu", speed="off")
    fast = load_translator(file, TABLE, "cpu")
    assert "off" in plain.speed and "minimal filtering" in fast.speed
    assert set(fast.family.networks) == set(fast.family.ema_networks), "discriminators stay away"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 100, 92, generator=generator) * 2 - 1
    styles = torch.randn(3, 8 if name == "drit" else 3, generator=generator)

    def made(translator: Translator, x: torch.Tensor) -> torch.Tensor:
        if translator.has_styles:
            return torch.stack(translator.in_styles(x, styles[:, : translator.styles.style_dim]))  # type: ignore[union-attr]
        return translator(x)

    alone = torch.cat([made(fast, x[None]) for x in images], dim=-4)
    torch.testing.assert_close(alone, made(plain, images), rtol=0, atol=1e-4)
    torch.testing.assert_close(made(fast, images), alone, rtol=0, atol=1e-5)
