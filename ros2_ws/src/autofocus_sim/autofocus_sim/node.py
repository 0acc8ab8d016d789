"""The simulated cell as a ROS 2 node, `/sim`: it speaks what a real robot's drivers and camera speak.

Publishes, on the names and types of the robot YAML: joint states (100 Hz), the camera's images and camera_info (30 Hz);
and what only a simulator knows: `/sim/truth/markers` (object poses, 30 Hz), `/sim/truth/image_markers` (boxes of
visible pixels: a message per object for every third image, with that image's stamp), `/sim/truth/success` (latched),
`/sim/status` (diagnostics, 1 Hz).
Takes joint targets on the robot's command topic, by joint name, and the operator's phase for the lamp.

A new scene: set the parameters `task`, `condition` and `seed`, then call `/sim/reset` (std_srvs/Trigger). The arm is
then at its start pose at once. A guard that still commands would pull it back: disarm the guard, reset, arm.
"""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
from autofocus_core import names
from autofocus_core.dds import make_room
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import decode_joints
from autofocus_core.schema import Robot, load_robot
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, Int32
from std_srvs.srv import Trigger
from visualization_msgs.msg import ImageMarker, MarkerArray

from autofocus_sim import arm, ros_messages
from autofocus_sim.cell import Cell
from autofocus_sim.phases import TASKS
from autofocus_sim.realtime import RealtimeCell
from autofocus_sim.run_node import required, run
from autofocus_sim.scene import CONDITIONS
from autofocus_sim.truth import Truth

