"""Plays a recording at its own pace for a policy node that runs on its clock; nothing in it can reach a robot.

Camera and joint state topics keep their names, /clock carries the recording's time, and everything else, commands
above all, is published below /replay. It refuses to start where somebody publishes the robot's streams already.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import time

import rclpy
from autofocus_core.bags import Bag, open_bag
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.schema import Robot, load_robot
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

PREFIX = "/replay"
CLOCK_PERIOD_S = 0.01
DISCOVERY_S = 1.0
# Reliable and deep: replay is for looking at every message, not for being on time.
QOS = QoSProfile(depth=100)


class ReplayNode(Node):
    """Node /replay. played: messages published; silent: topics whose type is not installed here."""

    def __init__(self) -> None:
        super().__init__("replay")
        self.robot: Robot = load_robot(self._path("robot", "path of the robot YAML; required"))
        self.bag_path = self._path("bag", "episode or any rosbag2 recording; required")
        self._speed = self.declare_parameter("rate", 1.0, ParameterDescriptor(
            description="speed, 1.0 as recorded",
            floating_point_range=[FloatingPointRange(from_value=0.1, to_value=2.0)])).value
        self._wait_s = self.declare_parameter("wait_s", 60.0, ParameterDescriptor(
            description="how long to wait for a subscriber of the first camera, s",
            floating_point_range=[FloatingPointRange(from_value=1.0, to_value=600.0)])).value
        self._clock_out = self.create_publisher(Clock, "/clock", QoSProfile(depth=1))
        self.played = 0
        self.silent: list[str] = []

    def play(self, stop: threading.Event) -> None:
        """Publish the whole recording; returns at its end or when `stop` is set."""
        with open_bag(self.bag_path) as bag:
            kept = [self.robot.state.topic, *(t for c in self.robot.cameras for t in (c.topic, c.info_topic))]
            bag.require([self.robot.state.topic, *(c.topic for c in self.robot.cameras)])
            stop.wait(DISCOVERY_S)
            self._refuse_live_graph([*kept, "/clock"])
            publishers = self._open_publishers(bag, kept)
            self._wait_for_subscriber(publishers[self.robot.cameras[0].topic], [*kept, "/clock"], stop)
            started_s, next_clock_s = time.monotonic(), 0.0
            for message in bag.messages(publishers):
                at_s = (message.receive_ns - bag.start_ns) * 1e-9 / self._speed
                while not stop.is_set():
                    elapsed_s = time.monotonic() - started_s
                    if elapsed_s >= next_clock_s:
                        next_clock_s = elapsed_s + CLOCK_PERIOD_S
                        self._publish_clock(bag.start_ns + round(min(elapsed_s, at_s) * self._speed * 1e9))
                    if elapsed_s >= at_s:
                        break
                    stop.wait(min(CLOCK_PERIOD_S, at_s - elapsed_s))
                if stop.is_set():
                    return
                publishers[message.topic].publish(bytes(message.raw))
                self.played += 1
            stop.wait(0.5)  # for what is still under way

    def _path(self, name: str, description: str) -> str:
        self.declare_parameter(name, Parameter.Type.STRING, ParameterDescriptor(description=description))
        value = self.get_parameter_or(name).value
        if not value:
            raise AutofocusError(f"parameter {name} of node /replay", "not set", "a path", f"add `{name}:=PATH`")
        return value

    def _refuse_live_graph(self, topics: list[str]) -> None:
        for topic in topics:
            others = [i.node_name for i in self.get_publishers_info_by_topic(topic) if i.node_name != self.get_name()]
            if others:
                raise AutofocusError(f"replay of {self.bag_path}", f"{topic} is published by {', '.join(others)}",
                                     "a graph without the robot", "stop its drivers, or set another ROS_DOMAIN_ID")

    def _open_publishers(self, bag: Bag, kept: list[str]) -> dict[str, Publisher]:
        """One publisher for each topic whose type can be imported, outside PREFIX only what the policy sees."""
        out = {}
        for topic, msgtype in bag.topics.items():
            package, _, name = msgtype.split("/")
            try:
                message_class = getattr(importlib.import_module(f"{package}.msg"), name)
            except (ImportError, AttributeError):
                self.silent.append(topic)
                self.get_logger().warning(f"{topic} is left out: {msgtype} is not installed")
                continue
            out[topic] = self.create_publisher(message_class, topic if topic in kept else PREFIX + topic, QOS)
        return out

    def _wait_for_subscriber(self, publisher: Publisher, alone_on: list[str], stop: threading.Event) -> None:
        """Keeps looking for others on the topics it will publish: a slow discovery must not let a robot slip by."""
        deadline_s = time.monotonic() + self._wait_s
        while publisher.get_subscription_count() == 0 and not stop.wait(0.05):
            self._refuse_live_graph(alone_on)
            if time.monotonic() > deadline_s:
                raise AutofocusError(f"replay of {self.bag_path}", f"nobody subscribed to {publisher.topic_name}",
                                     f"a subscriber within {self._wait_s:g} s", "start the policy node, too")
        stop.wait(0.2)  # its other subscriptions are found a moment later
        self._refuse_live_graph(alone_on)

    def _publish_clock(self, now_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now_ns, 1_000_000_000)
        self._clock_out.publish(message)


def main(argv: list[str] | None = None) -> None:
    """Play once; exit status 2 where the recording or the graph is not fit for it."""
    rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    executor = SingleThreadedExecutor()
    spinner = threading.Thread(target=_spin, args=(executor, ended := threading.Event()), name="executor")
    try:
        node = ReplayNode()
        executor.add_node(node)  # for its parameter services
        spinner.start()
        node.play(stop)
        node.get_logger().info(f"played {node.played} messages of {node.bag_path}")
    except AutofocusError as e:
        print(e, file=sys.stderr)
        sys.exit(EXIT_CODE)
    finally:
        ended.set()
        if spinner.is_alive():
            spinner.join()
        executor.shutdown()
        rclpy.try_shutdown()


def _spin(executor: SingleThreadedExecutor, ended: threading.Event) -> None:
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.1)


if __name__ == "__main__":
    main()
