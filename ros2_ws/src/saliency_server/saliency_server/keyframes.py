"""A detector that looks at keyframes only, and at what is in doubt: between its frames the image's own motion leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from saliency_server.flow import Carried, carry
from saliency_server.values import Detection, FrameDetections

EXTRA_SHARE = 1.0  # of the number of keyframes: how many more frames the detector may be asked for
ROUNDS = 4  # of looking, linking and asking again
CLOSE_FRAMES = 3  # intervals this short are not divided
LINKED = 1.0  # cost, in lengths of the box, below which two detections are one thing
BLIND = 0.4  # added to the cost where the flow lost both
DOUBTFUL = 0.5  # lengths by which forward and backward may differ without asking
UNKNOWN = 1.0  # beyond this nobody knows where it is
FLOWED_SCORE = 0.9  # of a frame between two detections, times theirs


class Looker(Protocol):
    """One camera's frames: stamps_s (N,) strictly increasing, size_px (height, width)."""

    stamps_s: np.ndarray
    size_px: tuple[int, int]

    def detect(self, frames: Sequence[int]) -> list[FrameDetections]:
        """Candidates per frame and phrase; none in a frame that cannot be read. Asked twice, it answers from memory."""
        ...

    def grey(self, frame: int) -> np.ndarray | None:
        """A small grey image uint8, None where the frame cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Looked:
    """detections: per frame (N) and phrase, those of the detector and those carried between them; asked: frames that
    the detector has looked at, in order; extra: how many of them are no keyframes; readable (N,) bool."""

    detections: tuple[FrameDetections, ...]
    asked: tuple[int, ...]
    extra: int
    readable: np.ndarray


@dataclass(frozen=True, slots=True)
class _End:
    """A detection at an asked frame: phrase, and its place in that frame's list."""

    frame: int
    phrase: int
    place: int


