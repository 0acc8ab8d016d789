"""Does a policy look at what matters, and is it moved by it? Measures of attention maps, and of covered images.

Attention maps are coarse (a cell is often larger than an object), so a cell counts as *on* a box as soon as it overlaps
it. A policy has either one map for everything or one for each object; sums of its maps are compared, so that the two
kinds can stand side by side. Everything is NaN where no object is valid or a map has no mass: nothing is known then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autofocus_core.errors import AutofocusError
from autofocus_core.saliency import gaussian_maps, kl

#: Width of the target's Gaussians as a share of the frame's height: 20 px at 480, as in arXiv 2511.18617.
SIGMA_SHARE = 1.0 / 24.0


def cells_on(boxes_px: np.ndarray, grid: tuple[int, int], image_size: tuple[int, int]) -> np.ndarray:
    """bool (N, h, w): which cells of a grid laid over the image overlap each box; none where a box is NaN.

    `boxes_px` (N, 4) x0 y0 x1 y1 in px of the image; `grid` (h, w); `image_size` (H, W).
    """
    boxes = np.asarray(boxes_px, dtype=np.float64).reshape(-1, 4)
    (h, w), (height, width) = grid, image_size
    rows = _overlap(boxes[:, 1], boxes[:, 3], h, height)
    columns = _overlap(boxes[:, 0], boxes[:, 2], w, width)
    return rows[:, :, None] & columns[:, None, :]


def attention_share(
    attention: np.ndarray, boxes_px: np.ndarray, valid: np.ndarray, image_size: tuple[int, int]
) -> float:
    """Share of the attention on the objects: sum of A over the cells that overlap a valid box, in [0, 1].

    A is the mean of the maps, each divided by its sum. `attention` >= 0: (K, h, w), map k for object k, of which those
    of valid objects count, or (1, h, w); `boxes_px` (K, 4) x0 y0 x1 y1 in px of the image; `valid` (K,) bool;
    `image_size` (H, W) px. Compare with `chance`: a map that is the same everywhere gets that.
    """
    found = _joined(attention, boxes_px, valid)
    if found is None:
        return float("nan")
    joined, boxes = found
    return float(joined[cells_on(boxes, joined.shape, image_size).any(axis=0)].sum())


def chance(grid: tuple[int, int], boxes_px: np.ndarray, valid: np.ndarray, image_size: tuple[int, int]) -> float:
    """Share of the cells of a grid (h, w) that overlap a valid box: `attention_share` of a uniform map."""
    return attention_share(np.ones((1, *grid)), boxes_px, valid, image_size)


def pointing_hit(
    attention: np.ndarray, boxes_px: np.ndarray, valid: np.ndarray, image_size: tuple[int, int]
) -> bool | None:
    """The pointing game (Zhang et al., Top-down neural attention by excitation backprop, 2018): is the peak on target?

    One map: its greatest cell overlaps a valid box. A map for each object: the greatest cell of every valid object's
    map overlaps that object's own box. None where no object is valid or a map has no mass. Arguments as above.
    """
    maps, boxes, valid = _checked(attention, boxes_px, valid)
    if not valid.any():
        return None
    mine = maps[valid] if len(maps) > 1 or len(boxes) == 1 else maps
    if not (mine.sum(axis=(1, 2)) > 0).all():
        return None
    on = cells_on(boxes[valid], maps.shape[1:], image_size)
    targets = on if len(mine) == len(on) else on.any(axis=0, keepdims=True)
    peaks = mine.reshape(len(mine), -1).argmax(axis=1)
    return bool(targets.reshape(len(mine), -1)[np.arange(len(mine)), peaks].all())


def kl_to_map(
    attention: np.ndarray, boxes_px: np.ndarray, valid: np.ndarray, image_size: tuple[int, int],
    sigma_px: float | None = None,
) -> float:
    """KL(G, A) = sum G log((G + 1e-6) / (A + 1e-6)) in nats, about 0 where they agree.

    G: the valid objects' Gaussians, `sigma_px` wide (None: a 24th of the image's height) at the boxes' centres, each
    divided by its sum, averaged; A as in `attention_share`; both on the attention's own grid.
    """
    found = _joined(attention, boxes_px, valid)
    if found is None:
        return float("nan")
    joined, boxes = found
    sigma = SIGMA_SHARE * image_size[0] if sigma_px is None else sigma_px
    cell_px = max(image_size[0] / joined.shape[0], image_size[1] / joined.shape[1])
    # Narrower than half a cell, a Gaussian between two cell centres would round to nothing.
    target = gaussian_maps(boxes, joined.shape, image_size, max(sigma, cell_px / 2))
    return float(kl((target / target.sum(axis=(1, 2), keepdims=True)).mean(axis=0), joined))


def blank(image: np.ndarray, box_px: Sequence[float], fill: str | Sequence[int] = "surround") -> np.ndarray:
    """A copy of `image` uint8 (H, W, 3) with the box x0 y0 x1 y1 (px, clipped to the image) filled with one colour.

    `fill`: an RGB colour, or "surround": the median colour of a frame around the box, a quarter of its longer side
    thick, as if the thing had been taken away. AutofocusError for a box that does not overlap the image.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = _pixels(box_px, height, width)
    out = image.copy()
    if isinstance(fill, str):
        if fill != "surround":
            raise AutofocusError("blank: fill", repr(fill), "'surround' or an RGB colour", "choose one of these")
        margin = max(2, round(max(x1 - x0, y1 - y0) / 4))
        top, left = max(0, y0 - margin), max(0, x0 - margin)
        around = image[top : y1 + margin, left : x1 + margin]
        ring = np.ones(around.shape[:2], dtype=bool)
        ring[y0 - top : y1 - top, x0 - left : x1 - left] = False
        out[y0:y1, x0:x1] = np.median((around[ring] if ring.any() else image.reshape(-1, 3)), axis=0).astype(np.uint8)
    else:
        out[y0:y1, x0:x1] = np.asarray(fill, dtype=np.uint8)
    return out


