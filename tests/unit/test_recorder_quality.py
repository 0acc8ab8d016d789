"""What is known about a stream: figures against plain numpy, in whatever order messages come; live equals the bag."""

from __future__ import annotations

import math
import sys
import threading

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.bag_writer import BagWriter
from autofocus_core.bags import open_bag
from autofocus_core.episode_meta import StampFaults
from autofocus_core.messages import serialize
from demo_recorder.latency import LatencyHistogram
from demo_recorder.quality import StreamMonitor, measure
from demo_recorder.timeline import GAP_PERIODS, WINDOW, Timeline
from hypothesis import given, settings
from hypothesis import strategies as st

MS = samples.MS
T0 = samples.T0_NS
RATE_HZ = 100.0


def watch(pairs, rate_hz=RATE_HZ, start_ns=T0, end_ns=None):
    """StreamQuality of (stamp, receive) pairs, and the events on the way."""
    monitor = StreamMonitor("t", rate_hz, start_ns, "/x")
    events = [event for stamp, receive in pairs if (event := monitor.message(stamp, receive, 10))]
    end_ns = max([start_ns, *(receive for _, receive in pairs)]) if end_ns is None else end_ns
    return monitor.finish(end_ns), events


def plain(stamps, rate_hz=RATE_HZ):
    """The same figures the short way."""
    intervals = np.diff(np.unique(np.array(stamps, dtype=np.int64)))
    periods = intervals * rate_hz / 1e9
    gaps = periods > GAP_PERIODS
    after = np.append(periods[1:], np.inf)[gaps]  # the interval after each gap
    alone = np.floor(periods[gaps] + 0.5) - 1
    both = np.maximum(0, np.floor(periods[gaps] + np.where(after < 1, after, 0) + 0.5) - 2)
    return {
        "gaps": int(gaps.sum()),
        "missing": int(np.where(after < 1, both, alone).sum()),
        "longest_gap_ms": intervals.max() / 1e6 if len(intervals) else 0.0,
        "jitter_ms": (intervals - intervals.mean()).std() / 1e6 if len(intervals) else 0.0,
        "achieved_rate_hz": len(intervals) * 1e9 / intervals.sum() if len(intervals) else 0.0,
    }


@st.composite
def streams(draw):
    """(stamp, receive): a 100 Hz stream with jitter, losses, stamps twice, and messages sent again late."""
    size = draw(st.integers(2, 700))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stamps = T0 + np.arange(size) * 10 * MS + random.integers(-4 * MS, 4 * MS, size)
    stamps = stamps[random.random(size) > draw(st.sampled_from([0.0, 0.02, 0.3]))]
    twice = random.random(len(stamps)) < draw(st.sampled_from([0.0, 0.05]))
    stamps = np.concatenate([stamps, stamps[twice]])
    late = (random.random(len(stamps)) < draw(st.sampled_from([0.0, 0.05]))) * random.integers(0, 500 * MS, len(stamps))
    receives = stamps + random.integers(0, 3 * MS, len(stamps)) + late
    order = np.argsort(receives, kind="stable")
    return [(int(stamps[i]), int(receives[i])) for i in order]


@given(streams())
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_numpy(pairs):
    quality, _ = watch(pairs)
    for name, value in plain([stamp for stamp, _ in pairs]).items():
        assert getattr(quality, name) == pytest.approx(value, abs=2e-3), name
    assert quality.count == len(pairs)
    assert quality.bytes == 10 * len(pairs)
    assert quality.stamp_faults.duplicate == len(pairs) - len({stamp for stamp, _ in pairs})


@given(streams(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_in_which_messages_are_handed_over_does_not_matter(pairs, random):
    """DDS hands over a message that was sent again before those it overtook, whose receipt was earlier: what the
    recorder sees live is in another order than what a reader finds in the bag."""
    shuffled = list(pairs)
    for start in range(0, len(shuffled), 20):  # at most 20 places off
        part = shuffled[start : start + 20]
        random.shuffle(part)
        shuffled[start : start + 20] = part
    assert watch(shuffled)[0] == watch(pairs)[0]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.1]))
@settings(max_examples=40, deadline=None)
def test_a_message_that_is_late_is_not_taken_for_two_of_which_one_was_lost(seed, lost_share):
    """A driver on a busy machine stamps an image half a period late: the interval before it was rounded to two periods,
    and each such image counted one as missing that nobody had sent."""
    random = np.random.default_rng(seed)
    stamps = T0 + np.arange(600) * 10 * MS + random.integers(-MS, MS, 600)
    each_third = np.arange(1, 598, 3)  # so that between any two of these there are messages in time
    late = each_third[random.random(len(each_third)) < 0.1]
    lost = np.setdiff1d(each_third[random.random(len(each_third)) < lost_share], late)
    stamps[late] += random.integers(6 * MS, 8 * MS, len(late))
    kept = np.delete(stamps, lost)
    quality, _ = watch([(int(stamp), int(stamp) + 9 * MS) for stamp in kept])
    assert quality.missing == len(lost)


