"""A user's own checkout of the official code beside ours: the same weights, the same images.

None of that code is here: it is imported from the path that the user gives, in a process of its
own, and driven through its own classes and its own training step.
"""

from __future__ import annotations

import ast
import importlib
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Protocol
from unittest.mock import MagicMock

import torch
from torch import nn

from core.checkpoints.official_layout import to_official
from core.errors import UserError
from core.family import Family, Place, SampleBatch, to_float
from core.family import ImageBatch as Images
from core.runtime import rng
from core.training.benchmark import interleaved, machine
from core.training.step import Stepper

Peer = Literal["cyclegan", "pix2pix", "munit", "drit", "dcgan"]
_FILES: dict[str, str] = {
    "cyclegan": "models/cycle_gan_model.py",
    "pix2pix": "models/pix2pix_model.py",
    "munit": "trainer.py",
    "drit": "src/model.py",
    "dcgan": "dcgan/main.py",
}
"""What a checkout of each must hold."""


class Official(Protocol):
    """The official code of one family, ready to train."""

    def step(self, batch: Any) -> dict[str, float]:
        """Take a whole iteration on float images; return losses under our names."""


def _imported(work: Callable[[], Any]) -> Any:
    """Import one of the checkout's modules; what it imports for its data alone may be missing."""
    try:
        return work()
    except ImportError as error:
        if error.name is None or error.name in sys.modules:
            raise
        sys.modules[error.name] = MagicMock()
        return _imported(work)


def _load(networks: Mapping[str, nn.Module], ours: Family) -> None:
    """Give official networks our weights; buffers that they never use stay."""
    for name, network in networks.items():
        try:
            network.load_state_dict(to_official(ours.networks[name]), strict=False)
        except RuntimeError:
            raise UserError(
                f"the official code has no {name} of these sizes; set those of model as published"
            ) from None


class JunYanZhu:
    """`CycleGANModel` and `Pix2PixModel` of junyanz/pytorch-CycleGAN-and-pix2pix."""

    def __init__(self, ours: Family, config: Any) -> None:
        model, optim = config.model, config.optim
        given = model.model_dump() | optim.model_dump()
        lambdas = {key: value for key, value in given.items() if key.startswith("lambda_")}
        options = SimpleNamespace(
            **{"isTrain": True, "checkpoints_dir": "", "name": "", "preprocess": "none"},
            **{"gpu_ids": [], "device": torch.device("cpu"), "direction": "AtoB"},
            **{key: given[key] for key in ("input_nc", "output_nc", "ngf", "ndf", "norm")},
            **{key: given[key] for key in ("gan_mode", "pool_size", "lr", "beta1")},
            **{"netG": model.generator, "netD": model.discriminator},
            **{"n_layers_D": model.num_layers_dis, "no_dropout": not model.dropout},
            **{"init_type": model.init, "init_gain": model.init_gain},
            **{key: value for key, value in lambdas.items() if key != "lambda_gp"},
        )
        if config.family == "cyclegan":
            self._model = _imported(
                lambda: importlib.import_module("models.cycle_gan_model")
            ).CycleGANModel(options)
        else:
            self._model = _imported(
                lambda: importlib.import_module("models.pix2pix_model")
            ).Pix2PixModel(options)
        self._names = {"G_GAN": "G_GAN", "G_L1": "G_L1", "D_real": "D_real", "D_fake": "D_fake"}
        if config.family == "cyclegan":
            self._names = {name: name for name in self._model.loss_names}
        _load({name: getattr(self._model, f"net{name}") for name in ours.networks}, ours)

    def step(self, batch: Images) -> dict[str, float]:
        """See `Official.step`."""
        self._model.set_input({"A": batch.a, "B": batch.b, "A_paths": [], "B_paths": []})
        self._model.optimize_parameters()
        return {
            ours: float(getattr(self._model, f"loss_{n}").detach())
            for n, ours in self._names.items()
        }


