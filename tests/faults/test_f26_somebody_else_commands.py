"""F26: a second commander, a second publisher of commands, a bag played into the live graph: noticed, not forwarded.

That a replay by our own player goes to /replay is in tests/ros/test_policy_replay.py.
"""

import time

import numpy as np
import pytest
from autofocus_core.names import GUARD_HEARTBEAT_TOPIC, GUARD_REQUEST_TOPIC
from guard_cell import ROBOT, Cell, offset, record_fault
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

#: The sweeping commander moves the first joint alone: a command that moves another is somebody else's.
ELSEWHERE = offset(0, 0.4, 0.3, 0, 0, 0)


def record_forwarded(whose: str, cell: Cell) -> None:
    cell.wait_until(lambda: cell.speed() == 0.0, 5, "rest")
    strange = np.abs(cell.commands()[1][:, 1:] - np.array(ROBOT.start.pose)[1:]).max(axis=1) > 1e-6
    record_fault(f"F26 commands of {whose} forwarded", int(strange.sum()), "", "0", not strange.any())
    assert not strange.any()
    cell.assert_smooth()


def test_f26_a_second_publisher_of_commands_is_a_fault(cell: Cell) -> None:
    cell.sweep()
    begin_s = time.monotonic()
    stranger = cell.node.create_publisher(JointState, ROBOT.command.topic, 1)
    cell.wait_for_state("fault", 5)
    noticed_ms = (time.monotonic() - begin_s) * 1e3
    assert "/test_probe" in cell.status["reason"]
    cell.stop_time_s(begin_s)
    assert not cell.call("arm").success
    cell.node.destroy_publisher(stranger)
    cell.wait_until(lambda: cell.call("arm").success, 10, "arming after the stranger left")
    record_fault("F26 another publisher of commands noticed", round(noticed_ms, 1), "ms", "<= 500", noticed_ms <= 500)
    assert noticed_ms < 2000


def test_f26_a_second_commander_is_a_fault(cell: Cell) -> None:
    cell.sweep()
    cell.requests = cell.node.create_publisher(JointTrajectory, GUARD_REQUEST_TOPIC, 1)
    cell.wait_until(lambda: cell.requests.get_subscription_count() > 0, 5, "the guard")

    def noticed() -> bool:
        cell.ask(ELSEWHERE)
        time.sleep(0.05)
        return cell.status["state"] == "fault"

    cell.wait_until(noticed, 10, "the fault")
    assert "second commander" in cell.status["reason"]
    record_forwarded("a second commander", cell)


@pytest.mark.parametrize("streams", [("requests", "heartbeats"), ("joint states",)], ids=["requests", "joint_states"])
def test_f26_a_bag_played_into_the_live_graph_is_a_fault(cell: Cell, streams) -> None:
    """As `ros2 bag play` does without remapping: recorded messages, with their stamps, on their own topics."""
    cell.sweep()
    node, hours_ago = cell.node, cell.node.get_clock().now().nanoseconds // 10**9 - 7200
    stamped = Header()
    stamped.stamp.sec = hours_ago
    if "requests" in streams:
        cell.requests = node.create_publisher(JointTrajectory, GUARD_REQUEST_TOPIC, 1)
        heartbeats = node.create_publisher(Header, GUARD_HEARTBEAT_TOPIC, 1)
    else:
        states = node.create_publisher(JointState, ROBOT.state.topic, 10)

    def play() -> None:
        if "requests" in streams:
            heartbeats.publish(stamped)
            cell.ask(ELSEWHERE, stamp=stamped.stamp)
        else:
            states.publish(JointState(header=stamped, name=ROBOT.joint_names, position=ELSEWHERE))

    node.create_timer(0.02, play)
    cell.wait_for_state("fault")
    assert "two" in cell.status["reason"] or "second" in cell.status["reason"], cell.status["reason"]
    if "joint states" in streams:  # to arm now could mean to begin at the recorded pose
        assert "two publishers" in cell.call("arm").message
    record_forwarded(f"a bag with {' and '.join(streams)}", cell)
