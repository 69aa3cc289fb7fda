"""The tables of families; the only file that imports them all."""

from __future__ import annotations

import cyclegan.official
import dcgan.official
import drit.official
import munit.official
import pix2pix.official
from core.family import Family
from core.official import OfficialModule
from cyclegan.family import CycleGAN
from dcgan.family import DCGAN
from drit.family import DRIT
from munit.family import MUNIT
from munit.unit import UNIT
from pix2pix.family import Pix2Pix

FAMILIES: dict[str, type[Family]] = {
    "cyclegan": CycleGAN,
    "dcgan": DCGAN,
    "munit": MUNIT,
    "drit": DRIT,
    "pix2pix": Pix2Pix,
    "unit": UNIT,
}
"""name -> family."""

OFFICIAL: dict[str, OfficialModule] = {
    "cyclegan": cyclegan.official,
    "dcgan": dcgan.official,
    "munit": munit.official,
    "drit": drit.official,
    "pix2pix": pix2pix.official,
    "unit": munit.official,
}
"""name -> reader and writer of its released checkpoints."""
