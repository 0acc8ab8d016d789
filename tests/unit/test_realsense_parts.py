"""The parts of the RealSense node against the library's software device: what is asked, found, refused, counted."""

import subprocess
import sys

import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from demo_recorder.realsense import options
from demo_recorder.realsense.camera import CameraState
from demo_recorder.realsense.clock import FrameClock
from demo_recorder.realsense.counters import StreamCount
from demo_recorder.realsense.device import DeviceAbsent, check_usb, choose_profile, facts, find
from demo_recorder.realsense.info import camera_model
from demo_recorder.realsense.pixels import Aligner, Millimetres, view
from demo_recorder.realsense.settings import Settings, serial_number, stream_request
from demo_recorder.realsense.status import ERROR, OK, WARN, StatusReport

pytest.importorskip("pyrealsense2", reason="pyrealsense2 or libusb-1.0 is not installed")
import pyrealsense2 as rs
from soft_camera import SoftCamera, color_pixels, depth_pixels, intrinsics


def request(stream="color", profile="640x480x30", format_=None):
    return stream_request(stream, profile, format_ or {"color": "RGB8", "depth": "Z16"}[stream], f"{stream}_profile")


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["640x480x30", "640X480X30", "640,480,30", " 640 x 480 x 30 "])
def test_profiles_are_read_as_realsense_ros_reads_them(text):
    made = request(profile=text)
    assert (made.width_px, made.height_px, made.rate_hz, made.format) == (640, 480, 30, "RGB8")


@pytest.mark.parametrize(("profile", "format_"), [("640x480", "RGB8"), ("0x0x0", "RGB8"), ("640x480x30", "Y8")])
def test_a_profile_that_is_none_is_named(profile, format_):
    with pytest.raises(AutofocusError, match="color_"):
        request(profile=profile, format_=format_)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(AutofocusError, match="at least one"):
        Settings()
    with pytest.raises(AutofocusError, match=r"refuse \| warn"):
        Settings(color=request(), usb2="maybe")
    with pytest.raises(AutofocusError, match="reconnect_timeout"):
        Settings(color=request(), reconnect_timeout_s=0)


def test_outputs_follow_the_streams():
    color, depth = request(), request("depth")
    assert Settings(color=color, depth=depth).outputs == ("color", "depth", "aligned_depth_to_color")
    assert Settings(color=color, depth=depth, align_depth=False).outputs == ("color", "depth")
    assert Settings(depth=depth).outputs == ("depth",)


@pytest.mark.parametrize("value", ["_831612073525", "831612073525", 831612073525])
def test_serial_numbers_may_look_like_numbers(value):
    assert serial_number(value) == "831612073525"
    assert serial_number(None) == ""


# -- finding and checking ------------------------------------------------------------------------------------------


def test_a_serial_that_is_not_there_is_answered_with_those_that_are():
    cameras = [SoftCamera("111"), SoftCamera("222")]
    with pytest.raises(DeviceAbsent, match=r"111 \(Software D435, USB 3.2\), 222"):
        find(rs, [camera.device for camera in cameras], "333")
    device, found = find(rs, [camera.device for camera in cameras], "222")
    assert device is cameras[1].device and found.serial == "222"


def test_one_of_several_cameras_is_not_guessed():
    with pytest.raises(AutofocusError, match="several cameras: 111") as caught:
        find(rs, [SoftCamera("111").device, SoftCamera("222").device], "")
    assert not isinstance(caught.value, DeviceAbsent)
    assert find(rs, [SoftCamera("111").device], "")[1].serial == "111"


def test_no_camera_at_all():
    with pytest.raises(DeviceAbsent, match="no RealSense device"):
        find(rs, [], "")


def test_a_profile_that_is_not_offered_is_answered_with_those_that_are():
    with pytest.raises(AutofocusError, match=r"64x48x30/60, 640x480x30/60, 1280x720x30/60"):
        choose_profile(SoftCamera().device, rs, request(profile="640x481x30"))
    with pytest.raises(AutofocusError, match="nothing in BGR8"):
        choose_profile(SoftCamera().device, rs, request(format_="BGR8"))
    sensor, profile = choose_profile(SoftCamera().device, rs, request("depth", "1280x720x60"))
    assert sensor.name == "Stereo Module"
    assert (profile.as_video_stream_profile().width(), profile.fps()) == (1280, 60)


