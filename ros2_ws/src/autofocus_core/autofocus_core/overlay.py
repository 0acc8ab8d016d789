"""A picture of where the policy looks: its attention maps over the image it was given."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

#: RGB of each object's map, in turn; chosen to differ for colour-blind people, too (Okabe and Ito 2008).
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0))
OPACITY = 0.75


def draw_overlay(
    image: np.ndarray, attention: np.ndarray, colours: Sequence[tuple[int, int, int]] = COLOURS
) -> np.ndarray:
    """uint8 (H, W, 3) RGB: `image` darkened, each map of `attention` (K, h, w) in its own of the `colours` on top.

    Each map is scaled to its own maximum; one of zeros (a method without attention) leaves no trace.
    """
    height, width = image.shape[:2]
    out = image.astype(np.float32) * 0.6
    for k, found in enumerate(attention):
        peak = float(found.max(initial=0.0))
        if peak <= 0.0:
            continue
        share = cv2.resize(np.asarray(found, np.float32) / peak, (width, height), interpolation=cv2.INTER_LINEAR)
        share = np.clip(share, 0.0, 1.0)[..., None] * OPACITY
        out = out * (1.0 - share) + np.float32(colours[k % len(colours)]) * share
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)
