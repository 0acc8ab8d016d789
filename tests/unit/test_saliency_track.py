"""Tracks over a whole demonstration: gaps, rivals, hidden sides, the robot's own parts."""

import numpy as np
import pytest
from saliency_server.follow import InstanceTrack, unambiguous
from saliency_server.keep import Phase, gripper_phases
from saliency_server.track import explain_occlusions, runs, track_instances
from saliency_server.values import Detection

SIZE_PX = (240, 320)
N = 60
STAMPS_S = np.arange(N) / 30.0


def seen(x, y, size=20.0, score=1.0):
    h = size / 2
    return Detection((x - h, y - h, x + h, y + h), (x, y), score, size * size)


def track_object(candidates, stamps_s, size_px, role="object", occluders=None):
    """The one track of a name, as an annotation gets it where nothing can choose between like things."""
    tracks = track_instances(candidates, stamps_s, size_px, role, occluders)
    return unambiguous([InstanceTrack(track, 0, number) for number, track in enumerate(tracks)], 0)


def centres(track):
    return (track.boxes_px[:, :2] + track.boxes_px[:, 2:]) / 2


def test_a_moving_object_is_followed_without_lag_and_noise_shrinks():
    rng = np.random.default_rng(0)
    truth = np.stack([60 + 80 * STAMPS_S, 100 + 20 * STAMPS_S], axis=1)
    noisy = truth + rng.normal(size=truth.shape)
    track = track_object([[seen(*p)] for p in noisy], STAMPS_S, SIZE_PX)
    error = np.hypot(*(centres(track) - truth).T)
    assert track.valid.all()
    assert np.abs((centres(track) - truth).mean(axis=0)).max() < 0.25
    assert np.sqrt((error**2).mean()) < 0.8 * np.sqrt(((noisy - truth) ** 2).sum(axis=1).mean())


def test_a_short_gap_is_filled_with_a_lower_score_and_a_long_one_is_not():
    candidates = [[seen(100, 100)] for _ in range(N)]
    candidates[10:14] = [[]] * 4
    candidates[30:50] = [[]] * 20
    track = track_object(candidates, STAMPS_S, SIZE_PX)
    assert track.valid[10:14].all()
    assert (track.score[10:14] < track.score[9]).all()
    assert not track.valid[30:50].any()
    assert set(track.reason[30:50]) == {"not detected"}
    assert np.isnan(track.boxes_px[30:50]).all()


def test_a_gap_over_which_the_object_moved_is_not_filled():
    candidates = [[seen(100, 100)] for _ in range(N)]
    candidates[20:25] = [[]] * 5
    candidates[25:] = [[seen(150, 100)]] * (N - 25)
    track = track_object(candidates, STAMPS_S, SIZE_PX)
    assert not track.valid[20:25].any()
    assert track.valid[25:].all()


def test_two_candidates_that_are_as_good_are_ambiguous_and_not_guessed():
    track = track_object([[seen(100, 100), seen(200, 100)]] * N, STAMPS_S, SIZE_PX)
    assert not track.valid.any()
    assert set(track.reason) == {"ambiguous: 2 candidates"}


def test_a_clearly_worse_candidate_does_not_disturb():
    track = track_object([[seen(200, 100, score=0.5), seen(100, 100)]] * N, STAMPS_S, SIZE_PX)
    assert track.valid.all()
    assert centres(track)[:, 0] == pytest.approx(100)


def test_a_flicker_elsewhere_does_not_pull_the_track_away():
    candidates = [[seen(100, 100)] for _ in range(N)]
    candidates[20] = [seen(250, 50)]
    track = track_object(candidates, STAMPS_S, SIZE_PX)
    assert track.valid.all()
    assert centres(track)[20] == pytest.approx((100, 100), abs=0.5)


def test_things_that_cross_keep_their_places():
    """Two tracklets of different score cross; the better one is followed through."""
    x = np.linspace(60, 240, N)
    candidates = [[seen(a, 100), seen(b, 104, score=0.6)] for a, b in zip(x, x[::-1], strict=True)]
    track = track_object(candidates, STAMPS_S, SIZE_PX)
    valid = track.valid
    assert valid.mean() > 0.9
    assert np.abs(centres(track)[valid, 0] - x[valid]).max() < 8


