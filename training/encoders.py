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


class CellNorm(nn.Module):
    """Normalises each cell over its channels, so that a cell's features depend on its own surroundings alone.
    GroupNorm's statistics are of the whole image: something bright in a corner changes them everywhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.epsilon = 1e-3  # empty table has next to no variance, and noise is not to be made features of

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape, before the affine mean 0 and variance at most 1 over the channels."""
        centred = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + self.epsilon)
        return centred * scale * self.weight + self.bias


def _norm(channels: int, local: bool) -> nn.Module:
    return CellNorm(channels) if local else nn.GroupNorm(NORM_GROUPS, channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each normalised, and a skip that is projected where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 2, local: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = _norm(channels_out, local)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = _norm(channels_out, local)
        same = stride == 1 and channels_in == channels_out
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) -> (B, Cout, ceil(h / stride), ceil(w / stride)), float32, >= 0 (ReLU output)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.skip(x))


class Encoder(nn.Module):
    """A strided stem and residual blocks. local: see `build_encoder`."""

    def __init__(
        self, stem: nn.Conv2d, blocks: list[nn.Module], channels: int, local: bool, pool: bool = False
    ) -> None:
        super().__init__()
        self.stem = stem
        self.norm = _norm(stem.out_channels, local)
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


def _halving(stem: nn.Conv2d, local: bool, *widths: int) -> Encoder:
    channels = (stem.out_channels, *widths)
    return Encoder(stem, [ResidualBlock(a, b, local=local) for a, b in pairwise(channels)], channels[-1], local)


def _resnet(inputs: int, local: bool = False) -> Encoder:
    return _halving(nn.Conv2d(inputs, 24, 5, stride=2, padding=2, bias=False), local, 32, 64)


def _fast(inputs: int, local: bool = False) -> Encoder:
    # One 7x7/4 stem instead of 5x5/2 and a block at half resolution: three times the frames per second.
    return _halving(nn.Conv2d(inputs, 32, 7, stride=4, padding=3, bias=False), local, 64)


def _resnet18(inputs: int, local: bool = False) -> Encoder:
    """ResNet-18 (He et al., arXiv 1512.03385) with GroupNorm, and without the last halving: 14x14 cells at 224 px.
    With stride 32 a keypoint could not tell a gripper from what it is about to grip."""
    blocks: list[nn.Module] = []
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 1)):
        blocks += [ResidualBlock(channels, width, stride, local), ResidualBlock(width, width, 1, local)]
        channels = width
    return Encoder(nn.Conv2d(inputs, 64, 7, stride=2, padding=3, bias=False), blocks, channels, local, pool=True)


#: Encoders trained from scratch, given the number of input channels and whether they are `local`. Strides 8, 8 and 16.
FROM_SCRATCH = {"fast": _fast, "resnet": _resnet, "resnet18": _resnet18}


def build_encoder(config: Config, inputs: int = 3, local: bool = False) -> nn.Module:
    """The configured encoder for images of `inputs` channels: forward as `Encoder.forward`, and `channels`. local: by
    `CellNorm`, so that a feature depends on what is within reach of the convolutions and on nothing else. A
    pretrained model is what it is.

    Raises AutofocusError where a pretrained model is asked for and cannot be had.
    """
    if config.encoder == "pretrained":
        return Pretrained(config.pretrained, config.image_size, inputs)
    return FROM_SCRATCH[config.encoder](inputs, local)
