"""The deadman switch and the e-stop button, in simulated time."""

from __future__ import annotations

import pytest
from command_guard.core import State
from guard_bench import Bench, assert_smooth, offset

GOAL = offset(0.1, 0, 0, 0, 0, 0)


def test_without_a_hand_on_the_switch_nothing_is_followed() -> None:
    bench = Bench(deadman=True).arm()
    bench.run(1.0, GOAL)
    assert bench.guard.state is State.HOLDING
    bench.held = False
    bench.run(1.0, GOAL)
    assert bench.guard.state is State.HOLDING
    bench.held = True
    bench.run(1.0, GOAL)
    assert bench.guard.state is State.TRACKING
    assert bench.commands[-1] == pytest.approx(GOAL, abs=1e-6)


@pytest.mark.parametrize("ending", [False, None])
def test_letting_go_holds_and_holding_again_goes_on(ending: bool | None) -> None:
    """However long it was: holding the switch is a person's own act. Silence of the switch is letting go."""
    bench = Bench(deadman=True)
    bench.held = True
    bench.moving()
    bench.held = ending
    bench.run(0.5, GOAL)
    assert bench.guard.state is State.HOLDING
    assert bench.speed == 0.0
    assert "deadman" in bench.guard.reason
    bench.run(3.0, GOAL)
    bench.held = True
    bench.run(1.0, GOAL)
    assert bench.guard.state is State.TRACKING
    assert_smooth(bench.commands)


def test_a_pressed_e_stop_brakes_and_keeps_arm_from_working() -> None:
    bench = Bench().moving()
    bench.guard.on_estop_signal(True)
    bench.run(0.5, GOAL)
    assert (bench.guard.state, bench.speed) == (State.FAULT, 0.0)
    assert "released" not in bench.guard.reason and "e-stop" in bench.guard.reason
    assert "release" in bench.guard.arm(bench.now_s)
    bench.guard.on_estop_signal(False)
    bench.run(0.5, GOAL)
    assert bench.guard.state is State.FAULT, "releasing the button alone starts nothing"
    bench.arm()
    bench.run(1.0, GOAL)
    assert bench.guard.state is State.TRACKING
    assert_smooth(bench.commands)


def test_a_button_pressed_before_arming_counts() -> None:
    bench = Bench()
    bench.guard.on_estop_signal(True)
    bench.guard.on_state(*_state(bench))
    assert bench.guard.arm(bench.now_s) is not None
    assert bench.guard.step(bench.now_s) is None


def _state(bench: Bench) -> tuple:
    return (bench.guard.robot.joint_names, bench.measured, bench.now_s)
