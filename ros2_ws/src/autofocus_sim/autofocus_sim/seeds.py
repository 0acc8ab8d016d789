"""The one place that says which scene seeds are for what. The ranges are disjoint (a test holds them so).

A seed draws the scene and the operator's noise. Whoever tunes anything, a method, a loss, the scenes, does so on
seeds that no published figure is measured on. The learning benchmark has ranges of its own, because those of the demo
were looked at while methods were developed (docs/learning.md lists what was).
"""

from __future__ import annotations

from dataclasses import dataclass

from autofocus_core.errors import AutofocusError


@dataclass(frozen=True, slots=True)
class SeedRange:
    """Seeds ``first`` to ``last``, both included; ``use`` says what for."""

    use: str
    first: int
    last: int

    def take(self, count: int, skip: int = 0) -> range:
        """``count`` seeds after the first ``skip``; AutofocusError where the range has not as many."""
        if count < 0 or skip < 0 or self.first + skip + count - 1 > self.last:
            raise AutofocusError(f"seeds for {self.use}", f"{count} after {skip}", f"{self.first} .. {self.last}",
                                 "ask for fewer: the next seeds are another range's")
        return range(self.first + skip, self.first + skip + count)

    def after(self, skip: int) -> SeedRange:
        """What is left of it after the first ``skip`` seeds."""
        return SeedRange(self.use, self.take(1, skip)[0], self.last)

    def __contains__(self, seed: int) -> bool:
        return self.first <= seed <= self.last


#: Demonstrations of the demo, of tests and of the annotation's benchmarks.
DEMONSTRATIONS = SeedRange("demonstrations", 0, 9_999)
#: Rollouts that anything may be tuned on.
TUNING = SeedRange("tuning", 10_000, 19_999)
#: The demo's rollouts in process, and over ROS 2.
DEMO_EVALUATION = SeedRange("the demo's evaluation", 20_000, 29_999)
DEMO_DEPLOYMENT = SeedRange("the demo's deployment", 30_000, 39_999)
#: Success and lengths of the scripted operator; the scenes were drawn up while looking at the lower half.
OPERATOR = SeedRange("the scripted operator", 400_000, 499_999)
#: The learning benchmark: what its final figures are trained and measured on, and what its settings are chosen on.
BENCHMARK_DEMONSTRATIONS = SeedRange("the learning benchmark's demonstrations", 1_000_000, 1_099_999)
BENCHMARK_TUNING = SeedRange("choosing the learning benchmark's settings: demonstrations", 1_100_000, 1_149_999)
BENCHMARK_TUNING_ROLLOUTS = SeedRange("choosing the learning benchmark's settings: rollouts", 1_150_000, 1_199_999)
#: A first run of 11 policies was looked at, and its settings changed after that: its scenes are used up.
BENCHMARK_LOOKED_AT = SeedRange("none: the learning benchmark's settings changed after these", 2_000_000, 2_099_999)
BENCHMARK_EVALUATION = SeedRange("the learning benchmark's evaluation", 2_100_000, 2_999_999)

RANGES: tuple[SeedRange, ...] = (
    DEMONSTRATIONS, TUNING, DEMO_EVALUATION, DEMO_DEPLOYMENT, OPERATOR, BENCHMARK_DEMONSTRATIONS, BENCHMARK_TUNING,
    BENCHMARK_TUNING_ROLLOUTS, BENCHMARK_LOOKED_AT, BENCHMARK_EVALUATION,
)
