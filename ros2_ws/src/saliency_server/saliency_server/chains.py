"""Tracklets joined into things: known again after an absence, told from other things of the same name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saliency_server.tracklets import GATE_SHARE, GATE_SHARE_PER_S, NEVER, Tracklet, join_by_cost
from saliency_server.values import Detection

RIVAL_SCORE_RATIO = 0.75  # another candidate this good, of like size, may be the same thing, or its rival
RIVAL_AREA_RATIO = 0.3
RIVAL_MIN_FRAMES = 4
RELINK_WORTH = 8.0  # above any cost of a pair that can be one thing
OVERLAP_FRAMES = 10
INSTANCE_MIN_S = 0.7  # a further thing of the same name must have been seen this long ...
INSTANCE_MIN_SHARE = 0.5  # ... in this share of the frames between its first and last
INSTANCE_SCORE_RATIO = 0.6  # ... about as surely as the best
SAME_PLACE = 0.5  # of its length: tracklets whose centres stay this close are two boxes around one thing


def best_chain(tracklets: Sequence[Tracklet]) -> list[Tracklet]:
    """The tracklets that overlap nowhere in time and together weigh most (weighted interval scheduling).

    Specks and reflections are left out: a tracklet counts if it is about as large as the one with most evidence.
    """
    if not tracklets:
        return []
    best = max(tracklets, key=lambda t: t.weight)
    like = [
        t for t in tracklets
        if t is best or (len(t.frames) >= RIVAL_MIN_FRAMES and t.area_px >= RIVAL_AREA_RATIO * best.area_px
                         and t.mean_score >= RIVAL_SCORE_RATIO * best.mean_score)
    ]
    like.sort(key=lambda t: t.frames[-1])
    ends = [t.frames[-1] for t in like]
    value, choice = [0.0], []
    for i, tracklet in enumerate(like):
        # A little overlap is a thing that comes apart or together while something passes in front of it.
        start = tracklet.frames[0] + min(OVERLAP_FRAMES, len(tracklet.frames) // 5)
        before = int(np.searchsorted(ends[:i], start, side="left"))
        take = value[before] + tracklet.weight
        choice.append((take > value[i], before))
        value.append(max(take, value[i]))
    chain, i = [], len(like)
    while i > 0:
        taken, before = choice[i - 1]
        if taken:
            chain.append(like[i - 1])
        i = before if taken else i - 1
    return chain[::-1]


def reidentify(tracklets: Sequence[Tracklet], stamps_s: np.ndarray, diagonal_px: float) -> list[Tracklet]:
    """Join what ended somewhere and began later elsewhere, if it can be the same thing: of like size and score, and
    no farther than it can have moved meanwhile. All at once (Hungarian method), so that of two like things that are
    hidden together each goes on as itself. What lasted less than RIVAL_MIN_FRAMES is left as it is."""
    lasting = sorted((t for t in tracklets if len(t.frames) >= RIVAL_MIN_FRAMES), key=lambda t: t.frames[0])
    fleeting = [t for t in tracklets if len(t.frames) < RIVAL_MIN_FRAMES]
    cost = np.full((len(lasting), len(lasting)), NEVER)
    area = [t.area_px for t in lasting]
    score = [t.mean_score for t in lasting]
    for i, early in enumerate(lasting):
        for j in range(i + 1, len(lasting)):
            late = lasting[j]
            dt_s = stamps_s[late.frames[0]] - stamps_s[early.frames[-1]]
            if dt_s <= 0 or min(score[i], score[j]) < RIVAL_SCORE_RATIO * max(score[i], score[j]):
                continue
            unlike = abs(np.log(area[i] / area[j]))
            moved = float(np.hypot(*np.subtract(early.detections[-1].centre_px, late.detections[0].centre_px)))
            reach = diagonal_px * (GATE_SHARE + GATE_SHARE_PER_S * dt_s)
            if moved <= reach and unlike <= -np.log(RIVAL_AREA_RATIO):
                # Distance in shares of the image: within its reach, what is nearer is likelier, whatever the gap.
                cost[i, j] = 4.0 * moved / diagonal_px + unlike + 0.1 * min(dt_s, 5.0)
    return join_by_cost(lasting, cost, RELINK_WORTH) + fleeting


def instances(tracklets: Sequence[Tracklet], stamps_s: np.ndarray, most: int) -> list[list[Tracklet]]:
    """Chains of tracklets, one for each thing of this name, the one with most evidence first; at most `most`.

    The first is the best there is. Further ones must have lasted, and be about as good: anything else of that name is
    a false alarm. A second box around a thing that is already followed is no second thing.
    """
    pool, found = list(tracklets), []
    while pool and len(found) < most:
        chain = best_chain(pool)
        taken = {id(t) for t in chain}
        pool = [t for t in pool if id(t) not in taken]
        if found and not _lasting(chain, stamps_s, _mean_score(found[0])):
            continue
        found.append(chain)
        centres = {f: d for t in chain for f, d in zip(t.frames, t.detections, strict=True)}
        pool = [t for t in pool if not _same_place(t, centres)]
    return found


def _mean_score(chain: Sequence[Tracklet]) -> float:
    return sum(t.weight for t in chain) / sum(len(t.frames) for t in chain)


def _lasting(chain: Sequence[Tracklet], stamps_s: np.ndarray, best_score: float) -> bool:
    """Whether a chain has what it takes to be a thing of its own."""
    frames = sum(len(t.frames) for t in chain)
    first, last = chain[0].frames[0], max(t.frames[-1] for t in chain)
    step_s = float(np.median(np.diff(stamps_s))) if len(stamps_s) > 1 else 0.0
    seen_s = frames * step_s
    spans = sum(t.frames[-1] - t.frames[0] + 1 for t in chain)
    return (
        seen_s >= min(INSTANCE_MIN_S, 0.5 * len(stamps_s) * step_s) and last > first
        and frames >= INSTANCE_MIN_SHARE * spans and _mean_score(chain) >= INSTANCE_SCORE_RATIO * best_score
    )


def _same_place(tracklet: Tracklet, taken: dict[int, Detection]) -> bool:
    """Whether a tracklet lies where the thing that was seen in frames `taken` is, in most of the frames of both."""
    both = [(d, taken[f]) for f, d in zip(tracklet.frames, tracklet.detections, strict=True) if f in taken]
    if len(both) < max(1, len(tracklet.frames) // 2):
        return False
    near = [np.hypot(*np.subtract(a.centre_px, b.centre_px)) < SAME_PLACE * np.sqrt(b.area_px) for a, b in both]
    return bool(np.mean(near) > 0.5)
