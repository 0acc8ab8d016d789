"""The policy as a lifecycle node: observations in, time-stamped chunks of joint positions out to the command guard.

Callbacks run in the executor's thread, inference in its own. Nothing here moves a robot: the guard does, or not.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading

import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.images import IMAGE
from autofocus_core.names import GUARD_HEARTBEAT_TOPIC, GUARD_REQUEST_TOPIC
from autofocus_core.resample import Observation
from autofocus_core.schema import Robot, load_robot
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from autofocus_policy.intake import Intake
from autofocus_policy.messages_node import diagnostics, to_request
from autofocus_policy.monitor import Monitor
from autofocus_policy.runner import PolicyRunner
from autofocus_policy.worker import NewestWins

HEARTBEAT_HZ = 100.0
STATUS_HZ = 5.0
CLOCK_JUMP_NS = 200_000_000
# Sensor streams: what is late is useless, so best effort; the newest image, and joint states for a tenth of a second.
IMAGE_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
STATE_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
# Reliable, so that reliable and best-effort subscribers both match; depth 1, so that nothing old is ever re-sent.
COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)

_Return = TransitionCallbackReturn


class PolicyNode(LifecycleNode):
    """configure: load, check and warm up. activate: publish requests and heartbeat. deactivate: stop and forget.

    failure: why configuring failed, for `main` to print.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__("policy", **kwargs)
        self.failure: AutofocusError | None = None
        self._publishing = threading.Lock()  # held while publishing, so that nothing follows a deactivation
        self._active = False
        self._epoch = 0  # counts activations: what was observed in an earlier one is not published in a later
        self._declare_parameters()
        self._requests = self.create_publisher(JointTrajectory, GUARD_REQUEST_TOPIC, COMMAND_QOS)
        self._heartbeat = self.create_publisher(Header, GUARD_HEARTBEAT_TOPIC, COMMAND_QOS)
        self._status = self.create_publisher(DiagnosticArray, "~/status", QoSProfile(depth=10))
        # Watchdogs run on steady time: they must not stop when /clock does.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._configured: list = []  # subscriptions, destroyed by cleanup
        self._timers_active: list = []

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy; FAILURE, with the remedy in the log, where it is missing or does not fit."""
        try:
            self._robot: Robot = load_robot(self._path("robot"))
            self._runner = PolicyRunner(self._path("policy"), self._robot, self.get_parameter("threads").value)
        except AutofocusError as e:
            self.failure = e
            self.get_logger().error(f"cannot configure:\n{e}")
            return _Return.FAILURE
        manifest = self._runner.manifest
        rate_hz = self.get_parameter_or("control_rate_hz").value
        self._rate_hz: float = self._robot.control_rate_hz if rate_hz is None else rate_hz
        if manifest.robot_hash != self._robot.hash():
            self.get_logger().warning("the robot YAML is not the one the policy was trained with; joints, cameras and "
                                      "rates fit, other settings may differ")
        cameras = tuple(c.name for c in manifest.cameras)
        self._intake = Intake(self._robot, cameras, self._rate_hz)
        self._monitor = Monitor(period_ms=1e3 / self._rate_hz)
        self._worker: NewestWins[tuple[int, Observation]] = NewestWins(self._infer, "inference")
        self._subscribe(cameras)
        self.get_logger().info(f"{manifest.method} policy loaded and warm after {self._runner.load_s:.2f} s, "
                               f"{self._rate_hz:g} Hz, horizon {manifest.horizon} x {manifest.dt_s:g} s")
        return _Return.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to observe and publish; statistics start afresh."""
        self._intake.flush()
        self._intake.counts.clear()
        self._monitor = Monitor(period_ms=1e3 / self._rate_hz)
        self._last_clocks_ns = (self._now_ns(), self._steady.now().nanoseconds)
        self._worker.superseded = 0
        with self._publishing:
            self._active = True
            self._epoch += 1
        self._timers_active = [self.create_timer(1.0 / HEARTBEAT_HZ, self._beat, clock=self._steady),
                               self.create_timer(1.0 / self._rate_hz, self._watch, clock=self._steady),
                               self.create_timer(1.0 / STATUS_HZ, self._publish_status, clock=self._steady)]
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop publishing before returning, forget the buffers."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return super().on_shutdown(state)

    def _declare_parameters(self) -> None:
        def describe(text: str, **kwargs: object) -> ParameterDescriptor:
            return ParameterDescriptor(description=text, read_only=True, **kwargs)

        self.declare_parameter("robot", Parameter.Type.STRING, describe("path of the robot YAML; required"))
        self.declare_parameter("policy", Parameter.Type.STRING,
                               describe("path of a policy file written by `autofocus export`; required"))
        self.declare_parameter("control_rate_hz", Parameter.Type.DOUBLE, describe(
            "inferences per second, Hz, at most the first camera's rate; unset: control_rate_hz of the robot",
            floating_point_range=[FloatingPointRange(from_value=0.5, to_value=200.0)]))
        self.declare_parameter("threads", 1, describe("threads of one inference",
                               integer_range=[IntegerRange(from_value=1, to_value=64, step=1)]))
        self.declare_parameter("autostart", False, describe(
            "configure and activate at start; without it a lifecycle manager does. If that fails the process exits"))

    def _path(self, name: str) -> str:
        value = self.get_parameter_or(name).value
        if not value:
            raise AutofocusError(f"parameter {name} of node {self.get_fully_qualified_name()}", "not set", "a path",
                                 f"add `{name}:=PATH` (ros2 launch) or `--ros-args -p {name}:=PATH`")
        return value

    def _subscribe(self, cameras: tuple[str, ...]) -> None:
        for name in cameras:
            camera = self._robot.camera(name)
            image_class = Image if camera.type == IMAGE else CompressedImage
            self._configured.append(self.create_subscription(
                image_class, camera.topic, functools.partial(self._on_image, name), IMAGE_QOS))
        self._configured.append(self.create_subscription(
            JointState, self._robot.state.topic, self._on_state, STATE_QOS))

    def _on_image(self, name: str, msg: Image | CompressedImage) -> None:
        if self._active:
            self._submit(self._intake.image(name, msg, self._now_ns()))

    def _on_state(self, msg: JointState) -> None:
        if self._active:
            self._submit(self._intake.state(msg))

    def _submit(self, observation: Observation | None) -> None:
        if observation is not None:
            self._worker.submit((self._epoch, observation))

    def _infer(self, item: tuple[int, Observation]) -> None:
        """In the worker's thread: one forward pass, and the request for it unless it came too late."""
        epoch, observation = item
        with self._monitor.inference():
            try:
                chunk = self._runner.act(observation)
            except AutofocusError as e:
                self._monitor.bad_output(f"{e.got}; allowed: {e.allowed}")
                self.get_logger().error(f"nothing published:\n{e}", throttle_duration_sec=1.0)
                return
        request = to_request(chunk, self._robot.joint_names)
        horizon_ns = round(len(chunk.positions) * chunk.dt_s * 1e9)
        with self._publishing:
            latency_ns = self._now_ns() - chunk.stamp_ns
            if not self._active or epoch != self._epoch:
                return
            if latency_ns >= horizon_ns:  # the whole chunk lies in the past
                self._monitor.counts["expired"] += 1
                return
            self._requests.publish(request)
            self._monitor.published(latency_ns / 1e6, self._steady.now().nanoseconds)

    def _beat(self) -> None:
        """Says that this process lives and its executor turns; whether its inputs are fresh the requests say."""
        header = Header(frame_id=self.get_fully_qualified_name())
        header.stamp = self.get_clock().now().to_msg()
        self._heartbeat.publish(header)

    def _watch(self) -> None:
        if self._worker.failure is not None:  # a bug: end the process, so that the guard and the launch file see it
            raise RuntimeError("inference thread ended") from self._worker.failure
        now_ns, steady_ns = self._now_ns(), self._steady.now().nanoseconds
        jump_ns = (now_ns - self._last_clocks_ns[0]) - (steady_ns - self._last_clocks_ns[1])
        self._last_clocks_ns = (now_ns, steady_ns)
        if abs(jump_ns) > CLOCK_JUMP_NS:
            self._monitor.counts["clock_jumps"] += 1
            self.get_logger().warning(f"the ROS clock jumped by {jump_ns / 1e9:.3f} s: buffers flushed")
            self._intake.flush()
            self._worker.clear()
        if self._monitor.set_hold(self._intake.hold_reason(now_ns)):
            self.get_logger().info(self._monitor.summary(), throttle_duration_sec=1.0)
            self._publish_status()

    def _publish_status(self) -> None:
        counts = {**self._intake.counts, "superseded": self._worker.superseded}
        ages_ms = self._intake.ages_ms(self._now_ns())
        self._status.publish(diagnostics(self._monitor, counts, ages_ms, self.get_clock().now().to_msg()))

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _stop(self) -> None:
        with self._publishing:
            self._active = False
        for timer in self._timers_active:
            self.destroy_timer(timer)
        self._timers_active = []
        if hasattr(self, "_worker"):
            self._worker.clear()
            self._intake.flush()

    def release(self) -> None:
        """Stop publishing, end the worker and give up the subscriptions."""
        self._stop()
        for subscription in self._configured:
            self.destroy_subscription(subscription)
        self._configured = []
        if hasattr(self, "_worker"):
            self._worker.close()


def main(argv: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM; exit status 2 where autostart fails."""
    # With rclpy's own handlers the context is invalid before a callback that publishes has ended.
    rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    node = PolicyNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.get_parameter("autostart").value and not _autostart(node):
            print(node.failure, file=sys.stderr)
            sys.exit(EXIT_CODE)
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
        node.release()
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    # All is released; tearing torch down takes the interpreter another second of processor time, and on a busy
    # machine longer than the five that `ros2 launch` waits before it reports a process that does not end.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _autostart(node: PolicyNode) -> bool:
    return node.trigger_configure() == _Return.SUCCESS and node.trigger_activate() == _Return.SUCCESS


if __name__ == "__main__":
    main()
