"""RealSense node, /camera/camera: color, depth and aligned depth under realsense-ros's names, by pyrealsense2 alone.

Its stamps are the device's, mapped to ROS time; how, and what the camera is and was set to, it says on ~/device_info
(std_msgs/String, latched, a JSON object). ~/status (DiagnosticArray): rates and every kind of loss, counted.
An output that nobody subscribes to is not made.
"""

from __future__ import annotations

import array
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from autofocus_core.dds import make_room
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.names import DEVICE_INFO_NAME
from autofocus_core.signals import ignore_stop, on_stop
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from demo_recorder.realsense.camera import Camera
from demo_recorder.realsense.device import Bus, Recording, Source
from demo_recorder.realsense.info import CameraModel
from demo_recorder.realsense.library import library
from demo_recorder.realsense.options import OPTIONS
from demo_recorder.realsense.outputs import ALIGNED, COLOR, DEPTH
from demo_recorder.realsense.settings import Settings, serial_number, stream_request
from demo_recorder.realsense.status import StatusReport

#: As realsense-ros names them: depth is rectified, the others are as the sensor sees them.
IMAGE_NAMES = {COLOR: "color/image_raw", DEPTH: "depth/image_rect_raw", ALIGNED: "aligned_depth_to_color/image_raw"}
#: What realsense-ros offers: reliable and volatile. It keeps 1 image, this node 10: a third of a second, in which a
#: subscriber may pause without a loss.
IMAGE_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STATUS_PERIOD_S = 1.0
SPIN_PERIOD_S = 0.1


class RealSenseNode(Node):
    """Publishes what a :class:`Camera` gives. `source`: where devices come from; the USB bus, if it is None."""

    def __init__(self, source: Source | None = None) -> None:
        super().__init__("camera", namespace="camera")
        settings = self._settings()
        rs = library()
        self._images = {output: _ImageTopic(self, IMAGE_NAMES[output]) for output in settings.outputs}
        self._device_info = self.create_publisher(String, f"~/{DEVICE_INFO_NAME}", LATCHED_QOS)
        self._status = self.create_publisher(DiagnosticArray, "~/status", QoSProfile(depth=1))
        self._report = StatusReport(settings, {output: topic.name for output, topic in self._images.items()})
        self._said_state = ""
        self._lock = threading.Lock()  # status: by the timer, and by the camera's thread on a change
        clock = self.get_clock()
        path = self._value("rosbag_filename", "", "a file of the library's recorder, to be played instead of a camera")
        source = source or (Recording(rs, Path(path)) if path else Bus(rs))
        self.camera = Camera(rs, settings, source, self, lambda: clock.now().nanoseconds)
        self.create_timer(STATUS_PERIOD_S, self.publish_status)
        self.camera.start()

    # -- parameters --------------------------------------------------------------------------------------------------

    def _value(self, name: str, default: Any, description: str) -> Any:
        """A parameter that is set when the node starts, of its default's type (an integer passes for a float)."""
        descriptor = ParameterDescriptor(description=description, read_only=True, dynamic_typing=True)
        value = self.declare_parameter(name, default, descriptor).value
        if type(default) is float and type(value) is int:
            return float(value)
        if default is not None and type(value) is not type(default):
            kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[type(default)]
            raise AutofocusError(f"RealSense: {name}", repr(value), kind, f"set {name} to {kind}: {description}")
        return value

    def _settings(self) -> Settings:
        value = self._value
        requests = {}
        for stream, module in ((COLOR, "rgb_camera"), (DEPTH, "depth_module")):
            enabled = value(f"enable_{stream}", True, f"whether to stream {stream}")
            parameter = f"{module}.{stream}_profile"
            profile = value(parameter, "640x480x30", "WIDTHxHEIGHTxRATE")
            format_ = value(f"{module}.{stream}_format", {COLOR: "RGB8", DEPTH: "Z16"}[stream], "the library's format")
            requests[stream] = stream_request(stream, profile, format_, parameter) if enabled else None
        prefix = value("tf_prefix", "", "goes before all frame ids")
        name = value("camera_name", "camera", "frame ids begin with it: camera_color_optical_frame")
        return Settings(
            serial_no=serial_number(value("serial_no", None, "which camera; _123 is read as 123")),
            color=requests[COLOR],
            depth=requests[DEPTH],
            align_depth=value("align_depth.enable", True, "depth in the geometry of color, too"),
            options=self._options(),
            frame_prefix=f"{prefix}{name}",
            initial_reset=value("initial_reset", False, "reset the device before the first use"),
            reconnect_timeout_s=value("reconnect_timeout", 6.0, "s, longest pause between attempts to connect"),
            wait_for_device_timeout_s=value("wait_for_device_timeout", -1.0, "s until giving up; < 0: never"),
            usb2=value("usb2", "refuse", "refuse | warn where the streams do not fit through USB 2"),
            stall_periods=value("stall_periods", 30, "so many periods without a frame: the camera hangs"),
        )

    def _options(self) -> dict[str, float]:
        asked = {}
        for option in OPTIONS:
            value = self._value(option.parameter, None, f"sets {option.name} of the {option.stream} sensor")
            if value is None:
                continue
            if not isinstance(value, (bool, int, float)):
                raise AutofocusError(
                    f"RealSense: {option.parameter}", repr(value), "a number, true or false", "write it without quotes"
                )
            asked[option.parameter] = float(value)
        return asked

    # -- from the camera's thread ------------------------------------------------------------------------------------

    def wants(self, output: str) -> bool:
        """See :class:`demo_recorder.realsense.outputs.Sink`."""
        return self._images[output].wanted()

    def image(self, stamp_ns: int, output: str, pixels: np.ndarray, model: CameraModel) -> None:
        """See :class:`demo_recorder.realsense.outputs.Sink`."""
        self._images[output].publish(stamp_ns, pixels, model)

    def info(self, info: dict[str, object]) -> None:
        """See :class:`demo_recorder.realsense.outputs.Sink`."""
        self._device_info.publish(String(data=json.dumps(info)))

    def say(self, text: str, warn: bool) -> None:
        """See :class:`demo_recorder.realsense.outputs.Sink`."""
        if warn:  # two lines: rclpy refuses a line that logs at two levels
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)
        if self.camera.state.state != self._said_state:
            self.publish_status()

    # -- status ------------------------------------------------------------------------------------------------------

    def publish_status(self) -> None:
        """The rows of :class:`StatusReport` on ~/status."""
        camera, now = self.camera, self.get_clock().now()
        message = DiagnosticArray()
        message.header.stamp = now.to_msg()
        with self._lock:
            self._said_state = camera.state.state
            for row in self._report.rows(self.get_fully_qualified_name(), camera.state, camera.clock, now.nanoseconds):
                values = [KeyValue(key=key, value=str(value)) for key, value in row.values.items()]
                serial = camera.state.device.split(" ", 1)[0]
                message.status.append(
                    DiagnosticStatus(
                        name=row.name, level=bytes([row.level]), message=row.message, hardware_id=serial, values=values
                    )
                )
            self._status.publish(message)


