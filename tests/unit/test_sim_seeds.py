"""What is demonstrated, tuned on, evaluated and deployed never shares a scene."""

from itertools import combinations

import pytest
from autofocus_cli.demo import offline, settings
from autofocus_core.errors import AutofocusError
from autofocus_sim import seeds
from autofocus_sim.seeds import RANGES, SeedRange


def test_ranges_are_disjoint_and_all_are_listed():
    for one, other in combinations(RANGES, 2):
        assert one.last < other.first or other.last < one.first, f"{one.use} and {other.use} share seeds"
    assert all(found.first <= found.last for found in RANGES)
    named = [value for value in vars(seeds).values() if isinstance(value, SeedRange)]
    assert sorted(found.first for found in named) == sorted(found.first for found in RANGES)


def test_the_demo_uses_its_ranges():
    """Training seed s is evaluated on 1000 scenes from EVALUATION_SEED + 1000 s, pictures on those from 9000 on."""
    full = settings.FULL
    assert range(full.demos)[-1] + settings.DEMONSTRATION_SEED in seeds.DEMONSTRATIONS
    last = settings.EVALUATION_SEED + 1000 * max(full.train_seeds) + full.rollouts_per_seed - 1
    assert settings.EVALUATION_SEED in seeds.DEMO_EVALUATION and last in seeds.DEMO_EVALUATION
    assert offline.SCENE_SEED in seeds.DEMO_EVALUATION and last < offline.SCENE_SEED
    assert settings.DEPLOYMENT_SEED in seeds.DEMO_DEPLOYMENT


def test_the_benchmark_is_measured_where_nobody_has_looked():
    """docs/learning.md lists what methods were developed on: seeds below 40000, all of them."""
    for fresh in (seeds.BENCHMARK_DEMONSTRATIONS, seeds.BENCHMARK_TUNING, seeds.BENCHMARK_EVALUATION):
        assert fresh.first >= 1_000_000


def test_seeds_are_taken_from_the_range_only():
    small = SeedRange("test", 10, 19)
    assert list(small.take(3)) == [10, 11, 12] and list(small.take(2, skip=8)) == [18, 19]
    assert not small.take(0) and 19 in small and 20 not in small
    for count, skip in ((11, 0), (1, 10), (-1, 0), (1, -1)):
        with pytest.raises(AutofocusError, match=r"10 \.\. 19"):
            small.take(count, skip)
    assert small.after(7) == SeedRange("test", 17, 19)
    with pytest.raises(AutofocusError, match=r"10 \.\. 19"):
        small.after(10)
