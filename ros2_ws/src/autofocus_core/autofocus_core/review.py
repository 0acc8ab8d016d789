"""Review format v1: what a person decided about an annotated episode, in `EPISODE.review.json` beside it."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autofocus_core.annotation import (
    Annotation,
    CameraAnnotation,
    ObjectTrack,
    read_annotation,
    track_from_json,
    track_to_json,
)
from autofocus_core.episode import content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields
from autofocus_core.files import write_atomic
from autofocus_core.names import REVIEW_SUFFIX

REVIEW_SCHEMA = 1
STATUSES = ("open", "accepted", "rejected")
ROLES = ("target", "goal", "tool", "obstacle", "object", "robot")
#: A review file larger than this is none of ours: it is not even read.
MAX_BYTES = 64 * 2**20
MAX_NOTE = 4000
MAX_NAME = 80
_AGAIN = "correct one of its boxes again in `autofocus review`"


@dataclass(frozen=True, slots=True)
class Dropped:
    """An object of a camera that is not to be learned from."""

    camera: str
    object: str


@dataclass(frozen=True, slots=True)
class Corrected:
    """A box drawn by hand: x0, y0, x1, y1 in px of the frame whose header stamp is `stamp_ns`."""

    camera: str
    object: str
    stamp_ns: int
    box_px: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Added:
    """An object that the annotator did not have; its boxes are among the corrected ones."""

    camera: str
    object: str
    role: str


@dataclass(frozen=True, slots=True)
class Retracked:
    """The track of a corrected or added object, made again from its corrected boxes."""

    camera: str
    track: ObjectTrack


@dataclass(frozen=True, slots=True)
class Review:
    """A person's decisions about one episode. `episode_hash`: content hash of the recording they are about; `date`:
    UTC, ISO 8601, of the last decision. Every corrected or added object has its track in `tracks`."""

    episode: str
    episode_hash: str
    status: str = "open"
    dropped: tuple[Dropped, ...] = ()
    corrected: tuple[Corrected, ...] = ()
    added: tuple[Added, ...] = ()
    tracks: tuple[Retracked, ...] = ()
    note: str = ""
    date: str = ""

    def fixes(self, camera: str, name: str) -> tuple[Corrected, ...]:
        """The corrected boxes of one object, by time."""
        own = (fix for fix in self.corrected if (fix.camera, fix.object) == (camera, name))
        return tuple(sorted(own, key=lambda fix: fix.stamp_ns))


def review_path(episode: str | Path) -> Path:
    """Where the decisions about an episode lie."""
    episode = Path(episode)
    return episode.with_name(episode.name + REVIEW_SUFFIX)


def write_review(review: Review, episode: str | Path) -> Path:
    """Write the decisions, dated now, replacing older ones in one step; gives their path.

    Raises AutofocusError for decisions that `read_review` would refuse.
    """
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    path = review_path(episode)
    document = _to_json(dataclasses.replace(review, date=now))
    _parse(Fields(document, str(path)))
    write_atomic(path, json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_review(episode: str | Path, *, verify: bool = True) -> Review | None:
    """The decisions about an episode, None where there are none. `verify`: they must be about these very bytes.

    Raises AutofocusError where they are damaged, of a newer version, or about another recording.
    """
    path = review_path(episode)
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AutofocusError(
            str(path), f"unreadable: {error}", "the JSON of a review", "remove it, then review the episode again"
        ) from error
    review = _parse(Fields(document, str(path)))
    if verify and review.episode_hash != content_hash(episode):
        raise AutofocusError(
            str(path), "about another recording", f"decisions about {episode}",
            "remove it, then review the episode again",
        )
    return review


def read_reviewed(episode: str | Path) -> Annotation:
    """The annotation of an episode as a person left it: what training learns from. Raises what `read_annotation` and
    `read_review` raise."""
    annotation = read_annotation(episode)
    review = read_review(episode)
    return annotation if review is None else apply_review(annotation, review)


def apply_review(annotation: Annotation, review: Review) -> Annotation:
    """The annotation without the dropped objects and with the tracks that were made again; frames are valid, or not,
    by what is left. The status changes nothing here: rejected episodes are for the reader to leave out.

    Raises AutofocusError where a track does not fit its camera's frames.
    """
    cameras = tuple(_apply(camera, review) for camera in annotation.cameras)
    return dataclasses.replace(annotation, cameras=cameras)


def _apply(camera: CameraAnnotation, review: Review) -> CameraAnnotation:
    dropped = {each.object for each in review.dropped if each.camera == camera.camera}
    again = {each.track.name: each.track for each in review.tracks if each.camera == camera.camera}
    if not dropped and not again:
        return camera
    for track in again.values():
        if len(track.valid) != len(camera.stamps_ns):
            raise AutofocusError(
                f"review of {review.episode}: {camera.camera}: {track.name}", f"{len(track.valid)} frames",
                f"{len(camera.stamps_ns)}, as in the annotation", _AGAIN,
            )
    known = [again.pop(track.name, track) for track in camera.objects]
    objects = tuple(track for track in (*known, *again.values()) if track.name not in dropped)
    reason = tuple(_frame_reason(camera, objects, i) for i in range(len(camera.stamps_ns)))
    return dataclasses.replace(camera, objects=objects, valid=np.array([not why for why in reason]), reason=reason)


def _frame_reason(camera: CameraAnnotation, objects: Sequence[ObjectTrack], i: int) -> str:
    """Why frame i is not valid now, "" where it is. A reason that is made of its objects' reasons is made again from
    those that are left; any other (the image cannot be read, the choice is not known) stays."""
    wanted = _blamed(camera, i)
    if wanted is None:
        return camera.reason[i]
    before = {track.name: track for track in camera.objects}
    changed = {track.name for track in objects if before.get(track.name) is not track}
    missing = [
        f"{track.name}: {track.reason[i]}"
        for track in objects
        if track.role != "robot" and not track.valid[i] and (track.name in wanted or track.name in changed)
    ]
    return "; ".join(missing) or ("" if any(track.valid[i] for track in objects) else "nothing to look at")


def _blamed(camera: CameraAnnotation, i: int) -> set[str] | None:
    """Names of the objects that frame i's reason consists of; None where it says something else."""
    rest = camera.reason[i]
    if rest in ("", "nothing to look at"):
        return set()
    names = set()
    for track in camera.objects:
        own = f"{track.name}: {track.reason[i]}"
        if not track.valid[i] and (rest == own or rest.startswith(own + "; ")):
            names.add(track.name)
            rest = rest[len(own) + 2 :]
    return names if not rest else None


