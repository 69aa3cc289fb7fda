"""The tables of families; the only file that imports them all."""

from __future__ import annotations

import cyclegan.official
import dcgan.official
import pix2pix.official
from core.family import Family
from core.official import OfficialModule
from core.stylizer import Stylizer
from cyclegan.family import CycleGAN
from dcgan.family import DCGAN
from pix2pix.family import Pix2Pix

FAMILIES: dict[str, type[Family]] = {
    "cyclegan": CycleGAN,
    "dcgan": DCGAN,
    "pix2pix": Pix2Pix,
}
"""name -> family."""

OFFICIAL: dict[str, OfficialModule] = {
    "cyclegan": cyclegan.official,
    "dcgan": dcgan.official,
    "pix2pix": pix2pix.official,
}
"""name -> reader and writer of its released checkpoints."""

STYLIZERS: dict[str, type[Stylizer]] = {}
"""name -> method that stylizes one image without a training."""
