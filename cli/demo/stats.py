"""Proportions and percentiles as the summary reports them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z_95 = 1.959963984540054


def wilson_interval(successes: int, rollouts: int, z: float = Z_95) -> tuple[float, float]:
    """95 % score interval of a proportion, in [0, 1] (Wilson 1927, eq. as in Brown, Cai & DasGupta 2001).

    Stays inside [0, 1] and is honest at 0 and at all successes, where the normal interval has no width.
    No rollouts give the whole range (0, 1). ValueError when the counts contradict each other.
    """
    if not 0 <= successes <= rollouts:
        raise ValueError(f"{successes} successes of {rollouts} rollouts")
    if rollouts == 0:
        return 0.0, 1.0
    p = successes / rollouts
    scale = 1.0 + z * z / rollouts
    centre = (p + z * z / (2 * rollouts)) / scale
    half = z * math.sqrt(p * (1 - p) / rollouts + z * z / (4 * rollouts * rollouts)) / scale
    low = 0.0 if successes == 0 else max(0.0, centre - half)  # exact, where rounding would leave 1e-17
    high = 1.0 if successes == rollouts else min(1.0, centre + half)
    return low, high


def proportion(successes: int, rollouts: int) -> dict:
    """{successes, rollouts, success, ci95}: the block every success figure of the summary is given as."""
    low, high = wilson_interval(successes, rollouts)
    success = successes / rollouts if rollouts else None
    return {"successes": successes, "rollouts": rollouts,
            "success": None if success is None else round(success, 4), "ci95": [round(low, 4), round(high, 4)]}


def percentile(values: Sequence[float] | np.ndarray, q: float) -> float | None:
    """q-th percentile (q in [0, 100]) of finite values; None when there are none."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    return float(np.percentile(array, q)) if array.size else None
