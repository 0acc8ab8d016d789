"""What every teleoperation node shares: it knows the guard and the robot, and asks the guard for one target a period.

Requests go to /command_guard/request, heartbeats to /command_guard/heartbeat, both only while there is a target: a
source with nothing fresh to say is silent, and the guard holds. docs/safety.md says what the guard makes of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np
from autofocus_core import names
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import JOINT_STATE, decode_joints
from autofocus_core.schema import load_robot
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from demo_recorder.spin_node import spin
from demo_recorder.teleop.guard_view import GuardView
from demo_recorder.teleop.intake import JointSource

#: Of targets and heartbeats; every second target is a request.
RATE_HZ = 100.0
TICKS_PER_REQUEST = 2
#: A request is due this much later: two requests ahead, so that one that is late leaves no dent in the motion.
DUE_S = 2 * TICKS_PER_REQUEST / RATE_HZ
#: ... and then stays until here: a request that took longer than DUE_S on its way is still good for something.
STAY_S = 0.2
STATUS_RATE_HZ = 5.0
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
SENSOR = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class CommanderNode(Node):
    """A node that commands through the guard; a subclass says where to and why not.

    Parameters: robot, teleop (YAML paths). Topic ~/status (DiagnosticArray, 5 Hz and on change).
    """

    def __init__(self, name: str) -> None:
        """Raises AutofocusError where the robot file is missing or wrong."""
        super().__init__(name)
        self.robot = load_robot(self.text("robot", "path of the robot YAML (required)", required=True))
        self.view: GuardView | None = None
        self.sending = False
        self.finished = False
        self._ticks = 0
        self._last_s = time.monotonic()
        self._reason, self._values, self._said = "", {}, ""

    def text(self, name: str, meaning: str, required: bool = False) -> str:
        """Declare a text parameter; raises AutofocusError where it is required and not given."""
        where, fix = f"node /{self.get_name()}: parameter {name}", f"add `-p {name}:=PATH` after --ros-args"
        try:
            value = self.declare_parameter(name, "", ParameterDescriptor(description=meaning, read_only=True)).value
        except InvalidParameterTypeException as error:
            raise AutofocusError(where, str(error), "a text", fix) from error
        if required and not value:
            raise AutofocusError(where, "nothing", meaning, fix)
        return value

    def begin(self, jumps: np.ndarray) -> None:
        """Open the topics and start to tick; `jumps` (A,): see GuardView. The last thing of a subclass's __init__."""
        robot = self.robot
        self.view = GuardView(robot, jumps)
        whole = robot.command.type == JOINT_STATE and robot.gripper_command is None
        command_topic = robot.command.topic if whole else names.GUARD_COMMAND_TOPIC
        self._requests = self.create_publisher(JointTrajectory, names.GUARD_REQUEST_TOPIC, NEWEST)
        self._heartbeats = self.create_publisher(Header, names.GUARD_HEARTBEAT_TOPIC, NEWEST)
        self._status = self.create_publisher(DiagnosticArray, "~/status", 10)
        self._guard_calls = {n: self.create_client(Trigger, f"/command_guard/{n}") for n in ("arm", "hold")}
        self.create_subscription(JointState, robot.state.topic, self._on_state, SENSOR)
        self.create_subscription(JointState, command_topic, self._on_command, SENSOR)
        self.create_subscription(DiagnosticArray, names.GUARD_STATUS_TOPIC, self._on_guard, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / RATE_HZ, self._tick, clock=steady)
        self.create_timer(1.0 / STATUS_RATE_HZ, self._publish_status, clock=steady)

    def target(self, now_s: float, dt_s: float) -> tuple[np.ndarray | None, str, dict[str, str]]:
        """(joint target (A,) or None for silence, why in words, more values for the status)."""
        raise NotImplementedError

    def refused(self, reason: str) -> None:
        """The follower's joint state is broken, or jumped."""

    def close(self) -> None:
        """What the node must put back before it ends."""

    def call_guard(self, name: str) -> None:
        """Call ~/arm or ~/hold of the guard for the person at the controls; the answer is logged."""
        client = self._guard_calls[name]
        if not client.service_is_ready():
            self.get_logger().error(f"{name}: no command guard is running")
            return
        client.call_async(Trigger.Request()).add_done_callback(lambda future: self._answered(name, future.result()))

    def take_joints(self, source: JointSource, message: JointState) -> str | None:
        """Give a message to a source; returns why it is refused."""
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        age_s = (self.get_clock().now().nanoseconds - stamp_ns) * 1e-9
        return source.message(message.name, message.position, stamp_ns, age_s, time.monotonic())

    def say(self, reason: str) -> None:
        """Tell the operator, once for each reason: numbers in it do not make it another."""
        kind = re.sub(r"[\d.]+", "", reason)
        if kind != self._said:
            self._said = kind
            self.get_logger().info(reason)

    # ---- inside

    def _tick(self) -> None:
        now_s = time.monotonic()
        dt_s = now_s - self._last_s
        self._last_s = now_s
        target, self._reason, self._values = self.target(now_s, dt_s)
        self.view.asked(target is not None, dt_s)
        if self.sending != (target is not None):
            self.sending = target is not None
            self._ticks = 0
            self._publish_status()
        self.say(self._reason)
        if target is None:
            return
        stamp = self.get_clock().now().to_msg()
        self._heartbeats.publish(Header(stamp=stamp, frame_id=self.get_fully_qualified_name()))
        if self._ticks % TICKS_PER_REQUEST == 0:
            request = JointTrajectory(joint_names=list(self.robot.joint_names))
            request.header.stamp = stamp
            for due_s in (DUE_S, STAY_S):
                due = Duration(nanosec=round(due_s * 1e9))
                request.points.append(JointTrajectoryPoint(positions=target.tolist(), time_from_start=due))
            self._requests.publish(request)
        self._ticks += 1

    def _on_state(self, message: JointState) -> None:
        refusal = self.take_joints(self.view.measured, message)
        if refusal:
            self.get_logger().warning(refusal, throttle_duration_sec=2.0)
            self.refused(refusal)

    def _on_command(self, message: JointState) -> None:
        try:
            _, positions = decode_joints(message, JOINT_STATE, self.robot)
        except AutofocusError as error:
            self.get_logger().warning(f"command ignored: {error}", throttle_duration_sec=5.0)
            return
        self.view.on_command(positions, time.monotonic())

    def _on_guard(self, message: DiagnosticArray) -> None:
        if message.status:
            self.view.on_status({pair.key: pair.value for pair in message.status[0].values}, time.monotonic())

    def _answered(self, name: str, answer: Trigger.Response) -> None:
        if answer.success:
            self.get_logger().info(f"{name}: {answer.message}")
        else:
            self.get_logger().error(f"{name} refused: {answer.message}")

    def _publish_status(self) -> None:
        level = DiagnosticStatus.OK if self.sending else DiagnosticStatus.WARN
        status = DiagnosticStatus(level=level, name=self.get_name(), message=self._reason, hardware_id=self.robot.name)
        values = {"sending": str(self.sending).lower(), "reason": self._reason, "guard": self.view.state}
        values |= self._values
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        self._status.publish(DiagnosticArray(header=Header(stamp=self.get_clock().now().to_msg()), status=[status]))


def run(make: Callable[[], CommanderNode], args: list[str] | None) -> int:
    """Run a commander; its end is silence, which the guard answers with a hold."""
    return spin(make, args, finished=lambda node: node.finished, close=lambda node: node.close())
