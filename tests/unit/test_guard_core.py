"""The guard's state machine in simulated time: arming, following, watchdogs, stops. See test_guard_requests.py, too."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from autofocus_core import results
from autofocus_core.errors import AutofocusError
from command_guard.core import GuardCore, State
from command_guard.settings import TABLE, Settings
from guard_bench import HOME, NAMES, ROBOT, Bench, T, assert_smooth, offset

# ---- arming


def test_disarmed_commands_nothing_and_refuses_requests() -> None:
    bench = Bench()
    assert len(bench.run(0.2, HOME)) == 0
    assert bench.guard.state is State.DISARMED
    assert bench.guard.counts["request_refused_disarmed"] == 2


def test_arm_needs_a_joint_state_and_a_fresh_one() -> None:
    bench = Bench()
    assert "never received" in bench.guard.arm(bench.now_s)
    bench.guard.on_state(NAMES, HOME, bench.now_s)
    assert "ms old" in bench.guard.arm(bench.now_s + 0.11)
    assert bench.guard.arm(bench.now_s + 0.09) is None


def test_arm_holds_the_measured_pose() -> None:
    bench = Bench().arm()
    assert (bench.run(0.1) == HOME).all()
    assert bench.guard.state is State.HOLDING


def test_arm_takes_a_pose_a_little_outside_its_limits_and_refuses_one_far_outside() -> None:
    bench = Bench()
    bench.measured = offset(0, 0, 0, 0, 0, -0.021)
    bench.arm()
    assert bench.run(0.02)[-1][5] == bench.measured[5], "where it is, not where the limit is: that would be a step"
    assert bench.run(0.6, HOME)[-1] == pytest.approx(HOME, abs=1e-6)
    assert_smooth(bench.commands)
    bench = Bench()
    bench.guard.on_state(NAMES, offset(2.5, 0, 0, 0, 0, 0), bench.now_s)
    assert "outside its limits" in bench.guard.arm(bench.now_s)


def test_an_impossible_setting_is_an_error_with_its_range() -> None:
    for values in ({"ramp_velocity_scale": 0.0}, {"rate_hz": 5.0}, {"resume_within_s": float("nan")}):
        with pytest.raises(AutofocusError, match=next(iter(values))):
            Settings(**values)


# ---- following


def test_a_request_is_followed_to_its_points_in_time() -> None:
    bench = Bench().arm()
    bench.run(0.05)
    path = HOME + np.outer([0.02, 0.05, 0.05], [1, -1, 0, 0, 0, 0])
    bench.heartbeat = True
    bench.guard.on_heartbeat(bench.now_s)
    assert bench.ask(path, times=(0.1, 0.2, 0.3)) is None
    commands = bench.run(0.31)
    assert commands[10] == pytest.approx(path[0], abs=2e-3)
    assert commands[20] == pytest.approx(path[1], abs=2e-3)
    assert_smooth(bench.commands)


def test_the_newest_request_replaces_the_one_before() -> None:
    bench = Bench().arm()
    bench.run(0.2, HOME + 0.05)
    assert bench.run(1.0, HOME)[-1] == pytest.approx(HOME, abs=1e-6)


def test_points_already_past_are_dropped_and_the_rest_is_kept() -> None:
    bench = Bench().arm()
    bench.guard.on_heartbeat(bench.now_s)
    assert bench.ask(HOME + np.outer([9, 9, 0.01], [0, 0, 0, 0, 0, 0.001]), times=(0.1, 0.2, 0.3), age_s=0.25) is None
    assert bench.run(0.1)[-1] == pytest.approx(offset(0, 0, 0, 0, 0, 1e-5), abs=1e-9)


def test_joining_from_a_hold_is_continuous() -> None:
    bench = Bench().arm()
    bench.run(0.3, HOME + 0.01)
    bench.run(0.5)
    bench.run(0.5, HOME - 0.01)
    assert_smooth(bench.commands)


# ---- watchdogs


def test_f18_dead_commander_is_held_and_resumes_within_a_second() -> None:
    bench = Bench().moving()
    bench.heartbeat = False
    bench.run(0.1)
    assert bench.guard.state is State.HOLDING
    assert "dead" in bench.guard.reason
    assert bench.speed == 0.0
    bench.heartbeat = True
    bench.run(0.2, bench.commands[-1])
    assert bench.guard.state is State.TRACKING
    assert_smooth(bench.commands)


def test_f18_late_commander_is_held_at_the_command_timeout() -> None:
    bench = Bench().moving()
    bench.run(0.15)  # the last request came 0.1 s before
    assert bench.guard.state is State.TRACKING
    bench.run(0.02)
    assert bench.guard.state is State.HOLDING
    assert "late" in bench.guard.reason
    assert bench.guard.counts["holds_request"] == 1


def test_a_hold_by_a_watchdog_that_lasts_needs_a_person() -> None:
    bench = Bench().moving()
    bench.run(1.4)
    assert bench.guard.needs_arm
    where = bench.commands[-1]
    assert (bench.run(0.3, HOME)[-1] == where).all()
    assert bench.guard.counts["request_refused_needs_arm"] == 3
    assert bench.guard.arm(bench.now_s) is None
    bench.run(0.3, where)
    assert bench.guard.state is State.TRACKING


def test_the_wait_for_the_first_request_is_not_limited() -> None:
    bench = Bench().arm()
    bench.run(5.0)
    bench.run(0.1, HOME)
    assert bench.guard.state is State.TRACKING


def test_f17_stale_joint_state_is_a_fault_and_silent_once_at_rest() -> None:
    """A driver that died and comes back must not meet an old command: the arm may have been moved by hand."""
    bench = Bench().moving()
    bench.driver = False
    bench.run(0.12)
    assert bench.guard.state is State.FAULT
    assert "joint state" in bench.guard.reason
    assert_smooth(bench.commands)
    assert len(bench.run(0.5)) <= 3  # braking from 0.5 rad/s, then silence
    bench.driver = True
    bench.measured = HOME + 0.01  # moved by hand
    assert len(bench.run(0.5)) == 0
    bench.arm()
    assert (bench.run(0.05) == HOME + 0.01).all()


# ---- what a person asks for


@pytest.mark.parametrize("stop", ["hold", "estop", "disarm"])
def test_f24_a_stop_brakes_from_the_last_command(stop) -> None:
    """ros2_controllers#2587: a cancel that anchors to feedback steps by the tracking error."""
    bench = Bench().moving()
    last, speed = bench.commands[-1][0], bench.speed
    bench.measured = bench.measured - 0.05  # the arm lags behind its command
    getattr(bench.guard, stop)()
    commands = bench.run(0.3, HOME)
    joining_rad = abs(commands[0][0] - (last + (speed - 20.0 * T) * T))
    ok = bool(joining_rad <= 1e-6)
    results.record(
        "faults", f"F24 joining step of {stop} in the core", float(joining_rad), "rad", "<= 1e-6", ok,
        "pytest tests/unit/test_guard_core.py -k f24",
    )  # fmt: skip
    assert ok
    assert_smooth(bench.commands)
    assert bench.speed == 0.0
    assert bench.guard.needs_arm, "a stop that a person asked for must not end by itself"