class Munit:
    """`MUNIT_Trainer` of NVlabs/MUNIT."""

    def __init__(self, ours: Family, config: Any) -> None:
        model, optim = config.model, config.optim
        self._options = {
            **model.model_dump(),
            **{"lr": optim.lr, "beta1": optim.beta1, "beta2": optim.beta2},
            **{"weight_decay": optim.weight_decay, "lr_policy": "constant"},
            **{"init": "kaiming", "display_size": 1, "vgg_w": 0},
        }
        sys.modules["torch.utils.serialization"] = MagicMock()
        self._trainer = _imported(lambda: importlib.import_module("trainer")).MUNIT_Trainer(
            self._options
        )
        _load({name: getattr(self._trainer, name) for name in ours.networks}, ours)

    def step(self, batch: Images) -> dict[str, float]:
        """See `Official.step`; what depends on drawn styles is left out."""
        self._trainer.dis_update(batch.a, batch.b, self._options)
        self._trainer.gen_update(batch.a, batch.b, self._options)
        weight = self._options["recon_x_w"]
        terms = {f"recon_x_{d}": getattr(self._trainer, f"loss_gen_recon_x_{d}") for d in "ab"}
        return {name: weight * float(value.detach()) for name, value in terms.items()}


class Drit:
    """`DRIT` of HsinYingLee/DRIT, an iteration that updates everything."""

    def __init__(self, ours: Family, config: Any) -> None:
        model = config.model
        options = SimpleNamespace(
            **{"concat": model.concat, "no_ms": not model.lambda_ms, "dis_norm": "None"},
            **{"dis_scale": model.dis_scale, "dis_spectral_norm": model.dis_spectral_norm},
            **{"input_dim_a": model.input_dim_a, "input_dim_b": model.input_dim_b},
        )
        # Its generators step, and go backward through the graph of before: fused, torch lets them.
        plain = torch.optim.Adam
        torch.optim.Adam = lambda *given, **named: plain(  # type: ignore[assignment, misc]
            *given, **named, fused=True
        )
        self._model = _imported(lambda: importlib.import_module("model")).DRIT(options)
        torch.optim.Adam = plain  # type: ignore[misc]
        self._model.gpu = 0
        _load({name: getattr(self._model, name) for name in ours.networks}, ours)

    def step(self, batch: Images) -> dict[str, float]:
        """See `Official.step`; every loss depends on drawn attributes."""
        self._model.update_D(batch.a, batch.b)
        self._model.update_EG()
        return {}


class Dcgan:
    """`dcgan/main.py` of pytorch/examples, a script: its classes, and the body of its loop."""

    def __init__(self, ours: Family, config: Any) -> None:
        file = Path(sys.path[0]) / "main.py"
        source = file.read_text(encoding="utf-8")
        argv = [str(file), "--dataset", "fake", "--workers", "0", "--niter", "0"]
        argv += ["--batchSize", str(config.train.batch_size), "--lr", str(config.optim.lr)]
        argv += ["--imageSize", str(config.data.crop_size), "--ngf", str(config.model.ngf)]
        sys.argv = [*argv, "--ndf", str(config.model.ndf), "--outf", "/tmp"]
        for name in ("torchvision", *(f"torchvision.{n}" for n in ("datasets", "transforms"))):
            sys.modules[name] = MagicMock()
        sys.modules["torchvision.utils"] = MagicMock()
        data = torch.utils.data.DataLoader
        torch.utils.data.DataLoader = MagicMock()  # type: ignore[misc]
        self._names: dict[str, Any] = {"__name__": "peer", "print": lambda *_: None}
        exec(compile(source, str(file), "exec"), self._names)
        torch.utils.data.DataLoader = data  # type: ignore[misc]
        self._body = _loop_body(source, str(file))
        # Its first batch of an epoch draws and saves pictures besides.
        self._names |= {"epoch": 0, "enumerate": lambda loader, _: enumerate(loader, 1)}
        _load({"G": self._names["netG"], "D": self._names["netD"]}, ours)

    def step(self, batch: SampleBatch) -> dict[str, float]:
        """See `Official.step`; the fakes depend on drawn noise."""
        self._names["dataloader"] = [[batch.images]]
        exec(self._body, self._names)
        return {"D_real": float(self._names["errD_real"].detach())}


