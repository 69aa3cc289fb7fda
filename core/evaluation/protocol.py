"""Say what numbers depend on besides the images, so that they can be published and compared."""

from __future__ import annotations

import torch

from core import __version__
from core.evaluation.features import FeatureDistances
from core.evaluation.pairs import RULES


def protocol(distances: FeatureDistances) -> dict[str, str]:
    """Return the protocol of an evaluation: networks, files, rules, versions."""
    versions = {"torch": torch.__version__, "image-translation": __version__}
    return {**distances.protocol, **distances.rules(), **RULES, **versions}
