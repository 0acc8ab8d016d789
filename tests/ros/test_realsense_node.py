"""The RealSense node as a process: its frames are the library's software device's, a probe takes what it publishes."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyrealsense2", reason="pyrealsense2 or libusb-1.0 is not installed")
from soft_camera import color_pixels, depth_pixels, intrinsics, read_tag

DEVICE = Path(__file__).with_name("realsense_device.py")
PROFILES = ("rgb_camera.color_profile:=64x48x30", "depth_module.depth_profile:=64x48x30")
COLOR, DEPTH = "/camera/camera/color", "/camera/camera/depth"
ALIGNED = "/camera/camera/aligned_depth_to_color"
IMAGES = {COLOR: "image_raw", DEPTH: "image_rect_raw", ALIGNED: "image_raw"}


def start(spawn, *parameters, options=()):
    argv = ["python", DEVICE, *options, "--ros-args"]
    for parameter in (*PROFILES, *parameters):
        argv += ["-p", parameter]
    return spawn(argv)


def stamp_ns(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


class Probe:
    """Keeps what the node publishes."""

    def __init__(self, node):
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CameraInfo, Image

        self.node = node
        self.images = {prefix: [] for prefix in IMAGES}
        self.infos = {prefix: [] for prefix in IMAGES}
        self.statuses = []
        for prefix, name in IMAGES.items():
            node.create_subscription(Image, f"{prefix}/{name}", self.images[prefix].append, 50)
            node.create_subscription(CameraInfo, f"{prefix}/camera_info", self.infos[prefix].append, 50)
        node.create_subscription(DiagnosticArray, "/camera/camera/status", self.statuses.append, 10)

    def latched_info(self):
        """A list that fills with device_info, as a subscriber that comes now gets it."""
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from std_msgs.msg import String

        received = []
        qos = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(
            String, "/camera/camera/device_info", lambda message: received.append(json.loads(message.data)), qos
        )
        return received

    def newest_number(self):
        return read_tag(bytes(self.images[COLOR][-1].data))[0]

    def state(self):
        return self.statuses[-1].status[0] if self.statuses else None

    def values(self, row):
        return {value.key: value.value for value in self.statuses[-1].status[row].values}


@pytest.fixture
def probe(ros_node):
    return Probe(ros_node)


@pytest.mark.parametrize("domain", ["hardware_clock", "global_time"])
def test_images_stamps_and_infos_are_those_of_the_device(spawn, wait_until, probe, domain):
    start(spawn, "rgb_camera.exposure:=200", options=("--domain", domain, "--skip", "100", "101"))
    # Frame 100 comes after 3.3 s, the counter of the hardware clock wraps after 4 s.
    wait_until(lambda: probe.images[COLOR] and probe.newest_number() >= 130, 60, "130 frames")
    wait_until(lambda: all(len(images) >= 10 for images in probe.images.values()), 60, "images of each kind")
    wait_until(lambda: probe.statuses and probe.values(1)["lost"] == "2", 20, "the loss on ~/status")

    color = list(probe.images[COLOR])
    for message in color:
        number, device_ms = read_tag(bytes(message.data))
        assert bytes(message.data) == color_pixels(number, device_ms).tobytes()
        assert (message.encoding, message.width, message.height, message.step) == ("rgb8", 64, 48, 192)
        assert message.header.frame_id == "camera_color_optical_frame"
    for message in list(probe.images[DEPTH]):
        depth = np.frombuffer(message.data, np.uint16).reshape(48, 64)
        assert np.array_equal(depth, depth_pixels(int(depth[-1, -1]) - 1000))
        assert (message.encoding, message.step) == ("16UC1", 128)
        assert message.header.frame_id == "camera_depth_optical_frame"
    for message in list(probe.images[ALIGNED]):
        aligned = np.frombuffer(message.data, np.uint16)
        assert len(set(aligned[aligned > 0])) == 1  # the plane, seen from beside it
        assert message.header.frame_id == "camera_color_optical_frame"

    stamps_ns = np.array([stamp_ns(message) for message in color])
    device_ms = np.array([read_tag(bytes(message.data))[1] for message in color])
    assert np.all(np.diff(stamps_ns) > 0)
    if domain == "global_time":
        assert stamps_ns.tolist() == [round(value * 1e6) for value in device_ms]
    else:  # its counter has wrapped in between
        assert np.any(np.diff(device_ms) < 0)
        assert np.diff(stamps_ns) / 1e6 == pytest.approx(np.diff(device_ms) % (2**32 / 1000), abs=5.0)

    for prefix in IMAGES:
        by_stamp = {stamp_ns(info): info for info in list(probe.infos[prefix])}
        pairs = [(m, by_stamp[stamp_ns(m)]) for m in list(probe.images[prefix]) if stamp_ns(m) in by_stamp]
        assert len(pairs) >= min(len(probe.images[prefix]), len(probe.infos[prefix])) - 3
        assert all(m.header.frame_id == info.header.frame_id for m, info in pairs)
    expected, info = intrinsics((64, 48)), probe.infos[COLOR][0]
    assert (info.width, info.height, info.distortion_model) == (64, 48, "plumb_bob")
    assert info.k.tolist() == [expected.fx, 0, expected.ppx, 0, expected.fy, expected.ppy, 0, 0, 1]
    assert list(info.d) == pytest.approx(expected.coeffs)
    assert info.r.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert info.p.tolist() == [expected.fx, 0, expected.ppx, 0, 0, expected.fy, expected.ppy, 0, 0, 0, 1, 0]

    status = probe.values(1)
    assert (status["topic"], status["lost"], status["gaps"]) == (f"{COLOR}/image_raw", "2", "1")
    assert probe.values(0)["state"] == "streaming"


def test_device_info_is_latched_and_says_what_was_set(spawn, wait_until, probe):
    start(spawn, "rgb_camera.exposure:=200", "rgb_camera.white_balance:=4600", "depth_module.emitter_enabled:=0")
    wait_until(lambda: len(probe.images[COLOR]) >= 5, 60, "images")
    infos = probe.latched_info()
    wait_until(lambda: infos, 20, "device_info, published before there was a subscriber")
    wait_until(lambda: "fit" in infos[-1]["time"]["streams"]["color"], 20, "the fit")
    info = infos[-1]
    assert (info["serial"], info["usb_type"], info["firmware"]) == ("831612073525", "3.2", "5.16.0.1")
    assert info["options"] == {
        "rgb_camera.global_time_enabled": 1.0,
        "rgb_camera.auto_exposure_priority": 0.0,
        "rgb_camera.enable_auto_exposure": 0.0,
        "rgb_camera.enable_auto_white_balance": 0.0,
        "rgb_camera.exposure": 200.0,
        "rgb_camera.white_balance": 4600.0,
        "depth_module.emitter_enabled": 0.0,
    }
    assert info["time"]["streams"]["color"]["domain"] == "hardware_clock"
    assert set(info["time"]["streams"]["color"]["fit"]["residual_ms"]) == {"p50", "p99", "max"}
    assert info["depth_to_color"]["translation_m"][0] == pytest.approx(0.015)


def test_a_camera_that_is_pulled_out_comes_back(spawn, wait_until, probe):
    process = start(spawn)
    wait_until(lambda: len(probe.images[COLOR]) >= 10, 60, "images")
    infos = probe.latched_info()
    wait_until(probe.state, 20, "a status")
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: probe.state().level == b"\x02", 20, "an error on ~/status")
    wait_until(lambda: "no RealSense device" in probe.values(0)["error"], 20, "the reason on ~/status")
    before = len(probe.images[COLOR])
    process.send_signal(signal.SIGUSR2)
    wait_until(lambda: len(probe.images[COLOR]) >= before + 10, 20, "images again")
    wait_until(lambda: infos and infos[-1]["connection"] == 2, 20, "device_info again")
    wait_until(lambda: probe.values(0)["state"] == "streaming", 20, "the state on ~/status")
    assert (probe.values(0)["losses"], probe.values(0)["last_loss"]) == ("1", "the device was unplugged")
    assert np.all(np.diff([stamp_ns(message) for message in probe.images[COLOR]]) > 0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("parameter", "options", "words"),
    [
        ("rgb_camera.exposure:=20000", (), ("rgb_camera.exposure", "1 to 10000")),
        ("serial_no:=_999", (), ("999", "831612073525 (Software D435, USB 3.2)")),
        ("stall_periods:=many", (), ("stall_periods", "'many'", "a whole number")),
    ],
)
def test_what_cannot_be_done_ends_the_node_with_the_reason(spawn, parameter, options, words):
    process = start(spawn, "wait_for_device_timeout:=0.2", parameter, options=options)
    assert process.wait(60) == 2
    output = process.output_path.read_text()
    assert all(word in output for word in words), output
