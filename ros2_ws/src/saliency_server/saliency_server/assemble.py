"""From tracks and choices to what is written: each object's and each frame's validity, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from autofocus_core.annotation import CameraAnnotation, ObjectTrack
from autofocus_core.masks import mask_map

from saliency_server.values import Selection, TrackResult
from saliency_server.views import CameraView

if TYPE_CHECKING:
    from saliency_server.models.masks import BoxMasks


MASK_SHRINK = 4  # masks are kept this much smaller than the frame, as its maps are


def camera_annotation(view: CameraView, selection: Selection, masks: BoxMasks | None = None) -> CameraAnnotation:
    """One camera's part of the annotation. masks: what makes a mask out of each valid box, None for no masks."""
    objects = tuple(
        _object_track(thing.name, thing.phrase.role, thing.track, keep, selection.undecided)
        for thing, keep in zip(view.things, selection.keep, strict=True)
    )
    if masks is not None:
        objects = with_masks(view, objects, masks)
    valid, reason = _frame_validity(objects, selection, view.looker.frames.unusable)
    return CameraAnnotation(
        camera=view.camera.name,
        width_px=view.camera.width_px,
        height_px=view.camera.height_px,
        stamps_ns=view.stamps_ns,
        objects=objects,
        valid=valid,
        reason=reason,
    )


def with_masks(view: CameraView, objects: Sequence[ObjectTrack], masks: BoxMasks) -> tuple[ObjectTrack, ...]:
    """The objects with a mask wherever they are valid and the model sees one; image by image, none is kept."""
    size = tuple(max(1, side // MASK_SHRINK) for side in view.looker.size_px)
    made = np.zeros((len(objects), len(view.stamps_ns), *size), dtype=bool)
    wanted = np.flatnonzero(np.any([thing.valid for thing in objects], axis=0)) if objects else []
    for frame, image in view.looker.images(int(i) for i in wanted):
        boxes = np.array([thing.boxes_px[frame] if thing.valid[frame] else [np.nan] * 4 for thing in objects])
        (found,) = masks.masks([image], [boxes])
        for k in np.flatnonzero(found.mask.any(axis=(1, 2))):
            made[k, frame] = mask_map(found.mask[k], size) >= 0.5
    return tuple(dataclasses.replace(thing, masks=each) for thing, each in zip(objects, made, strict=True))


def without(track: TrackResult, unusable: Sequence[str]) -> TrackResult:
    """The track with frames that could not be looked at marked so: a box bridged over them is a guess."""
    bad = np.array([bool(why) for why in unusable])
    if not bad.any():
        return track
    boxes, score = track.boxes_px.copy(), track.score.copy()
    boxes[bad], score[bad] = np.nan, 0.0
    reason = tuple(why or own for why, own in zip(unusable, track.reason, strict=True))
    return TrackResult(boxes, score, track.valid & ~bad, reason)


def _object_track(
    name: str, role: str, track: TrackResult, keep: np.ndarray, undecided: Sequence[str]
) -> ObjectTrack:
    """The track as the annotation stores it; frames for which the filter dropped it, or did not decide, are not
    valid."""
    open_ = np.array([bool(why) for why in undecided], dtype=bool)
    reason = tuple(
        own or why or ("" if kept else "filtered out")
        for own, why, kept in zip(track.reason, undecided, keep, strict=True)
    )
    return ObjectTrack(name, role, track.boxes_px, track.score, track.valid & keep & ~open_, reason)


def _frame_validity(
    objects: Sequence[ObjectTrack], selection: Selection, unusable: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Whether a frame's union map says where to look: the image is usable, the choice is known and every kept object
    is valid.

    A map that lacks an object says "do not look there", which is worse than none; only the robot's own parts may be
    missing, as long as something else is there.
    """
    reasons = []
    for i, (blind, open_) in enumerate(zip(unusable, selection.undecided, strict=True)):
        missing = [
            f"{thing.name}: {thing.reason[i]}"
            for thing, kept in zip(objects, selection.keep[:, i], strict=True)
            if kept and not thing.valid[i] and thing.role != "robot"
        ]
        anything = any(thing.valid[i] for thing in objects)
        reasons.append(blind or open_ or "; ".join(missing) or ("" if anything else "nothing to look at"))
    return np.array([not why for why in reasons]), tuple(reasons)
