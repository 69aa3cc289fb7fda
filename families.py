"""The tables of families; the only file that imports them all."""

from __future__ import annotations

import cyclegan.official
import pix2pix.official
from core.family import Family
from core.official import OfficialModule
from core.stylizer import Stylizer
from cyclegan.family import CycleGAN
from pix2pix.family import Pix2Pix
from style.neural.stylizer import NeuralStyle

FAMILIES: dict[str, type[Family]] = {
    "cyclegan": CycleGAN,
    "pix2pix": Pix2Pix,
}
"""name -> family."""

OFFICIAL: dict[str, OfficialModule] = {
    "cyclegan": cyclegan.official,
    "pix2pix": pix2pix.official,
}
"""name -> reader and writer of its released checkpoints."""

STYLIZERS: dict[str, type[Stylizer]] = {
    "neural_style": NeuralStyle,
}
"""name -> method that stylizes one image without a training."""
