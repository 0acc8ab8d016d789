"""From camera frames to network input. TorchScript compiles these functions into the exported policy, so training
and deployment run the same code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STANDARD_MEAN, STANDARD_STD = 0.45, 0.25


def resize_frames(frames: Tensor, height: int, width: int) -> Tensor:
    """(..., H, W, 3) uint8 -> (..., height, width, 3) uint8, antialiased bilinear, rounded to nearest.

    Rounding back to uint8 is deliberate: training caches bytes, and the deployed network must see the same bytes.
    """
    if frames.shape[-3] == height and frames.shape[-2] == width:
        return frames
    flat = frames.reshape(-1, frames.shape[-3], frames.shape[-2], 3).permute(0, 3, 1, 2).float()
    small = F.interpolate(flat, size=[height, width], mode="bilinear", antialias=True, align_corners=False)
    small = small.round().clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)
    return small.reshape(list(frames.shape[:-3]) + [height, width, 3])  # noqa: RUF005 (TorchScript has no [*list])


def to_unit(frames: Tensor) -> Tensor:
    """(B, N, h, w, 3) uint8 -> (B, N, 3, h, w) float32 in [0, 1]; memory stays channels-last."""
    return frames.permute(0, 1, 4, 2, 3).float().div_(255.0)


def standardise(images: Tensor) -> Tensor:
    """[0, 1] -> about zero mean and unit variance, the same for all channels: no statistics to carry along."""
    return (images * 4.0).sub_(1.8)  # (x - STANDARD_MEAN) / STANDARD_STD in one pass and a half
