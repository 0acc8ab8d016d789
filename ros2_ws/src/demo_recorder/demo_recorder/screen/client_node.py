"""The client of the recorder over ROS: its services, its `note` parameter and its status."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from autofocus_core.errors import AutofocusError
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool, Trigger

from demo_recorder.screen.client import Answer
from demo_recorder.screen.status import Row, Status, parse_status

RECORDER = "/demo_recorder"
#: A start waits for publishers, a stop for the disk: no answer means something else after this time.
START_TIMEOUT_S, STOP_TIMEOUT_S, REQUEST_TIMEOUT_S = 15.0, 120.0, 5.0


class RecorderClient:
    """The recorder's services, its `note` parameter and its status, over ROS; spins in a thread of its own."""

    def __init__(self) -> None:
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(
            f"record_screen_{os.getpid()}", context=self._context, enable_rosout=False, start_parameter_services=False
        )
        self._triggers = {
            name: self._node.create_client(Trigger, f"{RECORDER}/{name}") for name in ("start", "stop", "discard")
        }
        self._outcome = self._node.create_client(SetBool, f"{RECORDER}/outcome")
        self._parameters = self._node.create_client(SetParameters, f"{RECORDER}/set_parameters")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="record_screen", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """Leave the graph."""
        # In this order: a thread that is still in the middleware when the interpreter ends aborts the process.
        self._executor.shutdown(timeout_sec=1.0)
        self._thread.join(2.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def recorder_there(self, timeout_s: float) -> bool:
        """Whether a recorder is found within `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while not self._node.count_publishers(f"{RECORDER}/status"):
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.05)
        return True

    def watch(self, arrived: Callable[[Status | AutofocusError], None]) -> None:
        """See `screen.client.Client`."""

        def callback(message: DiagnosticArray) -> None:
            rows = [
                Row(status.name, status.level[0], status.message, {pair.key: pair.value for pair in status.values})
                for status in message.status
            ]
            try:
                arrived(parse_status(rows))
            except AutofocusError as error:
                arrived(error)

        self._node.create_subscription(DiagnosticArray, f"{RECORDER}/status", callback, QoSProfile(depth=1))

    def start(self) -> Answer:
        """See `screen.client.Client`, as for the following."""
        return self._trigger("start", START_TIMEOUT_S)

    def stop(self) -> Answer:
        """End the episode."""
        return self._trigger("stop", STOP_TIMEOUT_S)

    def discard(self) -> Answer:
        """Put it aside."""
        return self._trigger("discard", STOP_TIMEOUT_S)

    def outcome(self, success: bool) -> Answer:
        """Judge it."""
        return self._call("outcome", self._outcome, SetBool.Request(data=success), REQUEST_TIMEOUT_S)

    def note(self, text: str) -> Answer:
        """Write on it."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
        request = SetParameters.Request(parameters=[Parameter(name="note", value=value)])
        return self._call("note", self._parameters, request, REQUEST_TIMEOUT_S)

    def _trigger(self, name: str, timeout_s: float) -> Answer:
        return self._call(name, self._triggers[name], Trigger.Request(), timeout_s)

    def _call(self, name: str, client: Any, request: Any, timeout_s: float) -> Answer:
        if not client.wait_for_service(timeout_sec=1.0):
            return Answer(False, f"{name}: there is no recorder to ask. Is it running, with the same ROS_DOMAIN_ID?")
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(timeout_s):
            client.remove_pending_request(future)
            return Answer(False, f"{name}: the recorder has not answered for {timeout_s:.0f} s; its log may say why")
        response = future.result()
        if isinstance(response, SetParameters.Response):
            return Answer(response.results[0].successful, response.results[0].reason)
        return Answer(response.success, response.message)
