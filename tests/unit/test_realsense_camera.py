"""A camera that is kept running, against the library itself: its software device, and files that its recorder makes."""

import time
from pathlib import Path

import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from demo_recorder.realsense import camera as camera_module
from demo_recorder.realsense import streams as streams_module
from demo_recorder.realsense.camera import STREAMING, WAITING, Camera
from demo_recorder.realsense.device import Bus, Recording
from demo_recorder.realsense.settings import Settings, stream_request
from ros_processes import wait_for

pytest.importorskip("pyrealsense2", reason="pyrealsense2 or libusb-1.0 is not installed")
import pyrealsense2 as rs
from soft_camera import Feed, ListSink, SoftCamera, SoftSource, color_pixels, depth_pixels, read_tag

OUTPUTS = ("color", "depth", "aligned_depth_to_color")


def settings(color="64x48x30", depth="64x48x30", **more):
    return Settings(
        color=stream_request("color", color, "RGB8", "color_profile") if color else None,
        depth=stream_request("depth", depth, "Z16", "depth_profile") if depth else None,
        **more,
    )


def now_ms(_second):
    """The global domain's device clock: frames that are sent at once are 5 ms old."""
    return time.time() * 1e3 - 5


@pytest.fixture
def run(monkeypatch):
    """`run(source, sink, settings)`: a camera that is stopped in the end, with short pauses."""
    monkeypatch.setattr(camera_module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(camera_module, "SHORTEST_PAUSE_S", 0.01)
    cameras = []

    def start(source, sink, asked):
        cameras.append(Camera(rs, asked, source, sink, time.time_ns))
        cameras[-1].start()
        return cameras[-1]

    yield start
    for camera in cameras:
        assert camera.stop(), "the camera's thread did not end"


def test_every_frame_becomes_its_images_and_gaps_are_counted(run):
    soft, sink = SoftCamera(), ListSink(*OUTPUTS)
    camera = run(SoftSource(soft), sink, settings())
    wait_for(lambda: camera.state.state == STREAMING, 10, "streams")
    with Feed(soft, now_ms, domain="global_time", skip=(10, 11, 20)):
        wait_for(lambda: len(sink.of("color")) >= 40, 20, "images")
    counts = [camera.state.counts[stream] for stream in ("color", "depth")]
    wait_for(lambda: all(c.received == c.published + c.dropped for c in counts), 5, "the rest")
    for stamp_ns, pixels, model in sink.of("color"):
        number, device_ms = read_tag(pixels.tobytes())
        assert np.array_equal(pixels, color_pixels(number, device_ms))
        assert stamp_ns == round(device_ms * 1e6)
        assert (model.frame_id, model.encoding) == ("camera_color_optical_frame", "rgb8")
    for _, pixels, model in sink.of("depth"):
        assert np.array_equal(pixels, depth_pixels(int(pixels[-1, -1]) - 1000))
        assert (model.frame_id, model.encoding) == ("camera_depth_optical_frame", "16UC1")
    assert all((count.lost, count.gaps, count.duplicates) == (3, 2, 0) for count in counts)
    depth_stamps, aligned_stamps = ([image[0] for image in sink.of(output)] for output in OUTPUTS[1:])
    assert set(aligned_stamps) <= set(depth_stamps) and len(aligned_stamps) >= len(depth_stamps) - 1


def test_nothing_is_made_that_nobody_wants(run):
    soft, sink = SoftCamera(), ListSink("color")
    camera = run(SoftSource(soft), sink, settings())
    wait_for(lambda: camera.state.state == STREAMING, 10, "streams")
    with Feed(soft, now_ms, domain="global_time"):
        wait_for(lambda: len(sink.images) >= 5, 20, "images")
    assert {image[0] for image in sink.images} == {"color"}
    assert camera.state.counts["depth"].received > 0


def test_color_does_not_wait_for_depth(run):
    """The library's syncer would hold color frames back, and lose some, when depth frames stay away."""
    soft, sink = SoftCamera(), ListSink(*OUTPUTS)
    camera = run(SoftSource(soft), sink, settings())
    wait_for(lambda: camera.state.state == STREAMING, 10, "streams")
    with Feed(soft, now_ms, domain="global_time", streams=["color"]):
        wait_for(lambda: len(sink.of("color")) >= 20, 20, "color images")
    assert camera.state.counts["color"].lost == camera.state.losses == 0


def test_what_publishing_cannot_keep_up_with_is_dropped_oldest_first_and_counted(run):
    soft, sink = SoftCamera(), ListSink("color")
    camera = run(SoftSource(soft), sink, settings(depth=""))
    take = sink.image

    def slow(*image):
        time.sleep(0.08)
        take(*image)

    sink.image = slow
    wait_for(lambda: camera.state.state == STREAMING, 10, "streams")
    for number in range(1, 41):
        soft.send("color", color_pixels(number, now_ms(0)), number, now_ms(0), "global_time")
    count = camera.state.counts["color"]
    wait_for(lambda: count.published + count.dropped == 40, 10, "all of them, one way or the other")
    numbers = [read_tag(pixels.tobytes())[0] for _, pixels, _ in sink.of("color")]
    assert count.dropped >= 40 - camera_module.QUEUE_FRAMES - 3
    assert numbers[-camera_module.QUEUE_FRAMES :] == list(range(41 - camera_module.QUEUE_FRAMES, 41))
    assert (count.received, count.lost) == (40, 0)


def test_a_stream_that_hangs_is_started_again(run):
    """Depth stops, color goes on: the camera is opened anew, and both come back."""
    soft, sink = SoftCamera(), ListSink(*OUTPUTS)
    camera = run(SoftSource(soft), sink, settings(stall_periods=10))
    with Feed(soft, now_ms, domain="global_time") as feed:
        wait_for(lambda: len(sink.of("depth")) >= 5, 20, "depth images")
        feed.streams = {"color"}
        wait_for(lambda: camera.state.losses == 1, 20, "the hang")
        assert "no depth frame for" in camera.state.last_loss and camera.state.hangs == 1
        feed.streams = {"color", "depth"}
        before = len(sink.of("depth"))
        wait_for(lambda: len(sink.of("depth")) >= before + 5, 20, "depth images again")
    assert (camera.state.connections, camera.state.losses) == (2, 1)
    assert camera.state.counts["depth"].lost == 0  # what was sent between two connections was never asked for
    stamps = [stamp for stamp, _, _ in sink.of("color")]
    assert np.all(np.diff(stamps) > 0)


def test_a_device_that_streams_nothing_is_reset(run, monkeypatch):
    """As a last resort; a software device cannot be, and says so."""
    monkeypatch.setattr(streams_module, "FIRST_FRAME_S", 0.05)
    sink = ListSink(*OUTPUTS)
    camera = run(SoftSource(SoftCamera()), sink, settings(stall_periods=2, reconnect_timeout_s=0.05))
    wait_for(lambda: camera.state.resets == 1, 20, "a reset")
    assert camera.state.connections == camera_module.RESET_AFTER
    wait_for(lambda: any("cannot be reset" in text for text in sink.said), 5, "what the library says")
    wait_for(lambda: camera.state.connections > camera_module.RESET_AFTER, 20, "another attempt")


def test_a_camera_that_comes_later_is_waited_for(run):
    soft, sink, source = SoftCamera(), ListSink("color"), SoftSource()
    camera = run(source, sink, settings(serial_no="831612073525"))
    wait_for(lambda: "no RealSense device" in camera.state.error, 10, "the reason")
    source.plug(soft)
    wait_for(lambda: camera.state.state == STREAMING, 5, "streams")
    assert camera.failure is None and camera.state.error == ""


def test_a_camera_that_does_not_come_in_time_is_a_failure(run):
    camera = run(SoftSource(SoftCamera("111")), ListSink(), settings(serial_no="222", wait_for_device_timeout_s=0.1))
    wait_for(lambda: camera.failure, 10, "the failure")
    assert isinstance(camera.failure, AutofocusError) and "111" in str(camera.failure)


def test_what_was_good_once_is_tried_for_ever(run):
    """After a reconnect on USB 2, which does not carry the streams: wait, and say so; it is not the end of the node."""
    fast, slow, sink = SoftCamera("7"), SoftCamera("7", usb="2.1"), ListSink("color")
    source = SoftSource(fast)
    asked = settings(color="1280x720x60", serial_no="7", wait_for_device_timeout_s=0.1)
    camera = run(source, sink, asked)
    wait_for(lambda: camera.state.state == STREAMING, 10, "streams")
    source.unplug(fast)
    source.plug(slow)
    wait_for(lambda: "USB 2.1" in camera.state.error, 10, "the reason")
    assert camera.failure is None and camera.state.state == WAITING
    source.unplug(slow)
    source.plug(fast)
    wait_for(lambda: camera.state.connections == 2, 10, "streams again")


def test_a_device_that_is_busy_is_tried_again(run):
    soft, sink = SoftCamera(), ListSink("color")
    soft.sensors["color"].open(soft.profile("color"))
    camera = run(SoftSource(soft), sink, settings())
    wait_for(lambda: "the library says" in camera.state.error, 10, "the library's reason")
    soft.sensors["color"].close()
    wait_for(lambda: camera.state.state == STREAMING, 10, "streams")


def test_global_time_that_goes_astray_starts_the_streams_anew(run):
    soft, sink = SoftCamera(), ListSink("color")
    camera = run(SoftSource(soft), sink, settings(depth=""))
    wrong = {"ms": 0.0}
    with Feed(soft, lambda _: now_ms(0) + wrong["ms"], domain="global_time", streams=["color"]):
        wait_for(lambda: len(sink.images) >= 5, 20, "images")
        wrong["ms"] = 3000.0
        wait_for(lambda: "off the system clock" in camera.state.last_loss, 20, "the restart")
        wrong["ms"] = 0.0
        before = len(sink.images)
        wait_for(lambda: len(sink.images) >= before + 5, 20, "images again")
    now_ns = time.time_ns()
    assert all(stamp <= now_ns for stamp, _, _ in sink.of("color"))
    assert camera.state.counts["color"].unstamped > 10


def test_both_streams_may_come_from_one_sensor(run):
    """A D405: its color comes from the stereo module, which opens once, with both profiles."""
    soft, sink = SoftCamera(one_sensor=True, depth_unit_m=0.0001), ListSink(*OUTPUTS)
    camera = run(SoftSource(soft), sink, settings(options={"rgb_camera.exposure": 200.0}))
    wait_for(lambda: camera.state.state == STREAMING, 10, "streams")
    with Feed(soft, now_ms, domain="global_time"):
        wait_for(lambda: all(len(sink.of(output)) >= 5 for output in OUTPUTS), 20, "images of each kind")
    assert soft.sensors["depth"].get_option(rs.option.exposure) == 200
    _, pixels, _ = sink.of("depth")[0]
    assert pixels[-1, -1] in (100, 101)  # tenths of a millimetre


# -- files that the library's own recorder makes -------------------------------------------------------------------


def record(path: Path, serial: str, seconds: float) -> int:
    """Record a software device by the library's recorder, in real time; gives the number of frames."""
    soft = SoftCamera(serial)
    recorder = rs.recorder(str(path), soft.device)
    queue = rs.frame_queue(1000)
    for stream, sensor in soft.sensors.items():
        sensor.open(soft.profile(stream))
        sensor.start(queue)
    with Feed(soft, lambda second: 1000 * second + 50, rate=30) as feed:
        wait_for(lambda: feed.number >= seconds * 30, 60, "the recording")
    for sensor in soft.sensors.values():
        sensor.stop()
        sensor.close()
    recorder.pause()
    del recorder  # closes the file
    return feed.number


def test_a_recorded_file_is_a_device_on_the_librarys_bus(run, tmp_path):
    """Found by its serial in a context of the library, played in real time, taken away and given back by it."""
    path, other = tmp_path / "camera.db3", tmp_path / "other.db3"
    sent = record(path, "831612073525", 2.0)
    record(other, "111", 0.1)
    context = rs.context()
    kept = [context.load_device(str(path)), context.load_device(str(other))]
    sink = ListSink("color", "aligned_depth_to_color")
    camera = run(Bus(rs, context), sink, settings(serial_no="831612073525", stall_periods=20))
    wait_for(lambda: len(sink.of("color")) >= 20, 20, "images")
    wait_for(lambda: camera.state.losses >= 1, 20, "the end of the file")
    stamps = [stamp for stamp, _, _ in sink.of("color")]
    assert np.all(np.diff(stamps) > 0)
    for _, pixels, _ in sink.of("color"):
        number, device_ms = read_tag(pixels.tobytes())
        assert 1 <= number <= sent
        assert np.array_equal(pixels, color_pixels(number, device_ms))
    assert sink.of("aligned_depth_to_color")
    assert sink.infos[-1]["depth_to_color"]["translation_m"][0] == pytest.approx(0.015)

    kept.pop(0)
    context.unload_device(str(path))
    wait_for(lambda: "not there; there is: 111" in camera.state.error, 20, "the reason")
    before = camera.state.connections
    kept.append(context.load_device(str(path)))
    wait_for(lambda: camera.state.connections > before, 20, "streams again")


def test_a_recorded_file_can_stand_in_for_a_camera(run, tmp_path):
    """Played in real time and again from its beginning, stamped as if it happened now: stamps go on increasing."""
    path = tmp_path / "camera.db3"
    record(path, "831612073525", 1.5)
    sink = ListSink("color")
    camera = run(Recording(rs, path), sink, settings(stall_periods=10))
    wait_for(lambda: camera.state.connections == 2 and len(sink.of("color")) >= 25, 20, "images of two rounds")
    stamps = [stamp for stamp, _, _ in sink.of("color")]
    assert np.all(np.diff(stamps) > 0)
    assert abs(stamps[-1] - time.time_ns()) < 5e9


def test_a_recording_that_is_none_is_named(tmp_path):
    path = tmp_path / "camera.db3"
    for content in (None, b"no recording"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(AutofocusError, match=r"camera\.db3"):
            Recording(rs, path)