def look_sparsely(looker: Looker, phrases: int, keyframe_s: float) -> Looked:
    """Ask the detector at keyframes `keyframe_s` apart, and once more half way where it is in doubt.

    Doubt: a thing that is seen on one side of an interval only (loss), one that moved as the flow did not (jump), one
    that the flow carries elsewhere forward than backward (disagreement). At most EXTRA_SHARE as many frames more.
    """
    n = len(looker.stamps_s)
    readable = np.array([looker.grey(i) is not None for i in range(n)], dtype=bool)
    keys = _keyframes(looker.stamps_s, readable, keyframe_s)
    found = dict(zip(keys, looker.detect(keys), strict=True))
    room = int(np.ceil(EXTRA_SHARE * len(keys)))
    settled: dict[tuple[int, int], _Links] = {}
    for _ in range(ROUNDS):
        links, doubts = _link_all(looker, found, phrases, settled)
        wanted = [(a + b) // 2 for a, b in doubts if b - a > CLOSE_FRAMES]
        wanted = [min(np.flatnonzero(readable), key=lambda i: (abs(i - m), i)) for m in wanted]
        wanted = sorted({int(i) for i in wanted} - found.keys(), key=wanted.index)[:room]
        if not wanted:
            break
        room -= len(wanted)
        found.update(zip(wanted, looker.detect(wanted), strict=True))
    else:
        links, _ = _link_all(looker, found, phrases, settled)
    dense: list[list[list[Detection]]] = [
        [list(each) for each in found[i]] if i in found else [[] for _ in range(phrases)] for i in range(n)
    ]
    for phrase, frame, detection in links:
        dense[frame][phrase].append(detection)
    return Looked(
        tuple(tuple(tuple(each) for each in frame) for frame in dense), tuple(sorted(found)),
        len(found) - len(keys), readable,
    )


def _keyframes(stamps_s: np.ndarray, readable: np.ndarray, keyframe_s: float) -> list[int]:
    """The first readable frame, one about every keyframe_s, and the last."""
    keys: list[int] = []
    for i in np.flatnonzero(readable).tolist():
        if not keys or stamps_s[i] - stamps_s[keys[-1]] >= keyframe_s - 1e-6:
            keys.append(i)
    if keys and (last := int(np.flatnonzero(readable)[-1])) != keys[-1]:
        keys.append(last)
    return keys


@dataclass(frozen=True, slots=True)
class _Links:
    """What happened in one interval: pairs of ends, carried detections (phrase, frame, detection), worst doubt."""

    pairs: tuple[tuple[_End, _End], ...]
    between: tuple[tuple[int, int, Detection], ...]
    worst: float


def _link_all(
    looker: Looker, found: dict[int, FrameDetections], phrases: int, settled: dict[tuple[int, int], _Links]
) -> tuple[list[tuple[int, int, Detection]], list[tuple[int, int]]]:
    """All carried detections, and the intervals in doubt, the worst first. settled: intervals linked before."""
    asked = sorted(found)
    ends = {i: {_End(i, k, j) for k in range(phrases) for j in range(len(found[i][k]))} for i in asked}
    ahead = {i: set(each) for i, each in ends.items()}  # not yet linked to something later
    behind = {i: set(each) for i, each in ends.items()}  # nor to something earlier
    between: list[tuple[int, int, Detection]] = []
    worst: dict[tuple[int, int], float] = {}
    for a, b in pairwise(asked):
        if (a, b) not in settled:
            settled[a, b] = _link(looker, found, ahead[a], behind[b], a, b)
        links = settled[a, b]
        _use(links, between, ahead, behind)
        worst[a, b] = links.worst
    # A thing missed once is found again in the asked frame after it.
    for a, middle, b in zip(asked, asked[1:], asked[2:], strict=False):
        if ahead[a] and behind[b]:
            links = _link(looker, found, ahead[a], behind[b], a, b)
            _use(links, between, ahead, behind)
            for inner in ((a, middle), (middle, b)):
                worst[inner] = max(worst[inner], links.worst)
    for a, b in worst:
        lost = [_score(found, end) for end in (*ahead[a], *behind[b])]
        worst[a, b] = max([worst[a, b], *(DOUBTFUL + score for score in lost)])
    doubts = [pair for pair, doubt in worst.items() if doubt > DOUBTFUL]
    return between, sorted(doubts, key=lambda pair: (-worst[pair], pair))


def _use(links: _Links, between: list, ahead: dict[int, set[_End]], behind: dict[int, set[_End]]) -> None:
    between += links.between
    for start, end in links.pairs:
        ahead[start.frame].discard(start)
        behind[end.frame].discard(end)


def _link(
    looker: Looker, found: dict[int, FrameDetections], starts: set[_End], stops: set[_End], a: int, b: int
) -> _Links:
    """Link detections of frames a and b, and carry the linked ones over the frames between."""
    def order(end: _End) -> tuple[int, int]:
        return end.phrase, end.place

    first, last = sorted(starts, key=order), sorted(stops, key=order)
    if not first or not last:
        return _Links((), (), 0.0)
    seen_a, seen_b = ([found[e.frame][e.phrase][e.place] for e in side] for side in (first, last))
    frames = range(a, b + 1)
    forward = carry(looker.grey, frames, np.array([d.box_px for d in seen_a]), looker.size_px)
    backward = carry(looker.grey, frames[::-1], np.array([d.box_px for d in seen_b]), looker.size_px)
    cost = np.full((len(first), len(last)), 1e6)
    for i, start in enumerate(first):
        for j, stop in enumerate(last):
            if start.phrase == stop.phrase:
                cost[i, j] = _cost(seen_a[i], seen_b[j], forward[i], backward[j])
    pairs, between, worst = [], [], 0.0
    share = (looker.stamps_s[a : b + 1] - looker.stamps_s[a]) / (looker.stamps_s[b] - looker.stamps_s[a])
    for i, j in zip(*linear_sum_assignment(cost), strict=True):
        if cost[i, j] >= LINKED:
            continue
        pairs.append((first[i], last[j]))
        boxes, off = _blend(forward[i].boxes_px, backward[j].boxes_px[::-1], seen_a[i], seen_b[j], share)
        trust = np.maximum(forward[i].trust, backward[j].trust[::-1])
        worst = max(worst, float(off.max()))
        for k in range(1, b - a):
            if off[k] <= UNKNOWN:
                sure = FLOWED_SCORE * np.exp(-0.5 * (off[k] / DOUBTFUL) ** 2) * (0.5 + 0.5 * trust[k])
                between.append((first[i].phrase, a + k, _carried(boxes[k], seen_a[i], seen_b[j], share[k], sure)))
    return _Links(tuple(pairs), tuple(between), worst)


def _cost(a: Detection, b: Detection, forward: Carried, backward: Carried) -> float:
    """How far, in lengths of the box, the flow ends from the other detection, both ways; plus unlikeness of size."""
    length = np.sqrt(max(min(_area(a.box_px), _area(b.box_px)), 1.0))
    off = [
        np.hypot(*(_middle(carried.boxes_px[-1]) - _middle(np.array(other.box_px)))) / length
        for carried, other in ((forward, b), (backward, a)) if carried.trust[-1] > 0
    ]
    unlike = 0.3 * abs(np.log(_area(a.box_px) / _area(b.box_px)))
    if not off:
        return float(np.hypot(*(_middle(np.array(a.box_px)) - _middle(np.array(b.box_px)))) / length + BLIND + unlike)
    return float(min(off) + unlike)


def _blend(
    forward: np.ndarray, backward: np.ndarray, a: Detection, b: Detection, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (L, 4) from detection a to detection b, and by how many lengths the two ways differ (L,).

    share (L,) rises from 0 to 1. Each way is bent to end at the detection; the nearer end counts more. Where one way
    was lost the other leads, bent; where both were, a straight line, and the difference is what the line is long.
    """
    box_a, box_b = np.array(a.box_px), np.array(b.box_px)
    length = np.sqrt(max(min(_area(a.box_px), _area(b.box_px)), 1.0))
    s = share[:, None]
    line = (1 - s) * box_a + s * box_b
    whole_f, whole_b = not np.isnan(forward[-1, 0]), not np.isnan(backward[0, 0])
    bent_f = forward + s * (box_b - forward[-1]) if whole_f else np.full_like(line, np.nan)
    bent_b = backward + (1 - s) * (box_a - backward[0]) if whole_b else np.full_like(line, np.nan)
    if whole_f and whole_b:
        # As large as what the ends miss by, in proportion to the way gone, and as large as the ways differ.
        off = np.hypot(*(_middle(forward) - _middle(backward)).T) / length
        return (1 - s) * bent_f + s * bent_b, np.minimum(off, np.hypot(*(_middle(bent_f) - _middle(bent_b)).T) / length
                                                         + 0.5 * off)
    bump = np.minimum(share, 1 - share) * 2
    if whole_f or whole_b:
        bent, raw_end, box = (bent_f, forward[-1], box_b) if whole_f else (bent_b, backward[0], box_a)
        return bent, bump * np.hypot(*(_middle(raw_end) - _middle(box))) / length
    return line, bump * np.hypot(*(_middle(box_a) - _middle(box_b))) / length


def _carried(box: np.ndarray, a: Detection, b: Detection, share: float, sure: float) -> Detection:
    """A detection between two others; its centre keeps its place in the box."""
    off_a, off_b = (np.array(d.centre_px) - _middle(np.array(d.box_px)) for d in (a, b))
    centre = _middle(box) + (1 - share) * off_a + share * off_b
    return Detection(
        tuple(float(v) for v in box), (float(centre[0]), float(centre[1])), float(min(a.score, b.score) * sure),
        float((1 - share) * a.area_px + share * b.area_px),
    )


def _score(found: dict[int, FrameDetections], end: _End) -> float:
    return found[end.frame][end.phrase][end.place].score


def _middle(box: np.ndarray) -> np.ndarray:
    return (box[..., :2] + box[..., 2:]) / 2


def _area(box: Sequence[float]) -> float:
    return max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)
