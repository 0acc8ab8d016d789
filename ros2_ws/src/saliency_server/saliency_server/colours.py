"""Colour words grounded in CIE Lab space: how much each pixel deserves the word."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np

#: Hue angles in CIE Lab, degrees, that each word spans: (from, to), counter-clockwise. Neighbours share their edge.
#: Centres are where sRGB paints of that name lie: red 38, orange 60-73, yellow 90-103, green 136-145, cyan 196,
#: blue 263-306, purple 313-328, pink 340-10.
HUE_SPANS_DEG: dict[str, tuple[float, float]] = {
    "red": (14.0, 49.0),
    "orange": (49.0, 80.0),
    "yellow": (80.0, 114.0),
    "green": (114.0, 172.0),
    "cyan": (172.0, 236.0),
    "blue": (236.0, 310.0),
    "purple": (310.0, 336.0),
    "pink": (336.0, 374.0),
    "brown": (42.0, 80.0),
}
#: Lightness L* over which the membership of each word without a hue rises (first pair) and falls again (second).
#: White rises slowly, so that a white plate stands out from a pale table by degree.
GREY_RAMPS_L: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "black": ((-2.0, -1.0), (20.0, 34.0)),
    "grey": ((22.0, 30.0), (70.0, 78.0)),
    "white": ((62.0, 98.0), (101.0, 102.0)),
}
TERMS: tuple[str, ...] = (*HUE_SPANS_DEG, *GREY_RAMPS_L)

#: Words for vivid paints only: what has these hues and is dull or dark is called brown.
_VIVID = frozenset({"red", "orange"})
HUE_EDGE_DEG = 6.0  # a membership goes from 1 to 0 over this, 0.5 at the edge of its span
_BITS = 6  # the table has 64^3 entries per word: finer than the noise of a camera


def memberships(term: str, lab: np.ndarray) -> np.ndarray:
    """How much each Lab colour (..., 3), L 0-100, deserves the colour word: float32 (...), 0 to 1.

    Hue decides and saturation C/L gates, both of which stay when light gets stronger or weaker (L and C grow with
    the cube root of the light alike), so that one table serves a face in the sun and one in the shade.
    """
    lightness, a, b = (lab[..., i].astype(np.float32) for i in range(3))
    chroma = np.hypot(a, b)
    saturation = chroma / np.maximum(lightness, 1.0)
    if term in GREY_RAMPS_L:
        rise, fall = GREY_RAMPS_L[term]
        colourless = 1 - _ramp(saturation, 0.15, 0.35) * _ramp(chroma, 4.0, 12.0)
        return _ramp(lightness, *rise) * (1 - _ramp(lightness, *fall)) * colourless
    low, high = HUE_SPANS_DEG[term]
    hue = np.degrees(np.arctan2(b, a))
    away = np.abs((hue - (low + high) / 2 + 180.0) % 360.0 - 180.0)
    by_hue = np.clip(((high - low) / 2 - away) / HUE_EDGE_DEG + 0.5, 0, 1)
    seen = _ramp(chroma, 8.0, 18.0) * _ramp(lightness, 4.0, 10.0)  # near black the hue is noise
    if term == "pink":  # also a pale red
        return by_hue * seen * _ramp(saturation, 0.15, 0.3)
    if term == "brown":  # a dark or dull orange
        return by_hue * seen * _ramp(saturation, 0.3, 0.5) * (1 - _ramp(lightness, 45.0, 58.0))
    if term in _VIVID:
        return by_hue * seen * _ramp(saturation, 0.6, 1.1) * _ramp(chroma, 12.0, 40.0)
    if term == "cyan":  # the least saturated of the screen's pure colours
        return by_hue * seen * _ramp(saturation, 0.3, 0.5)
    return by_hue * seen * _ramp(saturation, 0.4, 0.75)


@lru_cache(maxsize=len(TERMS))
def membership_table(term: str) -> np.ndarray:
    """`memberships` of a word for every RGB colour at 6 bits a channel: uint8 (262144,), 255 is 1."""
    levels = (np.arange(1 << _BITS, dtype=np.float32) * 4 + 1.5) / 255.0
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)[0]
    return np.round(memberships(term, lab) * 255).astype(np.uint8)


def membership_images(image: np.ndarray, terms: Iterable[str]) -> list[np.ndarray]:
    """How much each pixel of rgb uint8 (H, W, 3) deserves each word: uint8 (H, W) per term, 255 is 1.

    A table look-up: 0.5 ms an image of 320x240 on one core, against 3 ms for Lab conversion and arithmetic.
    """
    weights = np.array([[1 << 2 * _BITS, 1 << _BITS, 1]], dtype=np.float32)
    index = cv2.transform((image >> (8 - _BITS)).astype(np.float32), weights).astype(np.int32)
    return [np.take(membership_table(term), index) for term in terms]


def _ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((value - low) / (high - low), 0, 1)
