"""Publishes some streams of a workload as cheaply as Python can, and logs what it really published.

    python -m recorder_parts.publisher_node STREAMS_JSON --log FOLDER [--life N]

One thread, absolute deadlines. A deadline missed by a whole period is left out, as a camera would, not made up for.
SIGINT or SIGTERM ends it. The log: publications.py.
"""

from __future__ import annotations

import argparse
import heapq
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState

from recorder_parts.payloads import NS_PER_S, Payload
from recorder_parts.publications import LIFE, PublicationLog
from recorder_parts.workloads import IMAGE, Stream

#: ROS's default, and what real drivers have: reliable, the last ten.
QUEUE_DEPTH = 10


@dataclass(slots=True)
class Source:
    """A stream being published."""

    payload: Payload
    publisher: Publisher
    period_ns: int
    log: PublicationLog
    counter: int

    def publish(self) -> None:
        """Publish the next message, stamped now."""
        now_ns = time.time_ns()
        self.publisher.publish(self.payload.message(now_ns, self.counter))
        self.log.add(now_ns)
        self.counter += 1


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
        heapq.heapreplace(due, (due_ns + (behind + 1) * source.period_ns, index))


def main() -> int:
    """Publish until told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("streams", type=json.loads, help="JSON list of the fields of the streams to publish")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--life", type=int, default=0, help="how often it was started before")
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
        log = PublicationLog(args.log, stream.topic, args.life)
        period_ns = round(NS_PER_S / stream.rate_hz)
        sources.append(Source(Payload(stream), publisher, period_ns, log, args.life * LIFE))
    publish_until(sources, ended)
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