def test_backwards_is_judged_by_receipt():
    numbers = [0, 1, 3, 4, 2, 5]
    pairs = [(T0 + n * 10 * MS, T0 + k * 10 * MS) for k, n in enumerate(numbers)]
    quality, _ = watch(pairs)
    assert quality.stamp_faults == StampFaults(backwards=1)
    assert (quality.gaps, quality.missing, quality.longest_gap_ms) == (0, 0, 10.0)


def test_a_late_message_closes_its_gap_also_live():
    monitor = StreamMonitor("t", RATE_HZ, T0)
    for n in (0, 1, 2, 5, 6):
        monitor.message(T0 + n * 10 * MS, T0 + n * 10 * MS, 1)
    assert (monitor.gaps, monitor.missing, monitor.longest_gap_ns) == (1, 2, 30 * MS)
    for n in (4, 3):
        monitor.message(T0 + n * 10 * MS, T0 + 65 * MS, 1)
    assert (monitor.gaps, monitor.missing, monitor.longest_gap_ns) == (0, 0, 10 * MS)
    assert (monitor.rate_hz, monitor.jitter_ms) == (pytest.approx(100.0), 0.0)


def test_a_message_that_comes_while_figures_are_made_is_in_the_next_ones(monkeypatch):
    """The status is made in another thread than the one that takes messages: what came in between was left out of the
    sidecar, because the figures of before were taken for the present ones."""
    monitor = StreamMonitor("t", RATE_HZ, T0)
    monitor.message(T0, T0, 1)
    settle = Timeline._settle_stamps
    interrupted = []

    def message_meanwhile(self, figures, stamps):
        if not interrupted:
            interrupted.append(monitor.message(T0 + 40 * MS, T0 + 40 * MS, 1))
        settle(self, figures, stamps)

    monkeypatch.setattr(Timeline, "_settle_stamps", message_meanwhile)
    assert monitor.stamp_faults == StampFaults()
    assert (monitor.gaps, monitor.missing) == (1, 3)


def test_figures_can_be_asked_for_while_messages_come():
    pairs = [(T0 + n * 10 * MS, T0 + n * 10 * MS + MS) for n in range(40 * WINDOW) if n % 7]
    monitor = StreamMonitor("t", RATE_HZ, T0)
    asked = []
    taking = threading.Thread(target=lambda: [monitor.message(*pair, 10) for pair in pairs])
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        taking.start()
        while taking.is_alive():
            asked.append((monitor.gaps, monitor.missing))
            assert monitor.latency is None or monitor.latency.p99_ms == 1.0
    finally:
        sys.setswitchinterval(switch_s)
        taking.join()
    assert asked == sorted(asked)
    assert monitor.finish(pairs[-1][1]) == watch(pairs)[0]


def test_what_comes_later_than_the_window_is_flagged_and_stays_missing():
    count = 4 * WINDOW
    pairs = [(T0 + n * 10 * MS, T0 + n * 10 * MS) for n in range(count) if n != 5]
    pairs.append((T0 + 50 * MS, pairs[-1][1] + MS))
    quality, _ = watch(pairs)
    assert (quality.gaps, quality.missing, quality.stamp_faults) == (1, 1, StampFaults(backwards=1))


def test_each_kind_of_wrong_stamp_is_flagged():
    stamps = [T0, T0 + 10 * MS, 0, T0 + 30 * MS, T0 + 30 * MS, T0 + 20 * MS, T0 + 40 * MS, T0 + 161 * MS]
    pairs = [(stamp, T0 + 10 * k * MS) for k, stamp in enumerate(stamps[:-1])] + [(stamps[-1], T0 + 100 * MS)]
    assert watch(pairs)[0].stamp_faults == StampFaults(zero=1, duplicate=1, backwards=1, future=1)
    # An action may be stamped with the next tick (60 ms is that, and 50 ms); markers come several to a stamp.
    assert watch([(T0 + 60 * MS, T0)])[0].stamp_faults == StampFaults()
    assert watch([(T0 + 50 * MS, T0)], rate_hz=None)[0].stamp_faults == StampFaults()
    assert watch([(T0 + 51 * MS, T0)], rate_hz=None)[0].stamp_faults == StampFaults(future=1)
    assert watch(pairs, rate_hz=None)[0].stamp_faults == StampFaults(zero=1, backwards=1, future=1)


def test_without_an_expected_rate_nothing_is_missing():
    quality, events = watch([(T0 + s * 10**9, T0 + s * 10**9) for s in (0, 1, 60)], rate_hz=None, end_ns=T0 + 10**12)
    assert (quality.gaps, quality.missing, quality.longest_gap_ms) == (0, 0, 59_000.0)
    assert events == []


