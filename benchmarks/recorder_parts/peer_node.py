"""Recorders to compare with: node /bench_recorder with ~/start and ~/stop (Trigger); a stop answers with the path.

    python -m recorder_parts.peer_node STYLE STREAMS_JSON OUTPUT_FOLDER

peer         What those ROS 2 imitation-learning stacks do that record in Python (iblnkn/rosetta's recorder, the rosbag2
             example that many start from): typed subscriptions, serialize_message and a write in the callback. It has,
             in its favour, a single-threaded executor (rosetta's four threads cost more) and queues as deep as ours.
peer_no_disk The same, but nothing is written: no writer in any language makes the style cheaper than that.
naive        Raw subscriptions of depth 10 and a write in the callback: the first idea that one has.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from recorder_parts.sinks import McapSink, NoSink, Sink
from recorder_parts.trial import PEER_STYLES
from recorder_parts.workloads import IMAGE, Stream

NODE = "bench_recorder"
#: Messages that may wait: those of our own recorder for the peer, ROS's default for the prototype.
DEEP, DEEP_IMAGES, SHALLOW = 1000, 100, 10


class PeerRecorder(Node):
    """Subscribes at once, writes between start and stop."""

    def __init__(self, style: str, streams: list[Stream], folder: Path) -> None:
        super().__init__(NODE)
        self._sink: Sink | None = None
        self._streams, self._folder, self._style = streams, folder, style
        folder.mkdir(parents=True, exist_ok=True)
        for index, stream in enumerate(streams):
            depth = SHALLOW if style == "naive" else DEEP_IMAGES if stream.type == IMAGE else DEEP
            kind = Image if stream.type == IMAGE else JointState
            raw = style == "naive"
            self.create_subscription(kind, stream.topic, self._callback(index, raw), QoSProfile(depth=depth), raw=raw)
        self.create_service(Trigger, "~/start", self._start)
        self.create_service(Trigger, "~/stop", self._stop)

    def _callback(self, index: int, raw: bool) -> Callable[[Any], None]:
        def callback(message: Any) -> None:
            if self._sink is not None:
                now_ns = self.get_clock().now().nanoseconds
                self._sink.write(index, message if raw else serialize_message(message), now_ns)

        return callback

    def _start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = all(self.count_publishers(stream.topic) for stream in self._streams)
        if response.success:
            kind = NoSink if self._style == "peer_no_disk" else McapSink
            self._sink = kind(self._folder / f"{self._style}.mcap", self._streams)
        return response

    def _stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        sink, self._sink = self._sink, None
        response.success = sink is not None
        if sink is not None:
            sink.close()
            response.message = str(sink.path)
        return response


def main() -> int:
    """Run until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("style", choices=PEER_STYLES)
    parser.add_argument("streams", type=json.loads)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    rclpy.init()
    executor = SingleThreadedExecutor()
    executor.add_node(PeerRecorder(args.style, [Stream(**fields) for fields in args.streams], args.folder))
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