def _loop_body(source: str, file: str) -> Any:
    """Compile the inner one of a script's last two nested loops."""
    loops = [node for node in ast.parse(source).body if isinstance(node, ast.For)]
    inner: list[ast.stmt] = [node for node in loops[-1].body if isinstance(node, ast.For)]
    return compile(ast.Module(inner[-1:], []), file, "exec")


_PEERS: dict[str, Callable[[Family, Any], Official]] = {
    "cyclegan": JunYanZhu,
    "pix2pix": JunYanZhu,
    "munit": Munit,
    "drit": Drit,
    "dcgan": Dcgan,
}


def noise_batch(config: Any, number: int) -> Any:
    """Make a batch of uint8 noise in the sizes of a config, the same for the same number."""
    side, size = config.data.crop_size, config.train.batch_size
    generator = torch.Generator().manual_seed(number)
    columns = [
        torch.randint(0, 256, (size, c, side, side), generator=generator, dtype=torch.uint8)
        for c in config.channels
    ]
    names, place = ("noise",) * size, Place(number, number + 3)
    if len(columns) == 1:
        return SampleBatch(columns[0], names, ("",) * size, place)
    return Images(columns[0], columns[1], names, names, place)


class _Way:
    """Ours, or the official code at a path, from the same weights on the same batches."""

    def __init__(self, kind: type[Family], config: Any, path: Path | None) -> None:
        self.device = torch.device("cpu")
        rng.seed_all(config.train.seed)
        family = kind.build(config)
        self._config, self._number = config, 0
        if path is None:
            stepper = Stepper(family, config.train, self.device)
            self._step: Callable[[Any], Mapping[str, Any]] = lambda b: stepper(b, self._number)
        else:
            sys.path.insert(0, str((path / _FILES[config.family]).parent))
            if config.family in ("cyclegan", "pix2pix"):
                sys.path.insert(0, str(path))
            _without_cuda()
            self._step = _PEERS[config.family](family, config).step
        rng.seed_all(config.train.seed)
        self._first = {name: float(value) for name, value in self._take().items()}

    def _take(self) -> Mapping[str, Any]:
        batch = noise_batch(self._config, self._number)
        floats = {key: to_float(images) for key, (images, _) in batch.columns().items()}
        self._number += 1
        return self._step(type(batch)(**{**vars(batch), **floats}))

    def measure(self, rounds: int) -> dict[str, float]:
        """Seconds of a step by the processor and by the clock, and the losses of the first one."""
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(rounds):
            self._take()
        return {
            "processor_seconds": (time.process_time() - processor) / rounds,
            "wall_seconds": (time.perf_counter() - wall) / rounds,
            **{f"loss {name}": value for name, value in self._first.items()},
        }


def _without_cuda() -> None:
    """Let calls of `.cuda()` in code that knows no CPU leave everything where it is."""
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]


def benchmark_peer(
    kind: type[Family], config: Any, path: Path, repeats: int, steps: int
) -> dict[str, Any]:
    """Measure the official code at `path` and ours by turns, on noise, on the CPU.

    Returns:
        Medians of both, the ratio of processor seconds (above 1: ours is faster), peak memory, and
        the largest difference of the losses of the first step, relative to the loss, among those
        that no drawn numbers come into.

    Raises:
        UserError: no checkout of that code is at `path`.
    """
    file = path / _FILES[config.family]
    if not file.is_file():
        raise UserError(f"{path}: no checkout of the official {config.family} (lacks {file})")
    where = {"official": path.absolute(), "ours": None}
    ways = {name: partial(_Way, kind, config, checkout) for name, checkout in where.items()}
    found = interleaved(ways, repeats, steps)
    losses = {key: found.pop(key) for key in list(found) if key.startswith("loss ")}
    apart = [abs(of["ours"] / of["official"] - 1) for of in losses.values()]
    shown = max(apart) if apart else None
    return {**machine(torch.device("cpu")), **found, "largest_difference_of_losses": shown}
