"""The tables of families; the only file that imports them all."""

from __future__ import annotations

import cyclegan.official
import dcgan.official
import pix2pix.official
import style.photo.official
from core.family import Family
from core.official import OfficialModule
from core.stylizer import Stylizer
from cyclegan.family import CycleGAN
from dcgan.family import DCGAN
from pix2pix.family import Pix2Pix
from style.family import PhotoWCTDecoders
from style.photo.stylizer import PhotoStylizer

FAMILIES: dict[str, type[Family]] = {
    "cyclegan": CycleGAN,
    "dcgan": DCGAN,
    "pix2pix": Pix2Pix,
    "style": PhotoWCTDecoders,
}
"""name -> family."""

OFFICIAL: dict[str, OfficialModule] = {
    "cyclegan": cyclegan.official,
    "dcgan": dcgan.official,
    "pix2pix": pix2pix.official,
    "style": style.photo.official,
}
"""name -> reader and writer of its released checkpoints."""

STYLIZERS: dict[str, type[Stylizer]] = {
    "photo_style": PhotoStylizer,
}
"""name -> method that stylizes one image without a training."""
