"""Histograms of durations with fixed bins: constant memory, and two of them can be added."""

from __future__ import annotations

import json
import threading

import numpy as np

BIN_MS = 0.5
BINS = 2000  # up to 1 s; the last bin also holds what is longer


class Durations:
    """Counts durations in bins of 0.5 ms; percentiles are upper edges of bins, so never flattering. For several
    threads: inference counts while a timer reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = np.zeros(BINS, dtype=np.int64)
        self._max_ms = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one duration, ms; a negative one (a stamp from the future) counts as 0."""
        with self._lock:
            self._counts[min(max(int(duration_ms / BIN_MS), 0), BINS - 1)] += 1
            self._max_ms = max(self._max_ms, duration_ms)

    @property
    def max_ms(self) -> float:
        """The longest; 0 before the first."""
        return self._read()[1]

    def percentile_ms(self, percent: float) -> float | None:
        """The smallest bin edge with at least `percent` % of the durations below it; None before the first."""
        counts, max_ms = self._read()
        below = np.cumsum(counts)
        if not below[-1]:
            return None
        edge = int(np.searchsorted(below, below[-1] * percent / 100.0)) + 1
        return min(edge * BIN_MS, max_ms) if edge < BINS else max_ms

    def to_json(self) -> str:
        """{"bin_ms": 0.5, "counts": {"bin index": count}}: only bins with something in them."""
        counts, _ = self._read()
        return json.dumps({"bin_ms": BIN_MS, "counts": {str(i): int(counts[i]) for i in np.flatnonzero(counts)}})

    def _read(self) -> tuple[np.ndarray, float]:
        with self._lock:
            return self._counts.copy(), self._max_ms
