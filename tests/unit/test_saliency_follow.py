"""Several things of one name followed over a whole recording: crossing, hidden, gone and back, flickering."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saliency_server.follow import follow, unambiguous
from saliency_server.phrases import parse_phrase
from tracking_scenes import Recording, seen, stamps_s, worn

CUBE = parse_phrase("red cube")
N = 90


def line(start, end, n=N):
    return np.linspace(start, end, n)


def centres(found):
    boxes = found.track.boxes_px
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def nearest(tracks, path):
    """The one track that is nearest to a path, and its distances in valid frames."""
    def error(found):
        return np.hypot(*(centres(found) - path).T)[found.track.valid & ~np.isnan(path[:, 0])]

    return min(tracks, key=lambda found: np.median(error(found)) if found.track.valid.any() else np.inf), error


def follow_paths(paths, seed=0, **faults):
    return follow(Recording(worn(np.array(paths), np.random.default_rng(seed), **faults)), [CUBE], keyframe_s=None)


@pytest.mark.parametrize("seed", range(3))
def test_two_like_cubes_that_cross_go_on_as_themselves(seed):
    paths = [line((60, 90), (240, 120)), line((240, 96), (60, 118))]
    tracks = follow_paths(paths, seed, recall=0.95, jitter_px=0.7)
    assert len(tracks) == 2
    for path in paths:
        found, error = nearest(tracks, path)
        assert found.track.valid.mean() > 0.9
        assert np.percentile(error(found), 98) < 8


def test_two_like_cubes_both_hidden_at_once_are_known_again():
    """A hand passes over both while they lie still: each comes back as itself, and no frame between is made up."""
    paths = np.array([line((80, 100), (80, 100)), line((140, 100), (140, 100))])
    paths[:, 30:60] = np.nan
    tracks = follow_paths(paths, jitter_px=0.5)
    assert [found.instance for found in tracks] == [0, 1]
    for found in tracks:
        x = centres(found)[:, 0]
        assert np.nanmedian(x[:30]) == pytest.approx(np.nanmedian(x[60:]), abs=1.0)
        assert not found.track.valid[31:59].any()
        assert set(found.track.reason[31:59]) <= {"not detected", "occluded"}


def test_a_cube_behind_the_gripper_is_occluded_and_stays_the_same_cube():
    cube = [() if 30 <= i < 60 else (seen((100, 100)),) for i in range(N)]
    way = np.concatenate([np.linspace(20, 100, 28), np.full(34, 100), np.linspace(100, 180, 28)])
    hand = [(seen((x, 100), size=44.0),) for x in way]
    tracks = follow(
        Recording(list(zip(cube, hand, strict=True))), [CUBE, parse_phrase("orange gripper")], keyframe_s=None
    )
    cubes = [found for found in tracks if found.phrase == 0]
    assert len(cubes) == 1
    assert cubes[0].track.valid[:30].all()
    assert cubes[0].track.valid[60:].all()
    assert "occluded" in cubes[0].track.reason[30:60]


def test_a_cube_that_leaves_and_comes_back_is_the_same_cube():
    out, back = line((200, 100), (309, 100), 30), line((309, 160), (200, 160), 30)
    path = np.concatenate([out, np.full((30, 2), np.nan), back])
    tracks = follow_paths([path], jitter_px=0.3)
    assert len(tracks) == 1
    assert tracks[0].track.valid[:30].all()
    assert tracks[0].track.valid[60:].all()
    assert not tracks[0].track.valid[35:55].any()
    assert "left the image" in tracks[0].track.reason[35:55]


def test_a_detector_that_flickers_and_cries_wolf_gives_one_whole_track():
    tracks = follow_paths([line((80, 100), (200, 130))], recall=0.8, jitter_px=1.0, alarms=0.1)
    assert len(tracks) == 1
    assert tracks[0].track.valid.mean() > 0.97


def test_a_second_box_around_one_thing_is_no_second_thing():
    frames = [((seen((100, 100)), seen((101, 101), 22.0, 0.7)),) for _ in range(N)]
    assert len(follow(Recording(frames), [CUBE], keyframe_s=None)) == 1


def test_smoothing_halves_the_jitter_of_a_thing_at_rest_and_stays_with_a_thing_that_turns():
    rest = np.full((N, 2), 100.0)
    found = follow_paths([rest], jitter_px=2.0)[0]
    raw_px = 2.0 / np.sqrt(2)  # per coordinate of a centre, of two edges
    assert np.sqrt(((centres(found) - rest) ** 2).mean()) < 0.5 * raw_px
    t = stamps_s(N)
    turning = np.stack([160 + 60 * np.cos(2 * t), 120 + 60 * np.sin(2 * t)], axis=1)
    found = follow_paths([turning], jitter_px=1.0)[0]
    error = np.hypot(*(centres(found) - turning).T)
    assert np.median(error) < 0.8
    assert error.max() < 4.0


def test_scores_are_confidences():
    frames = [((seen((100, 100)),),) for _ in range(N)]
    frames[40] = ((seen((112, 100)),),)  # off its path
    frames[60] = ((),)
    track = follow(Recording(frames), [CUBE], keyframe_s=None)[0].track
    assert track.valid.all()
    assert track.score[40] < 0.7 * track.score[20]
    assert track.score[60] < 0.7 * track.score[20]
    assert ((track.score >= 0) & (track.score <= 1)).all()


def test_nothing_found_is_a_track_without_valid_frames():
    tracks = follow(Recording([((),)] * 20), [CUBE], keyframe_s=None)
    assert len(tracks) == 1
    assert not tracks[0].track.valid.any()
    assert set(tracks[0].track.reason) == {"not detected"}


def test_a_filter_that_cannot_choose_gets_ambiguous_frames_only_where_two_are_there():
    second = line((220, 100), (220, 100))
    second[:45] = np.nan
    tracks = follow_paths([line((80, 100), (80, 100)), second])
    assert len(tracks) == 2
    one = unambiguous(tracks, 0)
    assert one.valid[:45].all()
    assert not one.valid[45:].any()
    assert set(one.reason[45:]) == {"ambiguous: 2 candidates"}
    assert np.isnan(one.boxes_px[45:]).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_the_order_of_a_frames_candidates_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    paths = np.array([line((60, 80), (240, 140), 40), line((240, 90), (60, 130), 40)])
    frames = worn(paths, rng, recall=0.9, jitter_px=1.0, alarms=0.1)
    mixed = [(tuple(found[i] for i in rng.permutation(len(found))),) for (found,) in frames]
    for a, b in zip(*(follow(Recording(each), [CUBE], keyframe_s=None) for each in (frames, mixed)), strict=True):
        np.testing.assert_array_equal(a.track.boxes_px, b.track.boxes_px)
        np.testing.assert_array_equal(a.track.score, b.track.score)
        assert a.track.reason == b.track.reason
