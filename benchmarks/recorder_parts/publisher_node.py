"""Publishes some streams of a workload as cheaply as Python can, and says at the end what it really achieved.

    python -m recorder_parts.publisher_node STREAMS_JSON --report REPORT.npz

One thread, absolute deadlines. A deadline missed by a whole period is left out, as a camera would, not made up for.
SIGINT or SIGTERM ends it and writes the report: for each topic the wall-clock times (ns) at which message 0, 1, 2 ...
was stamped and handed to the middleware.
"""

from __future__ import annotations

import argparse
import heapq
import json
import resource
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState

from recorder_parts.payloads import NS_PER_S, Payload
from recorder_parts.workloads import IMAGE, Stream

#: ROS's default, and what real drivers have: reliable, the last ten.
QUEUE_DEPTH = 10


@dataclass(slots=True)
class Source:
    """A stream being published."""

    stream: Stream
    payload: Payload
    publisher: Publisher
    period_ns: int
    times_ns: list[int] = field(default_factory=list)
    left_out: int = 0

    def publish(self) -> None:
        """Publish the next message, stamped now."""
        now_ns = time.time_ns()
        self.publisher.publish(self.payload.message(now_ns, len(self.times_ns)))
        self.times_ns.append(now_ns)


def publish_until(sources: list[Source], ended: list[int]) -> None:
    """Publish every source at its rate until `ended` has something in it."""
    start_ns = time.monotonic_ns()
    due = [(start_ns + index * 1_000_000, index) for index in range(len(sources))]  # 1 ms apart, not all at once
    heapq.heapify(due)
    while not ended:
        due_ns, index = due[0]
        wait_ns = due_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / NS_PER_S)
            continue
        source = sources[index]
        source.publish()
        behind = max(0, (time.monotonic_ns() - due_ns) // source.period_ns)
        source.left_out += behind
        heapq.heapreplace(due, (due_ns + (behind + 1) * source.period_ns, index))


def main() -> int:
    """Publish until told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("streams", type=json.loads, help="JSON list of the fields of the streams to publish")
    parser.add_argument("--report", type=Path, required=True)
    args = parser.parse_args()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: ended.append(received))
    streams = [Stream(**fields) for fields in args.streams]
    node = rclpy.create_node("bench_" + streams[0].topic.strip("/").replace("/", "_"))
    sources = []
    for stream in streams:
        kind = Image if stream.type == IMAGE else JointState
        publisher = node.create_publisher(kind, stream.topic, QoSProfile(depth=QUEUE_DEPTH))
        sources.append(Source(stream, Payload(stream), publisher, round(NS_PER_S / stream.rate_hz)))
    publish_until(sources, ended)
    used = resource.getrusage(resource.RUSAGE_SELF)
    report = {source.stream.topic: np.array(source.times_ns, np.int64) for source in sources}
    left_out = {f"left_out:{source.stream.topic}": np.array(source.left_out) for source in sources}
    np.savez(args.report, **report, **left_out, cpu_s=np.array(used.ru_utime + used.ru_stime))
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
