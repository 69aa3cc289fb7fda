"""What a device does best with networks that are not trained, at the same mathematics."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from core.options import Speed


def arrange(networks: Iterable[nn.Module], speed: Speed) -> str:
    """Make networks on their device fast, in place unless `speed` is off; say what was taken.

    They cannot be trained afterwards.
    """
    networks = list(networks)
    if speed == "off":
        return "speed: off, networks run as they were written"
    if any(p.device.type != "cpu" for network in networks for p in network.parameters()):
        return "speed: auto, torch's own kernels, which are the fastest on this device"
    from core.cpu.accelerate import accelerate_inference  # noqa: PLC0415  (defines operators: slow)

    accelerate_inference(networks)
    return (
        "speed: auto, minimal filtering with kept filters, channels_last, norms in few passes "
        "(off: plain layers; results differ by float32 rounding)"
    )
