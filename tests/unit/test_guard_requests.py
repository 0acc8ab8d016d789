"""Requests, in simulated time: broken ones, wrong ones, those of somebody else, and the one that asks to hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from command_guard.chunk import Request
from command_guard.core import State
from guard_bench import HOME, NAMES, Bench, T, assert_smooth, offset
from hypothesis import given, settings
from hypothesis import strategies as st

# ---- a request without points


def hold_request(bench: Bench, age_s: float = 0.0, names=NAMES) -> str | None:
    return bench.guard.on_request(Request(bench.now_s - age_s, names, (), ()), bench.now_s)


def test_f16_a_commander_that_asks_to_hold_is_held_at_once_and_goes_on_by_itself() -> None:
    """The policy node saw that its camera had stopped, published nothing more, and the arm went on for another 250 ms,
    until the guard's command timeout: 262 ms from the last picture to the hold, where 200 are allowed."""
    bench = Bench().moving()
    assert hold_request(bench) is None
    assert (bench.guard.state, bench.guard.reason) == (State.HOLDING, "the commander asked to hold")
    assert len(np.unique(bench.run(0.1)[:, 0])) <= 3, "0.5 rad/s at 20 rad/s^2: two periods of braking"
    assert bench.speed == 0.0 and not bench.guard.needs_arm
    assert (bench.guard.counts["requests_to_hold"], bench.guard.counts["holds_asked"]) == (1, 1)
    bench.run(0.3, bench.commands[-1])
    assert bench.guard.state is State.TRACKING
    assert_smooth(bench.commands)


def test_a_hold_that_the_commander_asked_for_needs_a_person_when_it_lasts() -> None:
    """As any hold that nobody near the arm has asked for. Asking again does not make it longer or shorter."""
    bench = Bench().moving()
    hold_request(bench)
    bench.run(0.8)
    hold_request(bench)
    bench.run(0.3)
    assert bench.guard.needs_arm
    assert bench.guard.counts["holds_asked"] == 1
    bench.run(0.3, bench.measured)
    assert bench.guard.state is State.HOLDING
    bench.arm()
    bench.run(0.3, bench.measured)
    assert bench.guard.state is State.TRACKING


def test_a_request_that_waits_for_a_heartbeat_is_forgotten_when_the_commander_asks_to_hold() -> None:
    bench = Bench().arm()
    bench.heartbeat = False
    assert bench.ask(offset(0.1, 0, 0, 0, 0, 0)) is None
    assert hold_request(bench) is None
    bench.heartbeat = True
    assert (bench.run(0.2) == HOME).all()
    assert bench.guard.state is State.HOLDING


@pytest.mark.parametrize(("names", "age_s", "kind"), [
    (NAMES[:5], 0.0, "names"), ((), 0.0, "names"), (NAMES, 1.5, "stamp"), (NAMES, -0.2, "stamp"),
])
def test_asking_to_hold_is_checked_as_any_request(names, age_s, kind) -> None:
    """A replayed one, or one that is meant for another robot, stops nothing."""
    bench = Bench().moving()
    assert hold_request(bench, age_s, names)
    assert bench.guard.counts[f"request_refused_{kind}"] == 1
    assert bench.guard.state is State.TRACKING


@pytest.mark.parametrize("stop", ["hold", "estop", "disarm"])
def test_asking_to_hold_does_nothing_where_the_guard_stands_still_already(stop) -> None:
    bench = Bench().moving()
    getattr(bench.guard, stop)()
    bench.run(0.3)
    before = (bench.guard.state, bench.guard.reason, bench.guard.needs_arm)
    assert hold_request(bench) is None
    assert (bench.guard.state, bench.guard.reason, bench.guard.needs_arm) == before
    assert (bench.guard.counts["requests_to_hold"], bench.guard.counts["holds_asked"]) == (1, 0)


@settings(max_examples=100, deadline=None)
@given(script=st.lists(st.tuples(st.sampled_from(["hold", "ask", "far", "arm", "dead"]), st.integers(1, 20)),
                       max_size=30))
def test_asking_to_hold_in_any_order_brakes_within_the_limits(script) -> None:
    bench = Bench().moving()
    for event, periods in script:
        bench.heartbeat = event != "dead"
        if event == "hold":
            hold_request(bench)
            assert bench.guard.state is not State.TRACKING
        elif event == "arm":
            bench.guard.arm(bench.now_s - T)
        elif event != "dead":
            bench.ask(bench.measured + offset(0.5 if event == "far" else 0.05, 0, 0, 0, 0, 0) - HOME)
        bench.run(periods * T)
    hold_request(bench)
    bench.run(0.2)  # 3 rad/s at 20 rad/s^2: 0.15 s
    assert bench.speed == 0.0
    assert_smooth(bench.commands)


