"""F17: the driver of the robot is stopped: the arm holds, and only a person goes on."""

import os
import signal
import time

import numpy as np
from guard_cell import ROBOT, ROBOT_FILE, Cell, T, record_fault
from sensor_msgs.msg import JointState


def test_f17_a_stopped_driver_is_a_fault_until_a_person_arms(ros_node, spawn, wait_until, tmp_path) -> None:
    cell = Cell(ros_node, spawn, wait_until, tmp_path, ROBOT_FILE)
    heard: list[tuple[float, float]] = []  # arrival, position of the first joint

    def on_command(msg: JointState) -> None:
        heard.append((time.monotonic(), msg.position[0]))

    cell.node.create_subscription(JointState, ROBOT.command.topic, on_command, 50)
    cell.sweep()
    cell.wait_until(lambda: len(heard) > 20, 5, "commands")
    stopped_s = time.monotonic()
    os.kill(cell.robot.pid, signal.SIGSTOP)
    cell.wait_for_state("fault", 2)
    assert "joint state" in cell.status["reason"]
    cell.wait_until(lambda: time.monotonic() - heard[-1][0] > 0.3, 5, "silence")
    times, positions = np.array([row for row in heard if row[0] > stopped_s - 0.1]).T
    speed, at = np.abs(np.diff(positions)) / T, times[1:]
    fast = speed > 0.7 * np.median(speed[at < stopped_s])
    # The one after the last fast command: a single slow one before may be jitter of the path.
    braking_ms = (at[np.flatnonzero(fast)[-1] + 1] - stopped_s) * 1e3
    silent_ms = (heard[-1][0] - stopped_s) * 1e3
    os.kill(cell.robot.pid, signal.SIGCONT)
    states = cell.count("states")
    cell.wait_until(lambda: cell.count("states") > states + 20, 5, "joint states again")
    assert cell.status["state"] == "fault"
    assert time.monotonic() - heard[-1][0] > 0.3, "it went on by itself"
    cell.wait_until(lambda: cell.call("arm").success, 10, "arming")
    cell.wait_for_state("tracking")
    hold_ms = ROBOT.state.timeout_ms + T * 1e3
    record_fault("F17 SIGSTOP of the driver to the first command that brakes", round(braking_ms, 1), "ms",
                 f"<= {hold_ms:g}", braking_ms <= hold_ms)
    record_fault("F17 SIGSTOP of the driver to silence", round(silent_ms, 1), "ms",
                 f"<= {hold_ms + 20:g} (two periods of braking)", silent_ms <= hold_ms + 20)
    assert silent_ms < 300
