"""Painted scenes for the saliency tests: coloured shapes on a table, their centres known to a fraction of a pixel."""

import cv2
import numpy as np

RED, ORANGE, BROWN, BLUE, WHITE = (217, 23, 23), (255, 128, 0), (92, 56, 31), (26, 51, 204), (242, 242, 237)
SIZE_PX = (240, 320)


def blank(table=(168, 163, 153)):
    """An empty table, rgb uint8 (240, 320, 3)."""
    return np.full((*SIZE_PX, 3), table, dtype=np.uint8)


def box(image, centre_px, size_px, rgb):
    """Paint an upright box, its rim pixels mixed by how much of them it covers."""
    columns, rows = (
        np.clip(np.minimum(np.arange(n) + 1, c + s / 2) - np.maximum(np.arange(n), c - s / 2), 0, 1)
        for n, c, s in zip((image.shape[1], image.shape[0]), centre_px, size_px, strict=True)
    )
    share = (rows[:, None] * columns[None, :])[..., None]
    image[:] = np.round(image * (1 - share) + np.array(rgb) * share).astype(np.uint8)
    return image


def ellipse(image, centre_px, radii_px, rgb):
    cv2.ellipse(image, tuple(int(v) for v in centre_px), radii_px, 0, 0, 360, rgb, -1, cv2.LINE_AA)
    return image


def lit(image, gain):
    """The image under a light whose channels are this much stronger or weaker (before gamma: gain ** 2.2)."""
    return np.clip(image * np.asarray(gain, dtype=np.float32), 0, 255).astype(np.uint8)
