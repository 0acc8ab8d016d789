"""Histograms of durations with fixed bins: constant memory, and two of them can be added."""

from __future__ import annotations

import json

import numpy as np

BIN_MS = 0.5
BINS = 2000  # up to 1 s; the last bin also holds what is longer


class Durations:
    """Counts durations in bins of 0.5 ms; percentiles are upper edges of bins, so never flattering."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, dtype=np.int64)
        self.count = 0
        self.max_ms = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one duration, ms; a negative one (a stamp from the future) counts as 0."""
        self._counts[min(max(int(duration_ms / BIN_MS), 0), BINS - 1)] += 1
        self.count += 1
        self.max_ms = max(self.max_ms, duration_ms)

    def percentile_ms(self, percent: float) -> float | None:
        """The smallest bin edge with at least `percent` % of the durations below it; None before the first."""
        if self.count == 0:
            return None
        edge = int(np.searchsorted(np.cumsum(self._counts), self.count * percent / 100.0)) + 1
        return min(edge * BIN_MS, self.max_ms) if edge < BINS else self.max_ms

    def to_json(self) -> str:
        """{"bin_ms": 0.5, "counts": {"bin index": count}}: only bins with something in them."""
        filled = np.flatnonzero(self._counts)
        return json.dumps({"bin_ms": BIN_MS, "counts": {str(i): int(self._counts[i]) for i in filled}})
