"""Idle heads and tails are found by joint velocity, marked in the sidecar, and nothing else is touched."""

from __future__ import annotations

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.episode import content_hash, load_episode
from autofocus_core.episode_meta import EpisodeMeta, Trim
from autofocus_core.errors import AutofocusError
from demo_recorder.trimming import (
    clear_trim,
    estimated_limits,
    find_motion,
    joint_speeds,
    noise_limits,
    trim_by_hand,
    trim_idle,
)

MS, T0 = samples.MS, samples.T0_NS
S = 10**9


def positions_at(t_s, moves):
    """(3,) joints that stand still but in `moves`: (joint, from s, to s, by)."""
    q = np.zeros(3)
    for joint, from_s, to_s, by in moves:
        q[joint] += by * np.clip((t_s - from_s) / (to_s - from_s), 0, 1)
    return q


def write(path, moves, seconds=10.0, noise=0.0, step=0.0, rate=100, sidecar=True):
    """An episode of joint states at `rate` Hz; `noise` in rad or m, `step` of the encoders, flickering."""
    random = np.random.default_rng(1)
    messages = []
    for k in range(int(seconds * rate) + 1):
        q = positions_at(k / rate, moves) + random.normal(0, noise, 3)
        if step:
            q = np.round((q + random.uniform(0, 0.55 * step, 3)) / step) * step
        stamp = T0 + k * S // rate
        messages.append(("/joint_states", samples.JOINT_STATE, samples.joints(q, stamp), stamp + MS, stamp))
    samples.write_bag(path, messages)
    if sidecar:
        end_ns = T0 + round(seconds * S) + 2 * MS
        meta = EpisodeMeta(path.name, "t", "i", "tiny", "h", "success", "", T0, end_ns, "requested", {})
        (path / "episode.json").write_text(meta.to_json())
    return path


ARM = (0, 3.0, 6.0, 1.0)
GRIPPER = (2, 6.5, 7.0, 0.03)


@pytest.mark.parametrize("robot", [samples.robot(), None], ids=["limits of the robot", "estimated"])
@pytest.mark.parametrize(
    "how",
    [{}, {"noise": 2e-4}, {"step": 0.0015}, {"rate": 20}],
    ids=["clean", "noisy encoders", "coarse encoders", "slow stream"],
)
def test_idle_head_and_tail_are_marked(tmp_path, robot, how):
    path = write(tmp_path / "ep", [ARM, GRIPPER], **how)
    before = content_hash(path)
    trim = trim_idle(path, robot, margin_s=0.5).trim
    assert (trim.start_ns - T0) / S == pytest.approx(2.5, abs=0.15)
    assert (trim.end_ns - T0) / S == pytest.approx(7.5, abs=0.15)
    assert trim.reason.startswith("idle: 2.") and "after the motion" in trim.reason
    assert load_episode(path).trim == trim
    assert content_hash(path) == before


def test_the_margin_is_kept(tmp_path):
    path = write(tmp_path / "ep", [ARM])
    wide = trim_idle(path, None, margin_s=2.0).trim
    narrow = trim_idle(path, None, margin_s=0.0).trim
    assert (wide.start_ns, wide.end_ns) == (narrow.start_ns - 2 * S, narrow.end_ns + 2 * S)
    # A margin longer than the idle part: nothing to cut, and the mark of before goes.
    assert trim_idle(path, None, margin_s=5.0).trim is None
    assert load_episode(path).trim is None


def test_motion_until_the_end_cuts_the_head_only(tmp_path):
    trim = trim_idle(write(tmp_path / "ep", [(1, 4.0, 10.0, -1.0)]), samples.robot()).trim
    assert (trim.start_ns - T0) / S == pytest.approx(3.5, abs=0.1)
    assert trim.end_ns == T0 + 10 * S
    assert "0.0 s after" in trim.reason


def test_pauses_in_the_middle_stay(tmp_path):
    path = write(tmp_path / "ep", [(0, 1.0, 2.0, 0.5), (0, 8.0, 9.0, 0.5)])
    with load_episode(path).open() as bag:
        motion = find_motion(bag, samples.robot())
    assert (motion.first_ns - T0) / S == pytest.approx(1.0, abs=0.1)
    assert (motion.last_ns - T0) / S == pytest.approx(9.0, abs=0.1)