class _ImageTopic:
    """An image topic with its camera_info. The message and its bytes are made once and filled for each image."""

    def __init__(self, node: Node, name: str) -> None:
        self._publisher = node.create_publisher(Image, f"~/{name}", IMAGE_QOS)
        self._infos = node.create_publisher(CameraInfo, f"~/{name.split('/')[0]}/camera_info", IMAGE_QOS)
        self.name = self._publisher.topic_name
        self._model: CameraModel | None = None
        self._message, self._info = Image(), CameraInfo()
        self._pixels = np.empty(0, np.uint8)

    def wanted(self) -> bool:
        """Whether anybody has subscribed to either topic."""
        return bool(self._publisher.get_subscription_count() or self._infos.get_subscription_count())

    def publish(self, stamp_ns: int, pixels: np.ndarray, model: CameraModel) -> None:
        """One copy into the message's own bytes; rclpy takes them from there before it returns."""
        if model is not self._model:
            self._prepare(pixels, model)
        stamp = Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
        self._message.header.stamp = self._info.header.stamp = stamp
        np.copyto(self._pixels, pixels)
        self._publisher.publish(self._message)
        self._infos.publish(self._info)

    def _prepare(self, pixels: np.ndarray, model: CameraModel) -> None:
        self._model = model
        step = pixels.itemsize * pixels.size // pixels.shape[0]
        self._message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=model.encoding, step=step)
        self._message.data = array.array("B", bytes(pixels.nbytes))
        # The message's own array: some distributions keep the one that is assigned, others a copy.
        self._pixels = np.frombuffer(self._message.data, pixels.dtype).reshape(pixels.shape)
        self._info = CameraInfo(
            height=model.height_px, width=model.width_px, distortion_model=model.distortion_model, d=list(model.d)
        )
        self._info.k, self._info.r, self._info.p = list(model.k), list(model.r), list(model.p)
        self._message.header.frame_id = self._info.header.frame_id = model.frame_id


def main(args: list[str] | None = None, source: Source | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 2 for what its user can mend."""
    stop = threading.Event()
    make_room(os.environ)
    on_stop(lambda _: stop.set())
    # rclpy's own handlers would take the context away under the camera's thread.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = None
    try:
        node = RealSenseNode(source)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set() and node.camera.failure is None:
            executor.spin_once(timeout_sec=SPIN_PERIOD_S)
        if node.camera.failure is not None:
            raise node.camera.failure
    except AutofocusError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE
    finally:
        if node is not None and not node.camera.stop():
            print("the RealSense library does not let go of the device: leaving it", file=sys.stderr, flush=True)
            os._exit(1)  # waiting for its threads would be for ever
        rclpy.try_shutdown()
        ignore_stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
