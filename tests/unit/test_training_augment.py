"""Augmentation: what happens to the image happens to its annotation, and a distractor hides nothing that matters."""

from __future__ import annotations

import pytest
import torch
from autofocus_training.augment import Frames, augment, paste, recolour, shift, swap_background, zoom_and_shift
from autofocus_training.config import load_config
from autofocus_training.draws import Draws
from autofocus_training.loader import targets

HEIGHT, WIDTH = 72, 96
BOX = (40.0, 30.0, 48.0, 38.0)


def frames(batch: int = 16, valid: bool = True) -> Frames:
    """Grey images with one white object, the same in all."""
    images = torch.full((batch, 1, HEIGHT, WIDTH, 3), 60, dtype=torch.uint8)
    images[:, :, 30:38, 40:48] = 255
    boxes = torch.tensor(BOX).expand(batch, 1, 1, 4).clone()
    return Frames(images, boxes, torch.full((batch, 1, 1), valid))


def draws(batch: int = 16, step: int = 0) -> Draws:
    return Draws(0, step, slice(None), batch)


SETTINGS = load_config("tiny", [f"image_height_px={HEIGHT}", f"image_width_px={WIDTH}"])


def test_shift_moves_image_and_boxes_alike():
    moved = shift(frames(), 6, draws())
    assert len({tuple(box.tolist()) for box in moved.boxes_px[:, 0, 0]}) > 4
    for image, box in zip(moved.images[:, 0, :, :, 0], moved.boxes_px[:, 0, 0]):
        rows, columns = (image == 255).nonzero(as_tuple=True)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert [float(v) for v in found] == box.tolist()


def test_shift_moves_the_saliency_map_by_as_many_pixels():
    still, moved = frames(), shift(frames(), 6, draws())
    before, after = (targets(each, SETTINGS).union_map(HEIGHT, WIDTH) for each in (still, moved))
    for i in range(16):
        by = (moved.boxes_px[i, 0, 0] - still.boxes_px[i, 0, 0])[:2].int().tolist()
        # Away from the borders, where roll and shift are the same thing.
        torch.testing.assert_close(torch.roll(before[i, 0], (by[1], by[0]), (0, 1)), after[i, 0], atol=1e-5, rtol=0)


def test_an_object_shifted_out_of_the_image_is_no_longer_valid():
    start = frames(64)
    start.boxes_px[:] = torch.tensor([0.0, 0.0, 4.0, 4.0])
    moved = shift(start, 6, draws(64))
    gone = (moved.centres_px()[:, 0, 0] < 0).any(-1)
    assert gone.any() and not gone.all()
    assert torch.equal(moved.valid[:, 0, 0], ~gone)


