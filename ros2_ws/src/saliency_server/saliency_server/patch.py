"""A box followed by the image's motion and by its looks where a person drew it: motion alone loses what is plain, and
goes along with what passes in front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from saliency_server.flow import MIN_KEPT, Carried, bridge, carry

MARGIN = 0.15  # of the sides, around the box: the edges of a plain thing are what can be known of it
REACH = 0.6  # of the sides: how far from where it was, or was last sure, it is looked for
SURE, UNLIKE = 0.8, 0.5  # correlations at which it is the same thing, and at which it is not
SAME = 0.85  # and at which it is so surely there that the motion which led elsewhere was another thing's
NEAR = np.array([2, 2])  # cells around a box: it lies between cells, and the flow is as exact
LEAST_SIDE_PX = 4  # of the patch in the small image


def carry_patch(
    grey: Callable[[int], np.ndarray | None], frames: Sequence[int], box_px: np.ndarray, size_px: tuple[int, int]
) -> tuple[Carried, np.ndarray]:
    """As `carry` for one box (4,), which is the truth in the first frame; and for each of the L frames the place on the
    path where it last looked as it did there: up to that, nothing is guessed.

    Where the flow is lost, or leads to what looks otherwise, and the patch of the first frame is found near by, it is
    there (normalised cross-correlation). Frames between the last sure place and one it was found again at, away from
    where the flow had gone, are NaN: something was in front of it.
    """
    count = len(frames)
    path, trust = np.full((count, 4), np.nan), np.zeros(count)
    path[0], trust[0] = box_px, 1.0
    last_sure, half = np.zeros(count, dtype=int), (np.asarray(box_px[2:]) - box_px[:2]) / 2
    first = grey(frames[0])
    template = None if first is None else _patch(first, box_px, size_px)
    if template is None:
        return carry(grey, frames, np.asarray(box_px, np.float64)[None], size_px)[0], last_sure
    sure = at = 0  # places on the path: where it was last sure, and where it was last
    for k in range(1, count):
        image = grey(frames[k])
        if image is None or image.shape != first.shape:
            continue
        step = carry(grey, (frames[at], frames[k]), path[at][None], size_px)[0]
        flowed = None if step.trust[1] < MIN_KEPT else step.boxes_px[1]
        near, here = (flowed, -1.0) if flowed is None else _match(image, flowed, template, size_px, NEAR)
        share = 0.0 if flowed is None else float(step.trust[1])
        hidden = False
        if here < SURE:
            places = {at, sure} if flowed is None else {sure}
            found, there = max((_search(image, path[i], template, size_px) for i in places), key=lambda f: f[1])
            if there >= (SURE if flowed is None else SAME) and here < UNLIKE:
                side = np.hypot(*(found[2:] - found[:2]))
                if flowed is not None and np.hypot(*_middle(flowed - found)) > 0.3 * side:
                    path[sure + 1 : k], trust[sure + 1 : k] = np.nan, trust[sure]
                    hidden, at = True, sure
                flowed, near, here = found, found, there
        if flowed is None:
            break
        if here >= SAME:  # what lies still and is plain would drift with the noise
            flowed = np.r_[_middle(near) - half, _middle(near) + half]
        if here >= SURE:
            sure, share = k, 1.0
        path[k], trust[k], last_sure[k] = flowed, trust[at] * share, sure
        if not hidden:
            bridge(path, trust, at, k)  # over frames that cannot be read
        at = k
    return Carried(path, trust), last_sure


@dataclass(frozen=True, slots=True)
class _Patch:
    """pixels uint8 (h, w) of the small image; offset (2,): from the box's upper left corner to theirs, in cells."""

    pixels: np.ndarray
    offset: np.ndarray


def _patch(image: np.ndarray, box_px: np.ndarray, size_px: tuple[int, int]) -> _Patch | None:
    """The box with MARGIN around it as far as the image goes, None where there is nothing to know it by."""
    box = box_px / np.tile(_cell_px(image, size_px), 2)
    margin = MARGIN * (box[2:] - box[:2])
    x0, y0 = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(box[2:] + margin), image.shape[::-1]).astype(int)
    pixels = image[y0:y1, x0:x1]
    if min(pixels.shape) < LEAST_SIDE_PX or float(pixels.std()) <= 1.0:
        return None
    return _Patch(pixels, np.array([x0, y0]) - box[:2])


def _cell_px(image: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """(x, y) px of the frame that a pixel of the small image is."""
    return np.array([size_px[1] / image.shape[1], size_px[0] / image.shape[0]])


def _search(
    image: np.ndarray, box_px: np.ndarray, template: _Patch, size_px: tuple[int, int]
) -> tuple[np.ndarray, float]:
    """The box (4,) moved to where the template correlates best within REACH, and how well."""
    reach = np.ceil(REACH * np.array(template.pixels.shape[::-1])).astype(int)
    return _match(image, box_px, template, size_px, reach)


def _match(
    image: np.ndarray, box_px: np.ndarray, template: _Patch, size_px: tuple[int, int], reach: np.ndarray
) -> tuple[np.ndarray, float]:
    height, width = template.pixels.shape
    cell_px = _cell_px(image, size_px)
    corner = box_px[:2] / cell_px + template.offset
    x, y = np.floor(corner + 0.5).astype(int)
    left, top = max(x - reach[0], 0), max(y - reach[1], 0)
    window = image[top : max(y + reach[1] + height, 0), left : max(x + reach[0] + width, 0)]
    if window.shape[0] < height or window.shape[1] < width:
        return box_px, -1.0
    score = cv2.matchTemplate(window, template.pixels, cv2.TM_CCOEFF_NORMED)
    _, best, _, (column, row) = cv2.minMaxLoc(score)
    found = np.array([left + column + _between(score[row], column), top + row + _between(score[:, column], row)])
    return box_px + np.tile((found - corner) * cell_px, 2), float(best)


def _between(score: np.ndarray, peak: int) -> float:
    """Where between its neighbours the peak is, by a parabola: -0.5 to 0.5."""
    if not 0 < peak < len(score) - 1:
        return 0.0
    before, at, after = (float(score[i]) for i in (peak - 1, peak, peak + 1))
    curve = before - 2 * at + after
    return 0.0 if curve >= 0 else float(np.clip(0.5 * (before - after) / curve, -0.5, 0.5))


def _middle(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2
