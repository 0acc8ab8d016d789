"""Saliency maps from boxes, and distances between maps (arXiv 2511.18617, section on saliency maps)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autofocus_core.errors import AutofocusError

#: Keeps the logarithms of KL and JS finite, as in the paper's reference.
EPSILON = 1e-6
#: What a map is made of: a Gaussian at the box's centre, a Gaussian shaped by the box, the box filled.
MAP_KINDS = ("gaussian", "box", "mask")


def gaussian_maps(boxes: np.ndarray, size: tuple[int, int], frame: tuple[int, int], sigma_px: float) -> np.ndarray:
    """One Gaussian for each box: float32 (N, h, w), values in (0, 1], all zero where a box is NaN.

    `boxes` (N, 4) x0 y0 x1 y1 in pixels of the frame; `size` (h, w) of the maps; `frame` (H, W); `sigma_px`
    in pixels of the frame (20 to 30 at 640x480 in the paper). Cell (r, c) stands for the frame position
    ((c + 0.5) * W / w, (r + 0.5) * H / h); the Gaussian is taken there, about the box centre.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if sigma_px <= 0:
        raise AutofocusError(
            "gaussian_maps: sigma_px", str(sigma_px), "> 0", "give the width of the Gaussian in pixels of the frame"
        )
    (h, w), (frame_h, frame_w) = size, frame
    x = (np.arange(w) + 0.5) * frame_w / w
    y = (np.arange(h) + 0.5) * frame_h / h
    centre_x = (boxes[:, 0] + boxes[:, 2]) / 2
    centre_y = (boxes[:, 1] + boxes[:, 3]) / 2
    # Separable: exp(-(dx^2 + dy^2) / 2s^2) is the outer product of two rows.
    gauss_x = np.exp(-((x[None] - centre_x[:, None]) ** 2) / (2 * sigma_px**2))
    gauss_y = np.exp(-((y[None] - centre_y[:, None]) ** 2) / (2 * sigma_px**2))
    maps = (gauss_y[:, :, None] * gauss_x[:, None, :]).astype(np.float32)
    maps[np.isnan(boxes).any(axis=1)] = 0.0
    return maps


