"""A person's decisions: written and read strictly, applied to an annotation, honoured by training."""

import dataclasses
import json

import numpy as np
import pytest
import training_bags as bags
from autofocus_core.annotation import Annotation, CameraAnnotation, ObjectTrack, read_annotation
from autofocus_core.episode import content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.review import (
    Added,
    Corrected,
    Dropped,
    Retracked,
    Review,
    apply_review,
    read_review,
    read_reviewed,
    review_path,
    write_review,
)
from autofocus_training.config import load_config
from autofocus_training.data import load_dataset
from autofocus_training.selection import select_episodes

STAMPS = np.arange(1, 5, dtype=np.int64) * 10**9


def track(name, valid, reason="occluded", role="target", x=10.0):
    boxes = np.tile(np.array([x, 5.0, x + 10, 15.0], np.float32), (len(valid), 1))
    boxes[~np.array(valid)] = np.nan
    return ObjectTrack(
        name, role, boxes, np.array(valid, np.float32), np.array(valid), tuple("" if ok else reason for ok in valid)
    )


def annotation(objects, reason):
    valid = np.array([not why for why in reason])
    camera = CameraAnnotation("camera", 64, 48, STAMPS, tuple(objects), valid, tuple(reason))
    return Annotation("e", "hash", "lift", "lift it", (camera,))


@pytest.fixture
def episode(tmp_path):
    return bags.write_episode(tmp_path / "lift_1", frames=12)


def whole(episode):
    """One decision of each sort."""
    camera = read_annotation(episode).camera("camera")
    again = track("red cube", [True] * 12, x=20.0)
    cup = track("cup; x: y", [True] * 11 + [False], "lost", "goal")
    return Review(
        episode.name, content_hash(episode), "accepted", (Dropped("camera", "gripper"),),
        (Corrected("camera", "red cube", int(camera.stamps_ns[3]), (20.0, 5.0, 30.0, 15.0)),
         Corrected("camera", "cup; x: y", int(camera.stamps_ns[0]), (10.0, 5.0, 20.0, 15.0))),
        (Added("camera", "cup; x: y", "goal"),), (Retracked("camera", again), Retracked("camera", cup)), "why <b>",
    )  # fmt: skip


def test_what_is_written_is_read(episode):
    review = whole(episode)
    path = write_review(review, episode)
    assert path == review_path(episode) == episode.with_name("lift_1.review.json")
    found = read_review(episode)
    assert found.date.endswith("+00:00")
    same = dataclasses.replace(found, date="", tracks=())
    assert same == dataclasses.replace(review, tracks=())
    np.testing.assert_array_equal(found.tracks[0].track.boxes_px, review.tracks[0].track.boxes_px)
    assert [each.track.reason for each in found.tracks] == [each.track.reason for each in review.tracks]
    assert sorted(p.name for p in episode.parent.iterdir()) == ["lift_1", "lift_1.annotation", "lift_1.review.json"]


def test_no_file_is_no_decision(episode):
    assert read_review(episode) is None
    np.testing.assert_array_equal(
        read_reviewed(episode).cameras[0].objects[0].boxes_px, read_annotation(episode).cameras[0].objects[0].boxes_px
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=2), "update AutoFocus-IL"),
        (lambda d: d.update(status="fine"), "open . accepted . rejected"),
        (lambda d: d.update(surprise=1), "unknown key"),
        (lambda d: d.update(note="x" * 4001), "4001 characters"),
        (lambda d: d.update(note=["x"]), "list"),
        (lambda d: d.update(episode_hash="0" * 64), "another recording"),
        (lambda d: d["corrected"][0].update(box_px=[5, 5, 5, 9]), "draw the box again"),
        (lambda d: d["corrected"][0].update(box_px=[5, 5, float("nan"), 9]), "finite numbers"),
        (lambda d: d["dropped"][0].update(object="y" * 81), "81 characters"),
        (lambda d: d["added"][0].update(role="king"), "target"),
        (lambda d: d["tracks"].pop(), "one for each corrected"),
        (lambda d: d["tracks"][0]["valid"].pop(), "do not fit together"),
        (lambda d: d["tracks"][0].update(score="high"), "score"),
        (lambda d: d["tracks"][0]["boxes_px"].__setitem__(2, None), "do not fit together"),
    ],
)
def test_anything_else_is_refused(episode, change, message):
    write_review(whole(episode), episode)
    document = json.loads(review_path(episode).read_text())
    change(document)
    review_path(episode).write_text(json.dumps(document))
    with pytest.raises(AutofocusError, match=message):
        read_review(episode)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_damage_is_said(episode, text):
    review_path(episode).write_text(text)
    with pytest.raises(AutofocusError, match=r"review\.json"):
        read_review(episode)