# ---- bad requests


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e308])
def test_f19_a_broken_number_is_a_fault_and_nothing_of_the_request_is_used(bad) -> None:
    bench = Bench().moving()
    points = np.tile(HOME, (4, 1))
    points[3, 2] = bad
    assert bench.ask(points, times=(0.1, 0.2, 0.3, 0.4)) is not None
    assert bench.guard.state is State.FAULT
    bench.run(0.5, HOME)
    assert np.isfinite(bench.commands).all()
    assert_smooth(bench.commands)
    assert bench.guard.state is State.FAULT, "latched: good requests do not clear it"
    assert bench.guard.counts["request_refused_fault"] == 5


@pytest.mark.parametrize("field", ["stamp", "time"])
def test_f19_a_time_that_is_not_finite_is_a_fault(field) -> None:
    bench = Bench().moving()
    bench.ask(HOME, times=(float("nan"),) if field == "time" else (0.1,), age_s=0 if field == "time" else float("nan"))
    assert bench.guard.state is State.FAULT


def test_f21_joints_are_mapped_by_name() -> None:
    order = [3, 5, 0, 1, 4, 2]
    bench = Bench()
    bench.guard.on_state([NAMES[i] for i in order] + ["mimic"], [*HOME[order], 9.0], bench.now_s)
    assert bench.guard.arm(bench.now_s) is None
    assert (bench.guard.step(bench.now_s) == HOME).all()
    goal = offset(0.01, 0.02, 0.03, 0.04, 0.05, 0.006)
    for _ in range(5):
        bench.ask(goal[order], names=[NAMES[i] for i in order])
        bench.run(0.1)
    assert bench.commands[-1] == pytest.approx(goal, abs=1e-6)


@pytest.mark.parametrize(
    ("names", "width", "says"),
    [
        (NAMES[:5], 5, "missing: grip"),
        ((*NAMES[:5], "gripper"), 6, "missing: grip"),
        ((*NAMES[:5], NAMES[0]), 6, "twice: a"),
        ((*NAMES, "extra"), 7, "unknown joint: extra"),
        ((), 6, "missing"),
    ],
)
def test_f21_wrong_joint_names_are_refused_and_counted(names, width, says) -> None:
    bench = Bench().moving()
    assert says in bench.ask(np.zeros(width), names=names)
    assert bench.guard.counts["request_refused_names"] == 1
    assert bench.guard.state is State.TRACKING


def test_f21_a_joint_state_with_a_missing_or_doubled_joint_is_no_joint_state() -> None:
    bench = Bench()
    assert bench.guard.on_state(NAMES[:-1], HOME[:-1], bench.now_s)
    assert bench.guard.on_state((*NAMES, "a"), [*HOME, 0.0], bench.now_s)
    assert bench.guard.on_state(NAMES, HOME[:-1], bench.now_s)
    assert bench.guard.on_state(NAMES, [*HOME[:-1], float("nan")], bench.now_s)
    assert bench.guard.counts["state_refused_names"] == 2
    assert "never received" in bench.guard.arm(bench.now_s)


@pytest.mark.parametrize(
    ("times", "positions", "kind"),
    [
        ((), np.zeros((1, 6)), "shape"),
        ((0.1, 0.2), np.zeros((1, 6)), "shape"),
        ((0.1,), np.zeros((1, 5)), "shape"),
        ((0.1, 0.2), [[0.0] * 6, [0.0] * 5], "shape"),
        ((0.1,), [["x"] * 6], "shape"),
        ((0.1, 0.1), np.zeros((2, 6)), "times"),
        ((0.2, 0.1), np.zeros((2, 6)), "times"),
        ((-0.1, 0.1), np.zeros((2, 6)), "times"),
        ((100.0, 100.1), np.zeros((2, 6)), "times"),
    ],
)
def test_f20_wrong_shapes_and_times_are_refused_and_counted(times, positions, kind) -> None:
    bench = Bench().moving()
    assert bench.guard.on_request(Request(bench.now_s, NAMES, times, positions), bench.now_s)
    assert bench.guard.counts[f"request_refused_{kind}"] == 1
    assert bench.guard.state is State.TRACKING


@pytest.mark.parametrize(("age_s", "kind"), [(1.5, "stamp"), (-0.2, "stamp"), (1e9, "stamp"), (0.5, "late")])
def test_f25_a_request_from_another_time_is_refused_and_counted(age_s, kind) -> None:
    bench = Bench().moving()
    assert bench.ask(HOME, age_s=age_s)
    assert bench.guard.counts[f"request_refused_{kind}"] == 1


# ---- plausible but wrong requests


def test_f22_degrees_for_radians_are_a_fault_at_once() -> None:
    bench = Bench().moving()
    assert "wrong unit" in bench.ask(np.degrees([0.5, 0, 0, 0, 0, 0]))
    assert bench.guard.state is State.FAULT


@pytest.mark.parametrize("wrong", [offset(1.7, 0, 0, 0, 0, 0), HOME * -12, HOME * 10])
def test_f22_a_step_is_limited(wrong) -> None:
    bench = Bench().moving()
    bench.run(0.3, wrong)
    assert_smooth(bench.commands)


