"""The guard as a ROS 2 node: topics, services and parameters around `GuardCore`. One thread, no torch.

    ros2 run command_guard guard --ros-args -p robot:=robot.yaml

Watchdogs and the command timer run on the steady clock; stamps on the ROS clock are converted on receipt.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import deque

import numpy as np
import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.schema import load_robot
from autofocus_core.signals import ignore_stop, on_stop
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Header
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from command_guard.chunk import Request
from command_guard.core import GuardCore, State
from command_guard.outputs_node import open_outputs
from command_guard.settings import TABLE, Settings

STATUS_RATE_HZ = 10.0
PUBLISHER_CHECK_RATE_HZ = 5.0
PERIODS_KEPT = 1000
FIFO_PRIORITY = 10  # of 1 to 99; the kernel's interrupt threads are at 50
STOP_WITHIN_S = 2.0  # at the end of the process: braking takes velocity / acceleration, mostly a tenth of this

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)  # a request or command replaces the one before
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
SENSOR = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # matches any publisher; only the newest counts


LEVELS = {
    State.DISARMED: DiagnosticStatus.OK,
    State.HOLDING: DiagnosticStatus.WARN,
    State.TRACKING: DiagnosticStatus.OK,
    State.FAULT: DiagnosticStatus.ERROR,
}


def request_of(msg: JointTrajectory, now_ros_s: float, now_s: float) -> Request:
    """The message as a `Request` on the steady clock; velocities and accelerations in it are not used."""
    stamp_s = msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9
    return Request(
        stamp_s=now_s + (stamp_s - now_ros_s),
        names=msg.joint_names,
        times_s=[p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in msg.points],
        positions=[p.positions for p in msg.points],
    )


class GuardNode(Node):
    """Node `command_guard`; raises AutofocusError where the robot file or a parameter is wrong."""

    def __init__(self, **node_options) -> None:
        super().__init__("command_guard", **node_options)
        robot_file = self._declare_robot()
        settings = Settings(**{name: self._declare(name) for name in TABLE})
        self.robot = load_robot(robot_file)
        deadman_topic = self._declare_topic("deadman_topic", "std_msgs/Bool, true while a person holds the switch")
        self.core = GuardCore(self.robot, settings=settings, deadman=bool(deadman_topic))
        self._silent: list[Future] = []  # disarm calls that wait for the arm to be at rest
        self._shown: tuple[State, str] | None = None
        self._periods_s: deque[float] = deque(maxlen=PERIODS_KEPT)
        self._last_command_s: float | None = None

        self._outputs = open_outputs(self, self.robot, NEWEST)
        self._status = self.create_publisher(DiagnosticArray, "~/status", 10)
        self.create_subscription(JointState, self.robot.state.topic, self._on_state, SENSOR)
        self.create_subscription(JointTrajectory, "~/request", self._on_request, NEWEST)
        self.create_subscription(Header, "~/heartbeat", self._on_heartbeat, SENSOR)
        self.create_subscription(Bool, "~/estop_signal", lambda msg: self.core.on_estop_signal(msg.data), RELIABLE)
        if deadman_topic:
            self.create_subscription(Bool, deadman_topic, self._on_deadman, SENSOR)
        for name in ("arm", "hold", "estop"):
            self.create_service(Trigger, f"~/{name}", getattr(self, f"_{name}"))
        # disarm waits for the command timer, so it must not be in one exclusive group with it
        self.create_service(Trigger, "~/disarm", self._disarm, callback_group=ReentrantCallbackGroup())
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a paused or jumping /clock must not stop the watchdogs
        self.create_timer(self.core.period_s, self._step, clock=steady)
        self.create_timer(1.0 / STATUS_RATE_HZ, self._publish_status, clock=steady)
        self.create_timer(1.0 / PUBLISHER_CHECK_RATE_HZ, self._check_publishers, clock=steady)
        self.get_logger().info(f"guarding {self.robot.command.topic} of {self.robot.name}; call ~/arm to begin")

    def _declare_robot(self) -> str:
        text = "path of the robot YAML: joints, limits, topics, timeouts"
        path = self.declare_parameter("robot", "", ParameterDescriptor(description=text, read_only=True)).value
        if not path:
            raise AutofocusError("command guard: parameter robot", "nothing", text, "--ros-args -p robot:=PATH")
        return path

    def _declare_topic(self, name: str, text: str) -> str:
        text = f"topic, {text}; empty: there is none"
        return self.declare_parameter(name, "", ParameterDescriptor(description=text, read_only=True)).value

    def _declare(self, name: str) -> float:
        row = TABLE[name]
        limits = FloatingPointRange(from_value=row.lowest, to_value=row.highest)
        descriptor = ParameterDescriptor(
            description=f"{row.meaning} [{row.unit}]", read_only=True, floating_point_range=[limits]
        )
        try:
            return self.declare_parameter(name, row.default, descriptor).value
        except (InvalidParameterValueException, InvalidParameterTypeException) as error:
            allowed = f"{row.lowest} to {row.highest} {row.unit}, with a decimal point"
            raise AutofocusError(f"command guard: parameter {name}", str(error), allowed, "correct it") from error

    # ---- what arrives

    def _on_state(self, msg: JointState, info: dict) -> None:
        refusal = self.core.on_state(msg.name, msg.position, time.monotonic(), sender_of(info))
        if refusal:
            self.get_logger().warning(f"joint state refused: {refusal}", throttle_duration_sec=2.0)

    def _on_heartbeat(self, msg: Header, info: dict) -> None:
        self.core.on_heartbeat(time.monotonic(), sender_of(info))

    def _on_request(self, msg: JointTrajectory, info: dict) -> None:
        now_s, now_ros_s = time.monotonic(), self.get_clock().now().nanoseconds * 1e-9
        refusal = self.core.on_request(request_of(msg, now_ros_s, now_s), now_s, sender_of(info))
        if refusal:
            self.get_logger().warning(f"request refused: {refusal}", throttle_duration_sec=2.0)

    def _on_deadman(self, msg: Bool) -> None:
        self.core.on_deadman(msg.data, time.monotonic())

    def _check_publishers(self) -> None:
        """Tell the core who else publishes commands. A second guard of our own name is foreign too."""
        ours = (self.get_name(), self.get_namespace())
        foreign = set()
        for output in self._outputs:
            others = [(i.node_name, i.node_namespace) for i in self.get_publishers_info_by_topic(output.topic)]
            if ours in others:
                others.remove(ours)
            foreign.update(others)
        names = sorted(f"{namespace.rstrip('/')}/{name}" for name, namespace in foreign)
        self.core.on_foreign_publisher(", ".join(names) or None)

    # ---- what a person asks for

    def _arm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._check_publishers()
        refusal = self.core.arm(time.monotonic())
        return self._answer(response, refusal)

    async def _disarm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Answers when the arm was braked and the guard is silent, so that a caller may then move the robot."""
        self.core.disarm()
        if self.core.state is not State.DISARMED:
            silent = Future(executor=self.executor)
            self._silent.append(silent)
            await silent
        return self._answer(response)

    def _hold(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.core.hold()
        return self._answer(response)

    def _estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.core.estop()
        return self._answer(response)

    def _answer(self, response: Trigger.Response, refusal: str | None = None) -> Trigger.Response:
        response.success = refusal is None
        response.message = refusal or f"{self.core.state.value}: {self.core.reason}"
        self._publish_status()
        return response

    # ---- once per period

    def _step(self) -> None:
        now_s = time.monotonic()
        command = self.core.step(now_s)
        if command is None:
            self._last_command_s = None
        else:
            stamp = self.get_clock().now().to_msg()
            for output in self._outputs:
                output.send(command, stamp, self.core.period_s)
            if self._last_command_s is not None:
                self._periods_s.append(now_s - self._last_command_s)
            self._last_command_s = now_s
        if not self.core.disarming:  # silent, or it came to something else: nobody waits any more
            while self._silent:
                self._silent.pop().set_result(None)
        if self._shown != (self.core.state, self.core.reason):
            self._publish_status()

    def _publish_status(self) -> None:
        core = self.core
        now_s = time.monotonic()
        if self._shown != (core.state, core.reason):
            if core.state is State.FAULT:  # two calls: rclpy refuses another severity from the same line
                self.get_logger().error(f"{core.state.value}: {core.reason}")
            else:
                self.get_logger().info(f"{core.state.value}: {core.reason}")
            self._shown = (core.state, core.reason)
        values = {"state": core.state.value, "reason": core.reason}
        values |= {"needs_arm": core.needs_arm, "ramping": core.ramping}
        values |= {f"{of}_age_ms": f"{age_s * 1e3:.1f}" for of, age_s in core.ages_s(now_s).items()}
        if self._periods_s:
            p50, p99, longest = np.percentile(self._periods_s, [50, 99, 100]) * 1e3
            values |= {"period_ms_p50": f"{p50:.2f}", "period_ms_p99": f"{p99:.2f}", "period_ms_max": f"{longest:.2f}"}
        values |= {f"count.{name}": count for name, count in sorted(core.counts.items())}
        status = DiagnosticStatus(
            level=LEVELS[core.state],
            name="command_guard",
            message=f"{core.state.value}: {core.reason}",
            hardware_id=self.robot.name,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        stamp = self.get_clock().now().to_msg()
        self._status.publish(DiagnosticArray(header=Header(stamp=stamp), status=[status]))


def sender_of(info: dict) -> object:
    """The publisher's id where the middleware tells it (ROS 2 Kilted and later), else None: nothing to compare."""
    gid = info.get("publisher_gid")
    return bytes(gid["data"]) if gid else None


def raise_priority() -> bool:
    """Let the system run this process before ordinary ones where that is allowed; returns whether it is.

    SCHED_FIFO, as ros2_control does: nice counts only within a session where the kernel groups tasks by session.
    Linux sets it per thread and hands it on to new ones: it must come before the middleware starts its own.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except PermissionError:
        return False
    return True


def run(args: list[str] | None) -> None:
    """Spin until SIGINT or SIGTERM; then brake, fall silent and end. Raises AutofocusError for wrong parameters."""
    stop_by_s = float("inf")

    def stop(_: int) -> None:
        nonlocal stop_by_s
        stop_by_s = min(stop_by_s, time.monotonic() + STOP_WITHIN_S)

    on_stop(stop)
    prompt = raise_priority()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = GuardNode()
        if not prompt:
            text = "at normal priority (no CAP_SYS_NICE, no rtprio limit): a busy machine may cause short holds"
            node.get_logger().info(text)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        gc.collect()
        gc.freeze()  # what lives for ever need not be looked at in every collection
        while time.monotonic() < stop_by_s:
            if stop_by_s < float("inf") and not node.core.disarming:
                node.core.disarm()
                if node.core.state is State.DISARMED:
                    break
            executor.spin_once(timeout_sec=0.1)
    finally:
        ignore_stop()
        rclpy.try_shutdown()


def main(args: list[str] | None = None) -> None:
    """Console entry point: exit 2 with the remedy where the robot file or a parameter is wrong."""
    try:
        run(args)
    except AutofocusError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
