"""Plays a recording at its own pace for a policy node that runs on its clock; nothing in it can reach a robot.

Camera and joint state topics keep their names, /clock carries the recording's time, and everything else, commands
above all, is published below /replay. It refuses to start where somebody publishes the robot's streams already.
Given the policy, it keeps what the node answers as a bag, and writes the report of `autofocus evaluate` on it.
"""

from __future__ import annotations

import importlib
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import rclpy
from autofocus_core.bags import Bag, BagMessage, open_bag
from autofocus_core.episode import load_episode
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.schema import Robot, load_robot
from autofocus_core.signals import ignore_stop, on_stop
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from trajectory_msgs.msg import JointTrajectory

from autofocus_policy.answers import ANSWERS_TOPIC, PREFIX, AnswerLog
from autofocus_policy.ensemble import ACT_COEFFICIENT, Blending

DISCOVERY_S = 1.0
#: /clock runs so long before the first message: a node that sees the time jump to the recording's forgets what it has.
LEAD_S = 1.0
#: Messages that are read before their time: about two seconds of a camera and its joint states.
READ_AHEAD = 256
#: After the last message: so long nothing has been answered, or so long at most.
QUIET_S, LAST_ANSWER_S = 0.5, 5.0
# Reliable and deep: replay is for looking at every message, not for being on time.
QOS = QoSProfile(depth=100)


class ReplayNode(Node):
    """Node /replay. played: messages published; silent: topics whose type is not installed here."""

    def __init__(self) -> None:
        super().__init__("replay")
        self.robot: Robot = load_robot(self._path("robot", "path of the robot YAML; required"))
        self.bag_path = self._path("bag", "episode or any rosbag2 recording; required")
        self.policy = self._optional("policy", "path of the policy file that the node runs; empty: keep no answers")
        beside = Path(self.policy or "policy.pt")
        self.output = Path(self._optional("output", "folder for its answers, a bag; empty: beside the policy file")
                           or beside.with_suffix(".replay"))
        self.report = Path(self._optional("report", "the report, one HTML file; empty: beside the policy file")
                           or beside.with_suffix(".replay.html"))
        self.blending = Blending(self._optional("blending", "as the node was told", "none"),
                                 self._number("blend_coefficient", ACT_COEFFICIENT, -10.0, 10.0, "as the node"),
                                 self._number("blend_fade_s", 0.2, 0.01, 10.0, "as the node, s"))
        self._speed = self._number("rate", 1.0, 0.05, 10.0, "speed, 1.0 as recorded")
        self._clock_s = 1.0 / self._number("clock_hz", 100.0, 1.0, 1000.0, "rate of /clock, Hz")
        self.offset_s = self._number("start_offset_s", 0.0, 0.0, 1e6, "begin so long after the recording's start, s")
        self._wait_s = self._number("wait_s", 60.0, 1.0, 600.0, "wait so long for a subscriber of the first camera, s")
        self._loop = self.declare_parameter("loop", False, ParameterDescriptor(
            description="begin again at the end, for ever; without a report")).value
        self._topics = self._optional("topics", f"which others to play, below {PREFIX}, with blanks between them; "
                                      "empty: all").split()
        self._clock_out = self.create_publisher(Clock, "/clock", QoSProfile(depth=1))
        self.played = 0
        self.silent: list[str] = []
        self._began: tuple[float, int] | None = None  # steady s, the recording's ns

    def play(self, stop: threading.Event) -> bool:
        """Publish the whole recording; True at its end, False when `stop` was set."""
        with open_bag(self.bag_path) as bag:
            kept = [self.robot.state.topic, *(t for c in self.robot.cameras for t in (c.topic, c.info_topic))]
            bag.require([self.robot.state.topic, *(c.topic for c in self.robot.cameras), *self._topics])
            if self.offset_s * 1e9 >= bag.end_ns - bag.start_ns:
                raise AutofocusError(f"replay of {self.bag_path}", f"start_offset_s {self.offset_s:g}",
                                     f"less than its {(bag.end_ns - bag.start_ns) / 1e9:.1f} s", "begin earlier")
            stop.wait(DISCOVERY_S)
            self._refuse_live_graph([*kept, "/clock"])
            publishers = self._open_publishers(bag, kept)
            self._wait_for_subscriber(publishers[self.robot.cameras[0].topic], [*kept, "/clock"], stop)
            while not stop.is_set():
                self._once(bag, publishers, stop)
                if not self._loop:
                    break
        return not stop.is_set()

    def record(self) -> AnswerLog | None:
        """Keep what the policy node answers from now on, if a policy was named."""
        if not self.policy:
            return None
        if self._loop:
            raise AutofocusError("parameter loop of node /replay", "true, with a policy", "one or the other",
                                 "leave out policy: what is played for ever gets no report")
        log = AnswerLog(self.output)
        self._last_answer_s = 0.0

        def keep(raw: bytes) -> None:
            self._last_answer_s = time.monotonic()
            log.add(raw, self._now_ns())

        self.create_subscription(JointTrajectory, ANSWERS_TOPIC, keep, QOS, raw=True)
        return log

    def settle(self, stop: threading.Event) -> None:
        """Wait for the last answers."""
        deadline_s = time.monotonic() + LAST_ANSWER_S
        began_s = time.monotonic()
        while time.monotonic() < deadline_s and not stop.wait(0.05):
            if time.monotonic() - max(began_s, self._last_answer_s) > QUIET_S:
                return

    def _once(self, bag: Bag, publishers: dict[str, Publisher], stop: threading.Event) -> None:
        first_ns = bag.start_ns + round(self.offset_s * 1e9)
        wanted = read_ahead(m for m in bag.messages(publishers) if m.receive_ns >= first_ns)
        started_s, next_clock_s = time.monotonic() + LEAD_S, -LEAD_S
        self._began = (started_s, first_ns)
        for message in wanted:
            at_s = (message.receive_ns - first_ns) * 1e-9 / self._speed
            while not stop.is_set():
                elapsed_s = time.monotonic() - started_s
                if elapsed_s >= next_clock_s:
                    next_clock_s = elapsed_s + self._clock_s
                    self._publish_clock(first_ns + round(min(elapsed_s, at_s) * self._speed * 1e9))
                if elapsed_s >= at_s:
                    break
                stop.wait(min(self._clock_s, at_s - elapsed_s))
            if stop.is_set():
                return
            publishers[message.topic].publish(bytes(message.raw))
            self.played += 1
        stop.wait(QUIET_S)  # for what is still under way

    def _now_ns(self) -> int:
        """The recording's time, as /clock says it but without its steps."""
        if self._began is None:
            return 0
        began_s, first_ns = self._began
        return first_ns + round((time.monotonic() - began_s) * self._speed * 1e9)

    def _number(self, name: str, default: float, lower: float, upper: float, description: str) -> float:
        descriptor = ParameterDescriptor(description=description, floating_point_range=[
            FloatingPointRange(from_value=lower, to_value=upper)])
        try:
            return self.declare_parameter(name, default, descriptor).value
        except (InvalidParameterValueException, InvalidParameterTypeException) as e:
            raise AutofocusError(f"parameter {name} of node /replay", str(e),
                                 f"{lower:g} to {upper:g}, with a decimal point", f"correct it: {description}") from e

    def _optional(self, name: str, description: str, default: str = "") -> str:
        return self.declare_parameter(name, default, ParameterDescriptor(description=description)).value

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
            if self._topics and topic not in (*kept, *self._topics):
                continue
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


