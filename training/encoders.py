"""Image encoders: a frame becomes a small feature map. Trained from scratch, cheap enough for one CPU thread."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

STRIDE = 8  # of every encoder here: a 72x96 frame becomes 9x12 cells


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm and a projected skip; halves the resolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(8, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, channels_out)
        self.skip = nn.Conv2d(channels_in, channels_out, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) -> (B, Cout, ceil(h/2), ceil(w/2)), float32, >= 0 (ReLU output)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.skip(x))


class Encoder(nn.Module):
    """A strided stem and residual blocks. GroupNorm, because frames in a batch are few and correlated."""

    def __init__(self, stem: nn.Conv2d, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = stem
        self.norm = nn.GroupNorm(8, stem.out_channels)
        channels = (stem.out_channels, *widths)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in pairwise(channels)))
        self.channels = channels[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float32, standardised -> features z (B, C, ceil(H/8), ceil(W/8)), >= 0."""
        return self.blocks(torch.relu(self.norm(self.stem(x))))


def _resnet() -> Encoder:
    return Encoder(nn.Conv2d(3, 24, 5, stride=2, padding=2, bias=False), (32, 64))


def _fast() -> Encoder:
    # One 7x7/4 stem instead of 5x5/2 and a block at half resolution: three times the frames per second.
    return Encoder(nn.Conv2d(3, 32, 7, stride=4, padding=3, bias=False), (64,))


ENCODERS = {"resnet": _resnet, "fast": _fast}