def test_types_without_a_header_go_by_receipt():
    monitor = StreamMonitor("t", 10.0, T0)
    for k in range(5):
        monitor.message(None, T0 + k * 100 * MS, 4)
    quality = monitor.finish(T0 + 450 * MS)
    assert (quality.achieved_rate_hz, quality.latency, quality.stamp_faults.total) == (10.0, None, 0)


def test_f09_silence_becomes_an_event_with_start_and_end():
    monitor = StreamMonitor("t", RATE_HZ, T0, "/x")
    assert monitor.message(T0, T0 + MS, 1) is None
    assert not monitor.stalled(T0 + 121 * MS)  # two periods and 100 ms
    assert monitor.open_gap(T0 + 121 * MS) is None
    assert monitor.stalled(T0 + 122 * MS)
    still = monitor.open_gap(T0 + 301 * MS)
    assert (still.kind, still.topic, still.start_ns, still.end_ns) == ("gap", "/x", T0 + MS, T0 + 301 * MS)
    ended = monitor.message(T0 + 2000 * MS, T0 + 2001 * MS, 1)
    assert (ended.start_ns, ended.end_ns, ended.detail) == (T0 + MS, T0 + 2001 * MS, "nothing received for 2.00 s")
    assert (monitor.gaps, monitor.missing) == (1, 199)


def test_silence_before_the_first_message_is_an_event_and_no_gap():
    """The recording of that stream just begins later; an arm that is not commanded yet sends no action."""
    quality, events = watch([(T0 + 10**9 + k * 10 * MS, T0 + 10**9 + k * 10 * MS) for k in range(100)])
    assert [(e.start_ns, e.end_ns, e.detail) for e in events] == [
        (T0, T0 + 10**9, "nothing received for 1.00 s after the start")
    ]
    assert (quality.gaps, quality.longest_gap_ms) == (0, 10.0)


def test_lost_is_told_twice_and_counted_once():
    monitor = StreamMonitor("t", None, T0)
    for number in (1, 2, 6):
        monitor.sequence(b"a", number)
    assert monitor.lost == 3
    monitor.lost_event(2)
    assert monitor.lost == 3
    monitor.lost_event(2)
    monitor.refused += 5
    assert (monitor.lost, monitor.drops) == (4, 9)


@given(st.lists(st.integers(-(10**12), 10**13), min_size=1, max_size=300), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_percentiles_of_latency_are_right_to_one_percent(values, share):
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    rank = max(1, math.ceil(share * len(values)))
    wanted = sorted(values)[rank - 1]
    assert histogram.percentile_ns(share) == pytest.approx(wanted, rel=0.01, abs=1000)
    assert (histogram.min_ns, histogram.max_ns) == (min(values), max(values))


def test_latency_takes_bounded_memory():
    histogram = LatencyHistogram()
    for value in np.random.default_rng(0).lognormal(15, 4, 50_000).astype(np.int64).tolist():
        histogram.add(value)
    assert len(histogram._buckets) < 64 * 40
    with pytest.raises(ValueError):
        LatencyHistogram().percentile_ns(0.5)


def test_the_bag_tells_what_was_known_live(tmp_path):
    """The claim of `autofocus episodes check`: all but what never came can be measured again, to the last digit."""
    random = np.random.default_rng(3)
    rates = {"/joint_states": 100.0, "/count": None}
    types = {"/joint_states": samples.JOINT_STATE, "/count": samples.INT32}
    live = {topic: StreamMonitor(types[topic], rate, T0, topic) for topic, rate in rates.items()}
    events = []
    with BagWriter(tmp_path / "ep") as writer:
        for topic in rates:
            writer.add_topic(topic, types[topic])
        numbers = [n for n in range(600) if not 300 <= n < 340 and n % 97]
        for i in range(0, len(numbers) - 8, 50):  # a message that was sent again comes eight places later
            numbers.insert(i + 8, numbers.pop(i))
        for k, number in enumerate(numbers):
            stamp = T0 + number * 10 * MS if k != 77 else 0
            receive = T0 + number * 10 * MS + int(random.integers(0, 2 * MS)) + 90 * MS * (k % 50 == 8)
            raw = serialize(samples.joints([k, 0, 0], stamp), samples.JOINT_STATE)
            writer.write("/joint_states", raw, receive, stamp)
            event = live["/joint_states"].message(stamp, receive, len(raw))
            events += [event] if event else []
            if k % 10 == 0:
                writer.write("/count", samples.int32(k), receive, None)
                live["/count"].message(None, receive, len(samples.int32(k)))
    end_ns = T0 + 8 * 10**9
    events += [event for monitor in live.values() if (event := monitor.open_gap(end_ns))]
    with open_bag(tmp_path / "ep") as bag:
        streams, found = measure(bag, rates, T0, end_ns)
    assert streams == {topic: monitor.finish(end_ns) for topic, monitor in sorted(live.items())}
    assert found == tuple(events)
    assert len(found) == 2 and streams["/joint_states"].stamp_faults.backwards > 5
