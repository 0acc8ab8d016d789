"""Candidates of single frames, joined into tracklets: a gated assignment per frame, then stitching over gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from saliency_server.values import Detection

#: Gates are shares of the image's diagonal, so that they mean the same at every resolution.
GATE_SHARE = 0.035  # an object may be this far from where a constant velocity puts it ...
GATE_SHARE_PER_S = 0.6  # ... plus this for each second without it
MAX_SILENCE_S = 0.5  # after this a tracklet ends; a later one may be stitched to it
VELOCITY_GAIN = 0.4  # of the newest displacement in the velocity estimate
NEVER = 1e6


@dataclass(slots=True)
class Tracklet:
    """Frames and detections that are one thing seen; velocity in px/s where it was last seen."""

    frames: list[int] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    @property
    def weight(self) -> float:
        """Sum of the scores: how much evidence there is for it."""
        return sum(d.score for d in self.detections)

    @property
    def mean_score(self) -> float:
        return self.weight / len(self.detections)

    @property
    def area_px(self) -> float:
        """Upper-quartile area: what it is when nothing is in front of it."""
        return float(np.percentile([d.area_px for d in self.detections], 75))

    def add(self, frame: int, detection: Detection, stamps_s: np.ndarray) -> None:
        if self.frames:
            dt_s = stamps_s[frame] - stamps_s[self.frames[-1]]
            moved = np.subtract(detection.centre_px, self.detections[-1].centre_px) / dt_s
            self.velocity = (1 - VELOCITY_GAIN) * self.velocity + VELOCITY_GAIN * moved
        self.frames.append(frame)
        self.detections.append(detection)


def build_tracklets(
    candidates: Sequence[Sequence[Detection]], stamps_s: np.ndarray, diagonal_px: float
) -> list[Tracklet]:
    """Tracklets of one object's candidates over N frames, stitched where forward and backward predictions meet.

    candidates: N sequences; stamps_s: (N,) strictly increasing. Each frame's candidates are assigned to the living
    tracklets at once (Hungarian method) by distance to a constant-velocity prediction over the gate, plus half the
    logarithm of the ratio of areas; what lies outside its gate starts a tracklet of its own.
    """
    alive: list[Tracklet] = []
    done: list[Tracklet] = []
    for frame, found in enumerate(candidates):
        now_s = stamps_s[frame]
        done += [t for t in alive if now_s - stamps_s[t.frames[-1]] > MAX_SILENCE_S]
        alive = [t for t in alive if now_s - stamps_s[t.frames[-1]] <= MAX_SILENCE_S]
        taken = _assign(alive, found, frame, stamps_s, diagonal_px)
        alive += [_started(frame, d, stamps_s) for i, d in enumerate(found) if i not in taken]
    return _stitch(done + alive, stamps_s, diagonal_px)


def _started(frame: int, detection: Detection, stamps_s: np.ndarray) -> Tracklet:
    tracklet = Tracklet()
    tracklet.add(frame, detection, stamps_s)
    return tracklet


def _assign(
    alive: list[Tracklet], found: Sequence[Detection], frame: int, stamps_s: np.ndarray, diagonal_px: float
) -> set[int]:
    """Give candidates to tracklets; returns the indices of those given."""
    if not alive or not found:
        return set()
    cost = np.full((len(alive), len(found)), NEVER)
    for i, tracklet in enumerate(alive):
        last = tracklet.detections[-1]
        dt_s = stamps_s[frame] - stamps_s[tracklet.frames[-1]]
        # The longer unseen, the less its velocity counts: hidden things are mostly being stopped or grasped.
        expected = last.centre_px + tracklet.velocity * min(dt_s, 0.2)
        gate = diagonal_px * (GATE_SHARE + GATE_SHARE_PER_S * dt_s)
        for j, detection in enumerate(found):
            distance = float(np.hypot(*np.subtract(detection.centre_px, expected))) / gate
            if distance <= 1.0:
                cost[i, j] = distance + 0.5 * abs(np.log(detection.area_px / last.area_px))
    rows, columns = linear_sum_assignment(cost)
    taken = set()
    for i, j in zip(rows, columns, strict=True):
        if cost[i, j] < NEVER:
            alive[i].add(frame, found[j], stamps_s)
            taken.add(int(j))
    return taken


def _stitch(tracklets: list[Tracklet], stamps_s: np.ndarray, diagonal_px: float) -> list[Tracklet]:
    """Join tracklets end to start where the later one begins near where the earlier one ended.

    The bag is complete, so both sides of a gap are known: forward from the end and backward from the start must meet
    half way, within the same gate; whatever the length of the gap, as a thing that lies still stays itself.
    """
    tracklets = sorted(tracklets, key=lambda t: t.frames[0])
    n = len(tracklets)
    cost = np.full((n, n), NEVER)
    for i, early in enumerate(tracklets):
        for j, late in enumerate(tracklets):
            dt_s = stamps_s[late.frames[0]] - stamps_s[early.frames[-1]]
            if dt_s <= 0:
                continue
            half_s = min(dt_s / 2, 0.1)
            forward = early.detections[-1].centre_px + early.velocity * half_s
            backward = late.detections[0].centre_px - late.velocity * half_s if len(late.frames) > 1 else (
                np.array(late.detections[0].centre_px)
            )
            distance = float(np.hypot(*(forward - backward)))
            gate = diagonal_px * (GATE_SHARE + GATE_SHARE_PER_S * min(dt_s, MAX_SILENCE_S))
            if distance <= gate:
                cost[i, j] = distance / gate + 0.1 * dt_s
    follower = {int(i): int(j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < NEVER}
    joined, heads = [], set(range(n)) - set(follower.values())
    for head in sorted(heads):
        chain, at = Tracklet(), head
        while True:
            part = tracklets[at]
            chain.frames += part.frames
            chain.detections += part.detections
            chain.velocity = part.velocity
            if at not in follower:
                break
            at = follower[at]
        joined.append(chain)
    return joined
