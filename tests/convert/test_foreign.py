"""Generators of other codes: modules written here as people write them, read as ours."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from families import load
from tests.processes import Script

Norm = Callable[[int], nn.Module]


def seq(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


class Flat(nn.Module):
    """One numbered list, residual branches named `block`, as in the official code's descendants."""

    class Residual(nn.Module):
        def __init__(self, c: int, norm: Norm, bias: bool) -> None:
            super().__init__()
            conv = partial(nn.Conv2d, c, c, 3, bias=bias)
            self.block = seq(
                *(nn.ReflectionPad2d(1), conv(), norm(c), nn.ReLU()),
                *(nn.ReflectionPad2d(1), conv(), norm(c)),
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.block(x)

    def __init__(self, norm: Norm, blocks: int = 2, width: int = 5, bias: bool = True) -> None:
        super().__init__()
        w = width
        down = [nn.Conv2d(a, 2 * a, 3, 2, 1, bias=bias) for a in (w, 2 * w)]
        up = [nn.ConvTranspose2d(2 * a, a, 3, 2, 1, 1, bias=bias) for a in (2 * w, w)]
        self.layers = seq(
            *(nn.ReflectionPad2d(3), nn.Conv2d(3, w, 7, bias=bias), norm(w), nn.ReLU()),
            *(down[0], norm(2 * w), nn.ReLU(), down[1], norm(4 * w), nn.ReLU()),
            *(self.Residual(4 * w, norm, bias) for _ in range(blocks)),
            *(up[0], norm(2 * w), nn.ReLU(), up[1], norm(w), nn.ReLU()),
            *(nn.ReflectionPad2d(3), nn.Conv2d(w, 1, 7, bias=bias), nn.Tanh()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Named(nn.Module):
    """Parts by name, registered out of order; convolutions pad by themselves."""

    class Body(nn.Module):
        def __init__(self, c: int, norm: Norm) -> None:
            super().__init__()
            self.norm1, self.norm2 = norm(c), norm(c)
            self.conv1, self.conv2 = (
                nn.Conv2d(c, c, 3, padding=1, padding_mode="reflect") for _ in range(2)
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        reflect: Any = partial(nn.Conv2d, kernel_size=7, padding=3, padding_mode="reflect")
        self.decoder = seq(
            *(nn.ConvTranspose2d(16, 8, 3, 2, 1, 1), norm(8), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 4, 3, 2, 1, 1), norm(4), nn.ReLU()),
        )
        self.to_image = reflect(4, 3)
        self.stem = seq(reflect(3, 4), norm(4), nn.ReLU())
        self.encoder = seq(
            *(nn.Conv2d(4, 8, 3, 2, 1), norm(8), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, 2, 1), norm(16), nn.ReLU()),
        )
        self.main = seq(*(self.Body(16, norm) for _ in range(11)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.decoder(self.main(self.encoder(self.stem(x))))
        return torch.tanh(self.to_image(x))


class FlatUnet(nn.Module):
    """Levels in two lists, the way up from the bottom."""

    def __init__(self, norm: Norm, bias: bool, levels: int = 5) -> None:
        super().__init__()
        widths = [3 * min(2**i, 8) for i in range(levels)]
        pairs = zip([3, *widths], widths, strict=False)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1, bias=bias) for a, b in pairs)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(
                *(widths[i] * (1 if i == levels - 1 else 2), widths[i - 1] if i else 3, 4, 2, 1),
                bias=bias or i == 0,
            )
            for i in reversed(range(levels))
        )
        self.norms_down = nn.ModuleList(norm(w) for w in widths[1:-1])
        self.norms_up = nn.ModuleList(norm(w) for w in widths[-2::-1])

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.downs[0](x)]
        for conv, norm in zip(self.downs[1:-1], self.norms_down, strict=True):
            skips.append(norm(conv(nn.functional.leaky_relu(skips[-1], 0.2))))
        x = self.downs[-1](nn.functional.leaky_relu(skips[-1], 0.2))
        for conv, norm in zip(self.ups[:-1], self.norms_up, strict=True):
            x = torch.cat([skips.pop(), norm(conv(torch.relu(x)))], 1)
        return torch.tanh(self.ups[-1](torch.relu(x)))


