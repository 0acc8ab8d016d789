"""The RealSense node fed by a software device: `realsense_device.py [--domain D] [--usb 2.1] ... --ros-args ...`.

SIGUSR1 pulls the plug, SIGUSR2 puts it in again. What is sent says in its pixels which frame it is (soft_camera.py).
"""

import argparse
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

from demo_recorder.realsense_node import main
from soft_camera import Feed, SoftCamera, SoftSource

#: How old a frame of the global domain is when it is sent.
AGE_MS = 15.0
WRAPS_AFTER_MS = 4000.0


def device_clock(domain: str):
    """Device time in ms by seconds since the start: the host's for the global domain, else a counter about to wrap."""
    if domain == "global_time":
        return lambda _: time.time() * 1000 - AGE_MS
    wrap_ms = 2**32 / 1000
    return lambda second: (wrap_ms - WRAPS_AFTER_MS + 1000 * second) % wrap_ms


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--domain", default="hardware_clock")
    parser.add_argument("--serial", default="831612073525")
    parser.add_argument("--usb", default="3.2")
    parser.add_argument("--skip", type=int, nargs="*", default=[])
    own, ros_args = parser.parse_known_args()
    camera = SoftCamera(own.serial, own.usb)
    source = SoftSource(camera)
    signal.signal(signal.SIGUSR1, lambda *_: source.unplug(camera))
    signal.signal(signal.SIGUSR2, lambda *_: source.plug(camera))
    with Feed(camera, device_clock(own.domain), domain=own.domain, skip=own.skip):
        code = main([sys.argv[0], *ros_args], source)
    sys.exit(code)
