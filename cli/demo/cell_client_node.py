"""What the recording and the deployment client share: calling a cell's services one after the other, with deadlines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.names import SIM_SUCCESS_TOPIC
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

#: Time for a node to start, import what it needs and be discovered.
START_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 30.0
#: For a node that has just been started to receive its first joint states and pictures.
READY_TIMEOUT_S = 20.0
#: For the first joint states and pictures of a new scene to reach everybody.
SETTLE_S = 0.15
#: For a service's node to discover a client that has just discovered it.
MATCH_S = 0.4
#: The simulator's success flag is latched: reliable, transient local, depth 1.
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def emit(**event: object) -> None:
    """Print one event as a JSON line, for the process that started this one."""
    print(json.dumps(event), flush=True)


def run_client(work: Callable[[], None]) -> int:
    """Do a client's work with rclpy initialised; the process's exit status, the remedy of a failure on stderr."""
    rclpy.init()
    try:
        work()
    except AutofocusError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE
    except (KeyboardInterrupt, ExternalShutdownException):
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


class CellClient:
    """A node that asks a cell's nodes to do things. Everything happens on the caller's thread."""

    def __init__(self, name: str) -> None:
        self.node = Node(name)
        self.success = False
        self._clients: dict[str, rclpy.client.Client] = {}
        self._known: set[str] = set()
        self.node.create_subscription(Bool, SIM_SUCCESS_TOPIC, self._on_success, LATCHED)

    def _on_success(self, msg: Bool) -> None:
        self.success = msg.data

    def spin_until(self, done: Callable[[], object], timeout_s: float) -> bool:
        """Handle messages until `done()`; False after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline_s:
                return False
            rclpy.spin_once(self.node, timeout_sec=0.01)
        return True

    def call(self, service: str, service_type: type, request: object, timeout_s: float = CALL_TIMEOUT_S) -> object:
        """One service call. AutofocusError when the service does not appear or does not answer in time."""
        client = self._clients.get(service)
        if client is None:
            client = self._clients[service] = self.node.create_client(service_type, service)
        if not client.wait_for_service(START_TIMEOUT_S):
            raise AutofocusError(f"service {service}", f"not there after {START_TIMEOUT_S:.0f} s", "its node running",
                                 "look at the logs of the run")
        if service not in self._known:
            # That we know the service does not mean that it knows us: an answer to a client that its node has not
            # discovered yet is lost for good.
            self._known.add(service)
            self.rest(MATCH_S)
        future = client.call_async(request)
        if not self.spin_until(future.done, timeout_s):
            raise AutofocusError(f"service {service}", f"no answer within {timeout_s:.0f} s", "an answer in time",
                                 "look at the log of its node; is the machine busy with something else?")
        return future.result()

    def trigger(self, service: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """Call a Trigger service; its message. AutofocusError when it says no."""
        answer = self.call(service, Trigger, Trigger.Request(), timeout_s)
        if not answer.success:
            raise AutofocusError(f"service {service}", f"refused: {answer.message}", "success = true",
                                 "look at the log of its node")
        return answer.message

    def trigger_when_ready(self, service: str, timeout_s: float = READY_TIMEOUT_S) -> str:
        """As `trigger`, asking again until the node has got the inputs it needs; the last refusal is raised."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return self.trigger(service)
            except AutofocusError:
                if time.monotonic() > deadline_s:
                    raise
                self.rest(SETTLE_S)

    def set_parameters(self, node: str, **values: int | str | float | bool) -> None:
        """Set parameters of another node; AutofocusError naming the one that was refused."""
        request = SetParameters.Request()
        request.parameters = [Parameter(name=name, value=_parameter(value)) for name, value in values.items()]
        answer = self.call(f"{node}/set_parameters", SetParameters, request)
        for (name, value), result in zip(values.items(), answer.results, strict=True):
            if not result.successful:
                raise AutofocusError(f"parameter {name} of {node}", f"{value!r} refused: {result.reason}",
                                     "a value the node takes", "look at the log of the node")

    def reset_cell(self, task: str, condition: str, seed: int) -> None:
        """A new scene, the arm at its start pose, nothing achieved yet."""
        self.set_parameters("/sim", task=task, condition=condition, seed=seed)
        self.trigger("/sim/reset")
        if not self.spin_until(lambda: not self.success, CALL_TIMEOUT_S):
            raise AutofocusError("/sim/reset", "still reports success", f"false on {SIM_SUCCESS_TOPIC} after a reset",
                                 "look at the log of the simulator")

    def rest(self, duration_s: float) -> None:
        """Let time pass while messages are handled."""
        self.spin_until(lambda: False, duration_s)


def _parameter(value: int | str | float | bool) -> ParameterValue:
    if isinstance(value, bool):
        return ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
    if isinstance(value, int):
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)
    if isinstance(value, float):
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
    return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
