"""What the node knows about its own running: latency, period, counts, and why it holds. No ROS."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from autofocus_policy.timing import Durations

BAD_OUTPUT_SHOWN_S = 2.0


class Monitor:
    """Statistics since activation.

    latency: header stamp of the observation to the request's publication. period: between publications, without the
    pauses of a hold. inference: the forward pass alone. counts: published, deadline_misses (latency above one control
    period), bad_output, expired (too late, or the clock was set meanwhile), holds, clock_jumps. stalled: whether the
    ROS clock stands still.
    """

    def __init__(self, period_ms: float) -> None:
        self.period_ms = period_ms
        self.latency, self.period, self.inference_ms = Durations(), Durations(), Durations()
        self.counts: Counter[str] = Counter()
        self.stalled = False
        self._hold: str | None = "no observation yet"
        self._published_ns: int | None = None
        self._bad: tuple[str, float] | None = None
        self._inference_since_s: float | None = None

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Times one forward pass."""
        self._inference_since_s = started_s = time.perf_counter()
        try:
            yield
        finally:
            self._inference_since_s = None
            self.inference_ms.add((time.perf_counter() - started_s) * 1e3)

    def published(self, latency_ms: float, steady_ns: int) -> None:
        """A request went out, `latency_ms` after its observation's stamp."""
        self.counts["published"] += 1
        self.counts["deadline_misses"] += latency_ms > self.period_ms
        self.latency.add(latency_ms)
        if self._published_ns is not None:
            self.period.add((steady_ns - self._published_ns) / 1e6)
        self._published_ns = steady_ns
        self._bad = None

    def bad_output(self, reason: str) -> None:
        """The policy's output was refused and nothing published."""
        self.counts["bad_output"] += 1
        self._bad = (reason, time.perf_counter())

    def stuck(self) -> str | None:
        """Why no answer is to be expected soon, in words: the inference under way takes too long."""
        since_s = self._inference_since_s
        if since_s is None or (time.perf_counter() - since_s) * 1e3 <= 2 * self.period_ms:
            return None
        return f"an inference takes longer than two control periods ({2 * self.period_ms:g} ms)"

    def set_hold(self, reason: str | None) -> bool:
        """Set why nothing can be published, None if it can; True if a hold begins or ends with it."""
        held, self._hold = self._hold, reason
        if (reason is None) == (held is None):
            return False
        if reason is not None:
            self.counts["holds"] += 1
            self._published_ns = None
        return True

    @property
    def error(self) -> str | None:
        """Why the last output was refused; None once one is published or two seconds later."""
        if self._bad is None or time.perf_counter() - self._bad[1] > BAD_OUTPUT_SHOWN_S:
            return None
        return f"output refused: {self._bad[0]}"

    @property
    def hold(self) -> str | None:
        """Why nothing is published at present; None while running."""
        return self._hold

    def summary(self) -> str:
        """One line for people."""
        if self.error:
            return self.error
        return "running" if self._hold is None else f"holding: {self._hold}"

    def values(self) -> dict[str, str]:
        """Everything as text, for a diagnostic message; a percentile is "" before its first sample."""
        out = {key: str(self.counts[key]) for key in
               ("published", "deadline_misses", "bad_output", "expired", "holds", "clock_jumps")}
        for name, durations in (("latency", self.latency), ("period", self.period), ("inference", self.inference_ms)):
            for percent in (50, 99):
                value = durations.percentile_ms(percent)
                out[f"{name}_ms_p{percent}"] = "" if value is None else f"{value:.2f}"
            out[f"{name}_ms_max"] = f"{durations.max_ms:.2f}"
            out[f"{name}_histogram"] = durations.to_json()
        return out
