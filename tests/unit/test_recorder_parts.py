"""The recorder without ROS: its states, its writer, its folder, what it says about itself."""

import itertools
import os
import struct
import sys
import threading
import time
from pathlib import Path

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.bags import open_bag
from autofocus_core.episode import load_episode
from autofocus_core.episode_meta import INTERRUPTED, EpisodeMeta, read_meta
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import message_class, serialize
from autofocus_core.names import EPISODE_SIDECAR
from autofocus_core.schema import RecordingRules
from demo_recorder import disk as disk_module
from demo_recorder.definitions import Definition, define
from demo_recorder.describe import device_info
from demo_recorder.disk import DiskWatch
from demo_recorder.events import MAX_EVENTS, EventLog, RefusedSpan
from demo_recorder.folder import EpisodeFolder
from demo_recorder.quality import StreamMonitor
from demo_recorder.session import Due, Session, State
from demo_recorder.status import ERROR, OK, WARN, RateMeter, TopicView, summary_row, topic_row
from demo_recorder.writer import SMALL_BYTES, Recording, TopicSpec, WriterSettings, put_aside

MS = samples.MS
S = 1000 * MS
ALLOWED = {
    State.IDLE: {"start"},
    State.RECORDING: {"stop", "discard", "set_outcome"},
    State.STOPPED: {"start", "discard", "set_outcome"},
    State.DISCARDED: {"start"},
}
CALLS = {
    "start": lambda s: s.start("episode", 0.0),
    "stop": lambda s: s.stop(),
    "discard": lambda s: s.discard(),
    "set_outcome": lambda s: s.set_outcome(True),
}


@pytest.mark.parametrize("steps", list(itertools.product(CALLS, repeat=3)))
def test_each_state_allows_its_calls_and_no_others(steps):
    session = Session()
    for step in steps:
        state = session.state
        if step in ALLOWED[state]:
            CALLS[step](session)
        else:
            with pytest.raises(AutofocusError, match=state.value):
                CALLS[step](session)
            assert session.state is state


def test_outcome_and_note_are_forgotten_at_the_next_start():
    session = Session()
    session.start("one", 0.0)
    assert session.set_outcome(False) == "failure"
    session.set_note("slipped")
    session.stop()
    session.start("two", 1.0)
    assert (session.outcome, session.episode, session.note) == ("unknown", "two", "")


def test_a_countdown_starts_by_itself_or_is_cancelled():
    session = Session(RecordingRules(countdown_s=3.0))
    assert session.ask_start(10.0) == 3.0
    assert session.state is State.COUNTDOWN
    assert (session.due(12.9), session.due(13.0)) == (Due.NOTHING, Due.START)
    assert session.countdown_s(11.0) == 2.0
    for refused in (lambda: session.ask_start(11.0), session.stop, session.discard, lambda: session.set_note("x")):
        with pytest.raises(AutofocusError, match="countdown"):
            refused()
    session.start("one", 13.0)
    session.stop()
    session.ask_start(20.0)
    session.cancel()
    assert session.state is State.STOPPED  # the one before is still there to be judged
    assert session.set_outcome(True) == "success"
    with pytest.raises(AutofocusError, match="stopped"):
        session.cancel()


def test_an_episode_has_a_time_limit():
    session = Session(RecordingRules(max_duration_s=60.0))
    assert session.ask_start(5.0) == 0.0
    session.start("one", 5.0)
    assert (session.due(64.9), session.due(65.0)) == (Due.NOTHING, Due.STOP)
    assert session.elapsed_s(15.0) == 10.0
    session.stop()
    assert session.due(100.0) is Due.NOTHING


def describe(recording, end_ns, reason="requested"):
    return lambda: EpisodeMeta(
        recording.path.name, "t", "i", "tiny", "h", "unknown", "", recording.start_ns, end_ns, reason,
        recording.qualities(end_ns), events=recording.events.by_time(),
    )  # fmt: skip


def joint_bytes(k):
    stamp = samples.T0_NS + k * 10 * MS
    return serialize(samples.joints([k, 0, 0], stamp), samples.JOINT_STATE), stamp


