"""Measures of attention and of covered images: figures that can be counted by hand."""

import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.looking import (
    action_change,
    attention_share,
    background_boxes,
    blank,
    cells_on,
    chance,
    kl_to_map,
    pointing_hit,
)

SIZE = (40, 60)  # a grid of 4x6 has cells of 10 px
BOXES = np.array([[10, 10, 20, 20], [42, 22, 48, 28]], float)  # exactly cell (1, 1); inside cell (2, 4)
BOTH = np.array([True, True])


def peaks(*cells, mass=1.0, floor=0.0):
    maps = np.full((len(cells), 4, 6), floor)
    for k, cell in enumerate(cells):
        maps[k][cell] = mass
    return maps


def test_a_cell_is_on_a_box_that_it_overlaps():
    on = cells_on(BOXES, (4, 6), SIZE)
    assert [np.argwhere(each).tolist() for each in on] == [[[1, 1]], [[2, 4]]]
    across = cells_on(np.array([[19.5, 0, 20.5, 9], [np.nan] * 4]), (4, 6), SIZE)
    assert np.argwhere(across[0]).tolist() == [[0, 1], [0, 2]] and not across[1].any()


def test_share_of_one_map_and_of_a_map_for_each_object():
    one = np.zeros((1, 4, 6))
    one[0, 1, 1], one[0, 0, 0] = 3.0, 1.0
    assert attention_share(one, BOXES, BOTH, SIZE) == pytest.approx(0.75)
    assert attention_share(peaks((1, 1), (2, 4)), BOXES, BOTH, SIZE) == 1.0
    assert attention_share(peaks((1, 1), (0, 0)), BOXES, BOTH, SIZE) == 0.5
    # The map of an object that is not to be seen says nothing, wherever it is.
    assert attention_share(peaks((1, 1), (0, 0)), BOXES, np.array([True, False]), SIZE) == 1.0
    assert chance((4, 6), BOXES, BOTH, SIZE) == pytest.approx(2 / 24)


def test_the_pointing_game_is_stricter_with_a_map_for_each_object():
    one = np.full((1, 4, 6), 0.1)
    one[0, 2, 4] = 1.0
    assert pointing_hit(one, BOXES, BOTH, SIZE) is True
    assert pointing_hit(peaks((1, 1), (2, 4)), BOXES, BOTH, SIZE) is True
    assert pointing_hit(peaks((2, 4), (1, 1)), BOXES, BOTH, SIZE) is False  # swapped
    assert pointing_hit(peaks((2, 4)), BOXES[:1], BOTH[:1], SIZE) is False


def test_kl_is_small_for_the_target_itself_and_grows_with_distance():
    at, beside, away = (kl_to_map(peaks(cell, floor=0.01), BOXES[:1], BOTH[:1], SIZE, sigma_px=5.0)
                        for cell in ((1, 1), (1, 2), (3, 5)))
    assert 0 <= at < 0.7 and at + 1.0 < beside < away
    assert np.isfinite(kl_to_map(peaks((1, 1), (2, 4)), BOXES, BOTH, SIZE))  # sigma a 24th of the height: below a cell


def test_nothing_valid_is_not_a_figure():
    for boxes, valid, maps in ((BOXES, ~BOTH, peaks((1, 1), (2, 4))), (BOXES * np.nan, BOTH, peaks((1, 1), (2, 4))),
                               (BOXES, BOTH, np.zeros((1, 4, 6)))):
        assert np.isnan(attention_share(maps, boxes, valid, SIZE)) and np.isnan(kl_to_map(maps, boxes, valid, SIZE))
        assert pointing_hit(maps, boxes, valid, SIZE) is None
    with pytest.raises(AutofocusError, match="one map for each object"):
        attention_share(np.ones((3, 4, 6)), BOXES, BOTH, SIZE)


def test_blanking_takes_the_thing_away_and_leaves_the_rest():
    image = np.full((40, 60, 3), 90, np.uint8)
    image[10:20, 10:20] = (200, 10, 10)
    gone = blank(image, BOXES[0])
    assert (gone == 90).all() and (image[12, 12] == (200, 10, 10)).all()
    painted = blank(image, (-5, 30.5, 5, 99), (1, 2, 3))
    assert (painted[30:, :5] == (1, 2, 3)).all() and (painted[:30] == image[:30]).all()
    for box in ((60, 0, 70, 10), (np.nan,) * 4, (5, 5, 5, 9)):
        with pytest.raises(AutofocusError, match="overlap an image"):
            blank(image, box)
    assert (blank(image, (0, 0, 60, 40)) == 90).all()  # nothing around it


def test_background_boxes_avoid_the_objects_and_are_always_the_same():
    boxes = background_boxes((10, 8), BOXES, SIZE, 12)
    assert len(boxes) == 12 and np.array_equal(boxes, background_boxes((10, 8), BOXES, SIZE, 12))
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], np.tile([10, 8], (12, 1)))
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= 60).all() and (boxes[:, 3] <= 40).all()
    for box in boxes:
        for other in BOXES:
            assert box[0] >= other[2] or box[2] <= other[0] or box[1] >= other[3] or box[3] <= other[1]
    assert len(background_boxes((61, 8), BOXES, SIZE, 12)) == 0
    assert len(background_boxes((30, 30), np.array([[0, 0, 60, 40.0]]), SIZE, 3)) == 0


def test_action_change_is_in_shares_of_the_scale():
    base = np.zeros((8, 2))
    assert action_change(base, base + np.array([0.3, 0.03]), np.array([0.3, 0.3])) == pytest.approx(0.55)
