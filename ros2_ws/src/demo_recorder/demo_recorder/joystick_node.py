"""A Linux joystick as sensor_msgs/Joy, for machines without the `joy` package: topic and parameters are joy_node's.

    ros2 run demo_recorder joystick --ros-args -p device_id:=0
"""

from __future__ import annotations

import sys
import time

import rclpy
from autofocus_core.signals import ignore_stop, on_stop
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Joy

from demo_recorder.teleop.joystick import Device, JoystickState

RETRY_S = 1.0
#: How long signals and parameter services may wait for a device that says nothing.
LONGEST_WAIT_S = 0.1


class JoystickNode(Node):
    """Node /joy_node, topic /joy. A device that is gone is opened again when it is back; meanwhile nothing is
    published, so that whoever listens notices."""

    def __init__(self) -> None:
        super().__init__("joy_node")
        self._device = Device(self._path())
        deadzone = self._number("deadzone", 0.05, 0.0, 0.9, "share of an axis around its middle that reads 0")
        sticky = self._value("sticky_buttons", False, "buttons toggle at each press")
        rate_hz = self._number(
            "autorepeat_rate", 20.0, 0.0, 1000.0, "at least so many messages a second, Hz; 0: on change only"
        )
        wait_ms = self._value(
            "coalesce_interval_ms", 1, "events of so many ms go into one message",
            integer_range=[IntegerRange(from_value=0, to_value=1000, step=1)],
        )  # fmt: skip
        self._settings = (float(deadzone), bool(sticky))
        self._repeat_s = 1.0 / rate_hz if rate_hz else None
        self._coalesce_s = wait_ms * 1e-3
        self._state: JoystickState | None = None
        self._due_s: float | None = None  # when the next message goes out
        self._retry_s = 0.0
        self._missed = False
        self._joy = self.create_publisher(Joy, "joy", 10)

    def work(self, longest_s: float) -> None:
        """Wait for events for at most `longest_s` and publish what is due."""
        if self._state is None:
            self._open()
            if self._state is None:
                time.sleep(min(longest_s, RETRY_S / 10))
            return
        try:
            self._read(longest_s)
        except OSError as error:
            self.get_logger().error(f"{self._device.path}: {error.strerror}; opened again when it is back")
            self.close()
            return
        if self._due_s is not None and time.monotonic() >= self._due_s:
            self._publish()

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()
        self._state = self._due_s = None
        self._missed = False
        self._retry_s = time.monotonic() + RETRY_S

    def _open(self) -> None:
        now_s = time.monotonic()
        if now_s < self._retry_s:
            return
        self._retry_s = now_s + RETRY_S
        try:
            axes, buttons = self._device.open()
        except OSError as error:
            if not self._missed:
                self._missed = True
                self.get_logger().error(f"{self._device.path}: {error.strerror}; tried again every {RETRY_S:g} s")
            return
        self._state = JoystickState(*self._settings, axes, buttons)
        self.get_logger().info(f"opened {self._device.path}, {axes or 'any'} axes, {buttons or 'any'} buttons")

    def _read(self, longest_s: float) -> None:
        wait_s = longest_s if self._due_s is None else min(longest_s, self._due_s - time.monotonic())
        for value, kind, number in self._device.events(wait_s):
            at_once = self._state.apply(value, kind, number)
            soon_s = time.monotonic() + (0.0 if at_once else self._coalesce_s)
            self._due_s = soon_s if self._due_s is None else min(self._due_s, soon_s)
            if at_once:
                self._publish()  # a press and its release may be in one read: both are to be seen

    def _publish(self) -> None:
        now_s = time.monotonic()
        self._due_s = None if self._repeat_s is None else now_s + self._repeat_s
        if not self._state.complete:
            return
        message = Joy(axes=self._state.axes, buttons=self._state.buttons)
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = "joy"
        self._joy.publish(message)

    def _path(self) -> str:
        number = self._value(
            "device_id", 0, "number of the joystick: /dev/input/js<number>",
            integer_range=[IntegerRange(from_value=0, to_value=31, step=1)],
        )  # fmt: skip
        return self._value("dev", "", "path of the device; empty: by device_id") or f"/dev/input/js{number}"

    def _number(self, name: str, default: float, low: float, high: float, meaning: str) -> float:
        return self._value(
            name, default, meaning, floating_point_range=[FloatingPointRange(from_value=low, to_value=high)]
        )

    def _value(self, name: str, default: object, meaning: str, **ranges: object):
        descriptor = ParameterDescriptor(description=meaning, read_only=True, **ranges)
        return self.declare_parameter(name, default, descriptor).value


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted."""
    stopped: list[int] = []
    on_stop(stopped.append)
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = JoystickNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stopped:
        node.work(LONGEST_WAIT_S)
        executor.spin_once(timeout_sec=0.0)
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    ignore_stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
