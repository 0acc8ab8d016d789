"""Annotation format v1: what matters in each frame of an episode, as a bag beside it and a JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autofocus_core.annotation_bag import write_bag
from autofocus_core.episode import annotation_path, content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields
from autofocus_core.masks import from_runs, to_runs
from autofocus_core.names import ANNOTATION_SIDECAR
from autofocus_core.saliency import MAP_KINDS

ANNOTATION_SCHEMA = 2  # 1 had no `maps`: all were Gaussians at the centres
READABLE_SCHEMAS = (1, 2)
RUN_SIDECAR = "run.json"


@dataclass(frozen=True, slots=True)
class MapStyle:
    """How the bag's maps are made: `kind` of `saliency.MAP_KINDS`; `alpha` in [0, 1): what a map keeps of the one
    before it (0: nothing, 0.7 in the paper)."""

    kind: str = "gaussian"
    alpha: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in MAP_KINDS:
            raise AutofocusError("saliency maps: kind", repr(self.kind), ", ".join(MAP_KINDS), "choose one of these")
        if not 0.0 <= self.alpha < 1.0:
            raise AutofocusError("saliency maps: alpha", str(self.alpha), "0 <= alpha < 1", "0 is off, 0.7 the paper's")


@dataclass(frozen=True, slots=True)
class ObjectTrack:
    """One object over the N frames of a camera.

    `boxes_px` float32 (N, 4) x0 y0 x1 y1 in pixels of the frame, NaN where it was not seen; `score` float32
    (N,) in [0, 1]; `valid` bool (N,): its box may be learned from; `reason` (N,): why not, "" where valid.
    `masks` bool (N, h, w), smaller than the frame, all false where there is none; None where nobody made masks.
    """

    name: str
    role: str
    boxes_px: np.ndarray
    score: np.ndarray
    valid: np.ndarray
    reason: tuple[str, ...]
    masks: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class CameraAnnotation:
    """All frames of one camera: `stamps_ns` int64 (N,) the images' header stamps, strictly rising;
    `valid` bool (N,), `reason` (N,) as in ObjectTrack, for the frame as a whole."""

    camera: str
    width_px: int
    height_px: int
    stamps_ns: np.ndarray
    objects: tuple[ObjectTrack, ...]
    valid: np.ndarray
    reason: tuple[str, ...]

    def object(self, name: str) -> ObjectTrack:
        """The object of that name; raises AutofocusError naming those there are."""
        for track in self.objects:
            if track.name == name:
                return track
        names = ", ".join(track.name for track in self.objects) or "(none)"
        raise AutofocusError(
            f"annotation of camera {self.camera}", f"object {name!r}", names, "annotate again with this object"
        )


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotated episode. `episode` is its name, `episode_hash` its content hash, `provenance` how it was made
    (backends, settings, versions, questions and answers; JSON types), `maps` how its maps are drawn, `run` what making
    it took this time (seconds, tries, tokens, cost): that goes into a file of its own, so that all others are the same
    bytes whoever made them."""

    episode: str
    episode_hash: str
    task: str
    instruction: str
    cameras: tuple[CameraAnnotation, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    maps: MapStyle = MapStyle()
    run: dict[str, Any] = field(default_factory=dict)

    def camera(self, name: str) -> CameraAnnotation:
        """The camera of that name; raises AutofocusError naming those there are."""
        for camera in self.cameras:
            if camera.camera == name:
                return camera
        names = ", ".join(camera.camera for camera in self.cameras) or "(none)"
        raise AutofocusError(
            f"annotation of {self.episode}", f"camera {name!r}", names, "annotate again with this camera"
        )


def write_annotation(annotation: Annotation, episode_dir: str | Path, *, sigma_px: float | None = None) -> Path:
    """Write `<episode_dir>.annotation/`, replacing an older one in one step; gives its path.

    The bag in it has, for each camera, the union map of the valid objects (PNG mono8, of the kind in `maps`; Gaussians
    at centres of `sigma_px`; None: a 24th of the frame's height, the paper's 20 px at 480) and the boxes, under the
    images' stamps.
    Raises AutofocusError for arrays that do not fit together.
    """
    for camera in annotation.cameras:
        _check(camera, f"annotation of {annotation.episode}")
    path = annotation_path(episode_dir)
    sidecars = {ANNOTATION_SIDECAR: _to_json(annotation)}
    if annotation.run:
        sidecars[RUN_SIDECAR] = json.dumps(annotation.run, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    return write_bag(annotation, path, sidecars, sigma_px)


def read_annotation(episode_dir: str | Path, *, verify: bool = True) -> Annotation:
    """The annotation of an episode. `verify`: it must be of these very bytes (content hash).

    Raises AutofocusError where it is missing, damaged, of a newer version or of another recording.
    """
    sidecar = annotation_path(episode_dir) / ANNOTATION_SIDECAR
    again = f"autofocus annotate {episode_dir}"
    if not sidecar.is_file():
        raise AutofocusError(f"episode {episode_dir}", "no annotation", str(sidecar), f"make it with `{again}`")
    try:
        fields = Fields(json.loads(sidecar.read_text(encoding="utf-8")), str(sidecar))
    except (OSError, ValueError) as error:
        raise AutofocusError(
            str(sidecar), f"unreadable: {error}", "the JSON of an annotation", f"make it again: `{again}`"
        ) from error
    fields.version(*READABLE_SCHEMAS)
    annotation = Annotation(
        episode=fields.text("episode"),
        episode_hash=fields.text("episode_hash"),
        task=str(fields.take("task")),
        instruction=str(fields.take("instruction")),
        cameras=tuple(_camera(item) for item in fields.items("cameras")),
        provenance=dict(fields.take("provenance", "a mapping")),
        maps=_style(fields.sub("maps")) if fields.has("maps") else MapStyle(),
        run=_run(sidecar.with_name(RUN_SIDECAR)),
    )
    fields.done()
    for camera in annotation.cameras:
        _check(camera, str(sidecar))
    if verify and annotation.episode_hash != content_hash(episode_dir):
        raise AutofocusError(
            str(sidecar), "made from another recording", f"one made from {episode_dir}", f"make it again: `{again}`"
        )
    return annotation


def _to_json(annotation: Annotation) -> str:
    document = {
        "schema": ANNOTATION_SCHEMA,
        "episode": annotation.episode,
        "episode_hash": annotation.episode_hash,
        "task": annotation.task,
        "instruction": annotation.instruction,
        "provenance": annotation.provenance,
        "maps": {"kind": annotation.maps.kind, "alpha": annotation.maps.alpha},
        "cameras": [
            {
                "camera": camera.camera,
                "width_px": camera.width_px,
                "height_px": camera.height_px,
                "stamps_ns": camera.stamps_ns.tolist(),
                "valid": camera.valid.tolist(),
                "reason": list(camera.reason),
                "objects": [track_to_json(track) for track in camera.objects],
            }
            for camera in annotation.cameras
        ],
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def track_to_json(track: ObjectTrack) -> dict[str, Any]:
    """A track as it is written; see `track_from_json`."""
    return {
        "name": track.name,
        "role": track.role,
        # JSON has no NaN: an absent box is null.
        "boxes_px": [None if np.isnan(box).any() else box.tolist() for box in np.round(track.boxes_px, 2)],
        "score": [round(float(score), 4) for score in track.score],
        "valid": track.valid.tolist(),
        "reason": list(track.reason),
        **_masks_to_json(track.masks),
    }


def _style(fields: Fields) -> MapStyle:
    style = MapStyle(fields.choice("kind", MAP_KINDS), fields.number("alpha", minimum=0.0))
    fields.done()
    return style


def _run(path: Path) -> dict[str, Any]:
    """What making it took; nothing where the file is gone or damaged: no reader depends on it."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


def _camera(fields: Fields) -> CameraAnnotation:
    objects = fields.take("objects", "a list")
    camera = CameraAnnotation(
        camera=fields.text("camera"),
        width_px=fields.integer("width_px", minimum=1),
        height_px=fields.integer("height_px", minimum=1),
        stamps_ns=np.array(fields.take("stamps_ns"), dtype=np.int64),
        objects=tuple(track_from_json(Fields(item, f"{fields.where}: objects[{i}]")) for i, item in enumerate(objects)),
        valid=np.array(fields.take("valid"), dtype=bool),
        reason=tuple(fields.take("reason")),
    )
    fields.done()
    return camera


def track_from_json(fields: Fields) -> ObjectTrack:
    """The track of a mapping; AutofocusError for keys that lack or are unknown."""
    boxes = [[np.nan] * 4 if box is None else box for box in fields.take("boxes_px")]
    track = ObjectTrack(
        name=fields.text("name"),
        role=str(fields.take("role")),
        boxes_px=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        score=np.array(fields.take("score"), dtype=np.float32),
        valid=np.array(fields.take("valid"), dtype=bool),
        reason=tuple(fields.take("reason")),
        masks=_masks(fields.sub("masks")) if fields.has("masks") else None,
    )
    fields.done()
    return track


def _masks_to_json(masks: np.ndarray | None) -> dict[str, Any]:
    if masks is None:
        return {}
    runs = [to_runs(mask) if mask.any() else None for mask in masks]
    return {"masks": {"size": list(masks.shape[1:]), "runs": runs}}


def _masks(fields: Fields) -> np.ndarray:
    height, width = (int(side) for side in fields.numbers("size", 2))
    runs = fields.take("runs", "a list")
    try:
        nothing = np.zeros((height, width), dtype=bool)
        masks = [nothing if each is None else from_runs(each, (height, width)) for each in runs]
        return np.array(masks, dtype=bool).reshape(len(masks), height, width)
    except (TypeError, ValueError) as error:
        raise AutofocusError(fields.where, str(error), "run lengths of masks", "annotate again") from error


def _check(camera: CameraAnnotation, where: str) -> None:
    place = f"{where}: camera {camera.camera}"
    n = len(camera.stamps_ns)
    if (np.diff(camera.stamps_ns) <= 0).any():
        raise AutofocusError(
            place, "stamps that do not rise", "one entry for each image, by stamp", "sort and deduplicate the frames"
        )
    lengths = {"valid": len(camera.valid), "reason": len(camera.reason)}
    for track in camera.objects:
        lengths |= {
            f"{track.name}: {key}": len(getattr(track, key)) for key in ("boxes_px", "score", "valid", "reason")
        }
        if track.masks is not None:
            lengths[f"{track.name}: masks"] = len(track.masks)
        if (track.valid & np.isnan(track.boxes_px).any(axis=1)).any():
            raise AutofocusError(
                f"{place}: {track.name}",
                "valid without a box",
                "valid only where there is a box",
                "set valid to False there",
            )
    wrong = {key: length for key, length in lengths.items() if length != n}
    if wrong:
        raise AutofocusError(place, f"lengths {wrong}", f"{n}, as many as stamps_ns", "give one entry for each frame")
