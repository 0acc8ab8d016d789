"""The limiter keeps position, velocity and acceleration limits for any targets, exactly, in discrete time (F22)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from autofocus_core import results
from command_guard.limiter import Limiter, smoothing_periods, stopping_velocity
from hypothesis import given, settings
from hypothesis import strategies as st

PERIOD_S = 0.01
TOLERANCE = 1e-9
LOWER, UPPER = np.array([-1.85, -0.5, 0.0]), np.array([1.95, 0.6, 0.037])
VELOCITY, ACCELERATION = np.array([3.0, 0.7, 0.3]), np.array([20.0, 1.3, 4.0])


def make(anchor=(0.3, 0.0, 0.02)) -> Limiter:
    limiter = Limiter(LOWER, UPPER, VELOCITY, ACCELERATION, PERIOD_S)
    limiter.anchor(anchor)
    return limiter


def violations(commands: np.ndarray) -> dict[str, float]:
    """Largest excess over each limit of a command sequence (N, A) that starts at rest; <= 0 is none."""
    at_rest = np.vstack([commands[:1], commands])
    velocity = np.diff(at_rest, axis=0) / PERIOD_S
    acceleration = np.diff(velocity, axis=0) / PERIOD_S
    return {
        "position": float(np.maximum(LOWER - commands, commands - UPPER).max()),
        "velocity": float((abs(velocity) - VELOCITY).max()),
        "acceleration": float((abs(acceleration) - ACCELERATION).max()),
    }


def test_f22_a_hundred_thousand_random_steps_break_no_limit() -> None:
    """Jumps, reversals, targets outside the limits, NaN and infinity, switches to braking and to the ramp."""
    rng = np.random.default_rng(0)
    steps = 100_000
    limiter = make()
    commands = np.empty((steps + 1, 3))
    commands[0] = limiter.position
    target, slope, mode, scale = np.zeros(3), np.zeros(3), "track", 1.0
    for k in range(1, steps + 1):
        if rng.random() < 0.1:
            target = rng.uniform(LOWER, UPPER) * rng.choice([0.1, 1.0, 10.0], size=3)
            slope = rng.normal(0, 1, 3) * rng.choice([0.0, 1.0, 100.0], size=3)
            if rng.random() < 0.1:
                target[rng.integers(3)] = rng.choice([np.nan, np.inf, -np.inf, 1e30])
                slope[rng.integers(3)] = rng.choice([np.nan, np.inf, 0.0])
            mode = rng.choice(["track", "track", "track", "brake"])
            scale = float(rng.choice([1.0, 0.2]))
        limiter.brake() if mode == "brake" else limiter.track(target.tolist(), slope.tolist(), scale)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            target = target + slope * PERIOD_S
        commands[k] = limiter.position
    assert np.isfinite(commands).all()
    worst = violations(commands)
    excess = max(0.0, *worst.values())
    results.record(
        "faults", "F22 worst excess over any limit in 100000 random steps", excess, "rad, rad/s, rad/s^2",
        f"<= {TOLERANCE:g}", excess <= TOLERANCE, "pytest tests/unit/test_guard_limiter.py -k f22",
    )  # fmt: skip
    assert max(worst.values()) <= TOLERANCE, worst
    span = commands.max(axis=0) - commands.min(axis=0)
    assert (span > 0.9 * (UPPER - LOWER)).all(), "the run did not visit the limits: it shows nothing"


finite_or_not = st.floats(allow_nan=True, allow_infinity=True)
inside = st.tuples(*(st.floats(float(lo), float(hi)) for lo, hi in zip(LOWER, UPPER)))
moves = st.lists(
    st.tuples(
        st.integers(1, 40),  # periods
        st.booleans(),  # brake
        st.tuples(*[finite_or_not | st.floats(-4, 4)] * 3),
        st.tuples(*[finite_or_not | st.just(0.0)] * 3),
        st.floats(0.01, 1.0),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(start=inside, script=moves)
def test_f22_any_script_of_targets_breaks_no_limit_and_ends_at_rest(start, script) -> None:
    limiter = make(start)
    commands = [limiter.position.copy()]
    for periods, brake, target, slope, scale in script:
        for _ in range(periods):
            limiter.brake() if brake else limiter.track(target, slope, scale)
            commands.append(limiter.position.copy())
    for _ in range(math.ceil((VELOCITY / ACCELERATION).max() / PERIOD_S) + 1):
        limiter.brake()
        commands.append(limiter.position.copy())
    commands = np.array(commands)
    assert np.isfinite(commands).all()
    assert max(violations(commands).values()) <= TOLERANCE
    assert limiter.at_rest


@given(st.floats(1e-12, 10.0), st.floats(0.1, 50.0))
def test_braking_from_the_stopping_velocity_covers_the_distance_and_no_more(distance, acceleration) -> None:
    step = acceleration * PERIOD_S
    v = stopping_velocity(distance, step, PERIOD_S)
    covered = 0.0
    while v > 0:
        covered += v * PERIOD_S
        v -= step
    assert covered == pytest.approx(distance, abs=1e-9)


@pytest.mark.parametrize("goal", [1.9, -1.85, 0.31, 0.3000001])
def test_a_resting_target_is_reached_without_overshoot_or_chatter(goal) -> None:
    limiter = make()
    path = []
    for _ in range(300):
        limiter.track([goal, 0.0, 0.02], [0.0] * 3)
        path.append(limiter.position[0])
    steps = np.diff([0.3, *path]) * math.copysign(1.0, goal - 0.3)
    assert (steps >= -1e-15).all(), "it went back"
    assert path[-1] == pytest.approx(goal, abs=2e-12)  # MARGIN before a limit
    assert limiter.at_rest


def test_a_steady_ramp_is_followed_without_lag() -> None:
    limiter = make()
    for k in range(100):
        limiter.track([0.3 + 0.5 * k * PERIOD_S, 0.0, 0.02], [0.5, 0.0, 0.0])
    assert limiter.position[0] == pytest.approx(0.3 + 0.5 * 99 * PERIOD_S, abs=1e-12)


def test_time_to_reach_a_step_is_that_of_a_trapezoid() -> None:
    """2 rad at 3 rad/s and 20 rad/s^2 take d / v + v / a = 0.817 s; one period more for the discrete steps."""
    limiter = make((-0.5, 0.0, 0.02))
    periods = 0
    while abs(limiter.position[0] - 1.5) > 1e-9:
        limiter.track([1.5, 0.0, 0.02], [0.0] * 3)
        periods += 1
    assert periods * PERIOD_S <= 2.0 / 3.0 + 3.0 / 20.0 + 2 * PERIOD_S


def test_f24_braking_starts_from_the_last_command_and_lasts_v_over_a() -> None:
    limiter = make()
    while limiter.velocity[0] < 1.0:
        limiter.track([1.9, 0.0, 0.02], [0.0] * 3)
    last, v = limiter.position[0], limiter.velocity[0]
    limiter.brake()
    assert limiter.position[0] == pytest.approx(last + (v - 20.0 * PERIOD_S) * PERIOD_S, abs=1e-12)
    periods = 1
    while not limiter.at_rest:
        limiter.brake()
        periods += 1
    assert periods == math.ceil(round(v / 20.0 / PERIOD_S, 6))


def test_a_joint_that_begins_outside_its_limits_stays_there_until_a_target_asks_it_in() -> None:
    """Arming clipped the start to the limits: an arm 0.3 rad outside was told to be inside within one period."""
    limiter = make((2.2, 0.0, 0.02))
    for _ in range(50):
        limiter.brake()
    assert limiter.position[0] == 2.2
    path = [2.2]
    for _ in range(100):
        limiter.track([3.0, 0.0, 0.02], [0.0] * 3)  # farther out
        path.append(limiter.position[0])
    assert max(path) == 2.2
    for _ in range(100):
        limiter.track([1.9, 0.0, 0.02], [0.0] * 3)
        path.append(limiter.position[0])
    velocity = np.diff(path) / PERIOD_S
    assert path[-1] == pytest.approx(1.9, abs=1e-9)
    assert abs(velocity).max() <= VELOCITY[0] + TOLERANCE
    assert abs(np.diff([0.0, *velocity])).max() / PERIOD_S <= ACCELERATION[0] + TOLERANCE


# ---- jerk


@pytest.mark.parametrize(
    ("acceleration", "jerk", "periods"),
    [(20.0, None, 1), (20.0, 1e9, 1), (20.0, 4000.0, 1), (20.0, 3999.0, 2), (20.0, 400.0, 10), (4.0, 32.0, 25)],
)
def test_periods_of_smoothing_for_a_jerk(acceleration, jerk, periods) -> None:
    assert smoothing_periods(acceleration, jerk, PERIOD_S) == periods


JERK = np.array([400.0, 30.0, 1000.0])


@settings(max_examples=100, deadline=None)
@given(start=inside, script=moves)
def test_f22_any_script_of_targets_keeps_the_jerk_too_and_ends_at_rest(start, script) -> None:
    limiter = Limiter(LOWER, UPPER, VELOCITY, ACCELERATION, PERIOD_S, JERK.tolist())
    limiter.anchor(start)
    commands = [limiter.command] * 3
    for periods, brake, target, slope, scale in script:
        for _ in range(periods):
            limiter.brake() if brake else limiter.track(target, slope, scale)
            commands.append(limiter.command)
    braking = math.ceil((VELOCITY / ACCELERATION).max() / PERIOD_S) + 1
    for _ in range(braking + math.ceil((2 * ACCELERATION / JERK).max() / PERIOD_S)):
        limiter.brake()
        commands.append(limiter.command)
    commands = np.array(commands)
    assert max(violations(commands).values()) <= TOLERANCE
    assert (abs(np.diff(commands, 3, axis=0)) / PERIOD_S**3 <= JERK * (1 + TOLERANCE)).all()
    assert limiter.at_rest
    assert limiter.command == pytest.approx(limiter.position, abs=1e-15)


def test_at_rest_is_when_the_smoothed_command_is() -> None:
    """Silence at rest must not come while the command still moves: the robot would be left in motion."""
    limiter = Limiter(LOWER, UPPER, VELOCITY, ACCELERATION, PERIOD_S, [400.0, None, None])
    limiter.anchor((0.3, 0.0, 0.02))
    for _ in range(20):
        limiter.track([1.9, 0.0, 0.02], [0.0] * 3)
    before = limiter.command
    while not limiter.at_rest:
        before = limiter.command
        limiter.brake()
    assert limiter.command[0] == pytest.approx(before[0], abs=1e-3)
    limiter.brake()
    assert limiter.command == limiter.position
