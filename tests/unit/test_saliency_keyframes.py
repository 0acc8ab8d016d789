"""A detector on keyframes only, real optical flow between them, on painted video."""

import numpy as np
import pytest
from saliency_server.flow import carry
from saliency_server.follow import follow
from saliency_server.keyframes import look_sparsely
from saliency_server.phrases import parse_phrase
from tracking_scenes import SIZE_PX, Recording, stamps_s, video, worn

CUBE = parse_phrase("red cube")
N = 76
SIDE = 24.0


def bent(n=N):
    t = stamps_s(n)
    return np.stack([160 + 70 * np.sin(1.5 * t), 110 + 40 * np.cos(2.0 * t)], axis=1)


def resting(n=N):
    return np.tile((70.0, 190.0), (n, 1))


def recording(paths, pictures=None, seed=0, **faults):
    paths = np.array(paths)
    detections = worn(paths, np.random.default_rng(seed), size=SIDE, **faults)
    return Recording(detections, video(paths, int(SIDE)) if pictures is None else pictures)


def centres(track):
    return (track.boxes_px[:, :2] + track.boxes_px[:, 2:]) / 2


def test_keyframes_and_flow_find_what_every_frame_finds():
    paths = [bent(), resting()]
    sparse, every = recording(paths), recording(paths)
    some = follow(sparse, [CUBE], keyframe_s=0.5)
    full = follow(every, [CUBE], keyframe_s=None)
    assert len(set(sparse.asked)) <= 2 * 7
    assert len(some) == len(full) == 2
    for path in paths:
        found = min(some, key=lambda each: np.nanmedian(np.abs(centres(each.track) - path)))
        error = np.hypot(*(centres(found.track) - path).T)[found.track.valid]
        assert found.track.valid.mean() > 0.97
        assert np.median(error) < 1.0
        assert np.percentile(error, 95) < 3.0


def test_frames_between_keyframes_are_less_sure_than_keyframes():
    looker = recording([bent()])
    track = follow(looker, [CUBE], keyframe_s=0.5)[0].track
    asked = np.zeros(N, dtype=bool)
    asked[looker.asked] = True
    assert track.score[~asked & track.valid].max() < track.score[asked].min()


def test_a_missed_keyframe_is_bridged_from_the_ones_beside_it():
    looker = recording([resting()])
    looker._detections[30] = ((),)
    track = follow(looker, [CUBE], keyframe_s=0.5)[0].track
    assert track.valid.all()
    assert np.abs(centres(track) - resting()).max() < 1.0


def test_doubt_asks_again_where_it_is_and_is_bounded():
    path = bent()
    path[40:] = np.nan  # gone for good in the middle of an interval
    looker = recording([path])
    looked = look_sparsely(looker, 1, 0.5)
    extra = sorted(set(looked.asked) - set(range(0, N, 15)) - {N - 1})
    assert looked.extra == len(extra) > 0
    assert all(30 <= i <= 45 for i in extra)
    track = follow(recording([path]), [CUBE], keyframe_s=0.5)[0].track
    assert track.valid[:36].all()
    assert not track.valid[42:].any()

    rng = np.random.default_rng(3)
    wild = [(tuple(),) if rng.random() < 0.5 else worn(rng.uniform(30, 200, (3, 1, 2)), rng)[0] for _ in range(N)]
    hopeless = Recording(wild, video(np.array([resting()]), int(SIDE)))
    looked = look_sparsely(hopeless, 1, 0.5)
    keys = len(looked.asked) - looked.extra
    assert looked.extra <= keys
    assert len(set(hopeless.asked)) == len(looked.asked)


def test_unreadable_frames_are_not_asked_and_say_so():
    paths = np.array([bent()])
    pictures = video(paths, int(SIDE))
    for i in (0, 15, 33, 34):
        pictures[i] = None
    looker = recording(paths, pictures)
    track = follow(looker, [CUBE], keyframe_s=0.5)[0].track
    assert not {0, 15, 33, 34} & set(looker.asked)
    assert [i for i in range(N) if track.reason[i] == "unreadable image"] == [0, 15, 33, 34]
    assert not track.valid[[0, 15, 33, 34]].any()
    assert track.valid.sum() == N - 4


def test_no_readable_frame_at_all_is_no_valid_frame():
    looker = recording([resting()], [None] * N)
    tracks = follow(looker, [CUBE], keyframe_s=0.5)
    assert looker.asked == []
    assert not tracks[0].track.valid.any()
    assert set(tracks[0].track.reason) == {"unreadable image"}


def test_a_box_is_carried_below_a_pixel_at_a_smaller_scale_and_lost_when_its_thing_is_gone():
    path = bent(16)
    gone = path.copy()
    gone[8:] = np.nan
    start = np.r_[path[0] - SIDE / 2, path[0] + SIDE / 2][None]
    pictures = video(path[None], int(SIDE))
    carried = carry(lambda i: pictures[i], range(16), start, SIZE_PX)[0]
    middle = (carried.boxes_px[:, :2] + carried.boxes_px[:, 2:]) / 2
    assert np.hypot(*(middle - path).T).max() < 1.0
    assert carried.trust[0] == 1.0
    assert (np.diff(carried.trust) <= 0).all()
    half = [image[::2, ::2] for image in pictures]
    small = carry(lambda i: half[i], range(16), start, SIZE_PX)[0]
    assert np.hypot(*((small.boxes_px[-1, :2] + small.boxes_px[-1, 2:]) / 2 - path[-1])) < 2.0
    pictures = video(gone[None], int(SIDE))
    lost = carry(lambda i: pictures[i], range(16), start, SIZE_PX)[0]
    assert lost.trust[-1] < 0.5 * carried.trust[-1]


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_keyframes_must_be_apart(wrong):
    with pytest.raises(ValueError, match="keyframe_s"):
        follow(recording([resting()]), [CUBE], keyframe_s=wrong)