def _to_json(review: Review) -> dict[str, Any]:
    return {
        "schema": REVIEW_SCHEMA,
        "episode": review.episode,
        "episode_hash": review.episode_hash,
        "status": review.status,
        "note": review.note,
        "date": review.date,
        "dropped": [dataclasses.asdict(each) for each in review.dropped],
        "added": [dataclasses.asdict(each) for each in review.added],
        "corrected": [dataclasses.asdict(each) | {"box_px": list(each.box_px)} for each in review.corrected],
        "tracks": [{"camera": each.camera} | track_to_json(each.track) for each in review.tracks],
    }


def _parse(fields: Fields) -> Review:
    fields.version(REVIEW_SCHEMA)
    review = Review(
        episode=fields.text("episode"),
        episode_hash=fields.text("episode_hash"),
        status=fields.choice("status", STATUSES),
        note=_text(fields, "note", MAX_NOTE),
        date=_text(fields, "date", MAX_NAME),
        dropped=tuple(Dropped(*_object(each)) for each in fields.items("dropped", empty=True)),
        added=tuple(Added(*_object(each, role=True)) for each in fields.items("added", empty=True)),
        corrected=tuple(_corrected(each) for each in fields.items("corrected", empty=True)),
        tracks=tuple(_retracked(each) for each in fields.items("tracks", empty=True)),
    )
    fields.done()
    tracked = {(each.camera, each.track.name) for each in review.tracks}
    lacking = {(each.camera, each.object) for each in (*review.corrected, *review.added)} - tracked
    if lacking:
        raise AutofocusError(
            f"{fields.where}: tracks", f"none of {', '.join(sorted(name for _, name in lacking))}",
            "one for each corrected or added object", _AGAIN,
        )
    return review


def _text(fields: Fields, key: str, longest: int) -> str:
    value = fields.take(key, "a text")
    if not isinstance(value, str) or len(value) > longest:
        got = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise AutofocusError(f"{fields.where}: {key}", got, f"a text of at most {longest} characters", "shorten it")
    return value


def _object(fields: Fields, role: bool = False) -> tuple[str, ...]:
    names = fields.text("camera"), fields.text("object")
    _text(fields, "object", MAX_NAME)
    found = (*names, fields.choice("role", ROLES)) if role else names
    fields.done()
    return found


def _corrected(fields: Fields) -> Corrected:
    x0, y0, x1, y1 = fields.numbers("box_px", 4)
    if not (x0 < x1 and y0 < y1):
        raise AutofocusError(
            f"{fields.where}: box_px", str([x0, y0, x1, y1]), "x0 < x1 and y0 < y1", "draw the box again"
        )
    fix = Corrected(fields.text("camera"), fields.text("object"), fields.integer("stamp_ns", minimum=1),
                    (x0, y0, x1, y1))  # fmt: skip
    _text(fields, "object", MAX_NAME)
    fields.done()
    return fix


def _retracked(fields: Fields) -> Retracked:
    camera = fields.text("camera")
    rest = {key: value for key, value in fields.raw.items() if key != "camera"}
    try:
        track = track_from_json(Fields(rest, fields.where))
    except (TypeError, ValueError) as error:
        raise AutofocusError(
            fields.where, str(error), "lists of boxes, scores, flags and texts",
            _AGAIN,
        ) from error
    lengths = {len(getattr(track, key)) for key in ("boxes_px", "score", "valid", "reason")}
    if len(lengths) != 1 or (track.valid & np.isnan(track.boxes_px).any(axis=1)).any():
        raise AutofocusError(
            fields.where, "lists that do not fit together", "one entry for each frame, valid only where there is a box",
            _AGAIN,
        )
    return Retracked(camera, track)
