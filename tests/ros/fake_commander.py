"""A commander that sweeps the first joint: `python fake_commander.py ROBOT_YAML SPEED_RAD_S`.

Requests of 8 points at the control rate, heartbeats at 100 Hz. It starts where the robot is, and again so where the
robot did not follow. At raised priority where that is allowed: what is tested is its end, not its want of time.
"""

import contextlib
import math
import os
import sys

import rclpy
from autofocus_core.names import GUARD_HEARTBEAT_TOPIC, GUARD_REQUEST_TOPIC
from autofocus_core.schema import load_robot
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

POINTS = 8
SPAN_RAD = 1.2
LOST_RAD = 0.2


class Sweep:
    """A target that goes to and fro between -SPAN_RAD and SPAN_RAD, and never far from where the joint is."""

    def __init__(self, speed_rad_s: float) -> None:
        self.velocity, self.position = speed_rad_s, math.inf

    def advance(self, elapsed_s: float, measured_rad: float) -> None:
        self.position += self.velocity * elapsed_s
        if abs(self.position - measured_rad) > LOST_RAD:
            self.position = measured_rad
        if abs(self.position) > SPAN_RAD:
            self.velocity = -math.copysign(self.velocity, self.position)


def main(robot_file: str, speed_rad_s: str) -> None:
    robot = load_robot(robot_file)
    period_s, sweep = 1.0 / robot.control_rate_hz, Sweep(float(speed_rad_s))
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    rclpy.init()
    node = rclpy.create_node("fake_commander")
    requests = node.create_publisher(JointTrajectory, GUARD_REQUEST_TOPIC, 1)
    heartbeats = node.create_publisher(Header, GUARD_HEARTBEAT_TOPIC, 1)
    measured: dict[str, float] = {}
    last = node.get_clock().now()

    def request() -> None:
        nonlocal last
        if not measured:
            return
        now = node.get_clock().now()
        first = robot.joint_names[0]
        sweep.advance((now - last).nanoseconds * 1e-9, measured[first])
        last = now
        msg = JointTrajectory(joint_names=list(measured))
        msg.header.stamp = now.to_msg()
        for k in range(1, POINTS + 1):
            pose = {**measured, first: sweep.position + sweep.velocity * k * period_s}
            due = Duration(seconds=k * period_s).to_msg()
            msg.points.append(JointTrajectoryPoint(positions=list(pose.values()), time_from_start=due))
        requests.publish(msg)

    node.create_subscription(JointState, robot.state.topic, lambda msg: measured.update(zip(msg.name, msg.position)), 1)
    node.create_timer(period_s, request)
    node.create_timer(0.01, lambda: heartbeats.publish(Header(stamp=node.get_clock().now().to_msg())))
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main(*sys.argv[1:])
