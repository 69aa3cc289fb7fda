"""The table of families; the only file that imports them all."""

from __future__ import annotations

from core.family import Family
from cyclegan.family import CycleGAN
from pix2pix.family import Pix2Pix

FAMILIES: dict[str, type[Family]] = {
    "cyclegan": CycleGAN,
    "pix2pix": Pix2Pix,
}
