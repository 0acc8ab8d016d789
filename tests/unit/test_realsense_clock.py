"""Device time to header stamps: stamps increase, errors are bounded, what goes wrong is said. No camera, no library."""

import numpy as np
import pytest
from demo_recorder.realsense.clock import GLOBAL_TIME, HARDWARE_CLOCK, SYSTEM_TIME, FrameClock
from demo_recorder.realsense.offset_fit import WRAP_NS, OffsetFit
from hypothesis import given, settings
from hypothesis import strategies as st

WRAP_MS = WRAP_NS / 1e6
#: Where the simulated ROS clock stands when its steady clock stands at 0.
EPOCH_NS = 1_700_000_000_000_000_000
LATENCY_S = {"color": 0.025, "depth": 0.015}


def frames(seconds, *, seed=0, rate_hz=30, drift_ppm=0.0, start_ms=0.0, jitter_s=0.0, late=0.0, streams=("color",)):
    """[(arrival s, stream, device ms, true time s)] in the order of arrival, with a clock of 32 bits of microseconds.

    `jitter_s`: mean of an exponential latency on top of the shortest; `late`: share of frames that take 50-300 ms more.
    """
    random = np.random.default_rng(seed)
    made, last = [], {}
    for number in range(int(seconds * rate_hz)):
        for offset_s, stream in enumerate(streams):
            true_s = number / rate_hz + 0.004 * offset_s
            took_s = LATENCY_S[stream] + (random.exponential(jitter_s) if jitter_s else 0.0)
            took_s += random.uniform(0.05, 0.3) if random.random() < late else 0.0
            last[stream] = max(true_s + took_s, last.get(stream, 0.0) + 1e-4)  # a stream's frames overtake nobody
            device_us = round(start_ms * 1e3 + true_s * 1e6 * (1 + drift_ppm * 1e-6)) % 2**32
            made.append((last[stream], stream, device_us / 1e3, true_s))
    return sorted(made)


def run(clock, sequence, *, domain=HARDWARE_CLOCK, ros_ns=lambda s: EPOCH_NS + round(s * 1e9)):
    """[(stream, true time s, stamp s or None)]; stamps relative to EPOCH_NS."""
    stamped = []
    for arrival_s, stream, device_ms, true_s in sequence:
        stamp_ns = clock.stamp(stream, device_ms, domain, ros_ns(arrival_s), round(arrival_s * 1e9))
        stamped.append((stream, true_s, None if stamp_ns is None else (stamp_ns - EPOCH_NS) / 1e9))
    return stamped


def published(stamped, stream="color"):
    """(true times, stamps) of one stream, of those frames that have a stamp."""
    kept = [(true, stamp) for name, true, stamp in stamped if name == stream and stamp is not None]
    return np.array(kept).T


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    drift_ppm=st.floats(-100, 100),
    jitter_s=st.sampled_from([0.0, 0.0005, 0.003, 0.01]),
    late=st.sampled_from([0.0, 0.02, 0.1]),
    start_ms=st.sampled_from([0.0, WRAP_MS - 20_000, WRAP_MS - 200]),
    rate_hz=st.sampled_from([15, 30, 60]),
)
def test_stamps_increase_and_are_right_under_jitter_drift_and_wrap(seed, drift_ppm, jitter_s, late, start_ms, rate_hz):
    """The error is what is not known: the shortest way (here of depth, whose clock is the same), and little more."""
    clock = FrameClock()
    sequence = frames(
        40, seed=seed, drift_ppm=drift_ppm, jitter_s=jitter_s, late=late, start_ms=start_ms, rate_hz=rate_hz,
        streams=("color", "depth"),
    )  # fmt: skip
    stamped = run(clock, sequence)
    for stream in ("color", "depth"):
        true_s, stamp_s = published(stamped, stream)
        assert len(stamp_s) > (40 - 1.5) * rate_hz
        assert np.all(np.diff(stamp_s) > 0)
        error_ms = 1e3 * (stamp_s - true_s - LATENCY_S["depth"])
        # At first no better than the fastest frame so far, and than 10 s of a drift that is not known yet: 1 ms.
        assert error_ms.min() > -1.2 and error_ms.max() < 60
        assert np.abs(error_ms[true_s > 5]).max() < 1.2 + 1e3 * jitter_s
        assert np.abs(error_ms[true_s > 15]).max() < 0.1 + 150 * jitter_s
    assert clock.epoch == 1
    info = clock.info()["streams"]["color"]["fit"]
    assert info["drift_ppm"] == pytest.approx(-drift_ppm, abs=2 + 4000 * jitter_s)
    assert clock.jumps == 0 or late or jitter_s > 0.003


