"""Candidates of single frames, joined into tracklets: a gated assignment per frame forward and backward, then stitching
over gaps."""

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
STALE = 2.0  # added to the cost of a tracklet unseen for MAX_SILENCE_S: what was seen last goes first ...
UNPROVEN = 0.5  # ... and what was seen often before what was seen once
VELOCITY_GAIN = 0.4  # of the newest displacement in the velocity estimate
VELOCITY_S = 0.2  # the ends of a tracklet over which its velocity there is fitted
SURE_FRAMES = 4  # a tracklet of fewer may be a false alarm: it is joined over short gaps only, and if no other claims
SHORT_GAP_S = 0.2
WORTH = 2.0  # what a join may cost
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

    def end_velocity(self, stamps_s: np.ndarray, at_start: bool = False) -> np.ndarray:
        """(2,) px/s over the last (or first) VELOCITY_S, by least squares; zero where there is too little to tell."""
        at = self.frames[0] if at_start else self.frames[-1]
        near = [k for k, f in enumerate(self.frames) if abs(stamps_s[f] - stamps_s[at]) <= VELOCITY_S]
        if len(near) < 3:
            return np.zeros(2)
        t = stamps_s[[self.frames[k] for k in near]]
        centre = np.array([self.detections[k].centre_px for k in near])
        t, centre = t - t.mean(), centre - centre.mean(axis=0)
        return t @ centre / (t @ t)


#: A candidate: its frame, and its place in that frame's list.
Place = tuple[int, int]


def build_tracklets(
    candidates: Sequence[Sequence[Detection]], stamps_s: np.ndarray, diagonal_px: float
) -> list[Tracklet]:
    """Tracklets of one object's candidates over N frames, stitched where forward and backward predictions meet.

    candidates: N sequences; stamps_s: (N,) strictly increasing. Each frame's candidates are assigned to the living
    tracklets at once (Hungarian method) by distance to a constant-velocity prediction over the gate, plus half the
    logarithm of the ratio of areas; tracklets seen lately and often go first; what lies outside its gate starts a
    tracklet of its own. The same is done from the end of the recording to its start, and only links that both
    directions make are kept: where two like things cross, the directions disagree and the tracklets end, for the
    stitching to decide with both sides known.
    """
    n = len(candidates)
    forward = _links(candidates, stamps_s, diagonal_px)
    backward = _links(candidates[::-1], -stamps_s[::-1], diagonal_px)
    agreed = forward & {((n - 1 - b[0], b[1]), (n - 1 - a[0], a[1])) for a, b in backward}
    return _stitch(_joined(candidates, agreed, stamps_s), stamps_s, diagonal_px)


def _links(
    candidates: Sequence[Sequence[Detection]], stamps_s: np.ndarray, diagonal_px: float
) -> set[tuple[Place, Place]]:
    """Which candidate follows which, in one pass through the frames in the order given."""
    alive: list[Tracklet] = []
    last: list[Place] = []
    links: set[tuple[Place, Place]] = set()
    for frame, found in enumerate(candidates):
        living = [k for k, t in enumerate(alive) if stamps_s[frame] - stamps_s[t.frames[-1]] <= MAX_SILENCE_S]
        alive, last = [alive[k] for k in living], [last[k] for k in living]
        taken = _assign(alive, found, frame, stamps_s, diagonal_px)
        for i, j in taken.items():
            alive[i].add(frame, found[j], stamps_s)
            links.add((last[i], (frame, j)))
            last[i] = (frame, j)
        for j in sorted(set(range(len(found))) - set(taken.values())):
            tracklet = Tracklet()
            tracklet.add(frame, found[j], stamps_s)
            alive.append(tracklet)
            last.append((frame, j))
    return links


def _joined(
    candidates: Sequence[Sequence[Detection]], links: set[tuple[Place, Place]], stamps_s: np.ndarray
) -> list[Tracklet]:
    """Tracklets along the links; a candidate without any is a tracklet of its own."""
    after, followers = dict(links), {b for _, b in links}
    tracklets = []
    for frame, found in enumerate(candidates):
        for j in range(len(found)):
            if (frame, j) in followers:
                continue
            tracklet, at = Tracklet(), (frame, j)
            while at is not None:
                tracklet.add(at[0], candidates[at[0]][at[1]], stamps_s)
                at = after.get(at)
            tracklets.append(tracklet)
    return tracklets