@pytest.mark.parametrize(
    ("usb", "profile", "outcome"),
    [("3.2", "1280x720x60", ""), ("2.1", "640x480x30", "warning"), ("2.1", "1280x720x30", "refused"), ("", "", "")],
)
def test_usb_2_is_refused_where_the_streams_do_not_fit(usb, profile, outcome):
    found = facts(rs, SoftCamera(usb=usb).device)
    color = request(profile=profile or "640x480x30")
    if outcome == "refused":
        with pytest.raises(AutofocusError, match=r"need 55 MB/s of about 35"):
            check_usb(found, Settings(color=color))
        assert "USB 2.1" in check_usb(found, Settings(color=color, usb2="warn"))
    else:
        assert bool(check_usb(found, Settings(color=color))) == (outcome == "warning")


# -- options -------------------------------------------------------------------------------------------------------


def apply(asked, camera=None):
    camera = camera or SoftCamera()
    return camera, options.apply(rs, camera.sensors, asked)


def test_a_locked_exposure_turns_off_what_would_change_it():
    camera, kept = apply({"rgb_camera.exposure": 200.0, "rgb_camera.white_balance": 4600.0})
    assert kept == {
        "rgb_camera.global_time_enabled": 1.0,
        "rgb_camera.auto_exposure_priority": 0.0,
        "rgb_camera.enable_auto_exposure": 0.0,
        "rgb_camera.enable_auto_white_balance": 0.0,
        "rgb_camera.exposure": 200.0,
        "rgb_camera.white_balance": 4600.0,
    }
    sensor = camera.sensors["color"]
    assert sensor.get_option(rs.option.exposure) == 200
    assert sensor.get_option(rs.option.enable_auto_exposure) == 0


def test_automatic_and_by_hand_contradict_each_other():
    with pytest.raises(AutofocusError, match="one of them"):
        apply({"rgb_camera.exposure": 200.0, "rgb_camera.enable_auto_exposure": 1.0})


@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        ("rgb_camera.exposure", 20000, "1 to 10000 in steps of 1"),
        ("rgb_camera.white_balance", 4605, "2800 to 6500 in steps of 10"),
        ("depth_module.laser_power", -1, "0 to 360"),
    ],
)
def test_a_value_out_of_range_is_answered_with_the_range(parameter, value, allowed):
    with pytest.raises(AutofocusError, match=allowed):
        apply({parameter: value})


def test_an_option_that_the_camera_lacks_is_named_and_what_it_has():
    with pytest.raises(AutofocusError, match=r"(?s)no option visual_preset.*Emitter Enabled"):
        apply({"depth_module.visual_preset": 3})
    apply({"rgb_camera.power_line_frequency": 0.0})  # asked to be off, and not there


def test_a_value_that_the_device_does_not_keep_is_noticed(monkeypatch):
    """Another program, or firmware that knows better."""
    camera = SoftCamera()

    class Forgetful:
        def __getattr__(self, name):
            return getattr(camera.sensors["color"], name)

        def set_option(self, option, value):
            camera.sensors["color"].set_option(option, 100 if option == rs.option.exposure else value)

    with pytest.raises(AutofocusError, match="200 was set, the device has 100"):
        options.apply(rs, {"color": Forgetful()}, {"rgb_camera.exposure": 200.0})


def test_options_of_streams_that_are_not_used_are_left_alone():
    camera = SoftCamera()
    kept = options.apply(rs, {"color": camera.sensors["color"]}, {"depth_module.emitter_enabled": 0.0})
    assert not any(parameter.startswith("depth_module") for parameter in kept)
    assert camera.sensors["depth"].get_option(rs.option.emitter_enabled) == 1


# -- frames --------------------------------------------------------------------------------------------------------


def test_counts_tell_loss_from_repetition_and_a_new_beginning():
    count = StreamCount()
    taken = [count.number(number) for number in (5, 6, 6, 9, 10, 2, 3)]
    assert taken == [True, True, False, True, True, True, True]
    assert (count.received, count.lost, count.gaps, count.duplicates, count.restarts) == (7, 2, 1, 1, 1)
    count.begin()
    count.number(500)
    assert (count.lost, count.restarts) == (2, 1)


def test_the_rate_is_that_of_the_stamps():
    count = StreamCount()
    for number in range(90):
        count.stamped(number * 33_333_333, number * 33_333_333 + 50_000_000)
    assert count.rate_hz(90 * 33_333_333) == pytest.approx(30, rel=0.01)
    assert count.rate_hz(200 * 33_333_333) == 0
    count.stamped(0, 100_000_001)
    assert count.late == 1


def test_depth_in_other_units_becomes_millimetres():
    raw = np.array([[0, 1, 10, 12345, 65535]], np.uint16)
    assert Millimetres(0.001)(raw) is raw
    assert Millimetres(0.0001)(raw).tolist() == [[0, 0, 1, 1234, 6554]]  # D405
    assert Millimetres(0.01)(raw).tolist() == [[0, 10, 100, 0, 0]]  # beyond 65.5 m: no measurement, not 10 cm


