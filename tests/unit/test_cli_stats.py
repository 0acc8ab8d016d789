"""Intervals and percentiles of the demo's summary."""

import math

import pytest
from autofocus_cli.demo.stats import percentile, proportion, wilson_interval
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(("successes", "rollouts", "low", "high"), [
    (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
])
def test_wilson_agrees_with_published_values(successes, rollouts, low, high):
    """The last two are Newcombe's (1998, table I) examples for the score method."""
    assert wilson_interval(successes, rollouts) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion_and_stays_in_range(counts):
    successes, rollouts = counts
    low, high = wilson_interval(successes, rollouts)
    assert 0.0 <= low <= successes / rollouts <= high <= 1.0
    assert high > low


def test_contradicting_counts_are_refused():
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson_interval(5, 4)


def test_no_rollouts_are_not_a_failure_rate():
    assert proportion(0, 0) == {"successes": 0, "rollouts": 0, "success": None, "ci95": [0.0, 1.0]}


def test_percentile_of_nothing_is_none_and_nan_does_not_count():
    assert percentile([], 50) is None
    assert percentile([1.0, math.nan, 3.0], 50) == 2.0
