"""Augmentation of a batch on the fly: images and what is annotated on them move together.

All of it is on bytes and with as few passes over them as there can be: it must keep up with the network on one thread.
Colours go through a table of 256 entries for each image and channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from autofocus_training.config import Config
from autofocus_training.draws import Draws
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Frames:
    """images (B, N, h, w, 3) uint8; boxes_px (B, N, K, 4) float32 x0 y0 x1 y1 in these images, NaN where the object
    is absent; valid (B, N, K) bool: the box can be trusted; earlier_px (B, N, K, W - 1, 2) the objects' centres in the
    frames before, earlier_valid (B, N, K, W - 1) bool (None: there is no window)."""

    images: Tensor
    boxes_px: Tensor
    valid: Tensor
    earlier_px: Tensor | None = None
    earlier_valid: Tensor | None = None

    def __post_init__(self) -> None:
        if self.earlier_px is None:
            shape = (*self.valid.shape, 0)
            object.__setattr__(self, "earlier_px", self.boxes_px.new_zeros(*shape, 2))
            object.__setattr__(self, "earlier_valid", self.valid.new_zeros(shape))

    def centres_px(self) -> Tensor:
        """(B, N, K, 2) x, y of the boxes' centres."""
        return (self.boxes_px[..., :2] + self.boxes_px[..., 2:]) / 2.0


def augment(frames: Frames, config: Config, draws: Draws) -> Frames:
    """Zoom and shift, paste, jitter and light as configured."""
    if config.zoom:
        frames = zoom_and_shift(frames, config.zoom, config.shift_px, draws)
    elif config.shift_px:
        frames = shift(frames, config.shift_px, draws)
    if config.paste_shapes:
        frames = paste(frames, config.paste_shapes, config.paste_probability, config.paste_margin_px, draws)
    if config.jitter or config.light:
        images = recolour(frames.images, config.jitter, config.light, draws)
        frames = Frames(images, frames.boxes_px, frames.valid, frames.earlier_px, frames.earlier_valid)
    return frames


def shift(frames: Frames, largest_px: int, draws: Draws) -> Frames:
    """Move every image by up to `largest_px` in x and y (edge pixels repeated), boxes with it; an object whose centre
    leaves the image is no longer valid."""
    _, cameras, height, width, _ = frames.images.shape
    by = draws.integers(-largest_px, largest_px + 1, cameras, 2)
    source = frames.images.numpy()
    images = np.empty_like(source)
    # Slices, one image after the other: several times faster than indexing all of them at once.
    for i, per_camera in enumerate(by.tolist()):
        for n, (x, y) in enumerate(per_camera):
            _shift_one(source[i, n], images[i, n], x, y, height, width)
    return _moved(frames, torch.from_numpy(images), torch.ones(()), by)


def _shift_one(source: np.ndarray, out: np.ndarray, x: int, y: int, height: int, width: int) -> None:
    """out[r, c] = source[r - y, c - x], with the nearest edge pixel where there is none."""
    rows, columns = slice(max(y, 0), height + min(y, 0)), slice(max(x, 0), width + min(x, 0))
    out[rows, columns] = source[max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)]
    if x > 0:
        out[rows, :x] = out[rows, x : x + 1]
    elif x < 0:
        out[rows, x:] = out[rows, x - 1 : x]
    if y > 0:
        out[:y] = out[y]
    elif y < 0:
        out[y:] = out[y - 1]


