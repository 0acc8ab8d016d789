"""The `colour-terms` detector: objects found by the colour word in their name, with no weights."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from autofocus_core.errors import AutofocusError

from saliency_server.colours import TERMS, membership_images
from saliency_server.phrases import COLOUR_WORDS, ObjectPhrase
from saliency_server.values import Detection, FrameDetections

MIN_MEMBERSHIP = 128  # of 255: half way
#: A word of degree is looked for at several levels: at the lowest a white plate and a pale table may be one patch.
LEVELS: dict[str, tuple[int, ...]] = {"white": (102, 140, 180, 215)}
MIN_AREA_SHARE = 1.5e-4  # of the image: 12 px at 320x240
MAX_AREA_SHARE = 0.25  # larger patches are furniture
MAX_CANDIDATES = 6
LIKE_THE_BEST = 0.85
MIN_SCORE = 0.3

#: Longest side over shortest, and least share of its box that a thing of this name fills, seen from anywhere.
_SHAPES: dict[str, tuple[float, float]] = {
    "cube": (2.2, 0.45), "block": (4.0, 0.4), "box": (4.0, 0.4), "ball": (1.6, 0.6), "plate": (5.0, 0.5),
    "bowl": (4.0, 0.4), "cup": (3.0, 0.4),
}
_ANY_SHAPE = (10.0, 0.15)


class ColourTermDetector:
    """Connected patches of the named colour, scored by colour, size and shape; several candidates per object.

    Each image is looked at on its own: what belongs together, over time or as the parts of one thing (a gripper's
    two fingertips), is the tracker's business.
    """

    name = "colour-terms"
    version = "1"

    def prepare(self, objects: Sequence[ObjectPhrase]) -> None:
        """Check that every object has a colour; raises AutofocusError naming the words that are known."""
        for thing in objects:
            if thing.colour not in TERMS:
                raise AutofocusError(
                    f"object {thing.name!r}",
                    "a name without a colour word",
                    "a name with one of " + ", ".join(sorted(COLOUR_WORDS)),
                    "say its colour in the task's objects or instruction, or choose another --detect backend",
                )

    def detect(self, images: Sequence[np.ndarray], objects: Sequence[ObjectPhrase]) -> list[FrameDetections]:
        """Candidates for each object in each rgb uint8 (H, W, 3) image, best first, at most MAX_CANDIDATES."""
        terms = sorted({thing.colour for thing in objects})
        return [self._detect_one(image, objects, terms) for image in images]

    def _detect_one(
        self, image: np.ndarray, objects: Sequence[ObjectPhrase], terms: Sequence[str]
    ) -> FrameDetections:
        parts = {
            term: [patch for level in LEVELS.get(term, (MIN_MEMBERSHIP,)) for patch in _patches(member, level)]
            for term, member in zip(terms, membership_images(image, terms), strict=True)
        }
        return tuple(_candidates(parts[thing.colour], thing) for thing in objects)


def _patches(member: np.ndarray, level: int) -> list[Detection]:
    """Connected patches of a membership image uint8 (H, W) at or above a level, with sub-pixel centre and mean
    membership."""
    least, most = MIN_AREA_SHARE * member.size, MAX_AREA_SHARE * member.size
    _, mask = cv2.threshold(member, level - 1, 1, cv2.THRESH_BINARY)
    left, top, width, height = cv2.boundingRect(mask)
    if width * height < least:
        return []
    # Labelling costs by the pixel, and the colour is mostly in a small part of the image.
    left, top, right, bottom = max(left - 1, 0), max(top - 1, 0), left + width + 1, top + height + 1
    mask, member = mask[top:bottom, left:right], member[top:bottom, left:right]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for label in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[label])
        if not least <= area <= most:
            continue
        # One pixel more on each side: the half-mixed pixels of the rim place the centre sub-pixel.
        x0, y0, x1, y1 = max(x - 1, 0), max(y - 1, 0), min(x + w + 1, mask.shape[1]), min(y + h + 1, mask.shape[0])
        inside, deserved = labels[y0:y1, x0:x1], member[y0:y1, x0:x1]
        weight = np.where((inside == label) | (inside == 0), deserved, 0) / 255.0
        total = float(weight.sum())
        cx = float(weight.sum(axis=0) @ np.arange(x0, x1)) / total + 0.5 + left
        cy = float(weight.sum(axis=1) @ np.arange(y0, y1)) / total + 0.5 + top
        score = float(deserved[inside == label].mean()) / 255.0
        box = (float(x + left), float(y + top), float(x + w + left), float(y + h + top))
        found.append(Detection(box, (cx, cy), score, float(area)))
    return found


def _candidates(patches: Sequence[Detection], thing: ObjectPhrase) -> tuple[Detection, ...]:
    longest, fill = _SHAPES.get(thing.noun, _ANY_SHAPE)
    scored = [_with_shape(patch, longest, fill) for patch in patches]
    if thing.colour in LEVELS:
        scored = _without_nested(scored)
    scored = sorted((d for d in scored if d.score >= MIN_SCORE), key=lambda d: d.score * d.area_px, reverse=True)
    return tuple(scored[:MAX_CANDIDATES])


def _without_nested(patches: Sequence[Detection]) -> list[Detection]:
    """Of patches that lie in one another, as one thing does at several levels, the largest that deserves its word
    about as much as the best does: a table with a plate on it deserves it less, half a plate hardly more."""
    kept: list[Detection] = []
    for patch in sorted(patches, key=lambda d: d.area_px, reverse=True):
        nested = [other for other in patches if _inside(patch, other) or _inside(other, patch)]
        if patch.score < LIKE_THE_BEST * max(other.score for other in nested):
            continue
        if not any(_inside(patch, other) or _inside(other, patch) for other in kept):
            kept.append(patch)
    return kept


def _inside(a: Detection, b: Detection) -> bool:
    """Whether a's centre is in b's box."""
    x0, y0, x1, y1 = b.box_px
    return x0 <= a.centre_px[0] <= x1 and y0 <= a.centre_px[1] <= y1


def _with_shape(patch: Detection, longest: float, fill: float) -> Detection:
    """The patch with its score lowered where it is longer or thinner than such a thing can be."""
    x0, y0, x1, y1 = patch.box_px
    w, h = x1 - x0, y1 - y0
    aspect = max(w, h) / min(w, h)
    plausible = min(1.0, longest / aspect) * min(1.0, patch.area_px / (w * h) / fill)
    return Detection(patch.box_px, patch.centre_px, patch.score * plausible, patch.area_px)
