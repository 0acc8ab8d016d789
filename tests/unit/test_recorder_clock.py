"""Receive stamps while somebody sets the clock, and what is noticed while it happens. No ROS, no real time."""

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.messages import serialize
from demo_recorder.clock import MAX_AGE_NS, ReceiveClock
from demo_recorder.intake import MOST_IN_A_PASS, Intake
from demo_recorder.watch import Publisher, PublisherWatch, SilenceWatch
from demo_recorder.writer import Recording, TopicSpec, WriterSettings

MS = samples.MS
S = 1000 * MS
HOUR = 3600 * S


class Clocks:
    """A wall clock and a steady clock that go on only when told."""

    def __init__(self) -> None:
        self.wall = samples.T0_NS
        self.steady = 77 * S
        self.read_takes = 0

    def go(self, ns: int, wall_ns: int | None = None) -> None:
        self.steady += ns
        self.wall += ns if wall_ns is None else wall_ns

    def read_steady(self) -> int:
        self.go(self.read_takes)
        return self.steady

    def clock(self) -> ReceiveClock:
        return ReceiveClock(lambda: self.wall, self.read_steady)


def test_our_time_is_the_wall_clock_at_the_start_and_goes_on_steadily():
    clocks = Clocks()
    clock = clocks.clock()
    clocks.go(5 * S, wall_ns=5 * S + HOUR)
    assert clock.now_ns() == samples.T0_NS + 5 * S
    assert clock.reanchor() == HOUR
    assert clock.now_ns() == clocks.wall


def test_a_message_has_the_stamp_of_its_arrival_not_of_its_handling():
    clocks = Clocks()
    clock = clocks.clock()
    arrived = clocks.wall
    clocks.go(300 * MS)
    assert clock.look() is None
    assert clock.arrival_ns(arrived) == arrived
    clocks.go(2 * MS)
    assert clock.arrival_ns(clocks.wall - MS) == clocks.wall - MS  # came after the look
    assert clock.arrival_ns(clocks.wall + S) == clocks.wall  # nothing comes from the future
    assert clock.arrival_ns(clocks.wall - MAX_AGE_NS - S) == clocks.wall - 2 * MS  # nor from long ago
    assert clock.arrival_ns(0) == clocks.wall  # a middleware that does not say


@pytest.mark.parametrize("size", [HOUR, -HOUR, 200 * MS, -200 * MS])
def test_f12_a_step_is_noticed_and_turns_no_stamp_round(size):
    rng = np.random.default_rng(1)
    clocks = Clocks()
    clock = clocks.clock()
    stamps, truth, steps, waiting = [], [], [], []
    for k in range(2000):
        clocks.go(int(rng.integers(0, 8 * MS)))
        if k == 1000:
            clocks.go(0, wall_ns=size)
        waiting.append((clocks.wall, clocks.steady))
        if rng.random() < 0.3:
            clocks.go(int(rng.integers(0, 30 * MS)))
            step = clock.look()
            steps += [step] if step else []
            for received, steady in waiting:
                stamps.append(clock.arrival_ns(received))
                truth.append(steady - 77 * S + samples.T0_NS)
            waiting = []
    assert np.all(np.diff(stamps) >= 0)
    assert [step.size_ns for step in steps] == [size]
    assert np.max(np.abs(np.subtract(stamps, truth))) < 100 * MS


