"""Detecting and following a description's objects, and the gripper, in one camera of one bag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Camera, Robot

from saliency_server.assemble import without
from saliency_server.course import Course
from saliency_server.follow import follow, unambiguous
from saliency_server.gripper import gripper_track, lens_of, why_not
from saliency_server.looker import BagLooker
from saliency_server.phrases import ObjectPhrase, parse_phrase
from saliency_server.values import Description, TrackResult
from saliency_server.views import CameraView, Thing

if TYPE_CHECKING:
    from saliency_server.options import Options, Stages

#: Of the diagonal: a projection this far from the detected gripper (median) is one with wrong extrinsics.
DISAGREES_SHARE = 0.06
LEAST_SHARED_FRAMES = 5


def open_view(
    bag: Bag, robot: Robot, camera: Camera, description: Description, stages: Stages, options: Options,
    course: Course, read_joints: Callable[[], tuple[np.ndarray, np.ndarray]],
) -> tuple[CameraView, str]:
    """All things of the description in one camera, and how the gripper was found.

    read_joints: stamps ns (M,) and joint vectors (M, A) of the recording; called once its images have been read.
    """
    every = options.keyframe_s is None
    looker = BagLooker(bag, camera, stages.detector, description.objects, options.batch, every,
                       lambda done: course.frame("detect", done))
    course.done("read_and_detect")
    things = follow_things(looker, description.objects, stages.filter.chooses, options.keyframe_s)

    def find(objects: tuple[ObjectPhrase, ...]) -> list[Thing]:
        stages.detector.prepare(objects)
        try:
            return follow_things(looker.looking_for(objects), objects, stages.filter.chooses, options.keyframe_s)
        finally:
            stages.detector.prepare(description.objects)

    joints_ns, joints = read_joints()
    joints_s = (joints_ns - looker.frames.stamps_ns[0]) * 1e-9
    things, gripper = _with_gripper(bag, robot, camera, looker, things, joints_s, joints, options.gripper)
    course.done("track")
    course.camera(bag.counts[camera.topic])
    return CameraView(camera, looker, find, things), gripper


def follow_things(
    looker: BagLooker, objects: Sequence[ObjectPhrase], all_instances: bool, keyframe_s: float | None
) -> list[Thing]:
    """The things of these names. all_instances: everything of a name, which a filter then chooses from, and not only
    the best, whose frames are not valid where another is as good."""
    if not objects:
        return []
    found = follow(looker, objects, keyframe_s=keyframe_s)
    things = []
    for k, phrase in enumerate(objects):
        if all_instances:
            own = [(each.instance, each.track) for each in found if each.phrase == k]
        else:
            own = [(0, unambiguous(found, k))]
        for number, track in own:
            name = phrase.name if number == 0 else f"{phrase.name} #{number + 1}"
            things.append(Thing(phrase, name, without(track, looker.frames.unusable)))
    return things


def _with_gripper(
    bag: Bag, robot: Robot, camera: Camera, looker: BagLooker, things: list[Thing], joints_s: np.ndarray,
    joints: np.ndarray, way: str,
) -> tuple[list[Thing], str]:
    """The things with the gripper projected where that is wanted and possible, and in words how it was found."""
    own = [k for k, thing in enumerate(things) if thing.phrase.role == "robot"]
    detected = "detected by name" if own else "not looked for"
    if way == "detect" or (way == "auto" and not own):
        return things, detected
    missing = why_not(bag, robot, camera, joints)
    if missing and way == "projection":
        raise AutofocusError(
            f"bag {bag.path}: --gripper projection", missing, "kinematics, extrinsics, intrinsics and joint states",
            "complete the robot YAML (docs/hardware.md), or choose --gripper auto",
        )
    if missing:
        return things, f"{detected}; no projection: {missing}"
    track = gripper_track(robot, camera, lens_of(bag, camera), looker.stamps_s, joints_s, joints)
    track = without(track, looker.frames.unusable)
    how = "projected"
    if way == "auto":
        off_px = _offset_px(track, things[own[0]].track)
        if off_px is not None and np.hypot(*off_px) > DISAGREES_SHARE * float(np.hypot(*looker.size_px)):
            off = f"{np.hypot(*off_px):.0f} px off"
            return things, f"{detected}; the projection is {off}: check the camera's extrinsics"
        if off_px is not None:
            # Where in the gripper its middle is, a model without geometry does not say; the detector saw it.
            boxes = track.boxes_px + np.tile(off_px, 2).astype(np.float32)
            track = TrackResult(boxes, track.score, track.valid, track.reason)
            how = f"projected, moved by {off_px[0]:.1f}, {off_px[1]:.1f} px onto what is detected"
    phrase = things[own[0]].phrase if own else parse_phrase("gripper")
    thing = Thing(phrase, phrase.name, track)
    if not own:
        return [*things, thing], how
    return [thing if k == own[0] else other for k, other in enumerate(things) if k not in own[1:]], how


def _offset_px(projected: TrackResult, detected: TrackResult) -> np.ndarray | None:
    """Median (x, y) px from the projected centres to the detected ones; None where too few frames have both."""
    both = projected.valid & detected.valid
    if both.sum() < LEAST_SHARED_FRAMES:
        return None
    here, there = ((t.boxes_px[both, :2] + t.boxes_px[both, 2:]) / 2 for t in (projected, detected))
    return np.median(there - here, axis=0)