def read_ahead(messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
    """The same messages, read by a thread of its own and the first of them at once.

    A chunk of images takes a busy machine longer to read and check than the pause between two messages, and what is
    published late in a burst is lost on its way. What reading raises is raised here, too.
    """
    waiting: queue.Queue[BagMessage | BaseException | None] = queue.Queue(READ_AHEAD)

    def read() -> None:
        try:
            for message in messages:
                waiting.put(message)
            waiting.put(None)
        except AutofocusError as e:
            waiting.put(e)

    def give(item: BagMessage | BaseException | None) -> Iterator[BagMessage]:
        while item is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            item = waiting.get()

    threading.Thread(target=read, name="reader", daemon=True).start()
    return give(waiting.get())


def main(argv: list[str] | None = None) -> None:
    """Play once; exit status 2 where the recording or the graph is not fit for it."""
    stop = threading.Event()
    on_stop(lambda _: stop.set())
    rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    spinner = threading.Thread(target=_spin, args=(executor, ended := threading.Event()), name="executor")
    log = node = None
    try:
        node = ReplayNode()
        log = node.record()
        executor.add_node(node)  # for its parameter services, and for the answers
        spinner.start()
        whole = node.play(stop)
        node.get_logger().info(f"played {node.played} messages of {node.bag_path}")
        if log is not None and whole:
            node.settle(stop)
            _end(ended, spinner)
            _report(node, log)
            log = None
    except AutofocusError as e:
        print(e, file=sys.stderr)
        sys.exit(EXIT_CODE)
    finally:
        _end(ended, spinner)
        if log is not None:
            log.abort()
        executor.shutdown()
        rclpy.try_shutdown()
        ignore_stop()


def _report(node: ReplayNode, log: AnswerLog) -> None:
    from autofocus_policy.replayed import compare, page  # torch: not while anything is played

    log.close()
    found, agreement = compare(Path(node.policy), load_episode(node.bag_path), log.folder, node.robot,
                               blending=node.blending, offset_s=node.offset_s)
    node.report.parent.mkdir(parents=True, exist_ok=True)
    node.report.write_text(page(found, agreement, node.robot), encoding="utf-8")
    print(f"{agreement}\nanswers: {log.folder}\nreport: {node.report}", flush=True)


def _end(ended: threading.Event, spinner: threading.Thread) -> None:
    ended.set()
    if spinner.is_alive():
        spinner.join()


def _spin(executor: SingleThreadedExecutor, ended: threading.Event) -> None:
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.1)


if __name__ == "__main__":
    main()