def test_disarm_brakes_first_and_is_silent_then() -> None:
    bench = Bench().moving()
    bench.guard.disarm()
    assert bench.guard.disarming
    assert len(bench.run(0.3)) == 3  # 0.5 rad/s at 20 rad/s^2: 0.3, 0.1, 0
    assert bench.guard.state is State.DISARMED


def test_arm_after_disarm_begins_where_the_arm_was_put() -> None:
    """The demonstration resets its cell between attempts: disarm, teleport, arm, without a step in between."""
    bench = Bench().moving()
    bench.guard.disarm()
    bench.measured = np.array([1.5, 1.0, -1.0, 0.5, 0.5, 0.04])
    bench.arm()
    assert (bench.run(0.05) == [1.5, 1.0, -1.0, 0.5, 0.5, 0.04]).all()


def test_arm_after_a_fault_goes_on_from_the_last_command() -> None:
    bench = Bench().moving()
    bench.guard.estop()
    bench.run(0.3)
    held = bench.commands[-1]
    bench.measured = held - 0.02
    bench.arm()
    assert (bench.run(0.05) == held).all()


def test_estop_while_disarmed_commands_nothing_and_refuses_until_armed() -> None:
    bench = Bench().moving()
    bench.guard.disarm()
    bench.run(0.3)
    bench.guard.estop()
    assert len(bench.run(0.2, HOME)) == 0
    assert bench.guard.state is State.FAULT
    bench.arm()
    bench.run(0.2, bench.measured)
    assert bench.guard.state is State.TRACKING


