"""Tell whether a CycleGAN's generator has learnt the photographic negative.

A pair of generators that both invert colours satisfies cycle consistency perfectly, and early in
training the discriminators may not object. Losses look healthy; the pictures are negatives. The
correlation of input and output luminance tells at a glance.
"""

from torch import Tensor

from core.evaluation.metrics.correlation import check_pair, luminance, pixel_correlation

ALARM_BELOW = -0.3
"""A batch mean below this is worth a warning. Honest translations (horse to zebra, summer to
winter) keep most of the layout and stay above 0, although a single image may dip below."""


def color_inversion(x: Tensor, y: Tensor) -> Tensor:
    """Correlate the luminance of inputs [N, C, H, W] and translations [N, C', H, W].

    Returns [N], float64, in [-1, 1]: near 1 a translation keeps light light and dark dark, near -1
    it is the colour-inverted input (see `ALARM_BELOW`), 0 where either image is flat. Range, scale
    and offset of the images do not matter; float or uint8.
    """
    check_pair("color_inversion", x, y)
    return pixel_correlation(luminance(x), luminance(y))
