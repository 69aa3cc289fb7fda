"""Options of pix2pix; the defaults are those of the official code (junyanz, commit 00d5574)."""

from typing import Literal

from core.losses import GanMode
from core.nn.factory import GeneratorName, NetworkOptions, NetworksConfig
from core.nn.norms import NormName
from core.options import CountInt, Weight


class Model(NetworkOptions):
    """Networks and loss weights (official `models/pix2pix_model.py`, `options/*.py`)."""

    generator: GeneratorName = "unet_256"
    norm: NormName = "batch"
    dropout: bool = True
    gan_mode: GanMode = "vanilla"
    lambda_L1: Weight = 100.0
    pool_size: CountInt = 0


class Config(NetworksConfig):
    """A pix2pix run."""

    family: Literal["pix2pix"] = "pix2pix"
    model: Model = Model()
