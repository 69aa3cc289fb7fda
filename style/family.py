"""Training of PhotoWCT's decoders for an encoder (Li et al., ECCV 2018; WCT, NIPS 2017, eq. 1).

Each decoder learns to give images back from the features of its level, with the places of the
maxima that pooling remembered. The encoder stays as it is; it is kept with the decoders, and
`scripts/convert.py` writes both as the `photo_wct.pth` that the photo stylizer loads.

Deviation from the paper, whose training code is not published: the feature term is relative to the
features' size (`style.losses`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from core.family import Layout, SampleBatch, Update
from core.training.optimizers import adam
from style.config import Config as StyleConfig
from style.losses import feature_loss, reconstruction_loss
from style.photo.networks import LEVELS, Decoder, Encoder
from style.photo.official_encoder import load_encoder


class PhotoWCTDecoders:
    """`enc` up to relu4_1, frozen, and `dec1..dec4`; networks see RGB in [0, 1]."""

    name: ClassVar[str] = "style"
    Config: ClassVar[type[StyleConfig]] = StyleConfig
    layout: ClassVar[Layout] = "single"
    ema_networks: ClassVar[tuple[str, ...]] = tuple(f"dec{level}" for level in LEVELS)
    objective: ClassVar[str] = "total"
    multiple: ClassVar[int] = 1
    minimum: ClassVar[int] = 16

    def __init__(self, config: StyleConfig) -> None:
        self.config = config
        depth = config.model.vgg
        encoder = Encoder(LEVELS[-1], depth).requires_grad_(False)
        decoders = {f"dec{level}": Decoder(level, depth) for level in LEVELS}
        self.networks: dict[str, nn.Module] = {"enc": encoder, **decoders}
        for network in self.networks.values():
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d):
                    init = nn.init.dirac_ if layer is encoder["conv0"] else nn.init.kaiming_normal_
                    init(layer.weight)
                    nn.init.zeros_(cast("Tensor", layer.bias))
        self.optimizers: Mapping[str, Optimizer] = {"dec": adam(decoders.values(), config.optim)}
        self.state: dict[str, Any] = {}

    @classmethod
    def build(cls, config: StyleConfig) -> Self:
        """Make decoders with initial weights, and the encoder with those of its file."""
        family = cls(config)
        model = config.model
        if model.encoder is not None:
            encoder = cast("Encoder", family.networks["enc"])
            load_encoder(encoder, Path(model.encoder), model.vgg_input)
        return family

    def reconstruct(self, images: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Return {level: features} and {level: image decoded from them} of images in [0, 1]."""
        features, poolings = self.networks["enc"](images)
        decoded = {
            level: self.networks[f"dec{level}"](features[level], poolings[: level - 1])
            for level in LEVELS
        }
        return features, decoded

    def training_step(self, batch: SampleBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Train all four decoders at once: they share nothing but the encoder."""
        model = self.config.model
        of_image, of_features = model.lambda_reconstruction, model.lambda_feature
        images = (batch.images + 1) / 2  # [N, 3, H, W]
        features, decoded = self.reconstruct(images)

        losses = {}
        for level, output in decoded.items():
            again, _ = self.networks["enc"](output, level)
            losses[f"reconstruction_{level}"] = reconstruction_loss(output, images, of_image)
            losses[f"feature_{level}"] = feature_loss(again[level], features[level], of_features)
        update(self.optimizers["dec"], *losses.values())

        terms = {name: loss.detach() for name, loss in losses.items()}
        return terms | {"total": sum(terms.values(), start=images.new_zeros(()))}

    def preview(self, batch: SampleBatch) -> Mapping[str, Tensor]:
        """Return photos, and what each decoder makes of them."""
        _, decoded = self.reconstruct((batch.images + 1) / 2)
        return {"image": batch.images} | {
            f"relu{level}_1": output * 2 - 1 for level, output in decoded.items()
        }