def test_jitter_changes_colours_within_bounds_and_each_image_differently():
    images = torch.randint(0, 256, (8, 1, 12, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    out = recolour(images, 0.3, 0.0, draws(8))
    change = out.float() - images.float()
    assert (change.abs().mean((1, 2, 3, 4)) > 1.0).all() and change.abs().max() < 0.6 * 255
    assert len(torch.unique(change.mean((1, 2, 3, 4)))) == 8


def test_light_changes_gamma_and_one_side_more_than_the_other():
    images = torch.full((8, 1, HEIGHT, WIDTH, 3), 120, dtype=torch.uint8)
    out = recolour(images, 0.0, 0.6, draws(8)).float()[:, 0, :, :, 0]
    assert len(torch.unique(out.mean((1, 2)))) == 8, "gamma"
    left, right = out[:, :, :8].mean((1, 2)), out[:, :, -8:].mean((1, 2))
    assert ((left - right).abs() > 1.0).sum() >= 6, "a slope"
    black, white = torch.zeros_like(images), torch.full_like(images, 255)
    assert (recolour(black, 0.0, 0.6, draws(8)) == 0).all(), "no light makes black grey"
    assert (recolour(white, 0.0, 0.6, draws(8)) > 150).all()


def test_zoom_scales_image_and_boxes_alike_and_without_it_nothing_is_resampled():
    start = frames()
    moved = zoom_and_shift(start, 0.3, 4, draws())
    sizes = moved.boxes_px[:, 0, 0, 2] - moved.boxes_px[:, 0, 0, 0]
    assert sizes.min() < 7.0 and sizes.max() > 9.0
    for image, box in zip(moved.images[:, 0, :, :, 0], moved.boxes_px[:, 0, 0]):
        weight = (image.float() - 60.0).clamp(min=0.0)
        x = (weight.sum(0) * (torch.arange(WIDTH) + 0.5)).sum() / weight.sum()
        y = (weight.sum(1) * (torch.arange(HEIGHT) + 0.5)).sum() / weight.sum()
        torch.testing.assert_close(torch.stack([x, y]), (box[:2] + box[2:]) / 2, atol=0.1, rtol=0)
        area = weight.sum() / 195.0
        torch.testing.assert_close(area, (box[2] - box[0]) * (box[3] - box[1]), atol=2.0, rtol=0.05)
    still = zoom_and_shift(start, 1e-9, 0, draws())
    assert torch.equal(still.images, start.images)


def test_what_was_before_moves_with_the_image():
    """The centres of the frames before are in the image's own pixels: they go where its pixels go."""
    start = frames()
    centre = start.centres_px()[:, :, :, None]
    start = Frames(start.images, start.boxes_px, start.valid, centre.clone(), start.valid[..., None])
    for moved in (shift(start, 6, draws()), zoom_and_shift(start, 0.2, 3, draws())):
        torch.testing.assert_close(moved.earlier_px[:, :, :, 0], moved.centres_px())


def test_the_background_is_another_sample_s_and_the_objects_stay():
    own, other = frames(), frames()
    other.images[:] = 200
    other.images[:, :, 10:18, 70:78] = 0
    other.boxes_px[:] = torch.tensor([70.0, 10.0, 78.0, 18.0])
    chosen = torch.arange(16) % 2 == 0
    swapped = swap_background(own, other, chosen, 3.0)
    assert torch.equal(swapped.images[~chosen], own.images[~chosen])
    image = swapped.images[0, 0, :, :, 0]
    assert torch.equal(image[27:41, 37:51], own.images[0, 0, 27:41, 37:51, 0]), "the object and a margin around it"
    assert (image[7:21, 67:81] == 60).all(), "where the other has its object there is the sample's own background"
    assert (image == 200).sum() == HEIGHT * WIDTH - 2 * 14 * 14
    assert torch.equal(swapped.boxes_px, own.boxes_px)
    other.valid[:] = False
    assert torch.equal(swap_background(own, other, chosen, 3.0).images, own.images), "no place, no swap"


def test_distractors_keep_ten_pixels_from_annotated_objects():
    start = frames(64)
    after = paste(start, 4, 1.0, 10.0, draws(64))
    changed = (start.images != after.images).any(-1)[:, 0]
    assert changed.any((1, 2)).float().mean() > 0.9
    x0, y0, x1, y1 = (int(v) for v in BOX)
    assert not changed[:, y0 - 10 : y1 + 10, x0 - 10 : x1 + 10].any()
    assert changed[:, y0 - 12 : y1 + 12, x0 - 12 : x1 + 12].any(), "the margin is no wider than asked for"


def test_nothing_is_pasted_where_an_object_s_place_is_unknown():
    start = frames(valid=False)
    assert torch.equal(paste(start, 4, 1.0, 10.0, draws()).images, start.images)


@pytest.mark.parametrize("count", [1, 2])
def test_at_most_so_many_distractors_each_with_its_probability(count):
    start = frames(256)
    after = paste(start, count, 0.5, 0.0, draws(256))
    untouched = (start.images == after.images).flatten(1).all(1).float().mean().item()
    assert abs(untouched - 0.5**count) < 0.12
    assert all(len(torch.unique(image[0].flatten(0, 1), dim=0)) <= 2 + count for image in after.images)


def test_everything_off_changes_nothing():
    config = load_config("tiny", ["jitter=0", "shift_px=0", "paste_shapes=0"])
    assert torch.equal(augment(frames(2), config, draws(2)).images, frames(2).images)


@pytest.mark.parametrize("key", ["jitter=0.3", "light=0.3", "shift_px=3", "zoom=0.2", "paste_shapes=3"])
def test_every_key_of_augmentation_is_live_and_shared_out_alike(key):
    """Each changes the images; and two processes with half a batch each do what one does with all of it."""
    config = load_config("tiny", ["jitter=0", key])
    whole = augment(frames(8), config, draws(8)).images
    assert not torch.equal(whole, frames(8).images)
    halves = [augment(frames(4), config, Draws(0, 0, slice(4 * k, 4 * k + 4), 8)).images for k in (0, 1)]
    assert torch.equal(torch.cat(halves), whole)
