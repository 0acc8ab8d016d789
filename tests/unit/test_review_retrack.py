"""Boxes drawn by hand are kept as they are; the track around them is followed anew from the images."""

import numpy as np
import pytest
from annotate_bags import FRAMES, scene
from autofocus_core.annotation import ObjectTrack
from saliency_server.looker import small_grey
from saliency_server.review.retrack import DISAGREE, LOST, retrack

SIZE_PX = (240, 320)
STAMPS_S = np.arange(FRAMES) / 30.0


@pytest.fixture(scope="module")
def greys():
    return [small_grey(scene(i)[0]) for i in range(FRAMES)]


CENTRES = np.array([scene(i)[1] for i in range(FRAMES)])
TRUTH = np.hstack([CENTRES - 10.5, CENTRES + 10.5])


def track(boxes, valid=None):
    valid = np.ones(FRAMES, bool) if valid is None else valid
    boxes = np.where(valid[:, None], boxes, np.nan).astype(np.float32)
    return ObjectTrack("cube", "target", boxes, valid.astype(np.float32), valid,
                       tuple("" if ok else "occluded" for ok in valid))  # fmt: skip


def off_px(found):
    return np.hypot(*((found.boxes_px[:, :2] + found.boxes_px[:, 2:]) / 2 - CENTRES).T)


def wrong_from(frame):
    boxes = TRUTH.copy()
    boxes[frame:] = (250, 180, 271, 201)
    return boxes


def test_one_box_mends_the_track_after_a_switch(greys):
    """The part before the switch, where both agree, stays as it was."""
    old = track(wrong_from(15))
    found = retrack(old, {20: TRUTH[20]}, STAMPS_S, SIZE_PX, greys.__getitem__)
    np.testing.assert_array_equal(found.boxes_px[20], TRUTH[20].astype(np.float32))
    assert found.valid[:32].all() and np.nanmax(off_px(found)[:32]) < 2.0
    np.testing.assert_array_equal(found.boxes_px[:10], old.boxes_px[:10])
    shown = found.valid & (np.arange(FRAMES) >= 15)
    assert off_px(found)[shown].max() < 5.0, "nothing of what was wrong is left"
    assert set(found.reason) <= {"", LOST}


def test_a_correction_that_agrees_changes_little(greys):
    old = track(TRUTH)
    fix = TRUTH[20] + [0, 0, 2, 2]
    found = retrack(old, {20: fix}, STAMPS_S, SIZE_PX, greys.__getitem__)
    assert found.valid.all()
    changed = np.flatnonzero((found.boxes_px != old.boxes_px).any(axis=1))
    assert 20 in changed and changed.min() >= 15 and changed.max() <= 25


def test_two_boxes_hold_the_frames_between_them(greys):
    found = retrack(track(wrong_from(5)), {8: TRUTH[8], 28: TRUTH[28]}, STAMPS_S, SIZE_PX, greys.__getitem__)
    assert found.valid[5:29].all() and off_px(found)[5:29].max() < 2.0


def test_boxes_that_lead_apart_are_said(greys):
    """Two corrections on different things, ten frames apart: nobody knows which it is between them."""
    still = np.array([60.0, 190.0, 80.0, 210.0])
    rng = np.random.default_rng(2)
    spot = rng.integers(0, 255, (11, 11)).astype(np.uint8)
    images = []
    for grey in greys:
        images.append(grey.copy())
        images[-1][95:106, 30:41] = spot
    old = track(TRUTH, np.zeros(FRAMES, bool))
    found = retrack(old, {10: TRUTH[10], 20: still}, STAMPS_S, SIZE_PX, images.__getitem__)
    assert found.reason[15] == DISAGREE and not found.valid[15]


def test_what_is_lost_is_not_valid(greys):
    """Where nothing can be followed, the old track is doubted up to its next gap, and said so."""
    blind = [grey if i <= 20 else np.full_like(grey, 128) for i, grey in enumerate(greys)]
    valid = np.ones(FRAMES, bool)
    valid[35:38] = False
    found = retrack(track(wrong_from(15), valid), {20: TRUTH[20]}, STAMPS_S, SIZE_PX, blind.__getitem__)
    assert not found.valid[21:38].any() and set(found.reason[21:35]) == {LOST}
    assert found.valid[38:].all(), "behind a gap the old track is another one"


def test_unreadable_frames_and_none_at_all(greys):
    old = track(TRUTH)
    same = retrack(old, {}, STAMPS_S, SIZE_PX, greys.__getitem__)
    np.testing.assert_array_equal(same.boxes_px, old.boxes_px)
    found = retrack(old, {20: TRUTH[20]}, STAMPS_S, SIZE_PX, lambda i: None)
    assert found.valid[20] and not found.valid[21] and found.reason[21] == LOST