#: Boxes need a second rendering: every third picture, 10 Hz, is what an operator's or a policy's tick needs.
_BOXES_EVERY = 3
_COMMAND_TYPES = {"sensor_msgs/msg/JointState": JointState, "std_msgs/msg/Float64MultiArray": Float64MultiArray}
#: Reliable, deep enough for half a second of a subscriber's pause: a recorder must not lose joint states here.
_STATE_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
#: Reliable as realsense-ros publishes colour images; a third of a second.
_IMAGE_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
#: Only the newest command matters; best effort matches reliable publishers and others.
_COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class SimNode(Node):
    """Wires a :class:`RealtimeCell` to topics, services and parameters."""

    def __init__(self) -> None:
        super().__init__("sim")
        self._declare()
        self._robot = _checked(load_robot(required(self, "robot")))
        self._camera = self._robot.cameras[0]
        size = (self._camera.height_px, self._camera.width_px)
        cell = Cell(self._text("task"), self._text("condition"), self._seed(), size)
        self._matrix = cell.camera_matrix()
        self._counts: Counter[str] = Counter()
        self._success: bool | None = None
        self._pictures, self._boxes_due = 0, False

        robot, camera = self._robot, self._camera
        self._joints = self.create_publisher(JointState, robot.state.topic, _STATE_QOS)
        self._images = self.create_publisher(Image, camera.topic, _IMAGE_QOS)
        self._infos = self.create_publisher(CameraInfo, camera.info_topic, _IMAGE_QOS)
        self._markers = self.create_publisher(MarkerArray, names.SIM_TRUTH_MARKERS_TOPIC, _IMAGE_QOS)
        self._boxes = self.create_publisher(ImageMarker, names.SIM_TRUTH_IMAGE_MARKERS_TOPIC, _STATE_QOS)
        self._successes = self.create_publisher(Bool, names.SIM_SUCCESS_TOPIC, _LATCHED_QOS)
        self._status = self.create_publisher(DiagnosticArray, "/sim/status", 10)

        command_type = _COMMAND_TYPES[robot.command.type]
        self.create_subscription(command_type, robot.command.topic, self._on_command, _COMMAND_QOS)
        self.create_subscription(Int32, names.SIM_OPERATOR_PHASE_TOPIC, self._on_phase, 10)
        self.create_service(Trigger, "/sim/reset", self._on_reset)
        self.create_timer(1.0, self._publish_status)
        self.add_on_set_parameters_callback(_check_parameters)
        clock = self.get_clock()
        self.cell = RealtimeCell(
            cell, camera.rate_hz, lambda: clock.now().nanoseconds, self._publish_joints, self._publish_picture,
            exact_truth=self._boxes_wanted,
        )
        self.cell.start()
        seen = f"camera {size[1]}x{size[0]} at {camera.rate_hz:g} Hz"
        self.get_logger().info(f"{robot.name}: {self._scene_text()}, {seen}")

    def _declare(self) -> None:
        say = ParameterDescriptor
        self.declare_parameter("robot", "", say(description="path of the robot YAML (required)", read_only=True))
        self.declare_parameter("task", TASKS[0], say(description="task: " + " | ".join(TASKS)))
        self.declare_parameter("condition", CONDITIONS[0], say(description="condition: " + " | ".join(CONDITIONS)))
        seeds = IntegerRange(from_value=0, to_value=2**31 - 1, step=1)
        self.declare_parameter("seed", 0, say(description="scene number; used at /sim/reset", integer_range=[seeds]))

    # -- from the cell's threads -------------------------------------------------------------------------------------

    def _publish_joints(self, stamp_ns: int, positions: np.ndarray, velocities: np.ndarray, success: bool) -> None:
        self._joints.publish(ros_messages.joint_state(stamp_ns, arm.JOINT_NAMES, positions, velocities))
        if success is not self._success:
            self._success = success
            self._successes.publish(Bool(data=success))

    def _boxes_wanted(self) -> bool:
        self._pictures += 1
        self._boxes_due = self._pictures % _BOXES_EVERY == 0 and self._boxes.get_subscription_count() > 0
        return self._boxes_due

    def _publish_picture(self, stamp_ns: int, pixels: np.ndarray, truth: Truth) -> None:
        self._images.publish(ros_messages.image(stamp_ns, pixels))
        self._infos.publish(ros_messages.camera_info(stamp_ns, pixels.shape[:2], self._matrix))
        self._markers.publish(ros_messages.markers(stamp_ns, truth))
        if self._boxes_due:
            for number, (name, found) in enumerate(truth.objects.items()):
                self._boxes.publish(ros_messages.image_marker(stamp_ns, number, name, found))

    # -- from ROS ----------------------------------------------------------------------------------------------------

    def _on_command(self, message: JointState | Float64MultiArray) -> None:
        try:
            _, positions = decode_joints(message, self._robot.command.type, self._robot)
        except AutofocusError as refused:
            self._refuse("command", refused)
            return
        self._counts["commands"] += 1
        self.cell.command(positions)

    def _on_phase(self, message: Int32) -> None:
        try:
            self.cell.show_phase(message.data)
        except AutofocusError as refused:
            self._refuse("operator_phase", refused)

    def _refuse(self, what: str, why: AutofocusError) -> None:
        self._counts[f"{what}_refused"] += 1
        self.get_logger().warn(f"{what} refused: {why}", throttle_duration_sec=5.0)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self.cell.reset(self._seed(), self._text("condition"), self._text("task"))
        except AutofocusError as error:
            response.message = str(error)
            return response
        self._counts["resets"] += 1
        response.success, response.message = True, self._scene_text()
        return response

    def _publish_status(self) -> None:
        if self.cell.failure is not None:
            raise RuntimeError("the cell has stopped") from self.cell.failure
        values = {"scene": self._scene_text(), **self._counts, **self.cell.counts}
        status = DiagnosticStatus(name="sim", hardware_id=self._robot.name, message=self._scene_text())
        status.level = DiagnosticStatus.WARN if self.cell.counts["late_ticks"] else DiagnosticStatus.OK
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(array)

    def close(self) -> None:
        """Stops the cell's threads, while ROS is still there for what they publish."""
        self.cell.stop()

    # -- parameters --------------------------------------------------------------------------------------------------

    def _text(self, name: str) -> str:
        return self.get_parameter(name).value

    def _seed(self) -> int:
        return self.get_parameter("seed").value

    def _scene_text(self) -> str:
        return f"task {self._text('task')}, condition {self._text('condition')}, seed {self._seed()}"


def _check_parameters(parameters: list[Parameter]) -> SetParametersResult:
    allowed = {"task": TASKS, "condition": CONDITIONS}
    for parameter in parameters:
        if parameter.name in allowed and parameter.value not in allowed[parameter.name]:
            reason = f"{parameter.name} {parameter.value!r}: allowed are {' | '.join(allowed[parameter.name])}"
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def _checked(robot: Robot) -> Robot:
    """The robot, if it is the simulated arm."""
    if robot.joint_names != arm.JOINT_NAMES:
        raise AutofocusError(f"robot {robot.name}: joints", ", ".join(robot.joint_names), ", ".join(arm.JOINT_NAMES),
                             "use autofocus_sim/config/sim_arm.yaml with the simulator")
    if len(robot.cameras) != 1 or robot.cameras[0].type != "sensor_msgs/msg/Image":
        raise AutofocusError(f"robot {robot.name}: cameras", f"{len(robot.cameras)} cameras, first of type "
                             f"{robot.cameras[0].type}", "one camera of type sensor_msgs/msg/Image",
                             "use autofocus_sim/config/sim_arm.yaml with the simulator")
    return robot


def main(args: list[str] | None = None) -> None:
    """Runs the node until it is interrupted; exit status 2 for a mistake of the user's."""
    make_room(os.environ)  # a camera of 640x480 is more than Fast DDS has room for
    run(SimNode, SimNode.close, args)


if __name__ == "__main__":
    main()