def test_an_object_that_leaves_the_image_says_so():
    x = 280 + 60 * STAMPS_S
    candidates = [[seen(v, 100)] if v < 311 else [] for v in x]
    track = track_object(candidates, STAMPS_S, SIZE_PX)
    assert track.reason[-1] == "left the image"


def test_a_long_gap_behind_another_object_is_called_occluded():
    candidates = [[seen(100, 100)] for _ in range(N)]
    candidates[20:45] = [[]] * 25
    cube = track_object(candidates, STAMPS_S, SIZE_PX)
    hand = track_object([[seen(100, 100, size=40)]] * N, STAMPS_S, SIZE_PX)
    cube, _ = explain_occlusions([cube, hand])
    assert set(cube.reason[20:45]) == {"occluded"}


def test_a_side_behind_a_finger_does_not_move_the_centre():
    """While carried, a cube whose left third was behind a finger had its centre 5 px too far to the right."""
    finger = Detection((88.0, 85.0, 97.0, 115.0), (92.5, 100.0), 1.0, 270.0)
    hidden = Detection((97.0, 90.0, 110.0, 110.0), (103.5, 100.0), 1.0, 260.0)
    candidates = [[seen(100, 100)]] * 20 + [[hidden]] * 40
    occluders = [[]] * 20 + [[finger]] * 40
    track = track_object(candidates, STAMPS_S, SIZE_PX, "target", occluders)
    assert centres(track)[:, 0] == pytest.approx(100, abs=0.6)
    assert track.boxes_px[50] == pytest.approx((90, 90, 110, 110), abs=1.0)


def test_patches_that_a_finger_splits_are_one_object():
    left = Detection((90.0, 90.0, 95.0, 110.0), (92.5, 100.0), 1.0, 100.0)
    right = Detection((103.0, 90.0, 110.0, 110.0), (106.5, 100.0), 1.0, 140.0)
    track = track_object([[seen(100, 100)]] * 30 + [[right, left]] * 30, STAMPS_S, SIZE_PX)
    assert track.valid.all()
    assert centres(track)[:, 0] == pytest.approx(100, abs=0.6)


def test_the_gripper_is_what_moves_not_what_has_its_colour():
    y = 60 + 60 * STAMPS_S
    candidates = [[seen(100, v, 8), seen(130, v, 8), seen(250, 200, 30)] for v in y]
    track = track_object(candidates, STAMPS_S, SIZE_PX, "robot")
    assert track.valid.all()
    assert np.abs(centres(track) - np.stack([np.full(N, 115), y], axis=1)).max() < 1.0


def test_nothing_seen_at_all_is_a_track_of_invalid_frames():
    track = track_object([[]] * N, STAMPS_S, SIZE_PX)
    assert not track.valid.any()
    assert set(track.reason) == {"not detected"}


def test_runs():
    assert runs(np.array([1, 1, 0, 0, 1, 0, 1], dtype=bool)) == [(0, 1), (4, 4), (6, 6)]
    assert runs(np.zeros(3, dtype=bool)) == []


def test_phases_split_at_gripper_events_and_a_bouncing_signal_is_one_event():
    t = np.arange(0, 2, 0.01)
    gripper = np.where(t < 1, 0.037, 0.015) + 0.002 * np.sin(80 * t)
    assert gripper_phases(STAMPS_S, t, gripper) == (Phase(0, 29, "open"), Phase(30, 59, "closed"))


def test_a_gripper_that_hardly_moves_or_is_unknown_is_one_steady_phase():
    t = np.arange(0, 2, 0.01)
    assert gripper_phases(STAMPS_S, t, np.full(len(t), 0.02)) == (Phase(0, N - 1, "steady"),)
    assert gripper_phases(STAMPS_S, np.empty(0), np.empty(0)) == (Phase(0, N - 1, "steady"),)
