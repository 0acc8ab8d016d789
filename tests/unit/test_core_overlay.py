"""The picture of where the policy looks."""

import numpy as np
from autofocus_core.overlay import COLOURS, draw_overlay

GREY = np.full((48, 64, 3), 100, np.uint8)


def test_each_map_shows_in_its_own_colour_where_it_is_high():
    maps = np.zeros((2, 3, 4), np.float32)
    maps[0, 0, 0], maps[1, 2, 3] = 0.9, 0.01  # scaled to its own maximum: a faint map shows as well
    before, out = (GREY.copy(), maps.copy()), draw_overlay(GREY, maps)
    assert out.shape == GREY.shape and out.dtype == np.uint8
    for place, colour in (((2, 2), COLOURS[0]), ((-3, -3), COLOURS[1])):
        np.testing.assert_allclose(out[place], 0.75 * np.array(colour) + 0.25 * 60, atol=2)
    np.testing.assert_array_equal(out[24, 32], (60, 60, 60))
    np.testing.assert_array_equal(before[0], GREY)
    np.testing.assert_array_equal(before[1], maps)


def test_a_method_without_attention_leaves_the_picture():
    np.testing.assert_array_equal(draw_overlay(GREY, np.zeros((1, 4, 4), np.float32)), np.full_like(GREY, 60))


def test_more_objects_than_colours():
    out = draw_overlay(GREY, np.full((9, 2, 2), 0.25, np.float32))
    np.testing.assert_array_equal(out, np.broadcast_to(out[0, 0], out.shape))
