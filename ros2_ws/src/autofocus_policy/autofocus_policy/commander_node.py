"""What the policy node says to the guard: requests, that it should hold, and that this process lives."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from autofocus_core.names import GUARD_HEARTBEAT_TOPIC, GUARD_REQUEST_TOPIC
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from autofocus_policy.monitor import Monitor
from autofocus_policy.runner import Chunk

# Reliable, so that reliable and best-effort subscribers both match; depth 1, so that nothing old is ever re-sent.
COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


@dataclass(frozen=True, slots=True)
class Ticket:
    """When something was observed. epoch: counts activations and clock jumps; holds: and those that were asked for."""

    epoch: int = 0
    holds: int = 0


class Commander:
    """Publishes while it is open, and nothing that was observed before it was opened, before the last jump of the
    clock or before the last hold. Used by two threads.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._requests = node.create_publisher(JointTrajectory, GUARD_REQUEST_TOPIC, COMMAND_QOS)
        self._heartbeat = node.create_publisher(Header, GUARD_HEARTBEAT_TOPIC, COMMAND_QOS)
        self._lock = threading.Lock()  # held while publishing, so that nothing follows a hold or `close`
        self.active = self._holding = False
        self.ticket = Ticket()

    def open(self, monitor: Monitor, joint_names: tuple[str, ...], max_ahead_s: float) -> None:
        """From now on it publishes, and tells `monitor`. `max_ahead_s`: a chunk stamped farther ahead is not sent."""
        with self._lock:
            self._monitor, self._joint_names, self._max_ahead_ns = monitor, joint_names, round(max_ahead_s * 1e9)
            self.active, self._holding = True, False
            self.ticket = replace(self.ticket, epoch=self.ticket.epoch + 1)

    def close(self) -> None:
        """When this returns, nothing is published any more."""
        with self._lock:
            self.active = False

    def forget(self) -> None:
        """What was observed until now is not published."""
        with self._lock:
            self.ticket = replace(self.ticket, epoch=self.ticket.epoch + 1)

    def send(self, request: JointTrajectory, chunk: Chunk, ticket: Ticket) -> bool:
        """Publish the request for a chunk that was observed with `ticket`; whether that was done."""
        horizon_ns = round(len(chunk.positions) * chunk.dt_s * 1e9)
        with self._lock:
            if not self.active or ticket != self.ticket:
                return False
            latency_ns = self._node.get_clock().now().nanoseconds - chunk.stamp_ns
            # The whole chunk lies in the past, or its observation in the future: the clock was set meanwhile.
            if latency_ns >= horizon_ns or -latency_ns > self._max_ahead_ns:
                self._monitor.counts["expired"] += 1
                return False
            self._requests.publish(request)
            self._monitor.published(latency_ns / 1e6, time.monotonic_ns())
            return True

    def set_hold(self, hold: bool) -> bool:
        """Ask the guard to hold, by a request without points, when `hold` becomes true; whether that was done. What was
        observed until then is not published."""
        with self._lock:
            began = self.active and hold and not self._holding
            self._holding = hold
            if began:
                self.ticket = replace(self.ticket, holds=self.ticket.holds + 1)
                header = Header(stamp=self._node.get_clock().now().to_msg())
                self._requests.publish(JointTrajectory(header=header, joint_names=self._joint_names))
            return began

    def beat(self) -> None:
        """Say that this process lives and its executor turns; whether its inputs are fresh the requests say."""
        header = Header(frame_id=self._node.get_fully_qualified_name())
        header.stamp = self._node.get_clock().now().to_msg()
        self._heartbeat.publish(header)
