"""Whether networks take the images that a loader makes."""

from __future__ import annotations

from core.errors import UserError
from core.family import Batch, Family
from core.nn.padding import pad_to_multiple
from core.options import DataOptions


def fitted(batch: Batch, family: Family, data: DataOptions) -> Batch:
    """Return a batch that the networks of a family can take, by the rule of `data.fit`.

    Args:
        batch: as the loader gives it.
        family: its networks.
        data: the options that made the images so.

    Raises:
        UserError: they cannot; names the first file, its size, what would do, and the options to
            set.
    """
    minimum = max(int(getattr(net, "minimum", 0)) for net in family.networks.values())
    if data.fit == "pad":
        return batch.changed(lambda images: pad_to_multiple(images, family.multiple, minimum)[0])
    _check(batch, family, data, minimum)
    return batch


def _check(batch: Batch, family: Family, data: DataOptions, minimum: int) -> None:
    for images, names in batch.columns().values():
        height, width = images.shape[-2:]
        made = f"{names[0]}: {width}x{height} px after data.preprocess: {data.preprocess}"
        side = data.crop_size
        if family.layout == "single" and (height, width) != (side, side):
            raise UserError(
                f"{made}, but this model makes images of {side}x{side} px; use "
                "scale_and_center_crop or resize_and_crop, or change data.crop_size"
            )
        if min(height, width) < minimum:
            raise UserError(
                f"{made}, but these networks need {minimum} px; set a larger data.crop_size and "
                "data.load_size, or discriminators with fewer layers in model"
            )
        if height % family.multiple or width % family.multiple:
            raise UserError(
                f"{made}, but this network needs sides that are multiples of {family.multiple}; "
                "set data.crop_size or data.preprocess, or data.fit: pad"
            )
