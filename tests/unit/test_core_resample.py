"""The rule of alignment, and the counting of bad stamps (F13)."""

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.resample import Missing, Observation, Resampler, StateHistory, observations
from autofocus_core.stream_buffer import StreamBuffer
from hypothesis import given
from hypothesis import strategies as st

MS = samples.MS


def test_f13_bad_stamps_are_sorted_and_counted():
    buffer = StreamBuffer(max_age_ns=100, maxlen=10)
    for stamp in (10, 0, 30, 20, 30, -5, 40):
        buffer.push(stamp, stamp)
    assert (buffer.counts.received, buffer.counts.zero, buffer.counts.duplicate, buffer.counts.backwards) == (
        7,
        2,
        1,
        1,
    )
    assert [buffer.latest(t) for t in (9, 10, 29, 30, 45, 140, 141)] == [
        None, (10, 10), (20, 20), (30, 30), (40, 40), (40, 40), None,
    ]  # fmt: skip


def test_interpolation_is_linear_within_and_none_without():
    buffer = StreamBuffer(max_age_ns=100, maxlen=10)
    for stamp, value in ((10, 1.0), (20, 2.0), (200, 0.0)):
        buffer.push(stamp, np.array([value, -value]))
    np.testing.assert_allclose(buffer.interpolate(15), [1.5, -1.5])
    np.testing.assert_allclose(buffer.interpolate(20), [2, -2])
    assert buffer.interpolate(5) is None
    assert buffer.interpolate(201) is None
    assert buffer.interpolate(100) is None  # across a gap


def test_the_oldest_makes_room():
    buffer = StreamBuffer(max_age_ns=1000, maxlen=3)
    for stamp in range(1, 8):
        buffer.push(stamp, stamp)
    assert buffer.latest(4) is None
    assert buffer.latest(5) == (5, 5)
    buffer.clear()
    assert buffer.newest_ns is None
    assert buffer.push(5, 5)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(0, 70), st.integers(1, 30))
def test_latest_is_the_last_at_or_before(stamps, t, max_age):
    buffer = StreamBuffer(max_age_ns=max_age, maxlen=100)
    for stamp in stamps:
        buffer.push(stamp, -stamp)
    expected = max((s for s in stamps if s <= t), default=None)
    if expected is None or t - expected > max_age:
        assert buffer.latest(t) is None
    else:
        assert buffer.latest(t) == (expected, -expected)


def picture(value):
    return np.full((6, 8, 3), value, np.uint8)


def test_each_stream_gives_its_last_message_before_the_image():
    resampler = Resampler(samples.robot(cameras=("front", "wrist")), ["front", "wrist"])
    t = samples.T0_NS
    assert "front" in resampler.observe(t).reason
    resampler.push_image("front", t, picture(1))
    assert resampler.observe(t).reason == "camera wrist: nothing received"
    resampler.push_image("wrist", t - 20 * MS, picture(2))
    resampler.push_image("wrist", t + 5 * MS, picture(3))
    for k in range(-3, 3):
        resampler.push_state(t + k * 10 * MS + 1, np.full(3, k))
    seen = resampler.observe(resampler.anchor_ns)
    assert isinstance(seen, Observation)
    assert seen.image_stamps_ns == {"front": t, "wrist": t - 20 * MS}
    assert seen.images["wrist"][0, 0, 0] == 2
    assert seen.state_stamp_ns == t - 10 * MS + 1
    np.testing.assert_array_equal(seen.state, [-1, -1, -1])
    assert resampler.settled(t)
    assert not resampler.settled(t + 6 * MS)


def test_what_is_stale_is_missing():
    resampler = Resampler(samples.robot(), ["front"])
    resampler.push_state(samples.T0_NS, np.zeros(3))
    resampler.push_image("front", samples.T0_NS + 51 * MS, picture(0))
    assert resampler.observe(samples.T0_NS + 51 * MS).reason == "state: no message within 50 ms before"
    resampler.clear()
    assert resampler.anchor_ns is None


def test_another_size_is_refused_never_reinterpreted():
    resampler = Resampler(samples.robot(), ["front"])
    with pytest.raises(AutofocusError, match="4x3"):
        resampler.push_image("front", 5, np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(AutofocusError, match="back"):
        Resampler(samples.robot(), ["back"])


def test_a_stalled_state_does_not_hold_up_the_rest(tmp_path):
    from autofocus_core.bags import open_bag

    entries = [("/joint_states", samples.JOINT_STATE, samples.joints([0, 0, 0]), samples.T0_NS, None)]
    for k in range(200):
        stamp = samples.T0_NS + k * 33 * MS
        entries.append(("/front/image", samples.IMAGE, samples.image(picture(k), stamp), stamp, stamp))
    with open_bag(samples.write_bag(tmp_path / "bag", entries)) as bag:
        results = list(observations(bag, samples.robot(), ["front"]))
    assert len(results) == 200
    assert [isinstance(r, Missing) for r in results] == [False] * 2 + [True] * 198
    assert results[-1].reason.startswith("state")


def test_a_history_holds_the_states_of_equal_steps_before_by_the_same_rule():
    """At t, t - 20 ms and t - 40 ms, each the last one stamped at or before; none there, none of all."""
    resampler = Resampler(samples.robot(), ["front"], StateHistory(3, 0.02))
    t = samples.T0_NS
    resampler.push_image("front", t, picture(1))
    for k in (-5, -4, -2, -1, 0, 1):  # 10 ms apart, stamped 1 ns early; the one of -3 was lost
        resampler.push_state(t + k * 10 * MS - 1, np.full(3, k))
    seen = resampler.observe(t)
    assert [row[0] for row in seen.states] == [0, -2, -4]
    resampler.push_image("front", t - 30 * MS, picture(0))
    found = resampler.observe(t - 30 * MS)
    assert found == Missing("state: no message within 50 ms before 0.04 s earlier", t - 30 * MS)
    with pytest.raises(AutofocusError, match="state history"):
        StateHistory(2, 0.0)


def test_a_long_history_of_a_fast_stream_is_kept():
    """The buffer holds four seconds at 500 Hz: a history that reaches further back must make it larger."""
    resampler = Resampler(samples.robot(), ["front"], StateHistory(2, 60.0))
    rate_hz = samples.robot().state.rate_hz
    t = samples.T0_NS + 60 * 10**9
    for k in range(int(60 * rate_hz) + 1):
        resampler.push_state(samples.T0_NS + round(k * 1e9 / rate_hz), np.full(3, k))
    resampler.push_image("front", t, picture(1))
    assert resampler.observe(t).states[:, 0].tolist() == [60 * rate_hz, 0]
