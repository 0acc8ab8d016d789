"""A robot that does at once what it is told, and writes down when: `python fake_robot.py ROBOT_YAML LOG [shuffled]`.

Each line of LOG: arrival on CLOCK_MONOTONIC in ns, then the commanded positions in the order of the robot YAML.
With "shuffled" its joint states name the joints in another order, and one more.
It stands for hardware, so it runs at raised priority where that is allowed.
"""

import contextlib
import os
import sys
import time

import rclpy
from autofocus_core.schema import load_robot
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory


def main(robot_file: str, log_file: str, order: str = "as described") -> None:
    robot = load_robot(robot_file)
    names = list(robot.joint_names)
    position = list(robot.start.pose)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    rclpy.init()
    node = rclpy.create_node("fake_robot")
    state = node.create_publisher(JointState, robot.state.topic, 10)
    with open(log_file, "w", buffering=1) as log:

        def take(msg, wanted: list[str]) -> None:
            if isinstance(msg, Float64MultiArray):
                by_name = dict(zip(wanted, msg.data, strict=True))
            elif isinstance(msg, JointState):
                by_name = dict(zip(msg.name, msg.position, strict=True))
            else:
                (point,) = msg.points
                by_name = dict(zip(msg.joint_names, point.positions, strict=True))
            assert sorted(by_name) == sorted(wanted), by_name
            for name, value in by_name.items():
                position[names.index(name)] = value

        def on_command(msg) -> None:
            now_ns = time.monotonic_ns()
            take(msg, arm)
            log.write(" ".join([str(now_ns), *map(repr, position)]) + "\n")

        def publish() -> None:
            msg = JointState(name=names, position=position)
            if order == "shuffled":
                msg = JointState(name=[*reversed(names), "mimic"], position=[*reversed(position), 9.0])
            msg.header.stamp = node.get_clock().now().to_msg()
            state.publish(msg)

        kind = {
            "sensor_msgs/msg/JointState": JointState,
            "std_msgs/msg/Float64MultiArray": Float64MultiArray,
            "trajectory_msgs/msg/JointTrajectory": JointTrajectory,
        }
        apart = robot.gripper_command
        arm = names if apart is None else names[:-1]
        if apart is not None:
            node.create_subscription(kind[apart.type], apart.topic, lambda msg: take(msg, names[-1:]), 50)
        node.create_subscription(kind[robot.command.type], robot.command.topic, on_command, 50)
        node.create_timer(1.0 / robot.state.rate_hz, publish)
        with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
            rclpy.spin(node)


if __name__ == "__main__":
    main(*sys.argv[1:])