INSTANCE: dict[str, Norm] = {
    "plain": nn.InstanceNorm2d,
    "affine": partial(nn.InstanceNorm2d, affine=True),
    "batch": nn.BatchNorm2d,
}


def shaken(network: nn.Module) -> nn.Module:
    """Every parameter and statistic random, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(0)
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
            if key.endswith("running_var") or value.dim() == 1:
                value.abs_().add_(0.3)
    return network.eval()


def converted(
    script: Script, network: nn.Module, content: Any, path: Path, *options: str, size: int = 20
) -> str:
    """Convert, compare with the network itself, and return what was recognised."""
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    ours = path.with_name("ours.pt")
    family = ("--family", "pix2pix" if isinstance(network, FlatUnet) else "cyclegan")
    done = script("convert", *family, "--input", path, "--output", ours, *options)
    assert done.returncode == 0, done.stderr
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = network(x)
    translator = load(ours, "cpu", test_mode="eval")
    torch.testing.assert_close(translator(x), expected, rtol=1e-4, atol=1e-5)
    return done.stdout.splitlines()[0]


def prefixed(state: dict[str, Tensor], prefix: str) -> OrderedDict[str, Tensor]:
    return OrderedDict((f"{prefix}{key}", value) for key, value in state.items())


@pytest.mark.parametrize("norm", INSTANCE)
def test_blocks_widths_and_norms_are_read_off_the_shapes(
    norm: str, script: Script, tmp_path: Path
) -> None:
    network = shaken(Flat(INSTANCE[norm], blocks=3))
    text = converted(script, network, network.state_dict(), tmp_path / "generator.pth")
    kind = {"plain": "instance", "affine": "instance_affine"}.get(norm, norm)
    assert "ResNet generator of 3 blocks, width 5, 3 to 1 channels" in text
    assert text.endswith(f"norm {kind}")


@pytest.mark.parametrize("norm", INSTANCE)
def test_other_names_in_another_order(norm: str, script: Script, tmp_path: Path) -> None:
    network, path = shaken(Named(INSTANCE[norm])), tmp_path / "net.pth"
    told = ["--padding", "reflect"] + (["--norm", "instance"] if norm == "plain" else [])
    assert "11 blocks" in converted(script, network, network.state_dict(), path, *told)


@pytest.mark.parametrize("norm", INSTANCE)
def test_safetensors_without_an_order(norm: str, script: Script, tmp_path: Path) -> None:
    network, path = shaken(Flat(INSTANCE[norm], blocks=11)), tmp_path / "model.safetensors"
    assert "11 blocks" in converted(script, network, network.state_dict(), path)


@pytest.mark.parametrize("norm", ["affine", "batch"])
def test_unet(norm: str, script: Script, tmp_path: Path) -> None:
    network = shaken(FlatUnet(INSTANCE[norm], bias=norm == "affine"))
    text = converted(script, network, network.state_dict(), tmp_path / "u.pth", size=32)
    assert "U-Net generator of 5 levels, width 3, 3 to 3 channels" in text


def test_a_convolution_without_bias_before_a_plain_norm(script: Script, tmp_path: Path) -> None:
    network = shaken(Flat(nn.InstanceNorm2d, bias=False))
    path, told = tmp_path / "x.pth", ("--norm", "instance")
    torch.save(network.state_dict(), path)
    done = script("convert", "--family", "cyclegan", "--input", path, "--output", tmp_path / "y.pt")
    assert done.returncode == 2 and "--norm instance or --norm none" in done.stderr
    with pytest.raises(AssertionError, match="not close"):
        # A network of none has other results, and loads: only a person can tell.
        converted(script, network, network.state_dict(), path, "--norm", "none")
    converted(script, network, network.state_dict(), path, *told)


def wrappers(state: dict[str, Tensor]) -> dict[str, Any]:
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
    return {
        "module": prefixed(state, "module."),
        "state_dict.netG": {"epoch": 3, "state_dict": {"netG": state}, "optimizer": optimizer},
        "model": {"model": state, "args": {"lr": 1.0, "name": "x"}},
        "params.generator.module": {"params": {"generator": prefixed(state, "module.")}},
        "state_dict.gen": {
            "pytorch-lightning_version": "2.5",
            "optimizer_states": [optimizer],
            "state_dict": prefixed(state, "gen.") | {"dis.0.weight": torch.zeros(8, 3, 4, 4)},
        },
    }


@pytest.mark.parametrize("name", wrappers({}))
def test_wrappers(name: str, script: Script, tmp_path: Path) -> None:
    network = shaken(Flat(nn.InstanceNorm2d))
    content = wrappers(network.state_dict())[name]
    text = converted(script, network, content, tmp_path / "w.ckpt")
    assert f"w.ckpt: {name}" in text
    assert ("1 other tensors are left out" in text) == (name == "state_dict.gen")


def test_both_directions_out_of_one_file(script: Script, tmp_path: Path) -> None:
    nets = [shaken(Named(INSTANCE["affine"])) for _ in range(2)]
    nets[1].stem[0].weight.data.neg_()
    content = {"model": {f"G_{n}": net.state_dict() for n, net in zip("xy", nets, strict=True)}}
    path = tmp_path / "both.pth"
    torch.save(content, path)
    arguments = ("convert", "--family", "cyclegan", "--input", path, "--output", tmp_path / "o.pt")
    done = script(*arguments, "--padding", "reflect")
    assert done.returncode == 2 and "2 generators, model.G_x, model.G_y" in done.stderr
    done = script(*arguments, "--padding", "reflect", "--network", "G_z")
    assert done.returncode == 2 and "0 generators of this name" in done.stderr
    done = script(*arguments, "--padding", "reflect", "--network", "G_y", "G_y")
    assert done.returncode == 2 and "the same one twice" in done.stderr
    done = script(*arguments, "--padding", "reflect", "--norm", "instance", "--network", "G_y")
    assert done.returncode == 2 and "its norms have parameters" in done.stderr
    done = script(*arguments, "--padding", "reflect", "--network", "G_y", "model.G_x")
    assert done.returncode == 0, done.stderr
    translator, x = load(tmp_path / "o.pt", "cpu"), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(translator(x, "AtoB"), nets[1](x))
        torch.testing.assert_close(translator(x, "BtoA"), nets[0](x))


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {k: v for k, v in state.items() if not k.startswith(key)}


class Opinion:
    """An object of another code's class."""


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a block's half": (_without("main.3.conv2"), "21 of them with 16 channels"),
    "no doubling": (_without("decoder.0"), "1 convolutions between 8 and 16 channels"),
    "a norm": (_without("main.3.norm2"), "no norm of 16 channels is left"),
    "no end": (_without("to_image"), "1 convolutions of 7x7"),
    "another kernel": (lambda s: s | {"x.weight": torch.zeros(8, 8, 5, 5)}, "5x5"),
    "attention": (lambda s: s | {"x.query": torch.zeros(8)}, "`x.query` belongs to no"),
    "a slope": (lambda s: s | {"x.weight": torch.zeros(1)}, "`x` is neither"),
    "resizing": (
        lambda s: _without("decoder.0")(s) | {"up.weight": torch.zeros(8, 16, 3, 3)},
        "only transposed convolutions",
    ),
    "nothing": (lambda s: {"epoch": 3}, "holds no tensors"),
    "linear": (lambda s: {"fc.weight": torch.zeros(2, 2)}, "holds no convolutions"),
    "objects": (lambda s: s | {"hparams": Opinion()}, "test_foreign.Opinion"),
    "padding": (lambda s: s, "--padding reflect"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str, script: Script, tmp_path: Path) -> None:
    change, problem = REFUSED[name]
    path = tmp_path / "theirs.pth"
    torch.save(change(Named(INSTANCE["affine"]).state_dict()), path)
    told = () if name == "padding" else ("--padding", "reflect")
    output = tmp_path / "o.pt"
    done = script("convert", "--family", "cyclegan", "--input", path, "--output", output, *told)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"error: {path}: ") and problem in done.stderr
    assert not output.exists()


def test_a_safetensors_file_whose_names_tell_no_order(script: Script, tmp_path: Path) -> None:
    network, path = Flat(nn.InstanceNorm2d, bias=True), tmp_path / "m.safetensors"
    state = {
        key.replace("layers.10", "layers.x").replace("layers.11", "layers.y"): value
        for key, value in network.state_dict().items()
    }
    save_file(state, path)
    done = script("convert", "--family", "cyclegan", "--input", path, "--output", tmp_path / "y.pt")
    assert done.returncode == 2 and "the order of `x.block.5` and `y.block.1`" in done.stderr