def test_a_clock_that_drifts_is_followed_and_not_called_set():
    clocks = Clocks()
    clock = clocks.clock()
    for _ in range(1000):  # 0.5 ms per second, as NTP does it, for 17 minutes
        clocks.go(S, wall_ns=S + MS // 2)
        assert clock.look() is None
    assert clock.arrival_ns(clocks.wall) == clock.now_ns()
    assert clocks.wall - clock.now_ns() == 500 * MS


def test_a_process_that_loses_the_processor_between_two_clocks_sees_no_step():
    clocks = Clocks()
    clock = clocks.clock()
    clocks.read_takes = 300 * MS  # each look at the steady clock: worse than anything seen
    clocks.go(S)
    assert clock.look() is None


class FakeSource:
    """A subscription with what has arrived."""

    def __init__(self, name, messages=(), latched=False):
        self.name, self.latched = name, latched
        self.messages = list(messages)
        self.last, self.last_ns, self.received, self.failures, self.numbers = {}, 0, 0, 0, {}

    def take(self):
        entry = self.messages.pop(0) if self.messages else None
        if isinstance(entry, Exception):
            raise entry
        return entry


def info(received_ns, number=None, publisher=b"p" * 16):
    return {
        "received_timestamp": received_ns,
        "publication_sequence_number": number,
        "publisher_gid": {"data": publisher},
    }


@pytest.fixture
def intake():
    warnings = []
    made = Intake(Clocks().clock(), lambda now_ns: None, warnings.append)
    made.warnings = warnings
    return made


def joints(k, stamp=samples.T0_NS):
    return serialize(samples.joints([k, 0, 0], stamp), samples.JOINT_STATE)


def recording_of(tmp_path, start_ns=samples.T0_NS):
    return Recording(tmp_path / "ep", [TopicSpec("/j", samples.JOINT_STATE)], start_ns, WriterSettings())


def test_nothing_from_before_the_start_but_what_is_latched(tmp_path):
    clocks = Clocks()
    intake = Intake(clocks.clock(), lambda now_ns: None, print)
    clocks.go(S)
    intake.recording = recording_of(tmp_path, clocks.wall)
    intake.recording.add_topic(TopicSpec("/latched", samples.JOINT_STATE))
    late = (joints(1), info(clocks.wall - MS, 1))
    plain, latched = FakeSource("/j", [late, (joints(2), info(clocks.wall, 2))]), FakeSource("/latched", [late], True)
    intake.sources = [plain, latched]
    intake.run_pass()
    assert intake.recording.monitors["/j"].count == 1
    assert intake.recording.monitors["/latched"].count == 1
    assert latched.last == {b"p" * 16: joints(1)}
    assert plain.received == 2


def test_stamps_of_a_stream_never_decrease(tmp_path):
    """Reliable messages that were sent again carry the stamps of their own arrival, in another order."""
    clocks = Clocks()
    intake = Intake(clocks.clock(), lambda now_ns: None, print)
    clocks.go(S)
    seen = []
    put = {"put": lambda self, topic, raw, ns, *_: seen.append(ns)}
    intake.recording = type("Recorded", (), {"start_ns": 0, "monitors": {"/j"}, **put})()
    intake.sources = [FakeSource("/j", [(bytes(8), info(clocks.wall - age * MS)) for age in (30, 10, 20, 5)])]
    intake.run_pass()
    assert [(clocks.wall - ns) // MS for ns in seen] == [30, 10, 10, 5]


def test_a_stream_that_fails_is_told_once_counted_and_costs_the_others_nothing(tmp_path, intake):
    intake.recording = recording_of(tmp_path)
    broken = FakeSource("/broken", [(joints(k), info(samples.T0_NS)) for k in range(3)])
    broken_take = FakeSource("/j", [RuntimeError("middleware"), (joints(0), info(samples.T0_NS))])
    intake.sources = [broken_take, FakeSource("/j", [(joints(k), info(samples.T0_NS)) for k in range(5)])]
    intake.run_pass()
    assert intake.recording.monitors["/j"].count == 5
    assert (broken_take.failures, len(intake.warnings)) == (1, 1)
    intake.run_pass()
    assert intake.recording.monitors["/j"].count == 6
    intake.recording.add_topic(TopicSpec("/broken", samples.JOINT_STATE))
    intake.recording.monitors["/broken"].message = None  # a fault of ours: not callable
    intake.sources = [broken]
    intake.run_pass()
    assert (broken.failures, len(intake.warnings)) == (3, 2)
    assert intake.recording.monitors["/broken"].refused == 3


def test_what_is_lost_right_after_the_start_is_missed(tmp_path, intake):
    source = FakeSource("/j", [(joints(0), info(samples.T0_NS, 7))])
    intake.sources = [source]
    intake.run_pass()
    intake.begin(recording_of(tmp_path))
    source.messages = [(joints(1), info(samples.T0_NS, 10))]
    intake.run_pass()
    monitor = intake.recording.monitors["/j"]
    assert (monitor.count, monitor.lost, source.numbers) == (1, 2, {})


def test_a_message_without_a_byte_is_none(tmp_path, intake):
    """Fast DDS handed out 2 million empty messages in a minute; all of them went into the bag."""
    intake.recording = recording_of(tmp_path)
    phantom = (b"", info(652405263, 0, bytes(16)))
    source = FakeSource(
        "/j", [(joints(0), info(samples.T0_NS, 7)), *[phantom] * 3, (joints(1), info(samples.T0_NS, 8))]
    )
    intake.sources = [source]
    assert [intake.run_pass() for _ in range(4)] == [1, 0, 0, 1]
    monitor = intake.recording.monitors["/j"]
    assert (monitor.count, monitor.lost, source.received, len(intake.warnings)) == (2, 0, 2, 1)


def test_a_stream_that_floods_does_not_starve_the_others(tmp_path, intake):
    intake.recording = recording_of(tmp_path)
    flood = FakeSource("/j", [(joints(0), info(samples.T0_NS))] * (MOST_IN_A_PASS + 10))
    intake.sources = [flood]
    assert intake.run_pass() == MOST_IN_A_PASS
    intake.drain()
    assert not flood.messages


def test_f12_a_step_is_an_event_of_the_recording(tmp_path):
    clocks = Clocks()
    warnings = []
    intake = Intake(clocks.clock(), lambda now_ns: None, warnings.append)
    intake.recording = recording_of(tmp_path)
    clocks.go(S, wall_ns=S - HOUR)
    intake.run_pass()
    (event,) = intake.recording.events.by_time()
    assert (event.kind, event.start_ns, event.detail) == (
        "clock_step", samples.T0_NS + S, "the clock was set by -3600.000 s",
    )  # fmt: skip
    assert len(warnings) == 1


def test_f09_silence_is_told_within_two_periods_and_100_ms():
    watch = SilenceWatch({"/joints": 100.0, "/camera": 30.0, "/latched": None})
    last = {"/joints": 0, "/camera": 0, "/latched": 0}
    assert not watch.look(last, 69 * MS)
    assert watch.look(last, 71 * MS)
    assert watch.silent == {"/joints"}
    assert not watch.look(last, 100 * MS)
    assert watch.look(last, 120 * MS)
    assert watch.silent == {"/joints", "/camera"}
    assert watch.look({"/joints": 120 * MS, "/camera": 0}, 130 * MS)
    assert watch.silent == {"/camera"}


def test_f11_publishers_that_go_and_types_that_change_are_seen():
    watch = PublisherWatch()
    one, two = Publisher(b"1", "/driver", "A"), Publisher(b"2", "/driver", "B")
    assert watch.look("/t", [one], "A").gone == []
    change = watch.look("/t", [], "A")
    assert (change.gone, change.left, change.other_type) == ([one], 0, None)
    assert watch.look("/t", [two], "A").other_type == two
    assert watch.look("/other", [two], "").other_type is None
