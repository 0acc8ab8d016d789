"""Publishes ~/status: the recorder's own row and one for each topic."""

from __future__ import annotations

import time
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import QoSProfile

from demo_recorder.intake import Intake
from demo_recorder.keeper import Keeper
from demo_recorder.status import RateMeter, StatusRow, TopicView, summary_row, topic_row
from demo_recorder.topics_node import Wanted
from demo_recorder.watch import SilenceWatch


class StatusPublisher:
    """Reads what is known and says it. From the executor's thread."""

    def __init__(
        self,
        node: Node,
        robot: str,
        wanted: Sequence[Wanted],
        keeper: Keeper,
        intake: Intake,
        silence: SilenceWatch,
    ) -> None:
        self._node = node
        self._robot = robot
        self._wanted = wanted
        self._keeper = keeper
        self._intake = intake
        self._silence = silence
        self._rates = {topic.name: RateMeter() for topic in wanted}
        self._publisher = node.create_publisher(DiagnosticArray, "~/status", QoSProfile(depth=1))

    def publish(self) -> None:
        """Once."""
        now_s = time.monotonic()
        topics = [topic_row(self._view(wanted, now_s)) for wanted in self._wanted]
        values = self._keeper.values(now_s)
        rows = [summary_row(values, topics), *topics]
        message = DiagnosticArray(status=[self._diagnostic(row) for row in rows])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _view(self, wanted: Wanted, now_s: float) -> TopicView:
        shown = self._keeper.shown
        return TopicView(
            name=wanted.name,
            type=wanted.type or wanted.declared_type,
            required=wanted.required,
            publishers=len(wanted.publishers),
            qos=wanted.qos_words,
            rate_hz=self._rates[wanted.name].read(now_s, wanted.received),
            expected_rate_hz=wanted.expected_rate_hz,
            silent_ms=(self._intake.clock.now_ns() - wanted.last_ns) / 1e6 if wanted.received else None,
            silent=wanted.name in self._silence.silent,
            failures=wanted.failures,
            monitor=None if shown is None else shown.monitors.get(wanted.name),
        )

    def _diagnostic(self, row: StatusRow) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=bytes([row.level]),
            name=row.name,
            message=row.message,
            hardware_id=self._robot,
            values=[KeyValue(key=key, value=value) for key, value in row.values.items()],
        )
