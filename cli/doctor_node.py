"""Two little nodes for `autofocus doctor`: `ping` counts how many of ten messages `echo` sends back."""

from __future__ import annotations

import json
import statistics
import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

MESSAGES = 10
DISCOVERY_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 2.0
#: Reliable, keep last 10: nothing may be lost between two processes on one machine.
QOS = QoSProfile(depth=10)


def echo(node: Node) -> int:
    """Send back what comes, until interrupted."""
    back = node.create_publisher(Header, "/autofocus_doctor/pong", QOS)
    node.create_subscription(Header, "/autofocus_doctor/ping", back.publish, QOS)
    while rclpy.ok():
        rclpy.spin_once(node, timeout_sec=0.2)
    return 0


def ping(node: Node) -> int:
    """Ten round trips after discovery; prints one JSON line; 1 when something did not come back."""
    answers: dict[str, float] = {}
    out = node.create_publisher(Header, "/autofocus_doctor/ping", QOS)
    node.create_subscription(
        Header, "/autofocus_doctor/pong", lambda msg: answers.setdefault(msg.frame_id, time.monotonic()), QOS)
    deadline_s = time.monotonic() + DISCOVERY_TIMEOUT_S
    while out.get_subscription_count() == 0 or node.count_publishers("/autofocus_doctor/pong") == 0:
        if time.monotonic() > deadline_s:
            print(f"the other process was not discovered within {DISCOVERY_TIMEOUT_S} s", flush=True)
            return 1
        rclpy.spin_once(node, timeout_sec=0.05)
    round_trips_ms = []
    for number in range(-1, MESSAGES):  # -1 warms up: the way back may be discovered a moment later
        sent_s = time.monotonic()
        wait_s = ANSWER_TIMEOUT_S if number >= 0 else DISCOVERY_TIMEOUT_S
        while str(number) not in answers and time.monotonic() < sent_s + wait_s:
            if number < 0 or time.monotonic() - sent_s < 1e-3:
                out.publish(Header(frame_id=str(number)))
            rclpy.spin_once(node, timeout_sec=0.05)
        if str(number) not in answers:
            print(f"message {number} did not come back within {wait_s} s", flush=True)
            return 1
        if number >= 0:
            round_trips_ms.append(1e3 * (answers[str(number)] - sent_s))
    rmw = rclpy.get_rmw_implementation_identifier()
    print(json.dumps({"median_ms": statistics.median(round_trips_ms), "rmw": rmw}), flush=True)
    return 0


def main() -> int:
    """`python -m autofocus_cli.doctor_node ping|echo`."""
    rclpy.init()
    try:
        role = {"ping": ping, "echo": echo}[sys.argv[1]]
        return role(rclpy.create_node("autofocus_doctor_" + sys.argv[1]))
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        return 0


if __name__ == "__main__":
    sys.exit(main())