def test_f22_sustained_limiting_is_a_fault() -> None:
    """A commander that asks for the impossible again and again is not in control of the arm."""
    bench = Bench().moving()
    bench.run(2.0, lambda now_s: [1.9 if int(now_s / 0.3) % 2 else -1.9, -0.2, 0.3, 0, 0, 0.02])
    assert bench.guard.state is State.FAULT
    assert "a was limited for 0.5 s" in bench.guard.reason
    assert_smooth(bench.commands)


def test_a_gripper_that_closes_as_fast_as_it_can_is_no_fault() -> None:
    bench = Bench().arm()
    bench.run(1.0, [*HOME[:5], 0.04])
    bench.run(1.0, [*HOME[:5], 0.0])
    assert bench.guard.state is State.TRACKING
    assert bench.commands[-1][5] == pytest.approx(0.0, abs=1e-9)


def test_f23_a_far_first_request_is_approached_slowly() -> None:
    bench = Bench().arm()
    goal = offset(0.8, 0, 0, 0, 0, 0)
    bench.run(0.5, goal)
    assert bench.guard.ramping
    velocity = np.diff(np.array(bench.commands), axis=0) / T
    assert velocity.max() <= 0.2 * 3.0 + 1e-9
    bench.run(2.0, goal)
    assert not bench.guard.ramping
    assert bench.commands[-1] == pytest.approx(goal, abs=1e-6)
    assert_smooth(bench.commands)


def test_f23_a_first_request_beyond_the_refuse_distance_is_a_fault() -> None:
    bench = Bench().arm()
    bench.run(0.3, offset(1.01, 0, 0, 0, 0, 0))
    assert bench.guard.state is State.FAULT
    assert "1.010 rad away" in bench.guard.reason
    assert (np.array(bench.commands) == HOME).all()


# ---- somebody else


def test_f26_a_foreign_publisher_is_a_fault_and_prevents_arming() -> None:
    bench = Bench().moving()
    bench.guard.on_foreign_publisher("/rosbag2_player")
    bench.run(0.3, HOME)
    assert bench.guard.state is State.FAULT
    assert bench.speed == 0.0
    assert "/rosbag2_player" in bench.guard.arm(bench.now_s)
    bench.guard.on_foreign_publisher(None)
    assert bench.guard.arm(bench.now_s) is None


def test_f26_two_commanders_are_a_fault() -> None:
    bench = Bench().moving()
    assert bench.ask(HOME, sender="policy") is None
    assert "second commander" in bench.ask(HOME, sender="teleop")
    assert bench.guard.state is State.FAULT


def test_f26_two_heartbeats_are_a_fault_and_a_change_of_commander_is_not() -> None:
    bench = Bench().moving()
    bench.guard.on_heartbeat(bench.now_s, "teleop")
    bench.guard.on_heartbeat(bench.now_s + 0.1, "policy")
    assert bench.guard.state is State.TRACKING
    bench.guard.on_heartbeat(bench.now_s + 0.11, "teleop")
    assert bench.guard.state is State.FAULT


def test_f26_two_publishers_of_joint_states_are_a_fault_and_a_driver_that_starts_again_is_not() -> None:
    """A bag played into the live graph brings its joint states along: arming would have begun at a recorded pose."""
    bench = Bench().moving()
    elsewhere = offset(0.9, 0, 0, 0, 0, 0)
    assert bench.guard.on_state(NAMES, HOME, bench.now_s, "driver") is None
    assert "two publishers" in bench.guard.on_state(NAMES, elsewhere, bench.now_s + 0.01, "player")
    assert bench.guard.state is State.FAULT
    for k in range(2, 40):  # the driver comes twice in a row: that makes it no more believable
        where, who = (elsewhere, "player") if k % 3 == 0 else (HOME, "driver")
        bench.guard.on_state(NAMES, where, bench.now_s + k / 100, who)
    assert "ms old" in bench.guard.arm(bench.now_s + 0.4), "neither of the two is believed"
    bench = Bench()
    bench.guard.on_state(NAMES, HOME, bench.now_s, "driver")
    bench.guard.on_state(NAMES, elsewhere, bench.now_s + 0.01, "player")
    assert "stop one" in bench.guard.arm(bench.now_s + 0.02)
    bench = Bench()
    assert bench.guard.on_state(NAMES, HOME, bench.now_s, "driver") is None
    assert bench.guard.on_state(NAMES, HOME, bench.now_s + 0.2, "driver, started again") is None


def test_every_refusal_says_something_a_person_can_use() -> None:
    bench = Bench().moving()
    refusals = [bench.ask(HOME, age_s=5.0), bench.ask(HOME[:5], names=NAMES[:5]), bench.ask(HOME[:5])]
    assert all(len(text) > 20 for text in refusals)
    assert len(set(itertools.chain(refusals))) == 3