def zoom_and_shift(frames: Frames, strength: float, largest_px: int, draws: Draws) -> Frames:
    """Scale every image about its middle by 1 - strength to 1 + strength and move it by up to `largest_px` (bilinear,
    edge pixels repeated), boxes with it; an object whose centre leaves the image is no longer valid."""
    _, cameras, height, width, _ = frames.images.shape
    scale = 1.0 + (draws.uniform(cameras) * 2.0 - 1.0) * strength
    move = draws.integers(-largest_px, largest_px + 1, cameras, 2)
    middle = torch.tensor([width / 2.0, height / 2.0])
    offset = middle * (1.0 - scale)[..., None] + move  # a point p of the image goes to scale p + offset
    source = frames.images.numpy()
    images = np.empty_like(source)
    for i in range(source.shape[0]):
        for n in range(cameras):
            s = float(scale[i, n])
            # OpenCV's points are the centres of pixels: half a pixel from the corner.
            x, y = (offset[i, n] + 0.5 * s - 0.5).tolist()
            cv2.warpAffine(source[i, n], np.array([[s, 0.0, x], [0.0, s, y]]), (width, height), dst=images[i, n],
                           flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    return _moved(frames, torch.from_numpy(images), scale[..., None, None], offset)


def _moved(frames: Frames, images: Tensor, scale: Tensor, by: Tensor) -> Frames:
    """`images` with everything that is annotated scaled and then moved by `by` (B, N, 2)."""
    height, width = images.shape[2:4]

    def inside(points: Tensor) -> Tensor:
        return (points >= 0).all(-1) & (points[..., 0] < width) & (points[..., 1] < height)

    boxes = frames.boxes_px * scale + torch.cat([by, by], dim=-1)[:, :, None, :]
    earlier = frames.earlier_px * (scale[..., None] if scale.ndim else scale) + by[:, :, None, None, :]
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2.0
    return Frames(images, boxes, frames.valid & inside(centres), earlier, frames.earlier_valid & inside(earlier))


def recolour(images: Tensor, jitter: float, light: float, draws: Draws) -> Tensor:
    """(B, N, h, w, 3) uint8 -> the same: per-image contrast, brightness and channel gains within +- jitter (the latter
    two half), then a change of light: gamma within exp(+- light), and a slope of brightness over the image, in a corner
    at most +- light/2."""
    tables, slopes = colour_tables(images.shape[1], jitter, light, draws)
    source, tables_u8 = images.numpy(), (tables * 255.0).round().to(torch.uint8).numpy()
    out = np.empty_like(source)
    batch, cameras, height, width, channels = source.shape
    if light:  # 1 + x u + y v, with u, v from -1 to 1 over the image, as what a row and what a byte of it adds
        slope = slopes.numpy()
        rows = 1.0 + slope[..., 1:, None] * _axis(height)[:, None]
        columns = np.repeat(slope[..., :1] * _axis(width), channels, axis=-1)
        factor = np.empty((height, width * channels), np.float32)
    for i in range(batch):
        for n in range(cameras):
            cv2.LUT(source[i, n], tables_u8[i, n], dst=out[i, n])
            if light:
                flat = out[i, n].reshape(factor.shape)
                cv2.multiply(flat, np.add(rows[i, n], columns[i, n], out=factor), dst=flat, dtype=cv2.CV_8U)
    return torch.from_numpy(out)


def colour_tables(cameras: int, jitter: float, light: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """For each image what a byte becomes, (B, N, 1, 256, 3) in [0, 1], and the slope in x and y, (B, N, 2)."""

    def around(*shape: int) -> Tensor:
        return draws.uniform(cameras, *shape) * 2.0 - 1.0

    gain = (1.0 + jitter * around(1, 1, 1)) * (1.0 + 0.5 * jitter * around(1, 1, 3))
    offset = 0.5 * jitter * around(1, 1, 1) + 0.5 * (1.0 - gain)
    level = torch.arange(256)[None, None, None, :, None] / 255.0
    tables = torch.addcmul(offset, level, gain).clamp_(0.0, 1.0)
    if not light:
        return tables, torch.zeros(0)
    return tables ** torch.exp(light * around(1, 1, 1)), 0.25 * light * around(2)


@lru_cache(maxsize=8)
def _axis(size: int) -> np.ndarray:
    """-1 to 1 over `size` pixels."""
    return np.linspace(-1.0, 1.0, size, dtype=np.float32)


def paste(frames: Frames, shapes: int, probability: float, margin_px: float, draws: Draws) -> Frames:
    """Draw up to `shapes` coloured rectangles and ellipses (half-axes 3-9 px at a width of 96) on every image, each
    with `probability`, on pixels farther than `margin_px` from every annotated box.

    Nothing is drawn on an image where an object's place is unknown: the distractor might hide it.
    """
    cameras, height, width = frames.images.shape[1:4]
    images = frames.images.numpy().copy()
    drawn = draws.uniform(shapes, cameras, 9).numpy()
    known = frames.valid.all(2).numpy()
    chosen = np.argwhere((drawn[..., 5] < probability) & known[:, None])
    r = drawn[tuple(chosen.T)]
    half, middle = (3.0 + 6.0 * r[:, :2]) * (width / 96.0), r[:, 2:4] * (width, height)
    # Pixels that may be meant are those of the neighbourhood; what is meant of a pixel is its centre.
    first = np.maximum(np.floor(middle - half).astype(int), 0)
    last = np.minimum(np.ceil(middle + half).astype(int), (width, height))
    # Within a box and its margin: a range of these in x and one in y, (shapes, K, 2).
    boxes = frames.boxes_px.numpy()[chosen[:, 0], chosen[:, 2]]
    low = np.floor((boxes[..., :2] - margin_px).astype(float) - 0.5).astype(int) + 1
    high = np.ceil((boxes[..., 2:] + margin_px).astype(float) - 0.5).astype(int)
    low, high = np.maximum(low - first[:, None], 0), np.maximum(high - first[:, None], 0)
    shape, box = np.nonzero(((low < (last - first)[:, None]) & (low < high)).all(2))
    spared: list[list[tuple[slice, slice]]] = [[] for _ in chosen]
    for s, (x0, y0), (x1, y1) in zip(shape.tolist(), low[shape, box].tolist(), high[shape, box].tolist()):
        spared[s].append((slice(y0, y1), slice(x0, x1)))
    colours = (r[:, 6:9] * 255.0).astype(np.uint8)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    for s, ((i, _, n), (x0, y0), (x1, y1)) in enumerate(zip(chosen.tolist(), first.tolist(), last.tolist())):
        away_x = np.abs(columns[x0:x1] - middle[s, 0]) / half[s, 0]
        away_y = np.abs(rows[y0:y1, None] - middle[s, 1]) / half[s, 1]
        mask = away_x * away_x + away_y * away_y < 1.0 if r[s, 4] < 0.5 else (away_x < 1.0) & (away_y < 1.0)
        for place in spared[s]:
            mask[place] = False
        np.copyto(images[i, n, y0:y1, x0:x1], colours[s], where=mask[..., None])
    return Frames(torch.from_numpy(images), frames.boxes_px, frames.valid, frames.earlier_px, frames.earlier_valid)


def swap_background(frames: Frames, others: Frames, chosen: Tensor, margin_px: float) -> Frames:
    """Where `chosen` (B,) bool: what lies farther than `margin_px` from every box of the sample and of its other
    becomes the other's. So the sample keeps its own objects and gets no second ones.

    An image is left as it is where an object's place is unknown in it or in the other.
    """
    known = (frames.valid.all(2) & others.valid.all(2)).numpy() & chosen.numpy()[:, None]
    source, other = frames.images.numpy(), others.images.numpy()
    height, width = source.shape[2:4]
    boxes = np.concatenate([frames.boxes_px.numpy(), others.boxes_px.numpy()], axis=2)
    images = source.copy()
    for i, n in np.argwhere(known):
        images[i, n] = other[i, n]
        for x0, y0, x1, y1 in boxes[i, n]:
            rows = slice(max(math.floor(y0 - margin_px), 0), min(math.ceil(y1 + margin_px), height))
            columns = slice(max(math.floor(x0 - margin_px), 0), min(math.ceil(x1 + margin_px), width))
            if rows.start < rows.stop and columns.start < columns.stop:
                images[i, n, rows, columns] = source[i, n, rows, columns]
    return Frames(torch.from_numpy(images), frames.boxes_px, frames.valid, frames.earlier_px, frames.earlier_valid)
