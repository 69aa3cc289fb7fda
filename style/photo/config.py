"""Options of photo style transfer; the defaults are those of the official FastPhotoStyle.

Source: `demo.py`, `process_stylization.py` and the modules they call, commit af0c8fe.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.options import Options, PositiveFloat, PositiveInt, Speed
from core.stylizer import StylizerConfig


class Matting(Options):
    """Closed-form matting propagation (`photo_smooth.py`)."""

    beta: Annotated[float, Field(gt=0, lt=1)] = 0.9999
    """How far colours spread: by about sqrt(1 / (1 - beta)) pixels."""
    epsilon: PositiveFloat = 1e-7
    """Regulariser of the colour covariances."""
    radius: PositiveInt = 1
    """Radius of the matting windows, in pixels."""
    tolerance: PositiveFloat = 2e-3
    """Largest root mean square error of the solution, for colours in [0, 1]."""


class Guided(Options):
    """Colour guided filter (`photo_gif.py`)."""

    radius: PositiveInt = 35
    """Windows are 2 * radius + 1 pixels wide."""
    eps: PositiveFloat = 0.001
    """Regulariser, in squared grey levels of 0..255 (official folder script: 0.01)."""


class Affine(Options):
    """Local affine smoothing (`smooth_filter.py`)."""

    radius: PositiveInt = 15
    """Radius of the window of the average, in pixels (`f_radius`)."""
    edge: PositiveFloat = 0.1
    """How different colours may be to share a model (`f_edge`)."""


class PhotoConfig(StylizerConfig):
    """How a photo takes the style of another."""

    family: Literal["photo_style"] = "photo_style"
    encoder: Literal["photo_wct", "distilled", "wavelet"] = "photo_wct"
    """`photo_wct`: the published networks; `distilled`: small ones (Chiu and Gurari 2022);
    `wavelet`: an orthonormal transform, which needs no weights."""
    weights: str | None = None
    """File of the encoder's weights."""
    weights_sha256: str | None = None
    """Refuse a file with another digest."""
    speed: Speed = "auto"
    """`auto` runs the networks as fast as the device can with the same results to rounding."""
    max_side: PositiveInt | None = 960
    """Images whose SHORT side exceeds this are shrunk to it with their LONG side, as published."""
    relations: str | None = None
    """`.npy` file with the similarity of class ids (official `ade20k_semantic_rel.npy`): small
    classes join similar ones, and classes that one map lacks become similar ones that it has."""
    segment: Annotated[int, Field(ge=2, le=64)] | None = None
    """Classes of automatic masks (`style.segment`) where none are given; none: one region."""
    smoothing: Literal["matting", "guided", "none"] = "matting"
    """`guided` is the official `--fast`."""
    crop_border: bool = True
    """Matting as published: the stylised image loses 2 pixels on every side, the content is scaled
    down to the rest, and the border is darker. False keeps size, alignment and brightness."""
    post: bool = True
    """Local affine smoothing at the end (false: the official `--no_post`)."""
    matting: Matting = Matting()
    guided: Guided = Guided()
    affine: Affine = Affine()

    @model_validator(mode="after")
    def _weights_where_there_are_some(self) -> Self:
        if (self.encoder == "wavelet") != (self.weights is None):
            advice = "has none; leave it out" if self.encoder == "wavelet" else "needs a file"
            raise ValueError(f"weights: encoder {self.encoder} {advice}")
        return self