def box_gaussian_maps(boxes: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """One Gaussian for each box, shaped by it: float32 (N, h, w) as of `gaussian_maps`, with one standard deviation
    from the centre to each side of the box, and never less than a cell of the map."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    (h, w), (frame_h, frame_w) = size, frame
    rows = _gaussian(boxes[:, 1], boxes[:, 3], h, frame_h)
    columns = _gaussian(boxes[:, 0], boxes[:, 2], w, frame_w)
    maps = (rows[:, :, None] * columns[:, None, :]).astype(np.float32)
    maps[np.isnan(boxes).any(axis=1)] = 0.0
    return maps


def box_maps(boxes: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """Each box filled: float32 (N, h, w), the share of each cell that the box covers; all zero where a box is NaN."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    (h, w), (frame_h, frame_w) = size, frame
    rows = _cover(boxes[:, 1], boxes[:, 3], h, frame_h)
    columns = _cover(boxes[:, 0], boxes[:, 2], w, frame_w)
    maps = (rows[:, :, None] * columns[:, None, :]).astype(np.float32)
    maps[np.isnan(boxes).any(axis=1)] = 0.0
    return maps


def object_maps(
    kind: str, boxes: np.ndarray, size: tuple[int, int], frame: tuple[int, int], sigma_px: float
) -> np.ndarray:
    """Maps (N, h, w) of a kind in MAP_KINDS: "gaussian" at the centres (as published, `sigma_px` wide), "box"
    (Gaussians shaped by the boxes) or "mask" (the boxes filled). AutofocusError for any other."""
    if kind == "gaussian":
        return gaussian_maps(boxes, size, frame, sigma_px)
    if kind == "box":
        return box_gaussian_maps(boxes, size, frame)
    if kind == "mask":
        return box_maps(boxes, size, frame)
    raise AutofocusError("saliency maps: kind", repr(kind), ", ".join(MAP_KINDS), "choose one of these")


def _gaussian(low: np.ndarray, high: np.ndarray, cells: int, length: int) -> np.ndarray:
    """(N, cells): along one axis, about the middle of [low, high]."""
    at = (np.arange(cells) + 0.5) * length / cells
    sigma = np.maximum((high - low) / 2, length / cells)
    return np.exp(-((at[None] - ((low + high) / 2)[:, None]) ** 2) / (2 * sigma[:, None] ** 2))


def _cover(low: np.ndarray, high: np.ndarray, cells: int, length: int) -> np.ndarray:
    """(N, cells): share of each cell that lies within [low, high]."""
    edge = np.arange(cells) * length / cells
    inside = np.minimum(high[:, None], edge + length / cells) - np.maximum(low[:, None], edge)
    return np.clip(inside * cells / length, 0.0, 1.0)


def union_map(maps: np.ndarray) -> np.ndarray:
    """Sum of the maps (N, h, w), min-max normalised: float32 (h, w) in [0, 1]; zeros where N is 0."""
    maps = np.asarray(maps, dtype=np.float32)
    return minmax(maps.sum(axis=0)) if len(maps) else np.zeros(maps.shape[1:], np.float32)


def minmax(maps: np.ndarray) -> np.ndarray:
    """Each map (..., h, w) scaled to [0, 1]; a constant map becomes zeros."""
    maps = np.asarray(maps, dtype=np.float32)
    low = maps.min(axis=(-2, -1), keepdims=True)
    span = maps.max(axis=(-2, -1), keepdims=True) - low
    return np.where(span > 0, (maps - low) / np.where(span > 0, span, 1.0), 0.0).astype(np.float32)


def aggregate(maps: np.ndarray, alpha: float) -> np.ndarray:
    """Maps over time: H_s = minmax(sum_{j <= s} alpha^(s-j) h_j), float32 (T, h, w) in [0, 1].

    `maps` (T, h, w), oldest first; alpha in (0, 1], 0.7 in the paper.
    """
    if not 0.0 < alpha <= 1.0:
        raise AutofocusError("aggregate: alpha", str(alpha), "0 < alpha <= 1", "0.7 is the paper's")
    maps = np.asarray(maps, dtype=np.float32)
    total = np.empty_like(maps)
    running = np.zeros(maps.shape[1:], np.float32)
    for s, current in enumerate(maps):
        running = alpha * running + current
        total[s] = running
    return minmax(total) if len(maps) else total


def normalise(maps: np.ndarray) -> np.ndarray:
    """Each map (..., h, w) divided by its sum; a map without mass becomes uniform."""
    maps = np.asarray(maps, dtype=np.float64)
    total = maps.sum(axis=(-2, -1), keepdims=True)
    return np.where(total > 0, maps / np.where(total > 0, total, 1.0), 1.0 / (maps.shape[-2] * maps.shape[-1]))


def kl(target: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """sum G log((G + 1e-6) / (E + 1e-6)) of sum-normalised maps: (...) >= about 0, of maps (..., h, w)."""
    g, e = normalise(target), normalise(estimate)
    return (g * np.log((g + EPSILON) / (e + EPSILON))).sum(axis=(-2, -1))


def js(target: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """1/2 KL(G, M) + 1/2 KL(E, M), M the mean, of sum-normalised maps: (...) in [0, log 2]."""
    g, e = normalise(target), normalise(estimate)
    middle = (g + e) / 2
    return 0.5 * kl(g, middle) + 0.5 * kl(e, middle)


def tv(target: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """sum |G - E| of sum-normalised maps: (...) in [0, 2]."""
    return np.abs(normalise(target) - normalise(estimate)).sum(axis=(-2, -1))


def l1(target: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """mean |G - E| of maps as they are: (...)."""
    return np.abs(np.asarray(target, np.float64) - np.asarray(estimate, np.float64)).mean(axis=(-2, -1))


def mse(target: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """mean (G - E)^2 of maps as they are: (...)."""
    return ((np.asarray(target, np.float64) - np.asarray(estimate, np.float64)) ** 2).mean(axis=(-2, -1))


#: Distances by the name that configurations use.
DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mse": mse,
    "l1": l1,
    "kl": kl,
    "js": js,
    "tv": tv,
}