def test_a_recording_is_complete_and_atomic(tmp_path):
    topics = [TopicSpec("/joint_states", samples.JOINT_STATE, "", 100.0), TopicSpec("/never", "std_msgs/msg/Bool")]
    recording = Recording(
        tmp_path / "ep", topics, samples.T0_NS, WriterSettings(compression="zstd"),
        lambda r: describe(r, r.start_ns, INTERRUPTED)(),
    )  # fmt: skip
    early = read_meta(recording.working / EPISODE_SIDECAR)  # what a killed recording is recovered with
    assert early.stop_reason == INTERRUPTED
    assert (early.streams["/joint_states"].expected_rate_hz, early.streams["/joint_states"].count) == (100.0, 0)
    for k in range(500):
        raw, stamp = joint_bytes(k)
        assert recording.put("/joint_states", raw, stamp + MS)
        if k == 250:
            recording.add_topic(TopicSpec("/count", samples.INT32))
            recording.put("/count", samples.int32(5), stamp)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ep.recording"]
    path = recording.finish(describe(recording, stamp))
    assert [entry.name for entry in tmp_path.iterdir()] == ["ep"]
    assert sorted(entry.suffix for entry in path.iterdir()) == [".json", ".mcap", ".yaml"]
    meta = load_episode(path).meta
    with open_bag(path) as bag:
        assert bag.counts == {"/joint_states": 500, "/never": 0, "/count": 1}
        assert [m.header.stamp.nanosec for _, m in bag.decoded(["/joint_states"])][:2] == [0, 10 * MS]
    assert meta.streams["/joint_states"].achieved_rate_hz == pytest.approx(100)
    assert put_aside(path) == tmp_path / ".discarded" / "ep"


def test_f07_a_full_queue_refuses_and_counts(tmp_path, monkeypatch):
    """One event for the whole stretch of refusals, not one for each message; small messages have the last word."""
    settings = WriterSettings(queue_bytes=10 * SMALL_BYTES)
    recording = Recording(tmp_path / "ep", [TopicSpec("/image", samples.IMAGE), TopicSpec("/j", samples.JOINT_STATE)],
                          samples.T0_NS, settings)  # fmt: skip
    held = recording._bag.write
    gate = threading.Event()
    monkeypatch.setattr(recording._bag, "write", lambda *args: (gate.wait(5), held(*args)))
    image = bytes(4) + bytes(2 * SMALL_BYTES)
    taken = [recording.put("/image", image, samples.T0_NS + k * MS) for k in range(20)]
    assert 0 < sum(taken) < 10
    assert all(recording.put("/j", *joint_bytes(k)) for k in range(50))
    assert recording.queue_bytes <= settings.queue_bytes
    gate.set()
    path = recording.finish(describe(recording, samples.T0_NS + S))
    meta = load_episode(path).meta
    quality = meta.streams["/image"]
    assert (quality.count, quality.refused) == (sum(taken), 20 - sum(taken))
    (event,) = (event for event in meta.events if event.kind == "refused")
    assert (event.topic, event.detail.split(":")[0]) == ("/image", f"{20 - sum(taken)} messages")
    assert event.start_ns == samples.T0_NS + taken.index(False) * MS
    with open_bag(path) as bag:
        assert bag.counts == {"/image": sum(taken), "/j": 50}


def test_what_looks_like_silence_because_messages_were_refused_is_no_gap(tmp_path, monkeypatch):
    recording = Recording(tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE, "", 100.0)], samples.T0_NS,
                          WriterSettings(queue_bytes=1000))  # fmt: skip
    gate = threading.Event()
    held = recording._bag.write
    monkeypatch.setattr(recording._bag, "write", lambda *args: (gate.wait(5), held(*args)))
    refused = [not recording.put("/j", *joint_bytes(k)) for k in range(200)]
    assert sum(refused) > 150
    gate.set()
    while recording.queue_bytes:
        time.sleep(0.001)
    assert recording.put("/j", *joint_bytes(200))
    recording.tend(joint_bytes(400)[1])
    assert [event.kind for event in recording.events.by_time()] == ["refused"]
    assert recording.silences(joint_bytes(200)[1] + S)[0].kind == "gap"  # this silence is one
    recording.finish(describe(recording, joint_bytes(200)[1]))


