"""Following a drawn box by motion and by its looks: what is plain is not lost, what passes in front not followed."""

import numpy as np
from saliency_server.flow import carry
from saliency_server.patch import carry_patch
from saliency_server.review.retrack import MIN_TRUST

SIZE_PX = (240, 320)
BOX = np.array([100.0, 80.0, 160.0, 140.0])
FRAMES = 30


def plain(i: int, x: int = 50) -> np.ndarray:
    """A small image (120, 160) of an even square on an even table, with a camera's noise."""
    image = np.full((120, 160), 150.0)
    image[40:70, x : x + 30] = 90.0
    return np.clip(image + np.random.default_rng(i).normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)


def off_px(boxes, truth):
    return np.hypot(*((boxes[:, :2] + boxes[:, 2:] - truth[:, :2] - truth[:, 2:]) / 2).T)


def test_a_plain_thing_is_followed_where_flow_alone_loses_it():
    """A corrected box on a plain box or plate was lost after a second: there is nothing in it that moves visibly."""
    images = [plain(i) for i in range(FRAMES)]
    alone = carry(images.__getitem__, range(FRAMES), BOX[None], SIZE_PX)[0]
    found, last_sure = carry_patch(images.__getitem__, range(FRAMES), BOX, SIZE_PX)
    assert np.isnan(alone.boxes_px).any() or alone.trust[-1] < 0.1
    assert off_px(found.boxes_px, np.tile(BOX, (FRAMES, 1))).max() < 6.0
    assert found.trust.min() == 1.0 and last_sure[-1] == FRAMES - 1


def test_a_plain_thing_that_moves_is_followed():
    truth = np.array([BOX + np.array([2, 0, 2, 0]) * i for i in range(FRAMES)])
    images = [plain(i, 50 + i) for i in range(FRAMES)]
    found, _ = carry_patch(images.__getitem__, range(FRAMES), BOX, SIZE_PX)
    assert off_px(found.boxes_px, truth).max() < 6.0


def test_what_passes_in_front_does_not_take_the_box_along():
    """A patterned finger goes over a plain thing: the box does not leave with it."""
    pattern = np.random.default_rng(1).integers(0, 255, (60, 16)).astype(np.uint8)
    images = []
    for i in range(FRAMES):
        image = plain(i)
        left = 5 * i
        image[30:90, left : left + 16] = pattern[:, : 160 - left]
        images.append(image)
    found, _ = carry_patch(images.__getitem__, range(FRAMES), BOX, SIZE_PX)
    trusted = found.trust >= MIN_TRUST
    off = off_px(found.boxes_px, np.tile(BOX, (FRAMES, 1)))
    assert trusted[:6].all() and np.nanmax(off[trusted]) < 30.0, "half of the box's side"
    assert not trusted[-1] or off[-1] < 6.0


def test_unreadable_frames_are_bridged():
    images = [plain(i) if i % 5 else None for i in range(FRAMES)]
    images[0] = plain(0)
    found, _ = carry_patch(images.__getitem__, range(FRAMES), BOX, SIZE_PX)
    assert not np.isnan(found.boxes_px[:-1]).any()
    nothing, _ = carry_patch(lambda i: None, range(3), BOX, SIZE_PX)
    assert np.isnan(nothing.boxes_px[1:]).all()
