"""The scripted operator as a ROS 2 node, `/demonstrator`: teleoperates the arm through the command guard.

It sees the sim's truth markers and the joint states, thinks at 10 Hz, and publishes, as a teleoperation device would:
- `/command_guard/request`: where to go next, with injected noise (see :mod:`autofocus_sim.expert`),
- the robot's action topic (`/teleop/intent`): the same target without the noise, stamped with the time it applies at,
- `/command_guard/heartbeat` at 100 Hz while it demonstrates, `/sim/operator_phase` for the lamp.

One demonstration, in the order a session wants it:
 1. `/command_guard/disarm`; set `seed`, `condition`, `task` of `/sim`; `/sim/reset`; `/command_guard/arm`;
 2. set `seed` (and `task`) of `/demonstrator`; `/demo_recorder/start`;
 3. `/demonstrator/run` (std_srvs/Trigger) returns at once, its message is JSON: {"run": 7, "seed": 3}, or it refuses
    and says why (already running, no fresh joint states or markers);
 4. `/demonstrator/done` (std_msgs/String, latched) then says, as JSON, {"run": 7, "seed": 3, "success": true,
    "duration_s": 3.1, "ticks": 31, "reason": "done"}. Compare `run`: the latched one may be of the run before.
    Reasons: done | timeout | stopped | stale inputs | guard STATE: WHY;
 5. `/demo_recorder/outcome`, `/demo_recorder/stop`.
`/demonstrator/stop` (Trigger) ends a run early. Its noise comes from `seed` alone.
"""

from __future__ import annotations

import json

from autofocus_core import names
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import decode_joints
from autofocus_core.schema import load_robot
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Header, Int32, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import MarkerArray

from autofocus_sim import ros_messages
from autofocus_sim.demos import demonstration_rng
from autofocus_sim.expert import NOISE_M, PERIOD_S, Action, Expert
from autofocus_sim.phases import TASKS
from autofocus_sim.run_node import required, run

