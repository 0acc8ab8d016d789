"""Image encoders: a frame becomes a small feature map. All but "pretrained" are trained from scratch.

An encoder has two halves, so that a method can come between them: `early` (the first feature maps) and `late`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from autofocus_training.config import Config
from autofocus_training.pretrained import Pretrained
from torch import Tensor, nn

NORM_GROUPS = 8  # GroupNorm, because frames in a batch are few and correlated


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm, and a skip that is projected where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, channels_out)
        same = stride == 1 and channels_in == channels_out
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) -> (B, Cout, ceil(h / stride), ceil(w / stride)), float32, >= 0 (ReLU output)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.skip(x))


class Encoder(nn.Module):
    """A strided stem and residual blocks."""

    def __init__(self, stem: nn.Conv2d, blocks: list[nn.Module], channels: int, pool: bool = False) -> None:
        super().__init__()
        self.stem = stem
        self.norm = nn.GroupNorm(NORM_GROUPS, stem.out_channels)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if pool else nn.Identity()
        self.blocks = nn.Sequential(*blocks)
        self.channels = channels

    def early(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) float32, standardised -> the first feature maps (B, C1, h1, w1), >= 0."""
        return self.pool(torch.relu(self.norm(self.stem(x))))

    def late(self, x: Tensor) -> Tensor:
        """The first feature maps -> features z (B, C, h, w), >= 0."""
        return self.blocks(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) float32, standardised -> features z (B, C, h, w), >= 0."""
        return self.late(self.early(x))


def _halving(stem: nn.Conv2d, *widths: int) -> Encoder:
    channels = (stem.out_channels, *widths)
    return Encoder(stem, [ResidualBlock(a, b) for a, b in pairwise(channels)], channels[-1])


def _resnet(inputs: int) -> Encoder:
    return _halving(nn.Conv2d(inputs, 24, 5, stride=2, padding=2, bias=False), 32, 64)


def _fast(inputs: int) -> Encoder:
    # One 7x7/4 stem instead of 5x5/2 and a block at half resolution: three times the frames per second.
    return _halving(nn.Conv2d(inputs, 32, 7, stride=4, padding=3, bias=False), 64)


def _resnet18(inputs: int) -> Encoder:
    """ResNet-18 (He et al., arXiv 1512.03385) with GroupNorm, and without the last halving: 14x14 cells at 224 px.
    With stride 32 a keypoint could not tell a gripper from what it is about to grip."""
    blocks: list[nn.Module] = []
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 1)):
        blocks += [ResidualBlock(channels, width, stride), ResidualBlock(width, width, 1)]
        channels = width
    return Encoder(nn.Conv2d(inputs, 64, 7, stride=2, padding=3, bias=False), blocks, channels, pool=True)


#: Encoders trained from scratch, given the number of input channels. Strides 8, 8 and 16.
FROM_SCRATCH = {"fast": _fast, "resnet": _resnet, "resnet18": _resnet18}


def build_encoder(config: Config, inputs: int = 3) -> nn.Module:
    """The configured encoder for images of `inputs` channels: forward as `Encoder.forward`, and `channels`.

    Raises AutofocusError where a pretrained model is asked for and cannot be had.
    """
    if config.encoder == "pretrained":
        return Pretrained(config.pretrained, config.image_size, inputs)
    return FROM_SCRATCH[config.encoder](inputs)