def test_an_arm_that_never_moves_is_not_trimmed_away(tmp_path):
    path = write(tmp_path / "ep", [], noise=1e-4)
    for robot in (samples.robot(), None):
        with pytest.raises(AutofocusError, match="no joint moves in 10"):
            trim_idle(path, robot)
    assert load_episode(path).trim is None


def test_motion_within_a_gap_is_motion(tmp_path):
    """One change in all, from before the gap to after it, is no step of the encoder."""
    path = tmp_path / "ep"
    write(path, [(0, 4.2, 4.8, 0.4)])
    messages = []
    with load_episode(path).open() as bag:
        for message, msg in bag.decoded():
            if not 4 * S < message.receive_ns - T0 < 5 * S:
                stamp = message.receive_ns - MS
                messages.append(("/joint_states", samples.JOINT_STATE, msg, message.receive_ns, stamp))
    gappy = samples.write_bag(tmp_path / "gappy", messages)
    with load_episode(gappy).open() as bag:
        motion = find_motion(bag, None)
    assert ((motion.first_ns - T0) / S, (motion.last_ns - T0) / S) == pytest.approx((4.0, 5.0), abs=0.1)


def test_a_glitch_of_one_message_does_not_hide_the_motion():
    times_s = np.arange(1000) / 100
    q = np.zeros((1000, 2))
    q[:, 0] = np.clip((times_s - 4) / 2, 0, 1)
    q[100, 0] = 3.0
    grid_s, speeds = joint_speeds(times_s, q, 0.1)
    moving = grid_s[(speeds > estimated_limits(speeds, noise_limits(q, 0.1))).any(axis=1)]
    assert moving[-1] == pytest.approx(6.0, abs=0.1)
    assert ((moving > 4.1) & (moving < 5.9)).sum() == pytest.approx(90, abs=2)


def test_speeds_are_those_of_the_motion():
    times_s = np.sort(np.random.default_rng(0).uniform(0, 5, 700))
    grid_s, speeds = joint_speeds(times_s - times_s[0], np.stack([0.3 * times_s, -2 * times_s], axis=1), 0.1)
    inside = (grid_s > 0.1) & (grid_s < 4.8)
    np.testing.assert_allclose(speeds[inside], np.tile([0.3, 2.0], (inside.sum(), 1)), rtol=1e-6)


def test_by_hand(tmp_path):
    path = write(tmp_path / "ep", [ARM], seconds=10.0)
    assert trim_by_hand(path, 1.0, 9.5).trim == Trim(T0 + S, T0 + 9 * S + S // 2, "by hand")
    end_ns = load_episode(path).meta.end_ns
    assert trim_by_hand(path, None, -2.0).trim == Trim(T0, end_ns - 2 * S, "by hand")
    assert trim_by_hand(path, -3.0, None).trim == Trim(end_ns - 3 * S, end_ns, "by hand")
    for wrong in ((5.0, 5.0), (6.0, 5.0), (0.0, 11.0), (-11.0, None)):
        with pytest.raises(AutofocusError, match="a part of its 0 to 10"):
            trim_by_hand(path, *wrong)
    assert clear_trim(path).trim is None


def test_a_foreign_bag_has_no_mark_and_says_so(tmp_path):
    path = write(tmp_path / "bag", [ARM], sidecar=False)
    for action in (lambda: trim_idle(path, None), lambda: trim_by_hand(path, 1, 2), lambda: clear_trim(path)):
        with pytest.raises(AutofocusError, match="only recorded episodes"):
            action()


def test_without_joint_states_there_is_no_automatic_trim(tmp_path):
    path = tmp_path / "ep"
    samples.write_bag(path, [entry for entry in samples.small_recording() if entry[0] == "/front/image"])
    meta = EpisodeMeta("ep", "t", "i", "tiny", "h", "success", "", T0, T0 + S, "requested", {})
    (path / "episode.json").write_text(meta.to_json())
    with pytest.raises(AutofocusError, match="no joint states"):
        trim_idle(path, None)