def test_what_cannot_be_read_is_not_written(episode):
    write_review(whole(episode), episode)
    before = review_path(episode).read_bytes()
    with pytest.raises(AutofocusError, match="4001 characters"):
        write_review(dataclasses.replace(whole(episode), note="x" * 4001), episode)
    assert review_path(episode).read_bytes() == before


def test_a_dropped_object_blames_no_frame():
    """Frames that were not valid because of it are; those with another reason stay as they were."""
    cube = track("cube", [True, True, False, True])
    bowl = track("bowl", [True, False, False, False], "left the image; maybe")
    why = ("", "bowl: left the image; maybe", "cube: occluded; bowl: left the image; maybe", "unreadable image")
    found = apply_review(annotation([cube, bowl], why), Review("e", "hash", dropped=(Dropped("camera", "bowl"),)))
    assert [each.name for each in found.cameras[0].objects] == ["cube"]
    assert found.cameras[0].reason == ("", "", "cube: occluded", "unreadable image")
    np.testing.assert_array_equal(found.cameras[0].valid, [True, True, False, False])


def test_nothing_left_is_nothing_to_look_at():
    found = apply_review(
        annotation([track("cube", [True] * 4)], [""] * 4), Review("e", "hash", dropped=(Dropped("camera", "cube"),))
    )
    assert found.cameras[0].reason == ("nothing to look at",) * 4


def test_filtered_out_stays_filtered_out():
    """An object that the filter did not want in a frame is not missed there after another one was dropped."""
    bowl = track("bowl", [True, False, True, True], "filtered out")
    found = apply_review(
        annotation([track("cube", [True] * 4), bowl, track("cup", [True] * 4)], [""] * 4),
        Review("e", "hash", dropped=(Dropped("camera", "cup"),)),
    )
    assert found.cameras[0].valid.all()


def test_a_track_made_again_replaces_the_annotators():
    cube = track("cube", [True, False, True, True])
    again = track("cube", [True, True, True, False], "lost", x=30.0)
    review = Review("e", "hash", tracks=(Retracked("camera", again), Retracked("camera", track("cup", [True] * 4))))
    found = apply_review(annotation([cube], ["", "cube: occluded", "", ""]), review).cameras[0]
    assert [each.name for each in found.objects] == ["cube", "cup"]
    assert found.objects[0].boxes_px[0, 0] == 30.0
    assert found.reason == ("", "", "", "cube: lost")


def test_a_track_of_other_frames_is_refused():
    review = Review("e", "hash", tracks=(Retracked("camera", track("cube", [True] * 3)),))
    with pytest.raises(AutofocusError, match="3 frames"):
        apply_review(annotation([track("cube", [True] * 4)], [""] * 4), review)


def test_training_honours_decisions(tmp_path):
    """A rejected episode is left out and named; a dropped object is not learned from; a corrected one is, as drawn."""
    paths = [bags.write_episode(tmp_path / name, frames=12) for name in ("a", "b", "c")]
    write_review(Review("a", content_hash(paths[0]), "rejected"), paths[0])
    write_review(Review("b", content_hash(paths[1]), dropped=(Dropped("camera", "red cube"),)), paths[1])
    again = Retracked("camera", track("red cube", [True] * 12, x=20.0))
    write_review(Review("c", content_hash(paths[2]), "accepted", tracks=(again,)), paths[2])

    selection = select_episodes([tmp_path], bags.robot())
    assert [episode.id for episode in selection.kept] == ["b", "c"]
    assert "left out 1 episodes rejected in review: a" in selection.lines()

    config = load_config("tiny", ["method=reg-mse"])
    found = load_dataset(selection.kept, bags.robot(), bags.task(), config)
    cube = found.objects.index("red cube")
    in_b = found.samples.episodes == 0
    assert not found.samples.valid[in_b, 0, cube].any() and found.samples.valid[~in_b, 0, cube].all()
    width = config.image_size[1]
    left_px = found.samples.boxes_px[~in_b, 0, cube, 0]
    np.testing.assert_allclose(left_px.numpy(), 20.0 * width / bags.WIDTH)
    assert found.hash != load_dataset(selection.kept[:1], bags.robot(), bags.task(), config).hash


def test_only_rejected_ones_is_said(tmp_path):
    path = bags.write_episode(tmp_path / "a", frames=5)
    write_review(Review("a", content_hash(path), "rejected"), path)
    with pytest.raises(AutofocusError, match="1 rejected in review"):
        select_episodes([tmp_path], bags.robot())