def background_boxes(
    size_px: tuple[float, float], avoid_px: np.ndarray, image_size: tuple[int, int], count: int
) -> np.ndarray:
    """Up to `count` boxes (M, 4) of `size_px` (width, height), spread over the image, that overlap none of `avoid_px`.

    Boxes lie on a grid with steps of their own size (finer, down to half of it, where few would fit), and are thinned
    evenly in reading order: the same boxes for the same arguments. M is 0 where none fits.
    """
    (width, height), (image_h, image_w) = size_px, image_size
    avoid = np.asarray(avoid_px, dtype=np.float64).reshape(-1, 4)
    avoid = avoid[np.isfinite(avoid).all(axis=1)]
    found = np.zeros((0, 4))
    for share in (1.0, 0.5):
        xs, ys = _starts(image_w, width, share), _starts(image_h, height, share)
        found = np.array([(x, y, x + width, y + height) for y in ys for x in xs]).reshape(-1, 4)
        apart = (
            (found[:, None, 0] >= avoid[None, :, 2]) | (found[:, None, 2] <= avoid[None, :, 0])
            | (found[:, None, 1] >= avoid[None, :, 3]) | (found[:, None, 3] <= avoid[None, :, 1])
        )  # fmt: skip
        found = found[apart.all(axis=1)]
        if len(found) >= count:
            break
    if len(found) > count:
        found = found[np.linspace(0, len(found) - 1, count).round().astype(int)]
    return found


def action_change(base: np.ndarray, changed: np.ndarray, scale: np.ndarray) -> float:
    """How far two chunks (H, A) are apart: mean over steps and joints of |changed - base| / scale, `scale` (A,) > 0.

    With scale = joint velocity limit * dt: in shares of what the arm could move in one step.
    """
    return float(np.mean(np.abs(np.asarray(changed) - np.asarray(base)) / np.asarray(scale)))


def _joined(attention: np.ndarray, boxes_px: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The mean of the maps that count, sum 1 (h, w), and the valid boxes; None where there is nothing to measure."""
    maps, boxes, valid = _checked(attention, boxes_px, valid)
    if not valid.any():
        return None
    if len(maps) > 1:
        maps = maps[valid]
    mass = maps.sum(axis=(1, 2), keepdims=True)
    if not (mass > 0).all():
        return None
    return (maps / mass).mean(axis=0), boxes[valid]


def _checked(attention: np.ndarray, boxes_px: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, ...]:
    maps = np.asarray(attention, dtype=np.float64)
    boxes = np.asarray(boxes_px, dtype=np.float64).reshape(-1, 4)
    valid = np.asarray(valid, dtype=bool).reshape(-1) & np.isfinite(boxes).all(axis=1)
    if maps.ndim != 3 or len(maps) not in (1, len(boxes)):
        raise AutofocusError(
            "attention maps", f"shape {maps.shape} for {len(boxes)} objects", "(1, h, w) or one map for each object",
            "give the maps of one camera, and its boxes in the order of the policy's objects",
        )
    return maps, boxes, valid


def _overlap(low: np.ndarray, high: np.ndarray, cells: int, length: int) -> np.ndarray:
    """bool (N, cells): which cells overlap [low, high] along one axis; false for NaN."""
    edge = np.arange(cells) * length / cells
    with np.errstate(invalid="ignore"):
        return (high[:, None] > edge) & (low[:, None] < edge + length / cells)


def _pixels(box_px: Sequence[float], height: int, width: int) -> tuple[int, int, int, int]:
    box = np.asarray(box_px, dtype=np.float64)
    if box.shape == (4,) and np.isfinite(box).all():
        x0, y0 = (max(0, int(np.floor(v))) for v in box[:2])
        x1, y1 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
        if x0 < x1 and y0 < y1:
            return x0, y0, x1, y1
    raise AutofocusError(
        "blank: box", str(box.tolist()), f"x0 y0 x1 y1 that overlap an image of {width}x{height} px",
        "leave out objects without a box in the image",
    )


def _starts(length: float, size: float, share: float) -> np.ndarray:
    """Left or upper edges of boxes along an axis, evenly, about `share` of their size apart; none if too big."""
    if size > length:
        return np.zeros(0)
    return np.linspace(0.0, length - size, int((length - size) // (size * share)) + 1)