def test_nothing_is_stamped_before_frames_could_come_fast():
    """The first frames after a start are slow; the first stamp waits for a second of them."""
    clock = FrameClock()
    stamped = run(clock, frames(2))
    early = [stamp for _, true_s, stamp in stamped if true_s < 0.99]
    assert early and all(stamp is None for stamp in early)
    assert clock.unstamped == sum(stamp is None for _, _, stamp in stamped) < 35


def test_one_frame_that_is_late_moves_nothing():
    sequence = frames(20)
    calm = published(run(FrameClock(), sequence))[1]
    sequence[300] = (sequence[300][0] + 0.02, *sequence[300][1:])
    assert published(run(FrameClock(), sequence))[1] == pytest.approx(calm, abs=1e-7)


def test_a_host_that_stops_for_four_seconds_gets_the_same_stamps():
    """Frames that waited in the library come in a burst: their stamps say when they were taken."""
    sequence = frames(20)
    held = [(max(arrival, 14 + arrival / 1e3) if 10 < arrival < 14 else arrival, *rest) for arrival, *rest in sequence]
    clock = FrameClock()
    true_s, stamp_s = published(run(clock, held))
    assert np.abs(np.diff(stamp_s) - np.diff(true_s)).max() < 1e-3
    assert clock.jumps == clock.held == 0


@pytest.mark.parametrize("by_ms", [-3000.0, 3000.0])
def test_a_device_clock_that_jumps_is_said_and_fitted_anew(by_ms):
    sequence = [
        (arrival, stream, device_ms + (by_ms if true_s >= 10 else 0), true_s)
        for arrival, stream, device_ms, true_s in frames(20, start_ms=10_000)
    ]
    clock = FrameClock()
    true_s, stamp_s = published(run(clock, sequence))
    assert np.abs(stamp_s - true_s - LATENCY_S["color"]).max() < 1e-3
    assert np.all(np.diff(stamp_s) > 0)
    assert clock.jumps == 1
    assert any("the device's clock" in text and "3000.0 ms" in text for text in clock.news())


def test_a_device_that_was_reset_counts_from_zero():
    """Less than half a turn back is not a wrap of the counter, and no wrap is made of it."""
    sequence = [
        (arrival, stream, device_ms if true_s < 10 else 1000 * (true_s - 10), true_s)
        for arrival, stream, device_ms, true_s in frames(20, start_ms=1_000_000)
    ]
    clock = FrameClock()
    true_s, stamp_s = published(run(clock, sequence))
    assert np.abs(stamp_s - true_s - LATENCY_S["color"]).max() < 1e-3
    assert clock.jumps == 1


def test_a_device_clock_that_paused_is_noticed():
    """Two seconds in which every frame seems 400 ms late: the clock has stood still, not the frames."""
    sequence = [
        (arrival, stream, device_ms - (400 if true_s >= 10 else 0), true_s)
        for arrival, stream, device_ms, true_s in frames(30)
    ]
    # Between two frames the clock ran on by less than nothing: shown as a stop of the frames for that long.
    sequence = [frame for frame in sequence if not 10 <= frame[3] < 10.4]
    clock = FrameClock()
    true_s, stamp_s = published(run(clock, sequence))
    error_s = stamp_s - true_s - LATENCY_S["color"]
    assert np.abs(error_s[true_s < 10]).max() < 1e-3
    assert np.abs(error_s[true_s > 14]).max() < 1e-3
    assert clock.jumps == 1


@pytest.mark.parametrize("step_s", [3600.0, 0.05, -0.02, -3600.0])
def test_a_system_clock_that_is_set_is_followed_at_once(step_s):
    def ros_ns(second):
        return EPOCH_NS + round((second + (step_s if second >= 10 else 0)) * 1e9)

    clock = FrameClock()
    true_s, stamp_s = published(run(clock, frames(20), ros_ns=ros_ns))
    after = true_s > 10.2
    assert np.abs(stamp_s[after] - true_s[after] - LATENCY_S["color"] - step_s).max() < 1e-3
    assert any(f"set by {step_s:+.3f} s" in text for text in clock.news())
    if step_s > -0.2:
        assert clock.epoch == 1 and np.all(np.diff(stamp_s) > 0)
    else:  # an hour of stamps that stand still would be worse; it is said
        assert clock.epoch == 2 and np.sum(np.diff(stamp_s) <= 0) == 1


def test_two_clocks_of_one_device_are_told_apart():
    color, depth = (frames(5, streams=(stream,), start_ms=start) for stream, start in (("color", 0), ("depth", 9e5)))
    clock = FrameClock()
    stamped = run(clock, sorted(color + depth))
    for stream in ("color", "depth"):
        true_s, stamp_s = published(stamped, stream)
        assert np.abs(stamp_s - true_s - LATENCY_S[stream]).max() < 1e-3
    assert clock.jumps == 0


