"""The robot's end: joint states at the robot YAML's rate, and when each request and each command arrives.

    python robot_node.py ROBOT OUT.json SECONDS guard|direct

It follows what it is told at once. With "guard" it arms the guard and waits until that follows; then it warms up for
two seconds and measures for SECONDS. Times are on the ROS clock, which is the clock of the stamps. It stands for
hardware: the benchmark starts it at raised priority.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import time
from pathlib import Path

import rclpy
from autofocus_core.names import GUARD_REQUEST_TOPIC, GUARD_STATUS_TOPIC
from autofocus_core.schema import load_robot
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

WARM_UP_S = 2.0


class RobotEnd:
    """requests, commands: (arrival, stamp) in ns; policy, guard: values of their newest status."""

    def __init__(self, robot_file: str) -> None:
        self.robot = load_robot(robot_file)
        self.position = list(self.robot.start.pose)
        self.requests: list[tuple[int, int]] = []
        self.commands: list[tuple[int, int]] = []
        self.policy: dict[str, str] = {}
        self.guard: dict[str, str] = {}
        self.node = rclpy.create_node("robot")
        create = self.node.create_subscription
        create(JointTrajectory, GUARD_REQUEST_TOPIC, self._on_request, 10)
        create(JointState, self.robot.command.topic, self._on_command, 50)
        create(DiagnosticArray, "/policy/status", lambda m: self.policy.update(values(m)), 10)
        create(DiagnosticArray, GUARD_STATUS_TOPIC, lambda m: self.guard.update(values(m)), 10)
        self._states = self.node.create_publisher(JointState, self.robot.state.topic, 10)
        self._arm = self.node.create_client(Trigger, "/command_guard/arm")
        self.node.create_timer(1.0 / self.robot.state.rate_hz, self._publish)

    def _on_request(self, msg: JointTrajectory) -> None:
        if msg.points:  # without any it asks to hold, and answers no observation
            self.requests.append(arrival(msg))

    def _on_command(self, msg: JointState) -> None:
        self.commands.append(arrival(msg))
        by_name = dict(zip(msg.name, msg.position, strict=True))
        self.position = [by_name[name] for name in self.robot.joint_names]

    def _publish(self) -> None:
        msg = JointState(name=list(self.robot.joint_names), position=self.position)
        msg.header.stamp = self.node.get_clock().now().to_msg()
        self._states.publish(msg)

    def spin(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            rclpy.spin_once(self.node, timeout_sec=max(0.0, end_s - time.monotonic()))

    def wait_until_followed(self, guarded: bool) -> None:
        """Until commands come that a request is behind; raises TimeoutError after a minute and a half."""
        give_up_s = time.monotonic() + 90.0
        while time.monotonic() < give_up_s:
            self.spin(0.5)
            if not guarded and len(self.commands) > 10:
                return
            if guarded and self.guard.get("state") == "tracking":
                return
            if guarded and self._arm.service_is_ready() and self.requests:
                self._arm.call_async(Trigger.Request())
        raise TimeoutError(f"no commands; guard: {self.guard}, policy: {self.policy}")


def arrival(msg: JointTrajectory | JointState) -> tuple[int, int]:
    return time.time_ns(), msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec


def values(msg: DiagnosticArray) -> dict[str, str]:
    return {pair.key: pair.value for pair in msg.status[0].values}


def main(robot_file: str, out_file: str, seconds: str, way: str) -> None:
    rclpy.init()
    end = RobotEnd(robot_file)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        end.wait_until_followed(way == "guard")
        end.spin(WARM_UP_S)
        holds = guard_holds(end.guard)
        end.requests.clear()
        end.commands.clear()
        gc.collect()
        gc.freeze()
        end.spin(float(seconds))
        Path(out_file).write_text(json.dumps({
            "requests": end.requests, "commands": end.commands, "policy": end.policy, "guard": end.guard,
            "holds": guard_holds(end.guard) - holds}))


def guard_holds(status: dict[str, str]) -> int:
    return sum(int(value) for key, value in status.items() if key.startswith("count.holds"))


if __name__ == "__main__":
    main(*sys.argv[1:])
