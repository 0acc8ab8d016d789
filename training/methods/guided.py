"""Methods that need a saliency map at test time: Mask, ViSaRL, AGIL, GMD and IGMD, and the predictor that makes it.

The predictor is trained along, on images whose true map is known, and is part of the network: whoever runs the policy
gives images and nothing else. In training the encoder gets the true map where there is one and the prediction, cut off
from the gradient, where there is none; when deployed, always the prediction.

In the reference a separate program trains the predictor, and its network has another shape in evaluation than in
training. This one takes images of any size, and the same code runs in both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from autofocus_training.batch import Batch, mean_where, minmax
from autofocus_training.config import Config
from autofocus_training.encoders import NORM_GROUPS, build_encoder
from autofocus_training.images import standardise
from autofocus_training.methods.vision import Seen
from torch import Tensor, nn

KEPT = 0.3  # K = 0.7 minmax(G) + 0.3: how often a cell is kept where nothing is salient (GMD)
PRIOR = -4.0  # first logit of the predictor: 2 % salient, about what there is


def _conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.GroupNorm(NORM_GROUPS, outputs),
        nn.ReLU(),
    )  # fmt: skip


class SaliencyPredictor(nn.Module):
    """A small feature pyramid; the map has a quarter of the image's resolution before it is scaled up."""

    def __init__(self) -> None:
        super().__init__()
        width = 24
        self.down4 = nn.Sequential(nn.Conv2d(3, width, 7, stride=4, padding=3), nn.ReLU())
        self.down8 = _conv(width, 32, 2)
        self.down16 = nn.Sequential(_conv(32, 32, 2), _conv(32, 32, 1))
        self.across4, self.across8, self.across16 = (nn.Conv2d(n, width, 1) for n in (width, 32, 32))
        self.out = nn.Sequential(_conv(width, width, 1), nn.Conv2d(width, 1, 1))
        nn.init.constant_(self.out[-1].bias, PRIOR)

    def logits(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) in [0, 1] -> (M, 1, H, W), any real number."""
        fine = self.down4(standardise(images))
        middle = self.down8(fine)
        deep = self.across16(self.down16(middle))
        deep = self.across8(middle) + F.interpolate(deep, size=middle.shape[2:], mode="nearest")
        deep = self.across4(fine) + F.interpolate(deep, size=fine.shape[2:], mode="nearest")
        return F.interpolate(self.out(deep), size=images.shape[2:], mode="bilinear", align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) in [0, 1] -> maps (M, 1, H, W) in [0, 1], min-max normalised as the true ones are."""
        return minmax(torch.sigmoid(self.logits(images)))


class GuidedVision(nn.Module):
    """An encoder, and a predictor of the map that guides it. Which of the methods it is: `encode`."""

    def __init__(self, config: Config, inputs: int = 3) -> None:
        super().__init__()
        self.encoder = build_encoder(config, inputs)
        self.predictor = SaliencyPredictor()
        self.channels: int = self.encoder.channels

    def encode(self, images: Tensor, maps: Tensor) -> Tensor:
        """images (M, 3, H, W), maps (M, 1, H, W), both in [0, 1] -> features z."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """See vision.py: guided by the prediction."""
        return self.encode(images, self.predictor(images))

    def see(self, batch: Batch) -> Seen:
        """See vision.py: guided by the true map where it is known; "predictor": cross-entropy on those."""
        images = batch.images.flatten(0, 1)
        maps = batch.targets.union_map(*batch.targets.image_size).flatten(0, 1)[:, None]
        known = batch.targets.now.any(2).flatten()
        logits = self.predictor.logits(images)
        error = F.binary_cross_entropy_with_logits(logits, maps, reduction="none").mean((1, 2, 3))
        predicted = minmax(torch.sigmoid(logits.detach()))
        used = torch.where(known[:, None, None, None], maps, predicted)
        return Seen(self.encode(images, used), {"predictor": mean_where(error, known)})


class MaskVision(GuidedVision):
    """Mask: enc(x * G)."""

    def encode(self, images: Tensor, maps: Tensor) -> Tensor:
        return self.encoder(standardise(images * maps))


class VisarlVision(GuidedVision):
    """ViSaRL: enc([x, G]), the map as a fourth channel."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, inputs=4)

    def encode(self, images: Tensor, maps: Tensor) -> Tensor:
        return self.encoder(torch.cat([standardise(images), standardise(maps)], dim=1))


class AgilVision(GuidedVision):
    """AGIL: 1/2 (enc(x) + enc2(x * G))."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.masked_encoder = build_encoder(config)

    def encode(self, images: Tensor, maps: Tensor) -> Tensor:
        return 0.5 * (self.encoder(standardise(images)) + self.masked_encoder(standardise(images * maps)))


def kept(maps: Tensor, height: int, width: int, drop: bool, least: float = KEPT) -> Tensor:
    """K = 0.7 minmax(G) + 0.3 on a grid of cells (M, 1, height, width); with `drop`, Bernoulli(K) instead.

    Min-max is by image. The reference takes it over the batch, so that a mask there depends on its batch mates.
    """
    k = (1.0 - least) * minmax(F.adaptive_avg_pool2d(maps, [height, width])) + least
    return torch.bernoulli(k) if drop else k


class GmdVision(GuidedVision):
    """GMD: z * Bernoulli(K) in training, z * K when deployed."""

    def encode(self, images: Tensor, maps: Tensor) -> Tensor:
        z = self.encoder(standardise(images))
        return z * kept(maps, z.shape[2], z.shape[3], self.training)


class IgmdVision(GuidedVision):
    """IGMD: the same on the encoder's first feature maps."""

    def encode(self, images: Tensor, maps: Tensor) -> Tensor:
        z = self.encoder.early(standardise(images))
        return self.encoder.late(z * kept(maps, z.shape[2], z.shape[3], self.training))
