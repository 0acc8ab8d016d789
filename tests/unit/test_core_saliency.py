"""Saliency maps and distances against numbers worked out by hand."""

import numpy as np
import pytest
from autofocus_core import saliency
from autofocus_core.errors import AutofocusError

NAN_BOX = [np.nan] * 4


def test_a_gaussian_about_the_box_centre_on_a_4x4_grid():
    # An 8x8 frame on 4x4 cells: cell centres are at 1, 3, 5, 7 px; the box centre (3, 5) is cell (row 2, column 1).
    maps = saliency.gaussian_maps(np.array([[2, 4, 4, 6]], float), (4, 4), (8, 8), sigma_px=2.0)
    a, b, c = np.exp(-0.5), np.exp(-2.0), 1.0  # 2 px, 4 px and 0 px away, sigma 2
    x = np.array([a, c, a, b])
    y = np.array([b, a, c, a])
    np.testing.assert_allclose(maps[0], np.outer(y, x), rtol=1e-6)
    assert maps.dtype == np.float32
    assert maps.shape == (1, 4, 4)


def test_absent_boxes_give_zeros_and_wide_frames_keep_their_pixels():
    maps = saliency.gaussian_maps(np.array([NAN_BOX, [0, 0, 32, 8]]), (2, 4), (8, 32), sigma_px=4.0)
    assert not maps[0].any()
    np.testing.assert_allclose(maps[1].max(), np.exp(-(4**2 + 2**2) / 32), rtol=1e-6)
    assert saliency.gaussian_maps(np.zeros((0, 4)), (2, 2), (8, 8), 1.0).shape == (0, 2, 2)
    with pytest.raises(AutofocusError, match="sigma"):
        saliency.gaussian_maps(np.zeros((1, 4)), (2, 2), (8, 8), 0.0)


def test_union_is_the_normalised_sum():
    first, second = np.zeros((2, 4, 4), np.float32)
    first[1, 1], second[2, 2], second[1, 1] = 1.0, 0.5, 1.0
    union = saliency.union_map(np.stack([first, second]))
    expected = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.25, 0], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(union, expected)
    assert not saliency.union_map(np.zeros((0, 4, 4))).any()


def test_minmax_and_constant_maps():
    np.testing.assert_allclose(saliency.minmax(np.array([[2.0, 4.0], [3.0, 2.0]])), [[0, 1], [0.5, 0]])
    assert not saliency.minmax(np.full((3, 4, 4), 0.7)).any()


def test_aggregation_forgets_with_alpha():
    maps = np.zeros((3, 2, 2), np.float32)
    maps[0, 0, 0] = maps[1, 0, 1] = maps[2, 1, 0] = 1.0
    out = saliency.aggregate(maps, 0.5)
    np.testing.assert_allclose(out[2], [[0.25, 0.5], [1.0, 0.0]])
    np.testing.assert_allclose(saliency.aggregate(maps, 1.0)[2], [[1, 1], [1, 0]])
    with pytest.raises(AutofocusError):
        saliency.aggregate(maps, 0.0)


A = np.array([[4.0, 0.0], [0.0, 0.0]])
B = np.array([[1.0, 1.0], [1.0, 1.0]])


def test_distances_by_hand():
    eps = saliency.EPSILON
    np.testing.assert_allclose(saliency.kl(A, B), np.log((1 + eps) / (0.25 + eps)), rtol=1e-9)
    np.testing.assert_allclose(saliency.tv(A, B), 0.75 + 3 * 0.25)
    np.testing.assert_allclose(saliency.l1(A, B), 6 / 4)
    np.testing.assert_allclose(saliency.mse(A, B), (9 + 3) / 4)
    middle = np.array([0.625, 0.125, 0.125, 0.125])
    by_hand = 0.5 * np.log(1 / middle[0]) + 0.5 * (0.25 * np.log(0.25 / middle)).sum()
    np.testing.assert_allclose(saliency.js(A, B), by_hand, atol=1e-5)


@pytest.mark.parametrize("name", saliency.DISTANCES)
def test_distances_of_equal_maps_are_zero_and_batches_are_singles(name):
    distance = saliency.DISTANCES[name]
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 5, 4, 4))
    np.testing.assert_allclose(distance(one, one), np.zeros(5), atol=1e-12)
    np.testing.assert_allclose(distance(one, other), [distance(a, b) for a, b in zip(one, other)])
    assert (distance(one, other) > 0).all()


def test_a_map_without_mass_is_uniform_not_nan():
    np.testing.assert_allclose(saliency.normalise(np.zeros((2, 2))), np.full((2, 2), 0.25))
    assert np.isfinite(saliency.kl(np.zeros((4, 4)), np.eye(4)))


def test_a_gaussian_shaped_by_the_box_has_one_sigma_to_each_side():
    maps = saliency.box_gaussian_maps(np.array([[0, 2, 16, 6], NAN_BOX]), (8, 16), (8, 16))
    assert maps.shape == (2, 8, 16) and not maps[1].any()
    # cells are pixels: the centre is (8, 4); cell (row 3, column 15) is 7.5 px and 0.5 px away, sigmas 8 and 2
    np.testing.assert_allclose(maps[0, 3, 15], np.exp(-(7.5**2) / 128 - 0.25 / 8), rtol=1e-6)
    speck = saliency.box_gaussian_maps(np.array([[8, 8, 8.1, 8.1]]), (4, 4), (16, 16))
    assert speck[0].max() > 0.5  # a thing smaller than a cell does not fall between the cells


def test_a_filled_box_covers_cells_by_share():
    maps = saliency.box_maps(np.array([[1, 0, 4, 2], NAN_BOX, [-5, -5, 99, 99]]), (2, 4), (4, 8))
    np.testing.assert_allclose(maps[0], [[0.5, 1, 0, 0], [0, 0, 0, 0]])
    assert not maps[1].any() and (maps[2] == 1).all()


def test_maps_by_kind_and_an_unknown_kind_is_refused():
    boxes = np.array([[1, 0, 4, 2]])
    for kind, function in (("box", saliency.box_gaussian_maps), ("mask", saliency.box_maps)):
        same = saliency.object_maps(kind, boxes, (2, 4), (4, 8), 3.0)
        np.testing.assert_array_equal(same, function(boxes, (2, 4), (4, 8)))
    centred = saliency.object_maps("gaussian", boxes, (2, 4), (4, 8), 3.0)
    np.testing.assert_array_equal(centred, saliency.gaussian_maps(boxes, (2, 4), (4, 8), 3.0))
    with pytest.raises(AutofocusError, match="heat"):
        saliency.object_maps("heat", boxes, (2, 4), (4, 8), 3.0)
