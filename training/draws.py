"""Random numbers that depend on (seed, step) alone: not on how many processes share a batch, nor on which steps were
done before. So a run resumes exactly, and two processes augment as one does."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from `parts`, well mixed: neighbouring steps have nothing in common."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


class Draws:
    """Draws for the rows of one batch. They are made for the whole batch (`of` rows), and only `rows` of them, those of
    this process, are returned."""

    def __init__(self, seed: int, step: int, rows: slice, of: int) -> None:
        self._generator = torch.Generator().manual_seed(seed_of("draws", seed, step))
        self._rows = rows
        self._of = of

    def uniform(self, *shape: int) -> Tensor:
        """(rows, *shape) float32 in [0, 1)."""
        return torch.rand(self._of, *shape, generator=self._generator)[self._rows]

    def normal(self, *shape: int) -> Tensor:
        """(rows, *shape) float32, standard normal."""
        return torch.randn(self._of, *shape, generator=self._generator)[self._rows]

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """(rows, *shape) int64, low <= value < high."""
        return torch.randint(low, high, (self._of, *shape), generator=self._generator)[self._rows]
