"""The policy as a lifecycle node: observations in, time-stamped chunks of joint positions out to the command guard.

Callbacks run in the executor's thread, inference in its own. Nothing here moves a robot: the guard does, or not.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from dataclasses import dataclass

import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.images import IMAGE
from autofocus_core.resample import Observation, StateHistory
from autofocus_core.schema import Robot, load_robot
from autofocus_core.signals import on_stop
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from trajectory_msgs.msg import JointTrajectory

from autofocus_policy import parameters_node as parameters
from autofocus_policy.clock import ClockWatch
from autofocus_policy.commander_node import Commander, Ticket
from autofocus_policy.ensemble import Blender
from autofocus_policy.intake import Intake
from autofocus_policy.messages_node import diagnostics, to_request
from autofocus_policy.monitor import Monitor
from autofocus_policy.overlay_node import Overlay
from autofocus_policy.runner import Chunk, PolicyRunner
from autofocus_policy.settings import Settings
from autofocus_policy.worker import NewestWins

# Heartbeats, and the look at all that may be a reason to hold: it is cheap, and each period it waits the arm goes on.
HEARTBEAT_HZ = 100.0
STATUS_HZ = 5.0
# Sensor streams: what is late is useless, so best effort; the newest image, and joint states for a tenth of a second.
IMAGE_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
STATE_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
# The inference thread needs Python's lock back when the network is done; by default another thread may keep it 5 ms.
SWITCH_INTERVAL_S = 0.0005

_Return = TransitionCallbackReturn


@dataclass(frozen=True, slots=True)
class Task:
    """For the worker: an observation, and whether it is ready or only expected to be so."""

    ticket: Ticket
    observation: Observation
    final: bool

    @property
    def key(self) -> tuple:
        """Equal for equal observations: they are made of the same messages."""
        made_of = self.observation
        return self.ticket.epoch, made_of.stamp_ns, made_of.state_stamp_ns, tuple(made_of.image_stamps_ns.items())


class PolicyNode(LifecycleNode):
    """configure: load, check and warm up. activate: publish requests and heartbeat. deactivate: stop and forget.

    failure: why configuring or activating failed, for `main` to print. stopping: set it to end a wait.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__("policy", **kwargs)
        self.failure: AutofocusError | None = None
        self.stopping = threading.Event()
        parameters.declare(self)
        self._commander = Commander(self)
        self._status = self.create_publisher(DiagnosticArray, "~/status", QoSProfile(depth=10))
        # Watchdogs run on steady time: they must not stop when /clock does.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._inputs: list = []  # subscriptions, destroyed by cleanup
        self._timers_active: list = []

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy; FAILURE, with the remedy in the log, where it is missing or does not fit."""
        try:
            self._settings: Settings = parameters.read(self)
            self._robot: Robot = load_robot(self._settings.robot)
            blending = self._settings.blend()
            self._runner = PolicyRunner(self._settings.policy, self._robot, self._settings.threads,
                                        self._settings.device)
        except AutofocusError as e:
            self.failure = e
            self.get_logger().error(f"cannot configure:\n{e}")
            return _Return.FAILURE
        manifest, settings = self._runner.manifest, self._settings
        rate_hz = settings.control_rate_hz
        self._rate_hz: float = self._robot.control_rate_hz if rate_hz is None else rate_hz
        if manifest.robot_hash != self._robot.hash():
            self.get_logger().warning("the robot YAML is not the one the policy was trained with; joints, cameras and "
                                      "rates fit, other settings may differ")
        cameras = tuple(c.name for c in manifest.cameras)
        self._intake = Intake(self._robot, cameras, self._rate_hz, max_ahead_s=settings.max_stamp_ahead_s,
                              frozen=settings.frozen_rule(),
                              history=StateHistory(manifest.state_history, manifest.dt_s))
        self._blender = Blender(blending, self._robot.command_timeout_ms / 1e3)  # the worker's alone
        self._blended_epoch = self._commander.ticket.epoch
        self._monitor = Monitor(period_ms=1e3 / self._rate_hz)
        self._clocks = ClockWatch()
        self._overlay = Overlay(self, settings.overlay_hz, len(cameras)) if settings.overlay_hz > 0.0 else None
        self._answered: tuple[tuple, Chunk, JointTrajectory] | None = None  # before the observation was ready
        self._worker: NewestWins[Task] = NewestWins(self._infer, "inference")
        self._subscribe(cameras)
        self.get_logger().info(f"{manifest.method} policy loaded and warm after {self._runner.load_s:.2f} s on "
                               f"{settings.device}, {self._rate_hz:g} Hz, horizon {manifest.horizon} x "
                               f"{manifest.dt_s:g} s, blending {settings.blending}")
        return _Return.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to publish once every input is fresh; FAILURE, with the reason in the log, where one is not in time."""
        reason = self._wait_for_inputs()
        if reason is not None:
            self.failure = AutofocusError(
                "activating the policy", reason, f"every input fresh within {self._settings.activate_within_s:g} s",
                "start the drivers, or correct topics, sizes and timeouts in the robot YAML; then activate again")
            self.get_logger().error(f"cannot activate:\n{self.failure}")
            self._intake.flush()
            return _Return.FAILURE
        self._intake.counts.clear()
        self._monitor = Monitor(period_ms=1e3 / self._rate_hz)
        self._clocks.reset()
        self._worker.superseded = 0
        self._commander.open(self._monitor, self._robot.joint_names, self._settings.max_stamp_ahead_s)
        self._timers_active = [self.create_timer(1.0 / HEARTBEAT_HZ, self._beat, clock=self._steady),
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

    def _subscribe(self, cameras: tuple[str, ...]) -> None:
        for name in cameras:
            camera = self._robot.camera(name)
            image_class = Image if camera.type == IMAGE else CompressedImage
            self._inputs.append(self.create_subscription(
                image_class, camera.topic, functools.partial(self._on_image, name), IMAGE_QOS))
        self._inputs.append(self.create_subscription(
            JointState, self._robot.state.topic, self._on_state, STATE_QOS))

    def _wait_for_inputs(self) -> str | None:
        """Take what arrives until every input is fresh; None then, else what is missing after `activate_within_s`.

        The executor stands still during a transition, so messages are taken here. Simulated time stands still, too.
        """
        within_s = self._settings.activate_within_s
        if within_s == 0.0 or self.get_parameter("use_sim_time").value:
            return None
        deadline_ns = self._steady.now().nanoseconds + round(within_s * 1e9)
        while True:
            for subscription in self._inputs:
                with subscription.handle:
                    while (taken := subscription.handle.take_message(subscription.msg_type, False)) is not None:
                        subscription.callback(taken[0])
            reason = self._intake.hold_reason(self._now_ns())
            if reason is None or self._steady.now().nanoseconds > deadline_ns or self.stopping.wait(0.01):
                return reason
            self.get_logger().info(f"waiting to activate: {reason}", throttle_duration_sec=5.0,
                                   skip_first=True)

    # While inactive the intake is fed, too: it is known then whether inputs are fresh, and activating loses no time.

    def _on_image(self, name: str, msg: Image | CompressedImage) -> None:
        self._check_clock()
        observation = self._intake.image(name, msg, self._now_ns())
        self._submit(observation)
        if observation is None and self._commander.active and not self._monitor.stalled:
            # It waits for a later joint state, which hardly ever changes it: the network need not wait as well.
            expected = self._intake.expected()
            if expected is not None:
                self._worker.submit_if_idle(Task(self._commander.ticket, expected, final=False))

    def _on_state(self, msg: JointState) -> None:
        self._check_clock()
        self._submit(self._intake.state(msg, self._now_ns()))

    def _submit(self, observation: Observation | None) -> None:
        if observation is not None and self._commander.active and not self._monitor.stalled:
            self._worker.submit(Task(self._commander.ticket, observation, final=True))

    def _infer(self, task: Task) -> None:
        """In the worker's thread: one forward pass, and the request for it unless it came too late.

        A task that is not final is answered and kept; where the final one turns out to be the same, that is its answer.
        """
        epoch, observation = task.ticket.epoch, task.observation
        answered, self._answered = self._answered, None
        if answered is not None and answered[0] == task.key:
            _, chunk, request = answered
        else:
            try:
                with self._monitor.inference():
                    chunk = self._runner.act(observation)
            except AutofocusError as e:
                if task.final:
                    self._monitor.bad_output(f"{e.got}; allowed: {e.allowed}")
                    self.get_logger().error(f"nothing published:\n{e}", throttle_duration_sec=1.0)
                return
            request = to_request(chunk, self._robot.joint_names)
        if not task.final:
            self._answered = (task.key, chunk, request)
            return
        if epoch != self._blended_epoch:
            self._blender.reset()
            self._blended_epoch = epoch
        blended = self._blender.add(chunk)
        if blended is not chunk:
            chunk, request = blended, to_request(blended, self._robot.joint_names)
        if self._commander.send(request, chunk, task.ticket) and self._overlay is not None:
            self._overlay.offer(chunk, next(iter(observation.images.values())))

    def _beat(self) -> None:
        self._commander.beat()
        self._watch()

    def _check_clock(self) -> None:
        """Forget everything when the ROS clock jumps, and when it stands still: ages would mean nothing."""
        jump_ns = self._clocks.look(self._now_ns(), self._steady.now().nanoseconds)
        if jump_ns:
            self._monitor.counts["clock_jumps"] += 1
            self.get_logger().warning(f"the ROS clock jumped by {jump_ns / 1e9:.3f} s: buffers flushed")
            self._forget()

    def _forget(self) -> None:
        self._commander.forget()
        self._intake.flush()
        self._worker.clear()

    def _watch(self) -> None:
        if self._worker.failure is not None:  # a bug: end the process, so that the guard and the launch file see it
            raise RuntimeError("inference thread ended") from self._worker.failure
        self._check_clock()
        blind = self._intake.blind(self._now_ns()) or self._monitor.stuck()
        stalled_s = self._clocks.stalled_s(self._steady.now().nanoseconds)
        if stalled_s is not None:
            blind = f"the ROS clock has stood still for {stalled_s:.1f} s: is /clock paused?"
            if not self._monitor.stalled:
                self._forget()
        self._monitor.stalled = stalled_s is not None
        suspicion = self._intake.suspicion()
        if suspicion is not None:
            self.get_logger().warning(f"{suspicion}: is the camera frozen?", throttle_duration_sec=1.0)
        if self._commander.set_hold(blind is not None):
            self._worker.clear()
        if self._monitor.set_hold(blind or self._intake.outdated(self._now_ns())):
            self.get_logger().info(self._monitor.summary())
            self._publish_status()

    def _publish_status(self) -> None:
        counts = {**self._intake.counts, "superseded": self._worker.superseded}
        ages_ms = self._intake.ages_ms(self._now_ns())
        self._status.publish(diagnostics(self._monitor, counts, ages_ms, self.get_clock().now().to_msg()))
        if self._monitor.hold is not None:
            self.get_logger().info(f"still {self._monitor.summary()}", throttle_duration_sec=5.0, skip_first=True)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _stop(self) -> None:
        self._commander.close()
        for timer in self._timers_active:
            self.destroy_timer(timer)
        self._timers_active = []
        if hasattr(self, "_worker"):
            self._worker.clear()
            self._intake.flush()

    def release(self) -> None:
        """Stop publishing, end the worker and give up the subscriptions."""
        self._stop()
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if hasattr(self, "_worker"):
            self._worker.close()
            if self._overlay is not None:
                self._overlay.close()


def main(argv: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM; exit status 2 where a parameter is wrong or autostart fails."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    node = None
    stop = threading.Event()
    on_stop(lambda _: stop.set())
    # With rclpy's own handlers the context is invalid before a callback that publishes has ended.
    rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    try:
        node = PolicyNode()
        node.stopping = stop
        executor.add_node(node)
        if node.get_parameter("autostart").value and not _autostart(node) and not stop.is_set():
            raise node.failure
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
        node.release()
    except AutofocusError as e:
        print(e, file=sys.stderr)
        sys.exit(EXIT_CODE)
    finally:
        executor.shutdown()
        if node is not None:
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
