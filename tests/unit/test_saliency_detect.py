"""Colour words find their things, in any light, and nothing else."""

import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from saliency_scenes import BLUE, BROWN, ORANGE, RED, WHITE, blank, box, ellipse, lit
from saliency_server.colours import TERMS, membership_images, membership_table
from saliency_server.detect import ColourTermDetector
from saliency_server.phrases import parse_phrase

CUBE, GRIPPER, PLATE = parse_phrase("red cube"), parse_phrase("orange gripper"), parse_phrase("white plate")
PAINTS = {
    "red": (200, 30, 30), "orange": (255, 128, 0), "yellow": (230, 200, 20), "green": (30, 140, 60),
    "cyan": (0, 200, 210), "blue": (40, 80, 200), "purple": (110, 50, 160), "pink": (255, 150, 190),
    "brown": (110, 65, 30), "white": (245, 245, 245), "grey": (120, 120, 120), "black": (20, 20, 20),
}  # fmt: skip


def detect(image, *things):
    return ColourTermDetector().detect([image], things)[0]


@pytest.mark.parametrize("term", TERMS)
def test_each_word_deserves_its_own_paint_most(term):
    patches = np.array([[PAINTS[name] for name in TERMS]], dtype=np.uint8)
    deserved = membership_images(patches, [term])[0][0]
    assert deserved[TERMS.index(term)] >= 128
    others = np.delete(deserved, TERMS.index(term))
    assert (others < deserved[TERMS.index(term)]).all()


def test_a_table_is_as_fine_as_the_arithmetic():
    assert membership_table("red").shape == (64**3,)


def test_the_centre_is_sub_pixel():
    for offset in (0.0, 0.25, 0.5, 0.75):
        (found,) = detect(box(blank(), (100 + offset, 80.5), (21, 17), RED), CUBE)[0]
        assert found.centre_px == pytest.approx((100 + offset, 80.5), abs=0.3)
        assert found.box_px == pytest.approx((100 + offset - 10.5, 72, 100 + offset + 10.5, 89), abs=1.0)


def test_red_and_orange_are_two_things_even_when_they_touch():
    scene = box(box(blank(), (100.5, 80.5), (21, 21), RED), (116.5, 80.5), (11, 21), ORANGE)
    (cube,), (tip,) = detect(scene, CUBE, GRIPPER)
    assert cube.centre_px == pytest.approx((100.5, 80.5), abs=0.7)
    assert tip.centre_px == pytest.approx((116.5, 80.5), abs=0.7)


@pytest.mark.parametrize("gain", [(0.45,) * 3, (0.7,) * 3, (1.15,) * 3, (1.0, 0.92, 0.8), (0.85, 0.93, 1.0)])
def test_light_may_be_weak_strong_warm_or_cold(gain):
    scene = lit(box(box(blank(), (100.5, 80.5), (21, 21), RED), (200.5, 150.5), (11, 21), ORANGE), gain)
    (cube,), (tip,) = detect(scene, CUBE, GRIPPER)
    assert cube.centre_px == pytest.approx((100.5, 80.5), abs=0.5)
    assert tip.centre_px == pytest.approx((200.5, 150.5), abs=0.5)


def test_a_brown_box_is_a_worse_orange_and_red_than_the_real_ones():
    """An early version took the brown distractor of the unseen condition for part of the orange gripper."""
    scene = box(box(blank(), (60.5, 80.5), (25, 25), BROWN), (200.5, 80.5), (11, 21), ORANGE)
    scene = box(scene, (120.5, 40.5), (21, 21), RED)
    for things in detect(scene, CUBE, GRIPPER):
        assert things[0].score > 0.95
        assert all(other.score < 0.7 for other in things[1:])


def test_all_candidates_of_the_same_colour_are_returned():
    scene = box(box(blank(), (60.5, 80.5), (21, 21), RED), (200.5, 80.5), (21, 21), RED)
    assert len(detect(scene, CUBE)[0]) == 2


def test_a_thin_stripe_is_no_cube_and_a_speck_is_nothing():
    scene = box(box(blank(), (160.5, 80.5), (200, 4), RED), (60.5, 200.5), (3, 3), RED)
    assert all(found.score < 0.4 for found in detect(scene, CUBE)[0])


def test_a_white_plate_on_a_pale_table():
    """At one fixed lightness plate and table were one patch, and the plate was not found in one scene in four."""
    scene = ellipse(blank(table=(206, 200, 177)), (200, 140), (30, 20), WHITE)
    (plate,) = detect(scene, PLATE)[0]
    assert plate.centre_px == pytest.approx((200.5, 140.5), abs=1.0)


def test_nothing_there_gives_nothing():
    assert detect(box(blank(), (60.5, 80.5), (25, 25), BLUE), CUBE, GRIPPER) == ((), ())


def test_a_name_without_a_colour_is_refused_with_the_words_that_are_known():
    with pytest.raises(AutofocusError, match="turquoise"):
        ColourTermDetector().prepare([parse_phrase("pot")])
