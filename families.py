"""The tables of families; the only file that imports them all."""

from __future__ import annotations

import cyclegan.official
import dcgan.official
import drit.official
import munit.official
import pix2pix.official
import style.photo.official
import wgan.official
from core.family import Family
from core.official import OfficialModule
from core.stylizer import Stylizer
from cyclegan.family import CycleGAN
from dcgan.family import DCGAN
from drit.family import DRIT
from munit.family import MUNIT
from munit.unit import UNIT
from pix2pix.family import Pix2Pix
from style.family import PhotoWCTDecoders
from style.neural.stylizer import NeuralStyle
from style.photo.stylizer import PhotoStylizer
from wgan.family import WGAN

FAMILIES: dict[str, type[Family]] = {
    "cyclegan": CycleGAN,
    "dcgan": DCGAN,
    "drit": DRIT,
    "munit": MUNIT,
    "pix2pix": Pix2Pix,
    "unit": UNIT,
    "wgan": WGAN,
    "style": PhotoWCTDecoders,
}
"""name -> family."""

OFFICIAL: dict[str, OfficialModule] = {
    "cyclegan": cyclegan.official,
    "dcgan": dcgan.official,
    "drit": drit.official,
    "munit": munit.official,
    "pix2pix": pix2pix.official,
    "unit": munit.official,
    "wgan": wgan.official,
    "style": style.photo.official,
}
"""name -> reader and writer of its released checkpoints."""

STYLIZERS: dict[str, type[Stylizer]] = {
    "neural_style": NeuralStyle,
    "photo_style": PhotoStylizer,
}
"""name -> method that stylizes one image without a training."""