def full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_f06_a_disk_that_is_full_ends_the_recording_with_a_valid_file(tmp_path, monkeypatch):
    """What could be written is a complete bag; what was taken and could not is counted, to the message."""
    recording = Recording(tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE)], 0, WriterSettings())
    for k in range(10):
        recording.put("/j", *joint_bytes(k))
    while recording._bag.counts.get("/j", 0) < 10:
        time.sleep(0.005)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        for k in range(10, 5000):
            recording.put("/j", *joint_bytes(k))
        recording._threads[0].join(5)
        assert "No space" in recording.error
        assert not recording.put("/j", *joint_bytes(5000))
    path = recording.finish(describe(recording, 1, f"error: {recording.error}"))
    meta = load_episode(path).meta
    with open_bag(path) as bag:
        assert not bag.lossy
        numbers = [message.position[0] for _, message in bag.decoded()]
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert meta.streams["/j"].count == len(numbers) >= 10
    assert meta.streams["/j"].count + meta.streams["/j"].refused == 5001


def test_f06_a_disk_that_stays_full_leaves_what_was_written(tmp_path, monkeypatch):
    recording = Recording(tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE)], 0, WriterSettings())
    storage = recording.working / "ep_0.mcap"
    empty = storage.stat().st_size
    for k in range(10):
        recording.put("/j", *joint_bytes(k))
    while storage.stat().st_size == empty:
        time.sleep(0.005)
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(AutofocusError, match=r"autofocus episodes recover .*ep\.recording"):
        recording.finish(describe(recording, 1))
    with open_bag(tmp_path / "ep.recording", allow_truncated=True) as bag:
        assert bag.counts["/j"] == 10


def test_whatever_ends_the_writing_thread_the_episode_is_not_complete(tmp_path, monkeypatch):
    """An exception nobody expected ended the thread, and the episode was closed as whole with half its messages."""
    recording = Recording(tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE)], 0, WriterSettings())

    def broken(*args):
        raise ValueError("nobody thought of this")

    monkeypatch.setattr(recording._bag, "write", broken)
    recording.put("/j", serialize(samples.joints([1, 2, 3]), samples.JOINT_STATE), 5)
    with pytest.raises(AutofocusError, match="nobody thought of this"):
        recording.finish(lambda: None)
    assert not (tmp_path / "ep").exists()


def test_a_slow_sync_does_not_stop_the_writing(tmp_path, monkeypatch):
    recording = Recording(
        tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE)], 0, WriterSettings(sync_period_s=0.01)
    )
    gate, waiting = threading.Event(), threading.Event()
    monkeypatch.setattr(os, "fsync", lambda handle: (waiting.set(), gate.wait(5)))
    assert waiting.wait(5)
    for k in range(2000):
        recording.put("/j", *joint_bytes(k))
    deadline_s = time.monotonic() + 5
    while recording.queue_bytes:
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    gate.set()
    recording.finish(describe(recording, 1))


def test_f06_no_room_no_start(tmp_path):
    disk = DiskWatch(tmp_path / "not" / "yet", reserve_bytes=1 << 60)
    with pytest.raises(AutofocusError, match="free"):
        disk.require_room()
    disk.close()
    assert not list(tmp_path.iterdir())


def test_f06_the_disk_is_watched(tmp_path, monkeypatch):
    disk = DiskWatch(tmp_path, reserve_bytes=1 << 20)
    assert disk.problem == ""
    real = os.statvfs
    monkeypatch.setattr(
        disk_module.os, "statvfs", lambda path: os.statvfs_result([4096, 4096, 9, 9, 9, 9, 9, 9, 0, 99])
    )
    begin_s = time.monotonic()
    while not disk.problem:
        assert time.monotonic() < begin_s + 5
        time.sleep(0.005)
    assert "reserve" in disk.problem
    monkeypatch.setattr(disk_module.os, "statvfs", real)
    disk.require_room()
    disk.close()


def test_events_are_bounded_and_the_rest_is_counted():
    log = EventLog()
    span = RefusedSpan("/t")
    for k in range(MAX_EVENTS + 20):
        span.refuse(10 * k * S, "full")
        log.add(span.ended((10 * k + 2) * S))
    assert (len(log.by_time()), log.left_out, log.count) == (MAX_EVENTS, 20, MAX_EVENTS + 20)
    assert span.ended(1 << 63) is None


