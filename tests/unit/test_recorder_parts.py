"""The recorder without ROS: its states, its counting, its writer."""

import itertools
import threading
import time

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.bags import open_bag
from autofocus_core.episode import load_episode
from autofocus_core.episode_meta import EpisodeMeta
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import serialize
from demo_recorder.quality import StreamMonitor
from demo_recorder.session import Session, State
from demo_recorder.writer import Recording, TopicSpec, put_aside

MS = samples.MS
ALLOWED = {
    State.IDLE: {"start"},
    State.RECORDING: {"stop", "discard", "set_outcome"},
    State.STOPPED: {"start", "discard", "set_outcome"},
    State.DISCARDED: {"start"},
}
CALLS = {
    "start": lambda s: s.start("episode"),
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


def test_the_outcome_is_forgotten_at_the_next_start():
    session = Session()
    session.start("one")
    assert session.set_outcome(False) == "failure"
    session.stop()
    session.start("two")
    assert (session.outcome, session.episode) == ("unknown", "two")


def test_gaps_and_stamp_faults_are_counted():
    monitor = StreamMonitor("t", 100.0, start_ns=0)
    stamps_ms = [100, 110, 120, 0, 120, 115, 130, 160, 170]
    for k, stamp in enumerate(stamps_ms):
        monitor.message(stamp * MS, (100 + 10 * k) * MS)
    quality = monitor.finish(190 * MS)
    assert quality.count == 9
    assert (quality.stamp_faults.zero, quality.stamp_faults.duplicate, quality.stamp_faults.backwards) == (1, 1, 1)
    assert (quality.gaps, quality.longest_gap_ms) == (1, 30.0)


def test_f09_silence_until_the_end_is_a_gap():
    monitor = StreamMonitor("t", 100.0, start_ns=0)
    monitor.message(1 * MS, 1 * MS)
    assert not monitor.stalled(121 * MS)
    assert monitor.stalled(122 * MS)
    quality = monitor.finish(2001 * MS)
    assert (quality.gaps, quality.longest_gap_ms) == (1, 2000.0)
    assert StreamMonitor("t", None, 0).finish(10**12).gaps == 0


def test_messages_lost_on_the_way_are_counted_by_publisher():
    monitor = StreamMonitor("t", None, 0)
    for publisher, number in ((b"a", 7), (b"a", 8), (b"b", 100), (b"a", 11), (b"b", 101), (b"a", 10), (b"a", 12)):
        monitor.sequence(publisher, number)
    assert monitor.drops == 2


def describe(recording, end_ns):
    return lambda: EpisodeMeta(
        recording.path.name, "t", "i", "tiny", "h", "unknown", "", recording.start_ns, end_ns, "requested",
        recording.qualities(end_ns),
    )  # fmt: skip


def joint_bytes(k):
    stamp = samples.T0_NS + k * 10 * MS
    return serialize(samples.joints([k, 0, 0], stamp), samples.JOINT_STATE), stamp


def test_a_recording_is_complete_and_atomic(tmp_path):
    topics = [TopicSpec("/joint_states", samples.JOINT_STATE, "", 100.0), TopicSpec("/never", "std_msgs/msg/Bool")]
    recording = Recording(tmp_path / "ep", topics, samples.T0_NS, compression="zstd", ros_distro=None, reserve_bytes=0)
    for k in range(500):
        raw, stamp = joint_bytes(k)
        assert recording.put("/joint_states", raw, stamp + MS)
        if k == 250:
            recording.add_topic(TopicSpec("/count", samples.INT32))
            recording.put("/count", samples.int32(5), stamp)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ep.recording"]
    path = recording.finish(describe(recording, stamp))
    assert [entry.name for entry in tmp_path.iterdir()] == ["ep"]
    meta = load_episode(path).meta
    with open_bag(path) as bag:
        assert bag.counts == {"/joint_states": 500, "/never": 0, "/count": 1}
        assert [m.header.stamp.nanosec for _, m in bag.decoded(["/joint_states"])][:2] == [0, 10 * MS]
    assert meta.streams["/joint_states"].achieved_rate_hz == pytest.approx(100)
    assert put_aside(path) == tmp_path / ".discarded" / "ep"


def test_f07_a_full_queue_drops_and_counts(tmp_path, monkeypatch):
    recording = Recording(
        tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE)], 0, compression="none", ros_distro=None,
        queue_bytes=2000, reserve_bytes=0,
    )  # fmt: skip
    held = recording._bag.write
    gate = threading.Event()
    monkeypatch.setattr(recording._bag, "write", lambda *args: (gate.wait(5), held(*args)))
    taken = sum(recording.put("/j", *joint_bytes(k)) for k in range(100))
    assert 0 < taken < 100
    gate.set()
    path = recording.finish(describe(recording, 10**10))
    quality = load_episode(path).meta.streams["/j"]
    assert (quality.count, quality.drops) == (taken, 100 - taken)
    with open_bag(path) as bag:
        assert bag.counts["/j"] == taken


def test_f06_a_disk_that_fails_is_an_error_not_silence(tmp_path, monkeypatch):
    recording = Recording(
        tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE)], 0, compression="none", ros_distro=None, reserve_bytes=0
    )
    for k in range(10):
        recording.put("/j", *joint_bytes(k))
    deadline_s = time.monotonic() + 5
    while recording._bag.counts.get("/j", 0) < 10:
        assert time.monotonic() < deadline_s
        time.sleep(0.005)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording._bag, "write", full)
    recording.put("/j", *joint_bytes(10))
    recording._thread.join(5)
    assert "No space" in recording.error
    assert not recording.put("/j", *joint_bytes(11))
    with pytest.raises(AutofocusError, match="allow_truncated"):
        recording.finish(describe(recording, 1))
    with open_bag(tmp_path / "ep.recording", allow_truncated=True) as bag:
        assert bag.counts["/j"] == 10
        np.testing.assert_array_equal(np.diff([m.position[0] for _, m in bag.decoded()]), 1)


def test_whatever_ends_the_writing_thread_the_episode_is_not_complete(tmp_path, monkeypatch):
    """An exception nobody expected ended the thread, and the episode was closed as whole with half its messages."""
    recording = Recording(
        tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE)], 0, compression="none", ros_distro=None, reserve_bytes=0
    )

    def broken(*args):
        raise ValueError("nobody thought of this")

    monkeypatch.setattr(recording._bag, "write", broken)
    recording.put("/j", serialize(samples.joints([1, 2, 3]), samples.JOINT_STATE), 5)
    with pytest.raises(AutofocusError, match="nobody thought of this"):
        recording.finish(lambda: None)
    assert not (tmp_path / "ep").exists()


def test_f06_no_room_no_start(tmp_path):
    with pytest.raises(AutofocusError, match="free"):
        Recording(tmp_path / "ep", [], 0, compression="none", ros_distro=None, reserve_bytes=1 << 60)
    assert not list(tmp_path.iterdir())
