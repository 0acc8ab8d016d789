"""Blending of successive chunks into the one that is asked for: temporal ensembling, a cross-fade, or the newest alone.

Every chunk says where the arm shall be at certain times, so chunks of different observations are comparable by these
times. All weights follow from header stamps alone, never from when a chunk happened to be ready: the same chunks give
the same requests in the running node, in a roll-out and in an offline evaluation.

A chunk predicts p(t), linear between its points at stamp + k * dt, k = 1..H; beyond them it says nothing. Of a new
chunk with stamp s only the times s + k * dt are asked about: what an earlier chunk said for a time up to s is dropped.

ensemble   p(t) = sum_i w_i p_i(t) / sum_i w_i over the chunks i that reach t, w_i = exp(-m (s_i - s_0) / dt), s_0 the
           oldest stamp among them. With one chunk per dt this is ACT's w_i = exp(-m i), i = 0 the oldest (Zhao et al.
           2023, arXiv 2304.13705, section IV.B). m > 0 trusts older chunks more, 0 all alike, m < 0 newer ones more.
crossfade  p(t) = (1 - u) q(t) + u p_new(t), u = min(1, (t - s) / fade_s): q is the path that is being followed, that is
           what was answered last time. Where q has ended, p_new alone.
none       p(t) = p_new(t).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from autofocus_core.errors import AutofocusError

if TYPE_CHECKING:
    from autofocus_policy.runner import Chunk

MODES = ("none", "ensemble", "crossfade")
#: ACT's own choice of m.
ACT_COEFFICIENT = 0.01
#: |m| beyond this is the newest, or the oldest, alone.
MAX_COEFFICIENT = 10.0
MAX_FADE_S = 10.0
#: Chunks remembered: a horizon of 100 points with a chunk at every one is ACT's.
MAX_CHUNKS = 128


@dataclass(frozen=True, slots=True)
class Blending:
    """How chunks are blended: see the top of this file.

    mode: one of MODES. coefficient: m of "ensemble", per dt. fade_s: length of "crossfade", s.
    Raises AutofocusError where a value is out of range.
    """

    mode: str = "none"
    coefficient: float = ACT_COEFFICIENT
    fade_s: float = 0.2

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise AutofocusError("blending", repr(self.mode), " | ".join(MODES), "choose one of these")
        if not abs(self.coefficient) <= MAX_COEFFICIENT:  # false for NaN, too
            raise AutofocusError("blending: coefficient", str(self.coefficient),
                                 f"-{MAX_COEFFICIENT:g} to {MAX_COEFFICIENT:g}", f"ACT uses {ACT_COEFFICIENT:g}")
        if not 0.0 < self.fade_s <= MAX_FADE_S:
            raise AutofocusError("blending: fade_s", str(self.fade_s), f"above 0, up to {MAX_FADE_S:g} s",
                                 "give seconds; mode \"none\" does not fade")


class Blender:
    """Give it every chunk in the order of observations; it answers with the chunk to ask for.

    `max_gap_s`: after a longer pause between stamps, nothing from before it is used: the guard has stopped following
    by then (`command_timeout_ms` of the robot), so the arm is not where the earlier chunks thought.
    """

    def __init__(self, blending: Blending, max_gap_s: float) -> None:
        if not max_gap_s > 0.0:
            raise AutofocusError("blending: max_gap_s", str(max_gap_s), "above 0 s", "give the robot's command timeout")
        self.blending = blending
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._chunks: deque[Chunk] = deque(maxlen=MAX_CHUNKS)  # by stamp; for a cross-fade the last answer alone

    def reset(self) -> None:
        """Forget every chunk: at a new episode, after a hold, after a jump of the clock."""
        self._chunks.clear()

    def add(self, chunk: Chunk) -> Chunk:
        """The chunk to ask for, with stamp, dt, shape and attention of `chunk`; positions float64 (H, A).

        A stamp that is not later than the one before begins anew: the clock was set back.
        """
        if self.blending.mode == "none":
            return chunk
        if self._chunks and not 0 < chunk.stamp_ns - self._chunks[-1].stamp_ns <= self._max_gap_ns:
            self.reset()
        while self._chunks and _end_ns(self._chunks[0]) <= chunk.stamp_ns:
            self._chunks.popleft()
        if self.blending.mode == "ensemble":
            self._chunks.append(chunk)
            return replace(chunk, positions=self._average(chunk))
        blended = replace(chunk, positions=self._fade(chunk)) if self._chunks else chunk
        self._chunks.clear()
        self._chunks.append(blended)
        return blended

    def _average(self, newest: Chunk) -> np.ndarray:
        at_ns = _times_ns(newest)
        total = np.zeros_like(newest.positions)
        weights = np.zeros((len(at_ns), 1))
        for chunk in self._chunks:
            # Relative to the newest stamp, not to the oldest: the same after dividing. Clipped where float64 ends.
            exponent = -self.blending.coefficient * (chunk.stamp_ns - newest.stamp_ns) * 1e-9 / newest.dt_s
            rows, reached = _sample(chunk, at_ns)
            weight = np.exp(np.clip(exponent, -500.0, 500.0)) * reached
            total += weight * rows
            weights += weight
        return total / weights

    def _fade(self, chunk: Chunk) -> np.ndarray:
        at_ns = _times_ns(chunk)
        followed, reached = _sample(self._chunks[0], at_ns)
        u = np.minimum(1.0, (at_ns - chunk.stamp_ns)[:, None] * 1e-9 / self.blending.fade_s)
        u = np.where(reached > 0.0, u, 1.0)
        return (1.0 - u) * followed + u * chunk.positions


def _times_ns(chunk: Chunk) -> np.ndarray:
    """int64 (H,): when each row of a chunk is due."""
    return chunk.stamp_ns + np.round(np.arange(1, len(chunk.positions) + 1) * chunk.dt_s * 1e9).astype(np.int64)


def _end_ns(chunk: Chunk) -> int:
    return chunk.stamp_ns + round(len(chunk.positions) * chunk.dt_s * 1e9)


def _sample(chunk: Chunk, at_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(positions (T, A) at `at_ns`, float64 (T, 1): 1 where the chunk reaches that time, else 0)."""
    due_ns = _times_ns(chunk)
    # Differences of stamps are exact in float64, stamps are not.
    at, due = (at_ns - chunk.stamp_ns).astype(np.float64), (due_ns - chunk.stamp_ns).astype(np.float64)
    rows = np.stack([np.interp(at, due, column) for column in chunk.positions.T], axis=1)
    return rows, ((at >= due[0]) & (at <= due[-1]))[:, None].astype(np.float64)
