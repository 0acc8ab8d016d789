"""Masks as run lengths, as `annotation.json` keeps them, and as saliency maps."""

from __future__ import annotations

import cv2
import numpy as np


def to_runs(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a (h, w) bool mask in reading order, false and true in turn, false first (maybe 0)."""
    flat = np.asarray(mask, dtype=bool).reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.r_[0, edges, flat.size]).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def from_runs(runs: list[int], size: tuple[int, int]) -> np.ndarray:
    """The (h, w) bool mask of `to_runs`; ValueError where the runs are no such mask's."""
    lengths = np.asarray(runs)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"runs that are no mask of {size[1]}x{size[0]}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size)


def mask_map(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A (H, W) bool mask as a map, float32 (h, w): the share of each cell that it covers."""
    return cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
