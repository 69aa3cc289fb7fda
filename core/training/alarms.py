"""Signs of a training that went wrong, each said once in the log until it is over."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from core.evaluation.metrics.color_inversion import ALARM_BELOW, color_inversion

_ZERO_LOSS = 1e-3
_WINDOWS = 5
_SAME = 0.01
_COLLAPSED = 0.01
_COLLAPSED_SHARE = 0.1


class Alarms:
    """Watches logged means and sample pictures; each method returns new messages."""

    def __init__(self) -> None:
        self._low: dict[str, int] = {}
        self._active: set[str] = set()
        self._low_samples = 0
        self._varied = False

    def _raise(self, key: str, on: bool, message: str) -> list[str]:
        if on and key not in self._active:
            self._active.add(key)
            return [message]
        if not on:
            self._active.discard(key)
        return []

    def check_losses(self, means: Mapping[str, float]) -> list[str]:
        """Discriminator terms (names that begin with `D`) at zero over five log windows."""
        messages = []
        for term, mean in means.items():
            if term.startswith("D"):
                self._low[term] = self._low.get(term, 0) + 1 if abs(mean) < _ZERO_LOSS else 0
                messages += self._raise(
                    f"zero {term}",
                    self._low[term] >= _WINDOWS,
                    f"{term} has been at zero for {_WINDOWS} log windows: the discriminator has "
                    "won and the generator learns nothing; lower its learning rate or capacity",
                )
        return messages

    def check_pictures(self, label: str, images: Tensor, translated: Tensor) -> list[str]:
        """Output equal to the input, or its colour negative.

        Args:
            label: what is translated, for the message.
            images: [N, C, H, W] in [-1, 1].
            translated: of the same shape; other shapes are not judged.
        """
        if images.shape != translated.shape:
            return []
        x, y = images.float(), translated.float()
        difference = float((x - y).abs().mean())
        inversion = float(color_inversion(x, y).mean())
        return [
            *self._raise(
                f"same {label}",
                difference < _SAME,
                f"{label}: output equals input (mean difference {difference:.4f} of 2): the "
                "generator only copies",
            ),
            *self._raise(
                f"inverted {label}",
                inversion < ALARM_BELOW,
                f"{label}: output looks like the input's colour negative (score {inversion:.2f}): "
                "restart with another seed, or add identity loss",
            ),
        ]

    def check_diversity(self, label: str, distance: float) -> list[str]:
        """Translations that hardly depend on the style.

        Args:
            label: what is translated, for the message.
            distance: `core.evaluation.metrics.diversity.pixel_distance` over styles.
        """
        return self._raise(
            f"collapsed {label}",
            distance < _COLLAPSED,
            f"{label}: styles have collapsed (mean difference {distance:.4f} of 2 between "
            "translations of one image): every style gives the same picture; raise the weight of "
            "the style or latent reconstruction, or use mode seeking where there is one",
        )

    def check_samples(self, distance: float, real_distance: float) -> list[str]:
        """A generator that draws one picture whatever its noise (mode collapse).

        Every generator begins like that, so it counts once samples have differed, or if they have
        not for five previews.

        Args:
            distance: `core.evaluation.metrics.diversity.pixel_distance` between samples.
            real_distance: the same between real images.
        """
        low = distance < _COLLAPSED_SHARE * real_distance
        self._low_samples = self._low_samples + 1 if low else 0
        self._varied = self._varied or not low
        return self._raise(
            "collapsed samples",
            low and (self._varied or self._low_samples >= _WINDOWS),
            f"samples have collapsed (mean difference {distance:.4f} of 2 between pictures of "
            f"different noise, {real_distance:.4f} between real ones): mode collapse; go back to "
            "an earlier checkpoint, lower optim.lr, or use soft labels or WGAN-GP",
        )
