"""What goes out to the robot: one message of the command type, or one each for the arm and its gripper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from autofocus_core.names import GUARD_COMMAND_TOPIC
from autofocus_core.schema import Robot
from builtin_interfaces.msg import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

JOINT_STATE = "sensor_msgs/msg/JointState"


def joint_state_command(names: Sequence[str], positions: np.ndarray, stamp, period_s: float) -> JointState:
    return JointState(header=Header(stamp=stamp), name=names, position=positions)


def array_command(names: Sequence[str], positions: np.ndarray, stamp, period_s: float) -> Float64MultiArray:
    """For forward controllers, which take the joints in their own configured order: it must be the robot YAML's."""
    return Float64MultiArray(data=positions)


def trajectory_command(names: Sequence[str], positions: np.ndarray, stamp, period_s: float) -> JointTrajectory:
    """For joint trajectory controllers: one point, due a period from now. Stamp 0 means "begin at once" there."""
    due = Duration(sec=int(period_s), nanosec=round(period_s % 1.0 * 1e9))
    point = JointTrajectoryPoint(positions=positions, time_from_start=due)
    return JointTrajectory(joint_names=names, points=[point])


COMMANDS = {
    "sensor_msgs/msg/JointState": (JointState, joint_state_command),
    "std_msgs/msg/Float64MultiArray": (Float64MultiArray, array_command),
    "trajectory_msgs/msg/JointTrajectory": (JointTrajectory, trajectory_command),
}


@dataclass(frozen=True, slots=True)
class Output:
    """One topic of commands: the joints that are in its message, and what makes the message."""

    publisher: Publisher
    make: Callable[..., Any]
    names: tuple[str, ...]
    joints: slice

    @property
    def topic(self) -> str:
        """Its resolved name."""
        return self.publisher.topic_name

    def send(self, command: np.ndarray, stamp: Any, period_s: float) -> None:
        """Publish this output's part of a command (A,), rad or m."""
        self.publisher.publish(self.make(self.names, command[self.joints], stamp, period_s))


def open_outputs(node: Node, robot: Robot, qos: QoSProfile) -> list[Output]:
    """The robot's command topic, its gripper's where that is apart, and all joints as they were sent where neither
    is that: somebody has to be able to learn from it."""
    whole, arm = slice(None), slice(0, len(robot.joints))
    if robot.gripper_command is None:
        wanted = [(robot.command.topic, robot.command.type, whole)]
    else:
        wanted = [
            (robot.command.topic, robot.command.type, arm),
            (robot.gripper_command.topic, robot.gripper_command.type, slice(len(robot.joints), None)),
        ]
    if len(wanted) > 1 or robot.command.type != JOINT_STATE:
        wanted.append((GUARD_COMMAND_TOPIC, JOINT_STATE, whole))
    outputs = []
    for topic, kind, joints in wanted:
        message_type, make = COMMANDS[kind]
        publisher = node.create_publisher(message_type, topic, qos)
        outputs.append(Output(publisher, make, robot.joint_names[joints], joints))
    return outputs
