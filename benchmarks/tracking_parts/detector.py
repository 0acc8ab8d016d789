"""A detector made worse on purpose: true boxes that are missed at random, jittered, with false alarms among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from saliency_server.values import Detection, FrameDetections

from tracking_parts.episodes import Episode


@dataclass(frozen=True, slots=True)
class Fault:
    """How bad the detector is.

    recall: share of visible things found, each frame and thing on its own, or, with `burst` > 1, in stretches of
    misses of that mean length; jitter: standard deviation of each edge in shares of the box's side, but at least
    `jitter_px`; wild: share of boxes with three times that; alarms: false boxes per name and frame, half of them on
    another thing; double: share of boxes found twice.
    """

    recall: float
    burst: float = 1.0
    jitter: float = 0.04
    jitter_px: float = 0.7
    wild: float = 0.03
    alarms: float = 0.03
    double: float = 0.01


def degrade(episode: Episode, fault: Fault) -> list[FrameDetections]:
    """What such a detector finds in each frame, per name in the order of `episode.phrases`, best first.

    Depends on the episode's condition and seed and on the fault, on nothing else.
    """
    rng = np.random.default_rng([episode.seed, *episode.condition.encode(), round(1000 * fault.recall),
                                 round(10 * fault.burst)])
    phrases, n = episode.phrases, len(episode.stamps_s)
    found: list[list[list[Detection]]] = [[[] for _ in phrases] for _ in range(n)]
    for thing in episode.things.values():
        k = phrases.index(thing.phrase)
        missed = _missed(rng, n, fault)
        for i in np.flatnonzero(thing.visible & ~missed):
            box = _jittered(rng, thing.boxes_px[i], fault, episode.size_px)
            found[i][k].append(_detection(box, rng.normal(0.78, 0.08)))
            if rng.random() < fault.double:
                again = _jittered(rng, thing.boxes_px[i], fault, episode.size_px)
                found[i][k].append(_detection(again, rng.normal(0.6, 0.08)))
    height, width = episode.size_px
    for i in range(n):
        for k, phrase in enumerate(phrases):
            if rng.random() >= fault.alarms:
                continue
            others = [t for t in episode.things.values() if t.phrase != phrase and t.visible[i]]
            if others and rng.random() < 0.5:
                box = _jittered(rng, others[rng.integers(len(others))].boxes_px[i], fault, episode.size_px)
            else:
                size = rng.uniform(10, 40, 2)
                corner = rng.uniform(0, 1, 2) * (np.array([width, height]) - size)
                box = np.r_[corner, corner + size]
            found[i][k].append(_detection(box, rng.normal(0.58, 0.08)))
    return [
        tuple(tuple(sorted(each, key=lambda d: d.score, reverse=True)) for each in frame) for frame in found
    ]


def _missed(rng: np.random.Generator, n: int, fault: Fault) -> np.ndarray:
    """(n,) bool: a two-state chain whose share of misses is 1 - recall and whose misses last `burst` frames."""
    if fault.burst <= 1.0:
        return rng.random(n) >= fault.recall
    end = 1.0 / fault.burst
    begin = end * (1.0 - fault.recall) / fault.recall
    missed, state = np.empty(n, dtype=bool), rng.random() >= fault.recall
    for i in range(n):
        missed[i] = state
        state = rng.random() >= end if state else rng.random() < begin
    return missed


def _jittered(rng: np.random.Generator, box: np.ndarray, fault: Fault, size_px: tuple[int, int]) -> np.ndarray:
    side = np.tile(box[2:] - box[:2], 2)
    sigma = np.maximum(fault.jitter * side, fault.jitter_px) * (3.0 if rng.random() < fault.wild else 1.0)
    box = box + rng.normal(size=4) * sigma
    height, width = size_px
    low, high = np.minimum(box[:2], box[2:] - 1), np.maximum(box[2:], box[:2] + 1)
    return np.clip(np.r_[low, high], 0, np.tile([width, height], 2))


def _detection(box: np.ndarray, score: float) -> Detection:
    x0, y0, x1, y1 = (float(v) for v in box)
    x1, y1 = max(x1, x0 + 1.0), max(y1, y0 + 1.0)
    return Detection((x0, y0, x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2), float(np.clip(score, 0.05, 0.99)),
                     (x1 - x0) * (y1 - y0))
