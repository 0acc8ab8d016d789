"""Annotations come back as written, as a bag in standard messages, and only for the recording they are of."""

import dataclasses
import json

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.annotation import (
    Annotation,
    CameraAnnotation,
    MapStyle,
    ObjectTrack,
    read_annotation,
    write_annotation,
)
from autofocus_core.bags import open_bag
from autofocus_core.episode import content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.images import read_images
from autofocus_core.saliency import aggregate, box_maps, gaussian_maps, union_map

N = 4
STAMPS = samples.T0_NS + np.arange(N, dtype=np.int64) * 33 * samples.MS


def track(name, boxes, valid, role="target"):
    valid = np.array(valid)
    return ObjectTrack(
        name=name,
        role=role,
        boxes_px=np.array(boxes, np.float32),
        score=np.linspace(0.5, 1, N).astype(np.float32),
        valid=valid,
        reason=tuple("" if ok else "not seen" for ok in valid),
    )


@pytest.fixture
def episode(tmp_path):
    return samples.write_bag(tmp_path / "episode", samples.small_recording())


@pytest.fixture
def annotation(episode):
    cube = track(
        "red cube", [[10, 20, 30, 40], [11, 20, 31, 40], [np.nan] * 4, [12, 21, 32, 41]], [True, True, False, True]
    )
    grip = track("orange gripper", [[100, 50, 120, 60]] * N, [True] * N, "gripper")
    valid = np.array([True, True, False, True])
    camera = CameraAnnotation("front", 160, 120, STAMPS, (cube, grip), valid, ("", "", "red cube lost", ""))
    return Annotation(
        "episode", content_hash(episode), "lift", "lift the red cube", (camera,), {"detector": "colours", "n": 3}
    )


def test_it_comes_back(episode, annotation):
    path = write_annotation(annotation, episode)
    assert path == episode.with_name("episode.annotation")
    back = read_annotation(episode)
    assert (back.task, back.instruction, back.provenance) == (
        "lift",
        "lift the red cube",
        {"detector": "colours", "n": 3},
    )
    camera, expected = back.camera("front"), annotation.camera("front")
    np.testing.assert_array_equal(camera.stamps_ns, STAMPS)
    np.testing.assert_array_equal(camera.valid, expected.valid)
    assert camera.reason == expected.reason
    for one, other in zip(camera.objects, expected.objects, strict=True):
        assert (one.name, one.role, one.reason) == (other.name, other.role, other.reason)
        np.testing.assert_allclose(one.boxes_px, other.boxes_px, atol=0.01)
        np.testing.assert_allclose(one.score, other.score, atol=1e-3)
        np.testing.assert_array_equal(one.valid, other.valid)
    assert camera.object("orange gripper").role == "gripper"
    with pytest.raises(AutofocusError, match="red cube"):
        camera.object("blue cube")


def test_the_bag_shows_maps_and_boxes_under_the_images_stamps(episode, annotation):
    path = write_annotation(annotation, episode, sigma_px=8.0)
    with open_bag(path) as bag:
        assert set(bag.topics) == {"/saliency/front/map/compressed", "/saliency/front/boxes"}
        maps = list(read_images(bag, "/saliency/front/map/compressed"))
        boxes = [msg for _, msg in bag.decoded(["/saliency/front/boxes"])]
    assert [stamp for stamp, _, _ in maps] == STAMPS[[0, 1, 3]].tolist()  # none for the frame that is not valid
    tracks = annotation.cameras[0].objects
    expected = union_map(gaussian_maps(np.stack([t.boxes_px[0] for t in tracks]), (30, 40), (120, 160), 8.0))
    np.testing.assert_allclose(maps[0][2][..., 0] / 255, expected, atol=0.003)
    assert len(boxes) == 2 * N
    first, lost = boxes[0], boxes[4]
    assert (first.ns, first.position.x, first.position.y) == ("red cube", 20.0, 30.0)
    assert [(p.x, p.y) for p in first.points] == [(10, 20), (30, 20), (30, 40), (10, 40)]
    assert (first.action, lost.action, len(lost.points)) == (0, 1, 0)


def test_writing_again_replaces(episode, annotation):
    write_annotation(annotation, episode)
    write_annotation(dataclasses.replace(annotation, provenance={"second": True}), episode)
    assert read_annotation(episode).provenance == {"second": True}
    assert sorted(entry.name for entry in episode.parent.iterdir()) == ["episode", "episode.annotation"]


def test_a_missing_annotation_names_the_command(episode):
    with pytest.raises(AutofocusError) as error:
        read_annotation(episode)
    assert "autofocus annotate" in error.value.fix