def test_a_model_has_the_distortion_that_realsense_ros_says():
    made = intrinsics((640, 480))
    model = camera_model(made, "camera_color_optical_frame", "rgb8")
    assert (model.distortion_model, len(model.d)) == ("plumb_bob", 5)
    made.model = rs.distortion.kannala_brandt4
    model = camera_model(made, "camera_color_optical_frame", "rgb8")
    assert (model.distortion_model, len(model.d)) == ("equidistant", 4)
    assert model.k == (600.0, 0.0, 321.5, 0.0, 600.0, 237.5, 0.0, 0.0, 1.0)


def test_aligned_depth_is_what_the_syncer_and_align_of_the_library_give():
    """Byte for byte, though it is paired by hand: the color frame's pixels and time do not matter."""
    camera = SoftCamera()
    size = (640, 480)
    depth = (1000 + np.add.outer(np.arange(480), np.arange(640)) % 700).astype(np.uint16)
    syncer, queue = rs.syncer(10), rs.frame_queue(10)
    frames = {}
    for sink in (syncer, queue):
        for stream, sensor in camera.sensors.items():
            sensor.open(camera.profile(stream, size))
            sensor.start(sink)
        for number in (1, 2):
            camera.send("depth", depth, number, 1000.0 * number)
            camera.send("color", color_pixels(number, 0, size), number, 1000.0 * number + 5)
        if sink is syncer:
            frameset = syncer.wait_for_frames(1000)
            while frameset.size() < 2:
                frameset = syncer.wait_for_frames(1000)
            expected = view(rs.align(rs.stream.color).process(frameset).get_depth_frame()).copy()
        else:
            for _ in range(4):
                frame = queue.wait_for_frame(1000)
                frames[frame.get_profile().stream_name(), frame.get_frame_number()] = frame
        for sensor in camera.sensors.values():
            sensor.stop()
            sensor.close()
    aligner = Aligner(rs)
    for _ in range(3):  # the library's pool of composed frames has room for one: none is kept
        aligned = aligner.align(frames["Depth", 2], frames["Color", 1])
        assert np.array_equal(view(aligned), expected)
        assert (aligned.get_frame_number(), aligned.get_timestamp()) == (2, 2000.0)
    assert np.any(expected != depth)


def test_a_frame_is_not_copied():
    camera = SoftCamera()
    queue = rs.frame_queue(1)
    camera.sensors["depth"].open(camera.profile("depth"))
    camera.sensors["depth"].start(queue)
    camera.send("depth", depth_pixels(1), 1, 0.0)
    frame = queue.wait_for_frame(1000)
    pixels = view(frame)
    assert not pixels.flags.owndata
    assert pixels.ctypes.data == view(frame).ctypes.data
    del frame
    assert np.array_equal(pixels, depth_pixels(1))  # the view keeps the frame alive


# -- status --------------------------------------------------------------------------------------------------------


def test_status_says_what_grew_since_the_last_one():
    settings = Settings(color=request())
    report = StatusReport(settings, {"color": "/camera/camera/color/image_raw"})
    state = CameraState(state="streaming", counts={"color": StreamCount()})
    count, clock = state.counts["color"], FrameClock()
    for number in range(60):
        count.number(number)
        count.stamped(number * 33_333_333, number * 33_333_333)
    now_ns = 60 * 33_333_333
    row, stream = report.rows("/camera/camera", state, clock, now_ns)
    assert (row.level, stream.level, stream.message) == (OK, OK, "30.0 of 30 Hz")
    count.number(63)
    row, stream = report.rows("/camera/camera", state, clock, now_ns)
    assert (stream.level, stream.message) == (WARN, "30.0 of 30 Hz (3 lost)")
    assert report.rows("/camera/camera", state, clock, now_ns)[1].level == OK
    assert report.rows("/camera/camera", state, clock, now_ns + 3_000_000_000)[1].level == WARN  # 0 Hz
    state.state, state.error = "waiting", "no camera"
    assert [row.level for row in report.rows("/camera/camera", state, clock, now_ns)] == [ERROR, ERROR]


# -- the library is loaded when it is used --------------------------------------------------------------------------


def test_importing_everything_does_not_load_the_library():
    code = (
        "import importlib, pkgutil, sys, demo_recorder.realsense as package\n"
        "for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert 'pyrealsense2' not in sys.modules and 'rclpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_library_the_error_says_how_to_get_it():
    code = (
        "import sys\nsys.modules['pyrealsense2'] = None\n"
        "from autofocus_core.errors import AutofocusError\nfrom demo_recorder.realsense.library import library\n"
        "try:\n    library()\nexcept AutofocusError as error:\n"
        "    assert 'pip install pyrealsense2' in str(error) and 'libusb' in str(error)\nelse:\n    sys.exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