def test_the_folder_is_counted_and_nothing_in_it_is_taken_twice(tmp_path, monkeypatch):
    for k, outcome in enumerate(("success", "failure")):
        recording = Recording(tmp_path / f"ep{k}", [], 0, WriterSettings())
        path = recording.finish(describe(recording, 1))
        text = (path / EPISODE_SIDECAR).read_text().replace('"unknown"', f'"{outcome}"', 1)
        (path / EPISODE_SIDECAR).write_text(text)
    (tmp_path / "killed.recording").mkdir()
    running = Recording(tmp_path / "running", [], 0, WriterSettings())
    folder = EpisodeFolder(tmp_path)
    assert (folder.episodes, folder.successes) == (2, 1)
    assert [path.name for path in folder.interrupted] == ["killed.recording"]
    running.finish(describe(running, 1))
    first = folder.new_path("lift")
    assert Path(first).parent == tmp_path
    first.with_name(first.name + ".recording").mkdir()
    assert folder.new_path("lift") != first
    assert EpisodeFolder(tmp_path / "not_there").episodes == 0


def test_rates_are_those_of_the_last_two_seconds():
    meter = RateMeter()
    for k in range(41):
        rate = meter.read(0.5 * k, 100 * k if k < 20 else 2000)
    assert rate == 0.0
    assert RateMeter().read(0.0, 5) == 0.0


def view(**changes):
    base = dict(name="/t", type="x", required=True, publishers=1, qos="reliable volatile", rate_hz=99.9,
                expected_rate_hz=100.0, silent_ms=3.0, silent=False)  # fmt: skip
    return TopicView(**{**base, **changes})


def test_the_status_of_a_topic_is_as_bad_as_it_is():
    assert topic_row(view()).level == OK
    assert topic_row(view(publishers=0)).level == ERROR
    assert topic_row(view(publishers=0, required=False)).level == OK
    assert topic_row(view(silent=True, silent_ms=500.0)).message == "silent for 500 ms"
    monitor = StreamMonitor("x", 100.0, 0)
    monitor.refused = 3
    row = topic_row(view(monitor=monitor))
    assert (row.level, row.values["refused"], row.values["expected_rate_hz"]) == (WARN, "3", "100")
    values = {"state": "recording", "episode": "e", "elapsed_s": "1.0", "last_episode": "", "error": ""}
    assert summary_row(values, [row]).level == WARN
    assert summary_row({**values, "error": "no room"}, [row]).message == "no room"
    assert summary_row({**values, "state": "idle"}, [topic_row(view(publishers=0))]).level == WARN


def string(text):
    return serialize(message_class("std_msgs/msg/String")(text), "std_msgs/msg/String")


def test_a_camera_says_what_it_is():
    text = string('{"serial": "123"}')
    assert device_info([text]) == {"serial": "123"}
    assert device_info([]) is None
    assert device_info([string("no json")]) == {"unreadable": "no json"}


def test_a_type_of_the_labs_own_is_recorded_with_its_definition(tmp_path):
    """A gripper that speaks a type which no standard package has; the reader needs no installation of it."""
    folder = tmp_path / "prefix/share/lab_msgs/msg"
    folder.mkdir(parents=True)
    (folder / "Grip.msg").write_text(
        '# of the finger\nuint8 OPEN=1\nstd_msgs/Header header  # when\nFinger[<=2] fingers\nstring<=9 name "x=1"\n'
    )
    (folder / "Finger.msg").write_text("float64 width\nbuiltin_interfaces/Time since\n")
    standard = Path(sys.prefix)
    known = define("lab_msgs/msg/Grip", "RIHS01_" + "0" * 64, [tmp_path / "prefix", standard])
    assert known.has_header
    assert [line for line in known.text.splitlines() if line.startswith("MSG:")] == [
        "MSG: std_msgs/Header", "MSG: lab_msgs/Finger", "MSG: builtin_interfaces/Time",
    ]  # fmt: skip
    recording = Recording(tmp_path / "ep", [TopicSpec("/grip", "lab_msgs/msg/Grip", "", None, known)], 0,
                          WriterSettings())  # fmt: skip
    raw = b"\0\1\0\0" + struct.pack("<iII1s3xI4xdiII4s", 5, 6, 1, b"\0", 1, 0.25, 7, 8, 4, b"abc\0")
    assert recording.put("/grip", raw, 5_000_000_006 + MS)
    path = recording.finish(describe(recording, 1))
    with open_bag(path) as bag:
        ((_, message),) = bag.decoded()
    assert (message.header.stamp.sec, message.fingers[0].width, message.name) == (5, 0.25, "abc")
    assert define(samples.JOINT_STATE, "whatever") == Definition(has_header=True)
    with pytest.raises(AutofocusError, match="lab_msgs/Finger"):
        (folder / "Finger.msg").unlink()
        define("lab_msgs/msg/Grip", "", [tmp_path / "prefix", standard])