def test_arm_while_following_changes_nothing() -> None:
    bench = Bench().moving()
    bench.measured = bench.measured - [0.5, 0, 0, 0, 0, 0]
    bench.arm()
    bench.run(0.05)
    assert_smooth(bench.commands)


# ---- the whole


def test_any_order_of_events_keeps_the_limits() -> None:
    """15 000 periods of random events, requests good and bad, dead drivers and commanders; only `arm` may re-anchor."""
    rng = np.random.default_rng(3)
    bench = Bench().arm()
    seen = set()
    for _ in range(1500):
        event = rng.choice(["ask", "ask", "ask", "ask", "hold", "estop", "disarm", "arm", "nan", "pause", "driver"])
        before = len(bench.commands)
        anchored = False
        if event == "ask":
            bench.ask(np.clip(bench.measured + rng.normal(0, rng.choice([0.02, 0.5]), 6), -2, 2))
        elif event == "nan":
            bench.ask(HOME * np.nan)
        elif event == "pause":
            bench.heartbeat = not bench.heartbeat
        elif event == "driver" and rng.random() < 0.3:
            bench.driver = not bench.driver
        elif event in ("hold", "estop", "disarm"):
            getattr(bench.guard, event)()
        if event == "arm" or bench.guard.needs_arm:
            bench.driver = True
            bench.run(0.02)
            anchored = bench.guard._must_anchor()
            bench.guard.arm(bench.now_s)
        bench.run(0.08)
        seen.add(bench.guard.state)
        if anchored:
            bench.commands = bench.commands[before:][-7:]
        assert_smooth(bench.commands[-15:])
        assert np.isfinite(bench.commands[-15:]).all()
    assert State.TRACKING in seen and State.HOLDING in seen


def test_a_robot_without_a_gripper_is_guarded_too() -> None:
    robot = replace(ROBOT, gripper=None, start=replace(ROBOT.start, pose=(0.0,) * 5))
    guard = GuardCore(robot)
    guard.on_state(NAMES[:5], HOME[:5], 0.0)
    assert guard.arm(0.0) is None
    assert (guard.step(0.0) == HOME[:5]).all()


def test_step_is_cheap() -> None:
    """The in-process evaluator calls it 100 times a simulated second. The figure is recorded, the bound generous."""
    bench = Bench().arm()
    costs_s = []
    for k in range(2000):
        bench.guard.on_state(NAMES, bench.measured, bench.now_s)
        bench.guard.on_heartbeat(bench.now_s)
        if k % 10 == 0:
            bench.ask(HOME + 0.1 * np.sin(bench.now_s))
        begin_s = time.perf_counter()
        bench.measured = bench.guard.step(bench.now_s)
        costs_s.append(time.perf_counter() - begin_s)
        bench.now_s += T
    p50_us = float(np.percentile(costs_s, 50) * 1e6)
    results.record(
        "guard", "step_p50_us", round(p50_us, 1), "us", "<= 40", p50_us <= 40,
        "pytest tests/unit/test_guard_core.py -k cheap",
    )  # fmt: skip
    assert p50_us < 400


def test_the_guard_needs_neither_ros_nor_torch() -> None:
    code = "import sys, command_guard.core; print({'rclpy', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_the_parameter_table_in_the_document_is_the_one_in_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs/safety.md").read_text()
    for name, row in TABLE.items():
        cells = f"| `{name}` | {row.default:g} | {row.lowest:g} to {row.highest:g} | {row.unit} |"
        assert cells in text, cells
