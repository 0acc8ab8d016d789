"""Looking at a bag's frames: by number, in batches, sparsely; and the pictures that questions show."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from annotate_bags import write_bag
from autofocus_core.bags import open_bag
from autofocus_core.schema import load_robot, load_task
from saliency_scenes import blank
from saliency_server import looker as looker_module
from saliency_server.detect import ColourTermDetector
from saliency_server.draw import contact_sheet, numbered_boxes
from saliency_server.looker import GREY_SIDE_PX, BagLooker
from saliency_server.phrases import parse_phrase
from saliency_server.pipeline import Options, annotate_episode
from vlm_scenes import plates, write_scene

CONFIG = Path(__file__).parents[2] / "ros2_ws/src/autofocus_sim/config"
RED_CUBE = parse_phrase("red cube")


@pytest.fixture(scope="module")
def robot():
    return load_robot(CONFIG / "sim_arm.yaml")


class Counting(ColourTermDetector):
    """Counts the images it is shown."""

    def __init__(self):
        self.batches = []

    def detect(self, images, objects):
        self.batches.append(len(images))
        return super().detect(images, objects)


def test_every_frame_is_shown_once_in_batches_and_greys_are_made_when_asked_for(tmp_path, robot):
    write_bag(tmp_path / "bag", "jpeg", damaged=(7,), frames=20)
    detector = Counting()
    with open_bag(tmp_path / "bag") as bag:
        looker = BagLooker(bag, robot.cameras[0], detector, [RED_CUBE], batch=8, every=True)
        found = looker.detect(range(20))
        assert detector.batches == [8, 8, 3]
        assert found[7] == ((),) and all(found[i][0] for i in range(20) if i != 7)
        assert looker.frames.unusable[7] == "unreadable image" and looker.grey(7) is None
        assert max(looker.grey(0).shape) == GREY_SIDE_PX
        images = dict(looker.images([3, 7, 5]))
        assert sorted(images) == [3, 5] and images[3].shape == (240, 320, 3)
        other = looker.looking_for([parse_phrase("orange gripper")])
        assert other.detect([4])[0][0] and looker.detect([4]) == [found[4]]


@pytest.mark.parametrize("room", [0, 2**28])
def test_sparsely_the_detector_sees_what_it_is_asked_for_and_nothing_twice(tmp_path, robot, monkeypatch, room):
    monkeypatch.setattr(looker_module, "KEEP_BYTES", room)
    write_bag(tmp_path / "bag", frames=20)
    detector = Counting()
    with open_bag(tmp_path / "bag") as bag:
        looker = BagLooker(bag, robot.cameras[0], detector, [RED_CUBE], batch=8, every=False)
        assert detector.batches == [] and looker.grey(19) is not None
        looker.detect([0, 10, 19])
        looker.detect([10, 5])
    assert detector.batches == [3, 1]


def test_on_keyframes_the_things_are_followed_between_them(tmp_path, robot, monkeypatch):
    shown = []
    detect = ColourTermDetector.detect

    def noting(self, images, things):
        shown.append(len(images))
        return detect(self, images, things)

    monkeypatch.setattr(ColourTermDetector, "detect", noting)
    task = dataclasses.replace(load_task(CONFIG / "lift.yaml"), objects=("red cube", "blue cube"))
    path = write_scene(tmp_path / "bag")
    camera = annotate_episode(path, robot, task, Options(keyframe_s=0.25)).cameras[0]
    assert sum(shown) <= 20  # of 60
    red = camera.object("red cube")
    centre = (red.boxes_px[:, :2] + red.boxes_px[:, 2:]) / 2
    truth = np.stack([80 + np.arange(60), np.full(60, 120)], axis=1)
    assert camera.valid.mean() > 0.95
    assert np.nanmax(np.abs(centre - truth)[red.valid]) < 3.0


def test_numbers_stay_in_the_picture_and_apart():
    boxes = [(1, np.array([0, 0, 20, 20])), (2, np.array([2, 0, 22, 20])), (3, np.array([300, 220, 320, 240.0]))]
    picture = numbered_boxes(blank(), boxes)
    assert picture.shape == (480, 640, 3) and plates(picture) >= 3
    large = np.full((720, 1280, 3), 90, np.uint8)
    drawn = numbered_boxes(large, [(1, np.array([600, 300, 700, 400]))])
    assert drawn.shape == large.shape and (large == 90).all() and not (drawn == large).all()


def test_a_contact_sheet_has_the_images_in_rows():
    sheet = contact_sheet([np.full((240, 320, 3), 40 * (i + 1), np.uint8) for i in range(5)])
    assert sheet.shape == (480, 960, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((5, 5), (5, 325), (5, 645), (245, 5), (245, 325), (245, 645))] == [
        40, 80, 120, 160, 200, 0
    ]
    assert contact_sheet([blank()]).shape == (240, 320, 3)
