"""What the RealSense node costs, its frames from the library's software device, one subscriber in another process.

    python benchmarks/realsense.py             # about two minutes; writes results/realsense.json
    python benchmarks/realsense.py --seconds 3 --dry-run

Three ways for each size: as the node does it (the message filled in place, room in Fast DDS's shared memory); with
CDR bytes put together and published as they are; and as the node does it, but with Fast DDS as it comes. What feeding
the frames costs is not counted; what subscribing costs is another process.
"""

from __future__ import annotations

import argparse
import json
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
from autofocus_core.dds import VARIABLES, make_room
from autofocus_core.results import record
from demo_recorder import realsense_node
from rclpy.serialization import serialize_message
from soft_camera import Feed, SoftCamera, SoftSource

WORKLOADS = (((640, 480), 30), ((1280, 720), 60))
AS_IS, BYTES, NO_ROOM = "as it is", "serialised bytes", "Fast DDS as it comes"
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


def measure_here(width: int, height: int, rate_hz: int, way: str, seconds: float) -> dict[str, float]:
    """Run the node in this process; gives its CPU in percent of a core, ms of CPU per image, and counts."""
    os.environ.setdefault("ROS_DOMAIN_ID", "83")  # a domain of its own, on this machine only
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if way != NO_ROOM:
        make_room(os.environ)
    if way == BYTES:
        realsense_node._ImageTopic = SerializedTopic
    size, soft = (width, height), SoftCamera()
    parameters = {"enable_depth": "false", "rgb_camera.color_profile": f"{width}x{height}x{rate_hz}"}
    argv = ["bench", "--ros-args"] + [word for item in parameters.items() for word in ("-p", "{}:={}".format(*item))]
    rclpy.init(args=argv)
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    subscriber = subprocess.Popen(
        [sys.executable, "-c", SUBSCRIBER], stdout=subprocess.PIPE, text=True, env=environment
    )
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
    """Measure, print, record; 0 when the node, as it is, has lost nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="per measurement (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print only, write no results")
    parser.add_argument("--measure", nargs=4, metavar=("WIDTH", "HEIGHT", "RATE", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        *numbers, way = args.measure
        print(json.dumps(measure_here(*map(int, numbers), way, args.seconds)))
        return 0
    missing = 0
    for (width, height), rate_hz in WORKLOADS:
        for way in (AS_IS, BYTES, NO_ROOM):
            # A process of its own: Fast DDS reads its profiles once.
            words = ["--seconds", str(args.seconds), "--measure", str(width), str(height), str(rate_hz), way]
            done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
            result = json.loads(done.stdout.splitlines()[-1])
            what = f"{width}x{height}@{rate_hz} rgb8, {way}"
            print(f"{what}: " + ", ".join(f"{key} {value:.4g}" for key, value in result.items()), flush=True)
            lost = result["sent"] - result["received"]
            missing += lost if way == AS_IS else 0
            if not args.dry_run:
                cpu = round(result["cpu"], 1)
                record("realsense", f"CPU of the node at {what}", cpu, "% of a core", "measured", True, COMMAND)
                name, target = f"images lost from device to subscriber at {what}", "0" if way == AS_IS else "measured"
                record("realsense", name, lost, f"of {result['sent']}", target, target != "0" or not lost, COMMAND)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
