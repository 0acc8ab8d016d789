"""Augmentation of a batch on the fly: images and what is annotated on them move together. All cheap on one thread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from autofocus_training.config import Config
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Frames:
    """images (B, N, h, w, 3) uint8; boxes_px (B, N, K, 4) float32 x0 y0 x1 y1 in these images, NaN where the object
    is absent; valid (B, N, K) bool: the box can be trusted."""

    images: Tensor
    boxes_px: Tensor
    valid: Tensor

    def centres_px(self) -> Tensor:
        """(B, N, K, 2) x, y of the boxes' centres."""
        return (self.boxes_px[..., :2] + self.boxes_px[..., 2:]) / 2.0


def augment(frames: Frames, config: Config, rng: torch.Generator) -> tuple[Tensor, Frames]:
    """Shift, paste and jitter as configured -> (images (B, N, 3, h, w) float32 in [0, 1], the moved frames)."""
    if config.shift_px:
        frames = shift(frames, config.shift_px, rng)
    images = frames.images.permute(0, 1, 4, 2, 3).float().div_(255.0)
    if config.paste_shapes:
        keep_out = paste_allowed(frames, config.paste_margin_px)
        images = paste(images, keep_out, config.paste_shapes, config.paste_probability, rng)
    if config.jitter:
        images = colour_jitter(images, config.jitter, rng)
    return images, frames


def shift(frames: Frames, largest_px: int, rng: torch.Generator) -> Frames:
    """Move every sample by up to `largest_px` in x and y (edge pixels repeated), boxes with it; an object whose
    centre leaves the image is no longer valid."""
    batch, cameras, height, width, _ = frames.images.shape
    by = torch.randint(-largest_px, largest_px + 1, (batch, cameras, 2), generator=rng)
    rows = (torch.arange(height) - by[..., 1:]).clamp(0, height - 1)  # (B, N, h)
    columns = (torch.arange(width) - by[..., :1]).clamp(0, width - 1)
    b = torch.arange(batch)[:, None, None, None]
    n = torch.arange(cameras)[None, :, None, None]
    images = frames.images[b, n, rows[..., :, None], columns[..., None, :]]
    boxes = frames.boxes_px + torch.cat([by, by], dim=-1)[:, :, None, :]
    moved = Frames(images, boxes, frames.valid)
    centres = moved.centres_px()
    inside = (centres >= 0).all(-1) & (centres[..., 0] < width) & (centres[..., 1] < height)
    return Frames(images, boxes, frames.valid & inside)


def colour_jitter(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Per-image contrast, brightness and channel gains within +- strength (the latter two half); clipped to [0, 1]."""
    batch, cameras = images.shape[:2]

    def around(*shape: int) -> Tensor:
        return (torch.rand(batch, cameras, *shape, generator=rng) * 2.0 - 1.0) * strength

    gain = (1.0 + around(1, 1, 1)) * (1.0 + 0.5 * around(3, 1, 1))
    offset = 0.5 * around(1, 1, 1) + 0.5 * (1.0 - gain)
    return (images * gain + offset).clamp_(0.0, 1.0)


def paste_allowed(frames: Frames, margin_px: float) -> Tensor:
    """(B, N, h, w) bool: pixels where a distractor may be drawn, i.e. farther than `margin_px` from every valid box.
    Nowhere on a frame where an object's place is unknown: the distractor might hide it."""
    height, width = frames.images.shape[2:4]
    y = torch.arange(height) + 0.5
    x = torch.arange(width) + 0.5
    boxes = torch.nan_to_num(frames.boxes_px)[..., None]  # (B, N, K, 4, 1)
    near_x = (x > boxes[..., 0, :] - margin_px) & (x < boxes[..., 2, :] + margin_px)  # (B, N, K, w)
    near_y = (y > boxes[..., 1, :] - margin_px) & (y < boxes[..., 3, :] + margin_px)
    near = (near_y[..., :, None] & near_x[..., None, :]).any(2)
    return ~near & frames.valid.all(2)[..., None, None]


def paste(images: Tensor, allowed: Tensor, shapes: int, probability: float, rng: torch.Generator) -> Tensor:
    """Draw up to `shapes` coloured rectangles and ellipses (half-axes 3-9 px at a width of 96) on every image, each
    with `probability`, on `allowed` (B, N, h, w) pixels only."""
    batch, cameras, _, height, width = images.shape
    scale = width / 96.0
    y = torch.arange(height) + 0.5
    x = torch.arange(width) + 0.5
    for _ in range(shapes):
        r = torch.rand(batch, cameras, 9, generator=rng)
        half_x, half_y = (3.0 + 6.0 * r[..., 0:1]) * scale, (3.0 + 6.0 * r[..., 1:2]) * scale
        dx = ((x - r[..., 2:3] * width) / half_x)[..., None, :]
        dy = ((y - r[..., 3:4] * height) / half_y)[..., :, None]
        ellipse = (r[..., 4] < 0.5)[..., None, None]
        inside = torch.where(ellipse, dx.square() + dy.square(), torch.maximum(dx.abs(), dy.abs())) < 1.0
        drawn = inside & allowed & (r[..., 5] < probability)[..., None, None]
        images = torch.where(drawn[:, :, None], r[..., 6:9, None, None], images)
    return images
