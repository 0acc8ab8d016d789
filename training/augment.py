"""Augmentation of a batch on the fly: images and what is annotated on them move together. All cheap on one thread."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from autofocus_training.config import Config
from autofocus_training.draws import Draws
from autofocus_training.images import to_unit
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


def augment(frames: Frames, config: Config, draws: Draws) -> tuple[Tensor, Frames]:
    """Shift, paste and jitter as configured -> (images (B, N, 3, h, w) float32 in [0, 1], the moved frames)."""
    if config.shift_px:
        frames = shift(frames, config.shift_px, draws)
    if config.paste_shapes:
        frames = paste(frames, config.paste_shapes, config.paste_probability, config.paste_margin_px, draws)
    images = to_unit(frames.images)
    if config.jitter:
        images = colour_jitter(images, config.jitter, draws)
    return images, frames


def shift(frames: Frames, largest_px: int, draws: Draws) -> Frames:
    """Move every sample by up to `largest_px` in x and y (edge pixels repeated), boxes with it; an object whose
    centre leaves the image is no longer valid."""
    batch, cameras, height, width, _ = frames.images.shape
    by = draws.integers(-largest_px, largest_px + 1, cameras, 2)
    padded = _repeat_edges(_repeat_edges(frames.images, 2, largest_px), 3, largest_px)
    images = torch.empty_like(frames.images)
    # Plain slices, one sample after the other: several times faster than indexing all of them at once.
    for i, per_camera in enumerate((largest_px - by).tolist()):
        for n, (x, y) in enumerate(per_camera):
            images[i, n] = padded[i, n, y : y + height, x : x + width]
    boxes = frames.boxes_px + torch.cat([by, by], dim=-1)[:, :, None, :]
    centres = Frames(images, boxes, frames.valid).centres_px()
    inside = (centres >= 0).all(-1) & (centres[..., 0] < width) & (centres[..., 1] < height)
    return Frames(images, boxes, frames.valid & inside)


def _repeat_edges(images: Tensor, dim: int, by_px: int) -> Tensor:
    """Pad uint8 images on both sides of `dim` (torch's own replicate padding takes floats only)."""
    shape = list(images.shape)
    shape[dim] = by_px
    first, last = images.narrow(dim, 0, 1), images.narrow(dim, images.shape[dim] - 1, 1)
    return torch.cat([first.expand(shape), images, last.expand(shape)], dim=dim)


def colour_jitter(images: Tensor, strength: float, draws: Draws) -> Tensor:
    """Per-image contrast, brightness and channel gains within +- strength (the latter two half); clipped to [0, 1]."""
    cameras = images.shape[1]

    def around(*shape: int) -> Tensor:
        return (draws.uniform(cameras, *shape) * 2.0 - 1.0) * strength

    gain = (1.0 + around(1, 1, 1)) * (1.0 + 0.5 * around(3, 1, 1))
    offset = 0.5 * around(1, 1, 1) + 0.5 * (1.0 - gain)
    return torch.addcmul(offset, images, gain).clamp_(0.0, 1.0)


def paste(frames: Frames, shapes: int, probability: float, margin_px: float, draws: Draws) -> Frames:
    """Draw up to `shapes` coloured rectangles and ellipses (half-axes 3-9 px at a width of 96) on every image, each
    with `probability`, on pixels farther than `margin_px` from every annotated box.

    Nothing is drawn on an image where an object's place is unknown: the distractor might hide it.
    """
    batch, cameras, height, width, _ = frames.images.shape
    count = batch * cameras
    images = frames.images.reshape(count, height, width, 3).clone()
    known = frames.valid.all(2).view(count, 1)
    boxes = torch.nan_to_num(frames.boxes_px).view(count, 1, -1, 4)
    low, high = boxes[..., :2] - margin_px, boxes[..., 2:] + margin_px  # (M, 1, K, 2)
    size = torch.tensor([width, height])
    scale = width / 96.0
    reach = math.ceil(9.0 * scale)
    offsets = torch.cartesian_prod(torch.arange(-reach, reach + 1), torch.arange(-reach, reach + 1))
    for _ in range(shapes):
        r = draws.uniform(cameras, 9).flatten(0, 1)
        half, middle = (3.0 + 6.0 * r[:, :2]) * scale, r[:, 2:4] * size
        pixel = middle.long()[:, None] + offsets  # (M, P, 2) x, y: the neighbourhood only, not the whole image
        centre = pixel + 0.5
        away = (centre - middle[:, None]) / half[:, None]
        ellipse = r[:, 4:5] < 0.5
        drawn = torch.where(ellipse, away.square().sum(-1), away.abs().amax(-1)) < 1.0
        drawn &= known & (r[:, 5:6] < probability) & (pixel >= 0).all(-1) & (pixel < size).all(-1)
        near = (centre[:, :, None] > low) & (centre[:, :, None] < high)
        drawn &= ~near.all(-1).any(-1)
        image, point = drawn.nonzero(as_tuple=True)
        x, y = pixel[image, point].unbind(-1)
        images[image, y, x] = (r[:, 6:9] * 255.0).to(torch.uint8)[image]
    return Frames(images.view_as(frames.images), frames.boxes_px, frames.valid)
