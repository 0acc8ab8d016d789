"""Blending of chunks: against the formulas written out, and what it does at gaps, jumps and ends."""

import subprocess
import sys

import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from autofocus_policy.ensemble import Blender, Blending
from autofocus_policy.runner import Chunk

T0 = 1_700_000_000_123_456_789
DT_NS = 100_000_000
RNG = np.random.default_rng(5)


def chunk(stamp_ns: int, positions: np.ndarray) -> Chunk:
    return Chunk(stamp_ns, 0.1, positions, np.full((1, 2, 2), 0.25, np.float32))


def random_chunks(count: int, horizon: int = 8) -> list[Chunk]:
    return [chunk(T0 + k * DT_NS, RNG.normal(size=(horizon, 6))) for k in range(count)]


def act_ensemble(chunks: list[Chunk], m: float) -> np.ndarray:
    """ACT's algorithm 2 at the newest chunk's times: all predictions for a time, oldest first, w_i = exp(-m i)."""
    newest, out = chunks[-1], []
    for k in range(len(newest.positions)):
        found = []
        for age, old in enumerate(reversed(chunks)):
            if k + age < len(old.positions):
                found.insert(0, old.positions[k + age])
        weights = np.exp(-m * np.arange(len(found)))
        out.append((weights[:, None] * found).sum(0) / weights.sum())
    return np.array(out)


@pytest.mark.parametrize("m", [0.01, 0.0, 0.5, -0.5])
def test_with_a_chunk_per_step_the_ensemble_is_acts(m):
    blender, chunks = Blender(Blending("ensemble", coefficient=m), 0.25), random_chunks(12)
    for k, new in enumerate(chunks):
        got = blender.add(new)
        np.testing.assert_allclose(got.positions, act_ensemble(chunks[:k + 1], m), atol=1e-12)
        assert (got.stamp_ns, got.dt_s) == (new.stamp_ns, new.dt_s) and got.attention is new.attention


def test_the_ensemble_goes_by_time_not_by_count():
    """Chunks of one straight motion, made at uneven times, agree: their blend is that motion."""
    blender = Blender(Blending("ensemble"), 0.25)
    for stamp_ns in (T0, T0 + 37_000_000, T0 + 180_000_000, T0 + 210_000_001):
        seconds = (stamp_ns - T0) * 1e-9 + 0.1 * np.arange(1, 9)
        straight = seconds[:, None] * np.array([[1.0, -2.0]])
        np.testing.assert_allclose(blender.add(chunk(stamp_ns, straight)).positions, straight, atol=1e-9)


def test_an_extreme_coefficient_is_one_chunk_alone():
    chunks = random_chunks(3)
    for m, winner in ((10.0, np.vstack([chunks[0].positions[2:], chunks[1].positions[7:], chunks[2].positions[7:]])),
                      (-10.0, chunks[2].positions)):
        blender = Blender(Blending("ensemble", coefficient=m), 0.25)
        for new in chunks:
            got = blender.add(new).positions
        np.testing.assert_allclose(got, winner, atol=1e-3)


def test_a_crossfade_leaves_the_followed_path_little_by_little():
    """Fade of 0.4 s, points 0.1 s apart: shares 1/4, 2/4, 3/4, 1. What fades is the answer before, not its chunk."""
    blender = Blender(Blending("crossfade", fade_s=0.4), 0.25)
    shares = np.array([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])[:, None]
    first, second, third = random_chunks(3)
    answered = blender.add(first).positions
    np.testing.assert_array_equal(answered, first.positions)
    for new in (second, third):
        followed = np.vstack([answered[1:], answered[-1:]])
        answered = blender.add(new).positions
        np.testing.assert_allclose(answered, (1 - shares) * followed + shares * new.positions, atol=1e-12)


def test_where_the_followed_path_ends_the_new_chunk_counts_alone():
    blender = Blender(Blending("crossfade", fade_s=5.0), 0.25)
    blender.add(chunk(T0, np.zeros((2, 1))))
    got = blender.add(chunk(T0 + DT_NS, np.ones((3, 1)))).positions[:, 0]
    np.testing.assert_allclose(got, [0.02, 1.0, 1.0])  # 0.1 s of 5 s; then nothing to leave


@pytest.mark.parametrize("mode", ["ensemble", "crossfade"])
@pytest.mark.parametrize("step_ns", [250_000_001, 10**10, 0, -1, -3600 * 10**9])
def test_after_a_pause_or_a_jump_it_begins_anew(mode, step_ns):
    """The guard has held meanwhile: an arm that stopped must not be drawn to where it would have been."""
    blender = Blender(Blending(mode), 0.25)
    blender.add(chunk(T0, np.zeros((80, 2))))
    np.testing.assert_array_equal(blender.add(chunk(T0 + step_ns, np.ones((80, 2)))).positions, 1.0)


@pytest.mark.parametrize("mode", ["ensemble", "crossfade"])
def test_reset_forgets_and_a_short_pause_does_not(mode):
    blender = Blender(Blending(mode), 0.25)
    blender.add(chunk(T0, np.zeros((8, 2))))
    assert blender.add(chunk(T0 + 250_000_000, np.ones((8, 2)))).positions[0, 0] < 1.0
    blender.reset()
    np.testing.assert_array_equal(blender.add(chunk(T0 + 300_000_000, np.ones((8, 2)))).positions, 1.0)


@pytest.mark.parametrize("mode", ["ensemble", "crossfade"])
def test_a_blend_stays_between_its_chunks(mode):
    """So a chunk within the joints' limits stays within them."""
    blender = Blender(Blending(mode, coefficient=0.3), 0.25)
    low, high = -0.5, 0.7
    for k in range(50):
        got = blender.add(chunk(T0 + k * 33_333_333, RNG.uniform(low, high, (8, 6)))).positions
        assert got.shape == (8, 6) and got.dtype == np.float64 and low <= got.min() and got.max() <= high


def test_none_is_the_newest_untouched():
    blender = Blender(Blending(), 0.25)
    for new in random_chunks(3):
        assert blender.add(new) is new


@pytest.mark.parametrize("wrong", [{"mode": "act"}, {"coefficient": float("nan")}, {"coefficient": 11.0},
                                   {"fade_s": 0.0}, {"fade_s": float("nan")}, {"fade_s": 11.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(AutofocusError, match=next(iter(wrong)) if "mode" not in wrong else "crossfade"):
        Blending(**wrong)


def test_it_needs_no_torch():
    code = "import sys, autofocus_policy.ensemble; sys.exit(any(m in sys.modules for m in ('torch', 'rclpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
