"""What stands between images and pooling. A vision has two ways in:

- `forward(images (M, 3, H, W) float32 in [0, 1]) -> features z (M, C, h, w)`: as deployed, without any map;
- `see(batch) -> Seen`: in training.

M images: B samples x N cameras, the cameras of a sample together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autofocus_training.batch import Batch
from autofocus_training.config import Config
from autofocus_training.encoders import build_encoder
from autofocus_training.images import standardise
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Seen:
    """z: features (copies * M, C, h, w), copy by copy; terms: the vision's own losses, scalars."""

    z: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    copies: int = 1


class PlainVision(nn.Module):
    """The encoder and nothing else. local: see `build_encoder`."""

    def __init__(self, config: Config, local: bool = False) -> None:
        super().__init__()
        self.encoder = build_encoder(config, local=local)
        self.channels: int = self.encoder.channels

    def forward(self, images: Tensor) -> Tensor:
        """See the top of this file."""
        return self.encoder(standardise(images))

    def see(self, batch: Batch) -> Seen:
        """The same as deployed."""
        return Seen(self(batch.images.flatten(0, 1)))


class BlindVision(nn.Module):
    """Sees nothing: features are zeros whatever the image. What is left is a policy of the state alone."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.channels = 8

    def forward(self, images: Tensor) -> Tensor:
        """See the top of this file."""
        return images.new_zeros([images.shape[0], self.channels, images.shape[2] // 8, images.shape[3] // 8])

    def see(self, batch: Batch) -> Seen:
        """The same as deployed."""
        return Seen(self(batch.images.flatten(0, 1)))