def test_frames_with_the_same_device_time_get_stamps_that_increase():
    sequence = frames(5)
    sequence[100] = (*sequence[100][:2], sequence[99][2], sequence[100][3])
    clock = FrameClock()
    _, stamp_s = published(run(clock, sequence))
    assert np.all(np.diff(stamp_s) > 0)
    assert (clock.held, clock.jumps) == (1, 0)


def global_frames(seconds, wrong_s=lambda s: 0.0):
    """Frames whose time the library has mapped, `wrong_s` off."""
    return [
        (arrival, stream, EPOCH_NS / 1e6 + 1e3 * (true_s + wrong_s(true_s)), true_s)
        for arrival, stream, _, true_s in frames(seconds)
    ]


def test_global_time_is_taken_as_it_is():
    clock = FrameClock()
    true_s, stamp_s = published(run(clock, global_frames(3), domain=GLOBAL_TIME))
    assert len(stamp_s) == 90
    assert stamp_s == pytest.approx(true_s, abs=1e-6)
    assert clock.info()["streams"]["color"]["domain"] == "global_time"
    assert clock.info()["streams"]["color"]["arrival_after_stamp_ms"]["p50"] == pytest.approx(25, abs=0.1)


@pytest.mark.parametrize("off_s", [2.0, -2.0])
def test_global_time_that_goes_astray_restarts_the_streams(off_s):
    """The library's map is known to be seconds off after a wrap of the device's clock (librealsense #15360)."""
    clock = FrameClock()
    stamped = run(clock, global_frames(8, lambda s: off_s if s >= 5 else 0.0), domain=GLOBAL_TIME)
    assert "off the system clock" in clock.restart
    assert clock.restart in clock.news()
    _, stamp_s = published(stamped)
    assert np.all(np.diff(stamp_s) > 0)
    assert len(stamp_s) == 150  # none of those that are wrong
    clock.begin()
    assert clock.restart == ""


def test_one_bad_global_time_restarts_nothing():
    clock = FrameClock()
    stamped = run(clock, global_frames(8, lambda s: 2.0 if 5 <= s < 5.3 else 0.0), domain=GLOBAL_TIME)
    assert clock.restart == ""
    assert clock.unstamped == sum(stamp is None for _, _, stamp in stamped) == 9


def test_times_of_a_recording_are_old_and_right():
    clock = FrameClock(check=False)
    stamped = run(clock, global_frames(3, lambda s: -86_400.0), domain=GLOBAL_TIME)
    true_s, stamp_s = published(stamped)
    assert stamp_s == pytest.approx(true_s - 86_400, abs=1e-6)
    assert clock.restart == ""


def test_a_domain_that_changes_is_said():
    """With global time, the library gives hardware times until it has asked the device once."""
    clock = FrameClock()
    run(clock, frames(0.2))
    stamped = run(clock, global_frames(2)[10:], domain=GLOBAL_TIME)
    assert clock.news() == ["color: time domain hardware_clock became global_time"]
    assert all(stamp is not None for _, _, stamp in stamped)


def test_system_time_is_taken_as_it_is():
    clock = FrameClock()
    _, stamp_s = published(run(clock, global_frames(1, lambda s: 0.024), domain=SYSTEM_TIME))
    assert np.diff(stamp_s) == pytest.approx(1 / 30, abs=1e-5)
    assert "host got the frame" in clock.info()["streams"]["color"]["mapping"]


def test_stamps_go_on_when_the_streams_are_started_again():
    clock = FrameClock()
    sequence = frames(10)
    first = published(run(clock, sequence[:150]))[1]
    clock.begin()
    second = published(run(clock, sequence[150:]))[1]
    assert second[0] > first[-1]
    assert clock.epoch == 1


@settings(max_examples=50, deadline=None, derandomize=True)
@given(start=st.integers(0, 2**32 - 1), pauses_s=st.lists(st.floats(0.01, 20_000), min_size=1, max_size=8))
def test_the_counter_is_unwrapped_over_any_pause(start, pauses_s):
    """Also over several turns: the host knows how long it was."""
    fit, arrival_ns, device_us = OffsetFit(), 0, start
    fit.add(fit.unwrap(device_us / 1e3, 0), 0)
    for pause_s in pauses_s:
        arrival_ns += round(pause_s * 1e9)
        device_us = (start + arrival_ns // 1000) % 2**32
        x_ns = fit.unwrap(device_us / 1e3, arrival_ns)
        assert x_ns == pytest.approx(start * 1000 + arrival_ns, abs=2000)
        fit.add(x_ns, arrival_ns)


def test_memory_does_not_grow():
    clock = FrameClock()
    run(clock, frames(120, jitter_s=0.001))
    fit = clock._streams["color"].fit
    assert len(fit._buckets) <= 60 and len(fit._residuals_ns) <= 1024
    assert clock.info()["streams"]["color"]["fit"]["window_s"] == pytest.approx(30, abs=1)