def _assign(
    alive: list[Tracklet], found: Sequence[Detection], frame: int, stamps_s: np.ndarray, diagonal_px: float
) -> dict[int, int]:
    """Which living tracklet takes which candidate, by index."""
    if not alive or not found:
        return {}
    cost = np.full((len(alive), len(found)), NEVER)
    for i, tracklet in enumerate(alive):
        last = tracklet.detections[-1]
        dt_s = stamps_s[frame] - stamps_s[tracklet.frames[-1]]
        missed_s = stamps_s[frame - 1] - stamps_s[tracklet.frames[-1]]
        handicap = STALE * missed_s / MAX_SILENCE_S + UNPROVEN * (1 - min(len(tracklet.frames), 3) / 3)
        # The longer unseen, the less its velocity counts: hidden things are mostly being stopped or grasped.
        expected = last.centre_px + tracklet.velocity * min(dt_s, 0.2)
        gate = diagonal_px * (GATE_SHARE + GATE_SHARE_PER_S * dt_s)
        for j, detection in enumerate(found):
            distance = float(np.hypot(*np.subtract(detection.centre_px, expected))) / gate
            if distance <= 1.0:
                cost[i, j] = distance + 0.5 * abs(np.log(detection.area_px / last.area_px)) + handicap
    rows, columns = linear_sum_assignment(cost)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if cost[i, j] < NEVER}


def _stitch(tracklets: list[Tracklet], stamps_s: np.ndarray, diagonal_px: float) -> list[Tracklet]:
    """Join tracklets end to start where the later one begins near where the earlier one ended.

    The bag is complete, so both sides of a gap are known: forward from the end and backward from the start must meet
    half way, within the same gate; whatever the length of the gap, as a thing that lies still stays itself.
    """
    tracklets = sorted(tracklets, key=lambda t: t.frames[0])
    n = len(tracklets)
    ends = [t.end_velocity(stamps_s) for t in tracklets]
    starts = [t.end_velocity(stamps_s, at_start=True) for t in tracklets]
    cost = np.full((n, n), NEVER)
    for i, early in enumerate(tracklets):
        for j in range(i + 1, n):
            late = tracklets[j]
            dt_s = stamps_s[late.frames[0]] - stamps_s[early.frames[-1]]
            sure = min(len(early.frames), len(late.frames)) >= SURE_FRAMES
            if dt_s <= 0 or not (sure or dt_s <= SHORT_GAP_S):
                continue
            half_s = min(dt_s / 2, 0.1)
            forward = early.detections[-1].centre_px + ends[i] * half_s
            backward = late.detections[0].centre_px - starts[j] * half_s
            distance = float(np.hypot(*(forward - backward)))
            gate = diagonal_px * (GATE_SHARE + GATE_SHARE_PER_S * min(dt_s, MAX_SILENCE_S))
            if distance <= gate:
                cost[i, j] = distance / gate + 0.1 * min(dt_s, 5.0)
    return join_by_cost(tracklets, cost)


def join_by_cost(tracklets: list[Tracklet], cost: np.ndarray, worth: float = WORTH) -> list[Tracklet]:
    """Join tracklets end to start where that costs less than it is worth: the joins that gain most in all.

    cost (n, n); pairs at `worth` or above are never joined. A join to a tracklet of few frames is worth less, so that
    false alarms do not come between two stretches of one thing.
    """
    sure = np.minimum([len(t.frames) for t in tracklets], SURE_FRAMES) / SURE_FRAMES
    gain = np.maximum(worth - cost, 0.0) * np.minimum.outer(sure, sure)
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    follower = {int(i): int(j) for i, j in pairs if gain[i, j] > 0.0}
    joined, heads = [], set(range(len(tracklets))) - set(follower.values())
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
