"""One decision of a person, applied to an episode's review and written. What comes in is text from a browser: each
value is checked, names must be the annotation's own, and frames are numbers in range."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from autofocus_core.annotation import CameraAnnotation, ObjectTrack
from autofocus_core.episode import content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields
from autofocus_core.review import (
    MAX_NAME,
    ROLES,
    STATUSES,
    Added,
    Corrected,
    Dropped,
    Retracked,
    Review,
    write_review,
)

from saliency_server.review.catalogue import Seen
from saliency_server.review.retrack import retrack

ACTIONS = ("status", "note", "drop", "fix", "unfix", "add")
MAX_FIXES = 2000
MIN_SIDE_PX = 2.0

#: A camera's frame by number as a small grey image, None where unreadable.
Grey = Callable[[int], np.ndarray | None]


def decide(seen: Seen, fields: Fields, greys: Callable[[CameraAnnotation], Grey]) -> None:
    """Apply and write one decision. AutofocusError for anything that is not one."""
    action = fields.choice("do", ACTIONS)
    review = seen.review or Review(seen.path.name, content_hash(seen.path))
    if action == "status":
        review = dataclasses.replace(review, status=fields.choice("status", STATUSES))
    elif action == "note":
        review = dataclasses.replace(review, note=fields.take("note"))
    else:
        camera = _camera(seen, fields)
        review = _OBJECTS[action](review, camera, fields, greys)
    fields.done()
    write_review(review, seen.path)


def _drop(review: Review, camera: CameraAnnotation, fields: Fields, greys: object) -> Review:
    entry = Dropped(camera.camera, _name(review, camera, fields))
    rest = tuple(each for each in review.dropped if each != entry)
    return dataclasses.replace(review, dropped=(*rest, entry) if fields.flag("dropped") else rest)


def _fix(review: Review, camera: CameraAnnotation, fields: Fields, greys: Callable) -> Review:
    name = _name(review, camera, fields)
    fix = Corrected(camera.camera, name, _stamp(camera, fields), _box(camera, fields))
    rest = tuple(each for each in review.corrected if not _same(each, fix))
    if len(rest) >= MAX_FIXES:
        raise AutofocusError("review", f"{len(rest)} corrected boxes", f"at most {MAX_FIXES}", "annotate it again")
    return _retracked(dataclasses.replace(review, corrected=(*rest, fix)), camera, name, greys(camera))


def _unfix(review: Review, camera: CameraAnnotation, fields: Fields, greys: Callable) -> Review:
    name = _name(review, camera, fields)
    gone = Corrected(camera.camera, name, _stamp(camera, fields), (0, 0, 1, 1))
    review = dataclasses.replace(review, corrected=tuple(each for each in review.corrected if not _same(each, gone)))
    return _retracked(review, camera, name, greys(camera))


def _add(review: Review, camera: CameraAnnotation, fields: Fields, greys: Callable) -> Review:
    name = fields.text("object").strip()
    if len(name) > MAX_NAME or not name.isprintable():
        raise AutofocusError("review: name", f"{len(name)} characters", f"printable, at most {MAX_NAME}", "shorten it")
    if name in _names(review, camera):
        raise AutofocusError("review: name", repr(name), "a name that is not there yet", "correct its box instead")
    added = Added(camera.camera, name, fields.choice("role", ROLES))
    fix = Corrected(camera.camera, name, _stamp(camera, fields), _box(camera, fields))
    review = dataclasses.replace(review, added=(*review.added, added), corrected=(*review.corrected, fix))
    return _retracked(review, camera, name, greys(camera))


_OBJECTS = {"drop": _drop, "fix": _fix, "unfix": _unfix, "add": _add}


def _retracked(review: Review, camera: CameraAnnotation, name: str, grey: Grey) -> Review:
    """The object's track made again from all of its boxes; without one it is the annotator's again, or gone."""
    fixes = review.fixes(camera.camera, name)
    tracks = tuple(t for t in review.tracks if (t.camera, t.track.name) != (camera.camera, name))
    added = tuple(a for a in review.added if (a.camera, a.object) != (camera.camera, name))
    own = next((a for a in review.added if a not in added), None)
    if not fixes:
        return dataclasses.replace(review, tracks=tracks, added=added)
    number = {stamp: i for i, stamp in enumerate(camera.stamps_ns.tolist())}
    boxes = {number[fix.stamp_ns]: np.array(fix.box_px) for fix in fixes if fix.stamp_ns in number}
    old = next((track for track in camera.objects if track.name == name), None)
    if old is None:
        old = _nothing(name, own.role if own is not None else "object", len(camera.stamps_ns))
    stamps_s = (camera.stamps_ns - camera.stamps_ns[0]) * 1e-9
    made = retrack(old, boxes, stamps_s, (camera.height_px, camera.width_px), grey)
    return dataclasses.replace(review, tracks=(*tracks, Retracked(camera.camera, made)))


def _nothing(name: str, role: str, frames: int) -> ObjectTrack:
    return ObjectTrack(
        name, role, np.full((frames, 4), np.nan, np.float32), np.zeros(frames, np.float32), np.zeros(frames, bool),
        ("not followed from the corrected box",) * frames,
    )


def _camera(seen: Seen, fields: Fields) -> CameraAnnotation:
    if seen.annotation is None:
        raise AutofocusError(f"episode {seen.path.name}", "no annotation", "an annotated episode", "autofocus annotate")
    number = fields.integer("camera", minimum=0)
    if number >= len(seen.annotation.cameras):
        raise AutofocusError("review: camera", str(number), f"below {len(seen.annotation.cameras)}", "choose another")
    return seen.annotation.cameras[number]


def _names(review: Review, camera: CameraAnnotation) -> set[str]:
    return {track.name for track in camera.objects} | {
        each.object for each in review.added if each.camera == camera.camera
    }


def _name(review: Review, camera: CameraAnnotation, fields: Fields) -> str:
    return fields.choice("object", tuple(sorted(_names(review, camera))))


def _stamp(camera: CameraAnnotation, fields: Fields) -> int:
    frame = fields.integer("frame", minimum=0)
    if frame >= len(camera.stamps_ns):
        raise AutofocusError("review: frame", str(frame), f"below {len(camera.stamps_ns)}", "choose another")
    return int(camera.stamps_ns[frame])


def _box(camera: CameraAnnotation, fields: Fields) -> tuple[float, float, float, float]:
    """Within the frame; AutofocusError where nothing is left of it."""
    box = np.array(fields.numbers("box", 4))
    box = np.clip(box, 0.0, np.tile([camera.width_px, camera.height_px], 2))
    x0, y0, x1, y1 = np.round(box, 2).tolist()
    if x1 - x0 < MIN_SIDE_PX or y1 - y0 < MIN_SIDE_PX:
        raise AutofocusError("review: box", f"{[x0, y0, x1, y1]}", f"sides of {MIN_SIDE_PX:g} px", "draw a larger one")
    return x0, y0, x1, y1


def _same(a: Corrected, b: Corrected) -> bool:
    return (a.camera, a.object, a.stamp_ns) == (b.camera, b.object, b.stamp_ns)
