"""Gripper timing, verdicts and charts of the evaluation: cases that can be checked by eye."""

import numpy as np
import pytest
from autofocus_policy import gripper
from autofocus_policy.charts import Line, lines, number, ticks
from autofocus_policy.verdict import judge


def steps(*levels, dt_s=0.1):
    """A gripper that holds each level for a second, and takes one sample to the next."""
    values = np.repeat(np.array(levels, float), 10)
    return np.arange(len(values)) * dt_s, values


def test_gripper_events_are_crossings_of_the_middle():
    times, values = steps(0.03, 0.0, 0.03)
    limits = gripper.band(values, 0.0, 0.037)
    assert limits == pytest.approx((0.01, 0.02))
    assert gripper.events(times, values, limits) == [gripper.Event("closes", pytest.approx(0.95)),
                                                     gripper.Event("opens", pytest.approx(1.95))]
    # Trembling about the middle is no event; nor is a gripper that never does anything.
    trembling = np.array([0.03, 0.016, 0.014, 0.016, 0.014, 0.016, 0.03])
    assert gripper.events(np.arange(7.0), trembling, limits) == []
    assert gripper.band(np.array([0.01, 0.012]), 0.0, 0.037) is None and gripper.band(np.zeros(0), 0.0, 1.0) is None


def test_gripper_events_are_paired_nearest_first():
    done = [gripper.Event("closes", 1.0), gripper.Event("opens", 2.0), gripper.Event("closes", 2.4)]
    asked = [gripper.Event("closes", 2.3), gripper.Event("opens", 3.5), gripper.Event("closes", 1.06)]
    pairs, left = gripper.compare(done, asked)
    assert [p.late_ms for p in pairs] == [pytest.approx(60.0), None, pytest.approx(-100.0)]
    assert left == [gripper.Event("opens", 3.5)]


def summary(error=0.3, objects=0.1, background=0.01, distractors=None, elsewhere=0.0, grip=None):
    things = {} if distractors is None else {"box": {"kind": "distractor", "change": distractors}}
    covering = {"objects": objects, "background": background, "distractors": distractors, "things": things,
                "scan": {"elsewhere_first": elsewhere}}
    return {"relative_error": error, "covering": covering, "gripper": grip}


def grip(**changes):
    return {"done": 2, "missed": 0, "spurious": 0, "worst_abs_ms": 40.0, "mean_abs_ms": 20.0, **changes}


@pytest.mark.parametrize(("figures", "level", "words"), [
    (summary(), "good", "10 times as much"),
    (summary(error=1.2), "bad", "does not follow"),
    (summary(error=0.8), "warn", "only roughly"),
    (summary(error=None), "warn", "errors are not known"),
    (summary(objects=0.02), "warn", "only 2.0 times"),
    (summary(distractors=0.4), "bad", "“box”, which is no part of the task, moves the action 4.0 times"),
    (summary(elsewhere=0.9), "warn", "90 %"),
    (summary(background=0.0), "good", "far more"),
    (summary(grip=grip()), "good", "20 ms off"),
    (summary(grip=grip(missed=1)), "warn", "does not do 1 of the operator’s 2"),
    (summary(grip=grip(worst_abs_ms=500.0)), "warn", "500 ms off"),
    (summary(grip=grip(spurious=3)), "warn", "3 times"),
    (summary() | {"replay": {"asked": 40, "missed": 2, "largest_difference": 0.0}}, "good", "Every answer"),
    (summary() | {"replay": {"asked": 40, "missed": 9, "largest_difference": 0.0}}, "warn", "missed 9 of 40"),
    (summary() | {"replay": {"asked": 40, "missed": 0, "largest_difference": 0.01}}, "warn", "differs"),
])
def test_the_worst_reason_is_the_verdict(figures, level, words):
    got, _, reasons = judge(figures)
    assert got == level and any(words in text for _, text in reasons), reasons


def test_ticks_are_round_and_cover():
    for low, high in ((0.0, 0.0371), (-0.2, 0.13), (3.0, 3.0001), (0.0, 980.0), (-5e-7, 5e-7)):
        found = ticks(low, high)
        assert found[0] <= low + 1e-12 and found[-1] >= high - 1e-12 and 2 <= len(found) <= 8
        assert len({number(t) for t in found}) == len(found) or high - low < 1e-3
    assert ticks(0.0, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0] and number(-0.2) == "−0.2" and number(1234.0) == "1234"


def test_lines_have_gaps_where_nothing_is_known():
    chart = lines([Line("<a>", "p0", np.arange(4), np.array([1.0, np.nan, 2.0, 3.0]))], "s", "rad", "l")
    path = chart.split('<path d="')[1].split('"')[0]
    assert path.count("M") == 2 and path.count("L") == 1 and "&lt;a&gt;" in chart
    assert "nothing was measured" in lines([Line("a", "p0", np.arange(2), np.full(2, np.nan))], "s", "rad", "l")
