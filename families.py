"""The tables of families, and `load`; the only file that imports them all."""

from pathlib import Path
from typing import Literal

import torch

import cyclegan.cut.official
import cyclegan.official
import dcgan.official
import drit.official
import munit.official
import pix2pix.official
import style.distil.official
import style.fast.family
import style.photo.official
import wgan.official
from core.convert.official import OfficialModule
from core.family import Family
from core.inference import loading
from core.inference.sampler import Sampler
from core.inference.translator import Translator
from core.options import Speed
from core.stylizer import Stylizer
from cyclegan.cut.family import CUT
from cyclegan.family import CycleGAN
from dcgan.family import DCGAN
from drit.family import DRIT
from munit.family import MUNIT
from munit.unit import UNIT
from pix2pix.family import Pix2Pix
from style.distil.family import Distillation
from style.family import PhotoWCTDecoders
from style.fast.family import FastStyle
from style.neural.stylizer import NeuralStyle
from style.photo.stylizer import PhotoStylizer
from wgan.family import WGAN

FAMILIES: dict[str, type[Family]] = {
    "cut": CUT,
    "cyclegan": CycleGAN,
    "dcgan": DCGAN,
    "drit": DRIT,
    "munit": MUNIT,
    "pix2pix": Pix2Pix,
    "unit": UNIT,
    "wgan": WGAN,
    "style": PhotoWCTDecoders,
    "vgg_student": Distillation,
    "fast_style": FastStyle,
}
"""name -> family."""

OFFICIAL: dict[str, OfficialModule] = {
    "cut": cyclegan.cut.official,
    "cyclegan": cyclegan.official,
    "dcgan": dcgan.official,
    "drit": drit.official,
    "munit": munit.official,
    "pix2pix": pix2pix.official,
    "unit": munit.official,
    "wgan": wgan.official,
    "style": style.photo.official,
    "vgg_student": style.distil.official,
}
"""name -> reader and writer of its released checkpoints."""

STYLIZERS: dict[str, type[Stylizer]] = {"neural_style": NeuralStyle, "photo_style": PhotoStylizer}
"""name -> method that stylizes one image without a training."""

CARRIED: dict[str, Path] = {"painted styles (carried)": style.fast.family.WEIGHTS}
"""{what it is: checkpoint} of those that the project carries."""


def load(
    path: str | Path,
    device: str | torch.device = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    test_mode: Literal["published", "eval"] = "published",
    tile: int | None = None,
    speed: Speed = "auto",
) -> Translator:
    """Load a translator from a checkpoint of any form.

    `path` is a run folder, whose newest intact checkpoint is taken; a checkpoint or safetensors
    file; a folder with `model.safetensors` and `config.json`; or `hf://owner/name`. `auto` takes a
    GPU where there is one, `bf16` is autocast. `published` tests as the official code does, `eval`
    with running statistics and without dropout. Tiles have sides of `tile` pixels: 0 never tiles,
    None where memory would not do. `auto` makes networks as fast as the device allows with the same
    results to float32 rounding; with `off` they run as they were written.

    Raises:
        UserError: missing, damaged, or of a family that does not translate.
    """
    return loading.load_translator(path, FAMILIES, device, precision, test_mode, tile, speed)


def load_sampler(
    path: str | Path,
    device: str | torch.device = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    speed: Speed = "auto",
) -> Sampler:
    """Load a generative checkpoint as a function of noise and captions; see `load`."""
    return loading.load_sampler(path, FAMILIES, device, precision, speed)
