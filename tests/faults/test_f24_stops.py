"""F24: stops in motion (e-stop, signals, a policy that is deactivated) brake from the last command, without a step."""

import signal
import time

import numpy as np
import pytest
from guard_cell import Cell, record_fault, step_beyond_limits_rad
from lift_cell import LiftCell, recorded_lift

JOINING_RAD = 1e-6


def record_joining(name: str, step_rad: float) -> None:
    record_fault(f"F24 joining step of {name} at the robot's end", step_rad, "rad", f"<= {JOINING_RAD:g}",
                 step_rad <= JOINING_RAD)
    assert step_rad <= JOINING_RAD


def test_f24_estop_brakes_smoothly_and_is_latched(cell: Cell) -> None:
    cell.sweep(1.0)
    since = len(cell.commands()[0])
    assert cell.call("estop").success
    cell.wait_for_state("fault")
    asked_s = time.monotonic()
    cell.stop_time_s(asked_s)
    where = cell.commands()[1][-1]
    cell.wait_until(lambda: cell.count("request_refused_fault") > 3, 5, "requests refused")
    assert (cell.commands()[1][-1] == where).all()
    record_joining("the e-stop", cell.joining_step_rad(since))
    cell.assert_smooth()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_f24_a_guard_told_to_end_brakes_first(cell: Cell, number: signal.Signals) -> None:
    cell.sweep(1.0)
    since = len(cell.commands()[0])
    cell.guard.send_signal(number)
    assert cell.guard.wait(5) == 0
    assert cell.speed() < 1.0
    last = cell.commands()[1][-3:]
    assert np.abs(np.diff(last, axis=0)[-1]).max() == 0.0, "the last command is at rest"
    record_joining(f"{number.name} of the guard", cell.joining_step_rad(since))
    cell.assert_smooth()


def test_f24_a_policy_that_is_deactivated_in_a_lift_is_braked_from_the_last_command(
    ros_node, spawn, wait_until, tmp_path
) -> None:
    """The simulated arm lags behind its command: a stop that anchors to feedback (ros2_controllers#2587) would step."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    lift = LiftCell(ros_node, spawn, wait_until, tmp_path, recorded_lift())
    change = ros_node.create_client(ChangeState, "/policy/change_state")
    for _ in range(5):
        since_s = max(lift.begin(), time.monotonic() - 0.3)
        wait_until(change.service_is_ready, 10, "the policy's lifecycle")
        done = change.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE)))
        wait_until(done.done, 10, "the policy, deactivated")
        assert done.result().success
        settled = lift.wait_for_rest()
        lift.end_policy()
        if settled:
            break
    assert settled, "the machine is too slow for the simulator"
    assert "dead" in lift.watch.status["reason"]
    record_joining("a policy deactivated in a lift", step_beyond_limits_rad(lift.rows(since_s)))
