"""How late messages are, as a histogram: bounded memory, however long the recording."""

from __future__ import annotations

import math

from autofocus_core.episode_meta import Latency

NS_PER_US = 1000
#: Buckets are 1 us wide up to 128 us and then 1/64 to 1/128 of their value: a percentile is off by 1 % at most.
_EXACT_BITS = 7


class LatencyHistogram:
    """Counts of latencies in ns, negative ones too (a stamp from a clock that is ahead of ours)."""

    __slots__ = ("_buckets", "count", "max_ns", "min_ns")

    def __init__(self) -> None:
        self.count = 0
        self.min_ns = 0
        self.max_ns = 0
        self._buckets: dict[int, int] = {}

    def add(self, latency_ns: int) -> None:
        """One message."""
        if not self.count:
            self.min_ns = self.max_ns = latency_ns
        elif latency_ns > self.max_ns:
            self.max_ns = latency_ns
        elif latency_ns < self.min_ns:
            self.min_ns = latency_ns
        self.count += 1
        bucket = _bucket(latency_ns // NS_PER_US) if latency_ns >= 0 else -1 - _bucket(-latency_ns // NS_PER_US)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def percentile_ns(self, share: float) -> int:
        """The smallest latency that `share` (0 to 1) of all messages do not exceed, to 1 % (at least 1 us).

        Raises ValueError while empty.
        """
        if not self.count:
            raise ValueError("percentile of no latency")
        rank = max(1, math.ceil(share * self.count))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                break
        value_us = _middle_us(bucket) if bucket >= 0 else -_middle_us(-1 - bucket)
        return min(max(round(value_us * NS_PER_US), self.min_ns), self.max_ns)

    def summary(self) -> Latency | None:
        """In ms, None while empty."""
        if not self.count:
            return None
        ns = (self.percentile_ns(0.5), self.percentile_ns(0.99), self.max_ns)
        return Latency(*(round(value / 1e6, 3) for value in ns))


def _bucket(us: int) -> int:
    """Number of the bucket: the value itself, then its first 7 bits with the count of those left out."""
    left_out = us.bit_length() - _EXACT_BITS
    return us if left_out <= 0 else (us >> left_out) + (left_out << (_EXACT_BITS - 1))


def _middle_us(bucket: int) -> float:
    left_out = max(0, (bucket >> (_EXACT_BITS - 1)) - 1)
    first_bits = bucket - (left_out << (_EXACT_BITS - 1))
    return (first_bits + 0.5) * (1 << left_out)