def test_an_annotation_of_another_recording_is_refused(episode, annotation):
    write_annotation(dataclasses.replace(annotation, episode_hash="0" * 64), episode)
    with pytest.raises(AutofocusError, match="another recording"):
        read_annotation(episode)
    assert read_annotation(episode, verify=False).task == "lift"


def test_arrays_must_fit(episode, annotation):
    camera = annotation.cameras[0]
    short = dataclasses.replace(camera, valid=camera.valid[:2])
    shuffled = dataclasses.replace(camera, stamps_ns=STAMPS[::-1])
    boxless = dataclasses.replace(camera, objects=(dataclasses.replace(camera.objects[0], valid=np.ones(N, bool)),))
    for wrong, said in ((short, "lengths"), (shuffled, "rise"), (boxless, "without a box")):
        with pytest.raises(AutofocusError, match=said):
            write_annotation(dataclasses.replace(annotation, cameras=(wrong,)), episode)


@pytest.mark.parametrize("change", [{"schema": 9}, {"mood": "good"}, {"task": None}])
def test_bad_files_are_refused(episode, annotation, change):
    sidecar = write_annotation(annotation, episode) / "annotation.json"
    document = json.loads(sidecar.read_text()) | change
    sidecar.write_text(json.dumps(document))
    with pytest.raises(AutofocusError):
        read_annotation(episode)


def test_maps_of_another_kind_fade_over_time_and_the_style_comes_back(episode, annotation):
    style = MapStyle("mask", 0.5)
    path = write_annotation(dataclasses.replace(annotation, maps=style), episode)
    assert read_annotation(episode).maps == style
    with open_bag(path) as bag:
        maps = [image[..., 0] / 255 for _, _, image in read_images(bag, "/saliency/front/map/compressed")]
    tracks = annotation.cameras[0].objects
    single = [box_maps(np.stack([t.boxes_px[i] for t in tracks]), (30, 40), (120, 160)).sum(axis=0) for i in (0, 1)]
    np.testing.assert_allclose(maps[1], aggregate(np.stack(single), 0.5)[1], atol=0.003)
    for wrong in (("heat", 0.0), ("mask", 1.0), ("mask", -0.1)):
        with pytest.raises(AutofocusError):
            MapStyle(*wrong)


def test_what_it_took_is_in_a_file_of_its_own_and_all_others_are_the_same_bytes(episode, annotation):
    contents = []
    for seconds in (1.0, 2.0):
        path = write_annotation(dataclasses.replace(annotation, run={"seconds": seconds}), episode)
        assert read_annotation(episode).run == {"seconds": seconds}
        contents.append({file.name: file.read_bytes() for file in path.iterdir() if file.name != "run.json"})
    assert contents[0] == contents[1]
    (path / "run.json").write_text("{")
    assert read_annotation(episode).run == {}


def test_an_annotation_of_version_1_is_read(episode, annotation):
    sidecar = write_annotation(annotation, episode) / "annotation.json"
    document = json.loads(sidecar.read_text()) | {"schema": 1}
    del document["maps"]
    sidecar.write_text(json.dumps(document))
    assert read_annotation(episode).maps == MapStyle()


def test_masks_come_back_and_are_what_the_map_shows(episode, annotation):
    masks = np.zeros((N, 30, 40), bool)
    masks[0, 5:9, 3:7], masks[1, 0, 0], masks[3] = True, True, True
    tracks = (dataclasses.replace(annotation.cameras[0].objects[0], masks=masks),)
    camera = dataclasses.replace(annotation.cameras[0], objects=tracks)
    path = write_annotation(dataclasses.replace(annotation, cameras=(camera,), maps=MapStyle("mask")), episode)
    back = read_annotation(episode).cameras[0].objects[0].masks
    np.testing.assert_array_equal(back, masks)
    with open_bag(path) as bag:
        first = next(iter(read_images(bag, "/saliency/front/map/compressed")))[2][..., 0]
    np.testing.assert_array_equal(first == 255, masks[0])
    sidecar = path / "annotation.json"
    document = json.loads(sidecar.read_text())
    assert document["cameras"][0]["objects"][0]["masks"]["runs"][1] == [0, 1, 1199]
    for runs in ([1, 2], [-1, 1201], "all", [[1200]], [0.5, 1199.5]):
        document["cameras"][0]["objects"][0]["masks"]["runs"][0] = runs
        sidecar.write_text(json.dumps(document))
        with pytest.raises(AutofocusError, match="masks"):
            read_annotation(episode)