HEARTBEAT_PERIOD_S = 0.01
#: Markers come at camera rate; the objects hardly move, so a few missing ones are no reason to stop.
_MARKERS_TIMEOUT_S = 0.5
#: Ticks in a row without fresh inputs after which a run is given up.
_STALE_TICKS = 5
_NEWEST_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_COMMAND_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class DemonstratorNode(Node):
    """Runs an :class:`Expert` on what topics tell."""

    def __init__(self) -> None:
        super().__init__("demonstrator")
        self._declare()
        self._robot = robot = load_robot(required(self, "robot"))
        self._state: JointState | None = None
        self._markers: MarkerArray | None = None
        self._success = False
        self._expert: Expert | None = None  # while a run is on
        self._run, self._seed, self._ticks, self._stale_ticks = 0, 0, 0, 0
        self._begun_ns, self._ticked_ns = 0, 0  # ROS time of the run's begin, stamp of the last joints acted on

        self._requests = self.create_publisher(JointTrajectory, names.GUARD_REQUEST_TOPIC, _COMMAND_QOS)
        self._heartbeats = self.create_publisher(Header, names.GUARD_HEARTBEAT_TOPIC, _COMMAND_QOS)
        self._intents = self.create_publisher(JointState, robot.action.topic, _COMMAND_QOS)
        self._phases = self.create_publisher(Int32, names.SIM_OPERATOR_PHASE_TOPIC, _COMMAND_QOS)
        self._done = self.create_publisher(String, "/demonstrator/done", _LATCHED_QOS)
        self.create_subscription(JointState, robot.state.topic, self._on_state, _NEWEST_QOS)
        self.create_subscription(MarkerArray, names.SIM_TRUTH_MARKERS_TOPIC, self._on_markers, _NEWEST_QOS)
        self.create_subscription(Bool, names.SIM_SUCCESS_TOPIC, self._on_success, _LATCHED_QOS)
        self.create_subscription(DiagnosticArray, names.GUARD_STATUS_TOPIC, self._on_guard_status, 10)
        self.create_service(Trigger, "/demonstrator/run", self._on_run)
        self.create_service(Trigger, "/demonstrator/stop", self._on_stop)
        self._tick_timer = self.create_timer(PERIOD_S, self._tick)
        self.create_timer(HEARTBEAT_PERIOD_S, self._beat)

    def _declare(self) -> None:
        say = ParameterDescriptor
        seeds = IntegerRange(from_value=0, to_value=2**31 - 1, step=1)
        noises = FloatingPointRange(from_value=0.0, to_value=0.03)
        timeouts = FloatingPointRange(from_value=1.0, to_value=120.0)
        self.declare_parameter("robot", "", say(description="path of the robot YAML (required)", read_only=True))
        self.declare_parameter("task", TASKS[0], say(description="task: " + " | ".join(TASKS)))
        self.declare_parameter("seed", 0, say(description="where the noise comes from", integer_range=[seeds]))
        self.declare_parameter("noise_m", NOISE_M, say(
            description="standard deviation of the noise on what is executed, m per axis", floating_point_range=[noises]
        ))
        self.declare_parameter("timeout_s", 30.0, say(
            description="a run not done by then has failed, s", floating_point_range=[timeouts]
        ))

    # -- services ----------------------------------------------------------------------------------------------------

    def _on_run(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._expert is not None:
            response.message = f"run {self._run} is still on: wait for /demonstrator/done or call /demonstrator/stop"
            return response
        stale = self._stale()
        if stale:
            response.message = f"{stale}: start the sim, and look at its topics"
            return response
        try:
            expert = Expert(self.get_parameter("task").value, self.get_parameter("noise_m").value)
        except AutofocusError as error:
            response.message = str(error)
            return response
        self._run += 1
        self._seed = self.get_parameter("seed").value
        expert.reset(demonstration_rng(self._seed))
        self._ticks = self._stale_ticks = self._ticked_ns = 0
        self._begun_ns = self._now_ns()
        self._expert = expert
        # The first target now and not at the timer's next turn: the guard waits for it.
        self._tick_timer.reset()
        self._beat()
        self._tick()
        response.success, response.message = True, json.dumps({"run": self._run, "seed": self._seed})
        return response

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._expert is not None
        response.message = "stopped" if response.success else "no run is on"
        if response.success:
            self._finish("stopped")
        return response

    # -- the operator ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._expert is None:
            return
        if self._now_ns() - self._begun_ns > self.get_parameter("timeout_s").value * 1e9:
            self._finish("timeout")
            return
        if self._stale():
            self._stale_ticks += 1
            if self._stale_ticks >= _STALE_TICKS:
                self._finish("stale inputs")
            return
        self._stale_ticks = 0
        stamp_ns, q = decode_joints(self._state, self._robot.state.type, self._robot)
        if stamp_ns <= self._ticked_ns:
            return  # two late ticks in one go: there is nothing new to see, and no second label for one moment
        self._ticked_ns = stamp_ns
        action = self._expert.act(ros_messages.truth_from_markers(self._markers, self._success), q)
        self._phases.publish(Int32(data=int(action.phase)))
        self._ticks += 1
        self._publish(stamp_ns, action)
        if action.done:
            self._finish("done")

    def _publish(self, stamp_ns: int, action: Action) -> None:
        period_ns = round(PERIOD_S * 1e9)
        joint_names = self._robot.joint_names
        self._intents.publish(ros_messages.joint_state(stamp_ns + period_ns, joint_names, action.clean))
        request = JointTrajectory(joint_names=list(joint_names))
        request.header.stamp = ros_messages.to_time(stamp_ns)
        point = JointTrajectoryPoint(positions=action.noisy.tolist(), time_from_start=Duration(nanosec=period_ns))
        request.points = [point]
        self._requests.publish(request)

    def _finish(self, reason: str) -> None:
        self._expert = None
        outcome = {
            "run": self._run, "seed": self._seed, "success": self._success and reason == "done", "reason": reason,
            "duration_s": round((self._now_ns() - self._begun_ns) * 1e-9, 3), "ticks": self._ticks,
        }
        self._done.publish(String(data=json.dumps(outcome)))
        self.get_logger().info(f"run {self._run}: {outcome}")

    def _beat(self) -> None:
        # Silent between runs: the heartbeat of an idle operator would hide the death of another commander.
        if self._expert is not None:
            self._heartbeats.publish(Header(stamp=self.get_clock().now().to_msg(), frame_id=self.get_name()))

    # -- inputs ------------------------------------------------------------------------------------------------------

    def _on_state(self, message: JointState) -> None:
        self._state = message

    def _on_markers(self, message: MarkerArray) -> None:
        self._markers = message

    def _on_guard_status(self, message: DiagnosticArray) -> None:
        """Gives up at once where the guard will not follow any more, rather than wait for the timeout."""
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        if self._expert is None or stamp_ns < self._begun_ns:
            return
        values = {value.key: value.value for status in message.status for value in status.values}
        if values.get("state") in ("fault", "disarmed") or values.get("needs_arm") == "True":
            self._finish(f"guard {values['state']}: {values.get('reason', '')}")

    def _on_success(self, message: Bool) -> None:
        self._success = message.data

    def _stale(self) -> str:
        """What of the inputs is missing or too old, '' if nothing is."""
        if self._age_s(self._state) > self._robot.state.timeout_ms / 1e3:
            return f"no fresh {self._robot.state.topic}"
        marker = self._markers.markers[-1] if self._markers is not None else None
        if self._age_s(marker) > _MARKERS_TIMEOUT_S:
            return f"no fresh {names.SIM_TRUTH_MARKERS_TOPIC}"
        return ""

    def _age_s(self, message) -> float:
        if message is None:
            return float("inf")
        stamp = message.header.stamp
        return (self._now_ns() - stamp.sec * 1_000_000_000 - stamp.nanosec) * 1e-9

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def main(args: list[str] | None = None) -> None:
    """Runs the node until it is interrupted; exit status 2 for a mistake of the user's."""
    run(DemonstratorNode, lambda node: None, args)


if __name__ == "__main__":
    main()
