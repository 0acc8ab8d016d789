"""How attempts end, told by hand-written motions: what is called a success, and what a failure is called."""

import numpy as np
import pytest
from autofocus_sim.attempt import OUTCOMES, Attempt
from autofocus_sim.mjcf import CUBE_HALF_M, PLATE_HALF_HEIGHT_M
from autofocus_sim.truth import CUBE, SECOND_CUBE

ON_TABLE = CUBE_HALF_M
ON_GOAL = CUBE_HALF_M + 2 * PLATE_HALF_HEIGHT_M
GOAL = np.array([0.3, 0.0, PLATE_HALF_HEIGHT_M])
AT_GOAL, BESIDE = (0.3, 0.0, ON_GOAL), (0.3, 0.2, ON_TABLE)
IN_HAND, HIGH = (0.3, 0.1, 0.10), (0.3, 0.0, 0.12)


def play(task, *moments, touched=()):
    """An attempt that has seen `moments`: (seconds, {cube: centre}), each as long as it says, moved to in 50 ms."""
    attempt = Attempt(task, lambda cube: cube in touched)
    time_s, last = 0.0, None
    for lasts_s, where in moments:
        for tick in range(round(lasts_s / 0.01)):
            time_s += 0.01
            moving = last is not None and tick < 5
            positions = {cube: np.array(at, dtype=float) for cube, at in where.items()}
            speeds = {
                cube: (positions[cube] - np.array(last[cube])) / 0.05 * 0.2 if moving else np.zeros(3) for cube in where
            }
            attempt.update(time_s, positions, speeds, None if task == "lift" else GOAL)
        last = where
    return attempt


def test_lift_is_held_high_for_a_while():
    attempt = play("lift", (0.2, {CUBE: BESIDE}), (0.2, {CUBE: IN_HAND}))
    assert not attempt.success and attempt.outcome == "timeout" and attempt.stages == ("red cube grasped",)
    assert play("lift", (0.2, {CUBE: BESIDE}), (0.4, {CUBE: IN_HAND})).outcome == "success"


def test_what_lift_calls_its_failures():
    assert play("lift", (1.0, {CUBE: BESIDE})).outcome == "never grasped"
    assert play("lift", (0.2, {CUBE: IN_HAND}), (0.5, {CUBE: BESIDE})).outcome == "dropped"


def test_place_wants_the_cube_there_at_rest_and_let_go():
    moments = ((0.5, {CUBE: IN_HAND}), (0.5, {CUBE: AT_GOAL}))
    done = play("place", *moments)
    assert done.success and done.stages == ("red cube grasped", "red cube on white plate")
    assert play("place", *moments, touched=(CUBE,)).outcome == "timeout"
    assert play("place", (0.5, {CUBE: IN_HAND})).outcome == "timeout"
    assert play("place", (0.5, {CUBE: IN_HAND}), (0.5, {CUBE: BESIDE})).outcome == "wrong place"


def test_a_cube_that_falls_is_dropped():
    attempt = Attempt("place", lambda cube: False)
    still, falling = np.zeros(3), np.array([0.0, 0.0, -0.9])
    for position, speed in ((IN_HAND, still), ((0.3, 0.1, 0.06), falling), (BESIDE, still)):
        attempt.update(0.01, {CUBE: np.array(position)}, {CUBE: speed}, GOAL)
    assert attempt.outcome == "dropped"
    for position in (IN_HAND, (0.3, 0.1, 0.034), BESIDE):  # picked up again, and set down: that is another failure
        attempt.update(0.02, {CUBE: np.array(position)}, {CUBE: still}, GOAL)
    assert attempt.outcome == "wrong place"


SECOND_AT_GOAL = (0.331, 0.0, ON_GOAL)
FIRST_AT_GOAL = (0.269, 0.0, ON_GOAL)
START = {CUBE: BESIDE, SECOND_CUBE: (0.3, -0.2, ON_TABLE)}


def test_pack_wants_both_in_their_order():
    first = {**START, CUBE: FIRST_AT_GOAL}
    done = play("pack", (0.2, {**START, CUBE: HIGH}), (0.5, first), (0.2, {**first, SECOND_CUBE: HIGH}),
                (0.5, {**first, SECOND_CUBE: SECOND_AT_GOAL}))
    assert done.outcome == "success"
    stages = ("grasped", "on white tray")
    assert done.stages == tuple(f"{cube} {stage}" for cube in (CUBE, SECOND_CUBE) for stage in stages)
    other = {**START, SECOND_CUBE: SECOND_AT_GOAL}
    wrong = play("pack", (0.2, {**START, SECOND_CUBE: HIGH}), (0.5, other), (0.2, {**other, CUBE: HIGH}),
                 (0.5, {**other, CUBE: FIRST_AT_GOAL}))
    assert not wrong.success and wrong.outcome == "wrong order"


def test_pack_speaks_of_the_first_cube_that_is_not_in_its_place():
    first = {**START, CUBE: FIRST_AT_GOAL}
    assert play("pack", (0.5, START)).outcome == "never grasped"
    half = play("pack", (0.2, {**START, CUBE: HIGH}), (0.5, first))
    assert half.outcome == "never grasped" and half.stages[-1] == "red cube on white tray"
    held = play("pack", (0.2, {**START, CUBE: HIGH}), (0.5, first), (0.5, {**first, SECOND_CUBE: HIGH}))
    assert held.outcome == "timeout"


@pytest.mark.parametrize("task", ["lift", "place"])
def test_success_stays(task):
    attempt = play(task, (0.5, {CUBE: IN_HAND}), (0.5, {CUBE: AT_GOAL}), (0.5, {CUBE: BESIDE}))
    assert attempt.success and attempt.outcome == "success"
    assert attempt.outcome in OUTCOMES
