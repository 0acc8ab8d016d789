"""What the RealSense node costs, its frames from the library's software device, one subscriber in another process.

    python benchmarks/realsense.py             # about a minute; writes results/realsense.json
    python benchmarks/realsense.py --seconds 3 --dry-run

Measured twice for each size: with the image message filled in place and given to rclpy, as the node does it, and
with CDR bytes put together here and published as they are. What feeding the frames costs is not counted.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/fixtures"))

import numpy as np
import rclpy
from autofocus_core.results import record
from demo_recorder import realsense_node
from rclpy.serialization import serialize_message
from soft_camera import Feed, SoftCamera, SoftSource

WORKLOADS = (((640, 480), 30), ((1280, 720), 60))
COMMAND = "python benchmarks/realsense.py"
SUBSCRIBER = """
import sys, rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
count = 0
def take(raw):
    global count
    count += 1
rclpy.init()
node = rclpy.create_node("bench_subscriber")
node.create_subscription(Image, "/camera/camera/color/image_raw", take, QoSProfile(depth=30), raw=True)
try:
    rclpy.spin(node)
except BaseException:
    print(count)
"""


class SerializedTopic(realsense_node._ImageTopic):
    """The other way: header and pixels joined to the bytes of the message, published as they are."""

    def _prepare(self, pixels: np.ndarray, model) -> None:
        super()._prepare(pixels, model)
        whole = bytes(serialize_message(self._message))
        self._head = bytearray(whole[: len(whole) - pixels.nbytes])

    def publish(self, stamp_ns: int, pixels: np.ndarray, model) -> None:
        """See the node's."""
        if model is not self._model:
            self._prepare(pixels, model)
        struct.pack_into("<iI", self._head, 4, *divmod(stamp_ns, 1_000_000_000))
        self._publisher.publish(b"".join((self._head, pixels.data)))
        self._infos.publish(self._info)


def cpu_s(thread: threading.Thread) -> float:
    """CPU time of a living thread."""
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def measure(size: tuple[int, int], rate_hz: int, seconds: float) -> dict[str, float]:
    """Run the node for so long; gives its CPU in percent of a core, ms of CPU per image, and counts."""
    width, height = size
    soft = SoftCamera()
    parameters = {"enable_depth": "false", "rgb_camera.color_profile": f"{width}x{height}x{rate_hz}"}
    argv = ["bench", "--ros-args"] + [word for item in parameters.items() for word in ("-p", "{}:={}".format(*item))]
    rclpy.init(args=argv)
    subscriber = subprocess.Popen([sys.executable, "-c", SUBSCRIBER], stdout=subprocess.PIPE, text=True)
    node = realsense_node.RealSenseNode(SoftSource(soft))
    try:
        while not node.wants("color") or node.camera.state.state != "streaming":
            time.sleep(0.05)
        time.sleep(1.0)  # discovery is over on both sides
        feed = Feed(
            soft, lambda _: time.time() * 1e3 - 5, domain="global_time", streams=["color"], size=size, rate=rate_hz
        )
        begin_s, begin_cpu_s = time.monotonic(), time.process_time()
        with feed:
            time.sleep(seconds)
            spent_s = time.process_time() - begin_cpu_s - cpu_s(feed._thread)
            took_s = time.monotonic() - begin_s
        time.sleep(1.0)
        count = node.camera.state.counts["color"]
    finally:
        node.camera.stop()
        node.destroy_node()
        rclpy.shutdown()
        subscriber.send_signal(2)
        received = int(subscriber.communicate(timeout=20)[0] or 0)
    return {
        "cpu": 100 * spent_s / took_s,
        "ms": 1e3 * spent_s / count.published,
        "sent": feed.number,
        "published": count.published,
        "received": received,
        "dropped": count.dropped + count.lost,
    }


def main() -> int:
    """Measure, print, record; 0 when no image was lost in the node."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="per measurement (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print only, write no results")
    args = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", "83")  # a domain of its own, on this machine only
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    lost = 0
    ways = {"message filled in place": realsense_node._ImageTopic, "serialised bytes": SerializedTopic}
    for size, rate_hz in WORKLOADS:
        for way, topic in ways.items():
            realsense_node._ImageTopic = topic
            result = measure(size, rate_hz, args.seconds)
            what = f"{size[0]}x{size[1]}@{rate_hz}"
            print(f"{what}, {way}: " + ", ".join(f"{key} {value:.4g}" for key, value in result.items()), flush=True)
            lost += result["sent"] - result["published"]
            if not args.dry_run:
                name = f"CPU of the RealSense node at {what} rgb8, {way}"
                target = "chosen" if topic is not SerializedTopic else "compared"
                record("realsense", name, round(result["cpu"], 1), "% of a core", target, True, COMMAND)
                missing = result["sent"] - result["received"]
                name = f"images lost from device to subscriber at {what}, {way}"
                record("realsense", name, missing, f"of {result['sent']}", "0", missing == 0, COMMAND)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
