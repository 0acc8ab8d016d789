"""Gamepad buttons for the session: start, stop, success, failure, discard, as a YAML says.

    ros2 run demo_recorder session_buttons --ros-args -p buttons:=buttons.yaml
"""

from __future__ import annotations

import sys
import time
from typing import Any

from autofocus_core.errors import AutofocusError
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_srvs.srv import SetBool, Trigger

from demo_recorder.spin_node import spin
from demo_recorder.teleop.buttons import Buttons, calls, load_buttons

RECORDER = "/demo_recorder"
TICK_S = 0.02
#: An answer that takes longer than this is not waited for: the buttons work again.
ANSWER_TIMEOUT_S = 15.0
STATUS_TIMEOUT_S = 3.0


class SessionButtonsNode(Node):
    """Node /session_buttons. One thing at a time: buttons pressed while the recorder has not answered are ignored."""

    def __init__(self) -> None:
        super().__init__("session_buttons")
        meaning = "path of the buttons YAML (required)"
        descriptor = ParameterDescriptor(description=meaning, read_only=True)
        path = self.declare_parameter("buttons", "", descriptor).value
        if not path:
            fix = "add `-p buttons:=buttons.yaml`; config/buttons.yaml is an example"
            raise AutofocusError("node /session_buttons: parameter buttons", "nothing", meaning, fix)
        config = load_buttons(path)
        self._buttons = Buttons(config)
        self._recorder_state: str | None = None
        self._status_s = 0.0
        self._left: list[tuple[str, bool | None]] = []  # calls of the present action that are still to be made
        self._pending: Any = None
        self._pending_s = 0.0
        triggers = {name: self.create_client(Trigger, f"{RECORDER}/{name}") for name in ("start", "stop", "discard")}
        self._recorder_calls = {**triggers, "outcome": self.create_client(SetBool, f"{RECORDER}/outcome")}
        self.create_subscription(Joy, config.topic, self._on_joy, 10)
        self.create_subscription(DiagnosticArray, f"{RECORDER}/status", self._on_status, 10)
        self.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        bound = ", ".join(f"{b.button} {b.action}{' (held)' if b.hold_s else ''}" for b in config.bindings)
        self.get_logger().info(f"buttons on {config.topic}: {bound}")

    def _on_joy(self, message: Joy) -> None:
        self._act(self._buttons.on_joy(message.buttons, time.monotonic()))

    def _on_status(self, message: DiagnosticArray) -> None:
        values = {pair.key: pair.value for pair in message.status[0].values} if message.status else {}
        self._recorder_state, self._status_s = values.get("state"), time.monotonic()

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self._pending is not None and now_s - self._pending_s > ANSWER_TIMEOUT_S:
            self.get_logger().error(f"no answer of the recorder for {ANSWER_TIMEOUT_S:g} s: buttons work again")
            self._pending.cancel()
            self._pending, self._left = None, []
        self._act(self._buttons.on_time(now_s))

    def _act(self, actions: list[str]) -> None:
        for action in actions:
            if self._pending is not None:
                self.get_logger().warning(f"{action} ignored: the recorder has not answered yet")
                continue
            fresh = time.monotonic() - self._status_s < STATUS_TIMEOUT_S
            self._left = calls(action, self._recorder_state if fresh else None)
            self._next()

    def _next(self) -> None:
        if not self._left:
            return
        name, data = self._left.pop(0)
        client = self._recorder_calls[name]
        if not client.service_is_ready():
            self.get_logger().error(f"{name}: no recorder is running")
            self._left = []
            return
        request = Trigger.Request() if data is None else SetBool.Request(data=data)
        self._pending, self._pending_s = client.call_async(request), time.monotonic()
        self._pending.add_done_callback(lambda future: self._answered(name, future))

    def _answered(self, name: str, future: Any) -> None:
        if future.cancelled():
            return
        self._pending = None
        answer = future.result()
        if answer.success:
            self.get_logger().info(f"{name}: {answer.message}")
        else:
            self.get_logger().error(f"{name} refused: {answer.message}")
            self._left = []
        self._next()


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted."""
    return spin(SessionButtonsNode, args)


if __name__ == "__main__":
    sys.exit(main())
