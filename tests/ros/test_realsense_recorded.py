"""From a camera to an episode: the RealSense node, a software device behind it, and the recorder, each a process."""

from pathlib import Path

import numpy as np
import pytest
from autofocus_core.bags import open_bag
from autofocus_core.episode import load_episode
from autofocus_core.messages import stamp_ns
from recorder_cell import IMAGE, ROBOT, Recorder

pytest.importorskip("pyrealsense2", reason="pyrealsense2 or libusb-1.0 is not installed")
from soft_camera import color_pixels, read_tag

HERE = Path(__file__).parent
INFO, DEVICE_INFO = "/camera/camera/color/camera_info", "/camera/camera/device_info"
ALIGNED = "/camera/camera/aligned_depth_to_color/image_raw"


def test_an_episode_has_the_cameras_bytes_and_what_it_says_of_itself(spawn, ros_node, wait_until, tmp_path):
    camera = ["python", HERE / "realsense_device.py", "--domain", "global_time", "--ros-args"]
    for parameter in ("rgb_camera.color_profile:=64x48x30", "depth_module.depth_profile:=64x48x30",
                      "rgb_camera.exposure:=200"):  # fmt: skip
        camera += ["-p", parameter]
    spawn(camera)
    spawn(["python", HERE / "recorder_publisher.py", ROBOT, "--without", IMAGE, "--without", INFO])
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path, f"extra_topics:=[{ALIGNED}]").ready()
    recorder.start()
    wait_until(lambda: int(recorder.status.get(IMAGE, {}).get("count", 0)) >= 60, 60, "60 images in the episode")
    path = recorder.stop()

    meta = load_episode(path).meta
    said = meta.devices[DEVICE_INFO]
    assert (said["serial"], said["options"]["rgb_camera.exposure"]) == ("831612073525", 200)
    assert said["time"]["streams"]["color"]["domain"] == "global_time"
    with open_bag(path) as bag:
        stamps = []
        for _, message in bag.decoded([IMAGE]):
            number, device_ms = read_tag(bytes(message.data))
            assert bytes(message.data) == color_pixels(number, device_ms).tobytes()
            assert stamp_ns(message.header) == round(device_ms * 1e6)
            stamps.append(stamp_ns(message.header))
        assert bag.counts[DEVICE_INFO] >= 1
        assert bag.counts[ALIGNED] >= 50
    assert len(stamps) == meta.streams[IMAGE].count >= 60
    assert np.all(np.diff(stamps) > 0)
    faults = meta.streams[IMAGE].stamp_faults
    assert faults.total == 0
