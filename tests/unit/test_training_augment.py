"""Augmentation: what happens to the image happens to its annotation, and a distractor hides nothing that matters."""

from __future__ import annotations

import pytest
import torch
from autofocus_training.augment import Frames, augment, colour_jitter, paste, shift
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
    images = torch.rand(8, 1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    out = colour_jitter(images, 0.3, draws(8))
    assert out.min() >= 0 and out.max() <= 1
    assert ((out - images).abs().mean((1, 2, 3, 4)) > 0.005).all()
    assert len(torch.unique((out - images).mean((1, 2, 3, 4)))) == 8


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
    images, _ = augment(frames(2), config, draws(2))
    assert torch.equal((images * 255).round().to(torch.uint8), frames(2).images.permute(0, 1, 4, 2, 3))
