"""describe -> detect -> track -> filter, over one episode: a bag in, an Annotation out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from autofocus_core.annotation import Annotation, CameraAnnotation, ObjectTrack
from autofocus_core.bags import Bag, open_bag
from autofocus_core.episode import content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Camera, Robot, Task

from saliency_server import backends
from saliency_server.frames import check_image_topic, read_frames, read_gripper, sample_images
from saliency_server.keep import gripper_phases
from saliency_server.track import explain_occlusions, track_object
from saliency_server.values import Description, FrameDetections, TrackResult


@dataclass(frozen=True, slots=True)
class Options:
    """Which backends do the work, and how many images a detector gets at once. All of it goes into the content key."""

    describe: str = "instruction"
    detect: str = "colour-terms"
    filter: str = "task-objects"
    batch: int = 16


@dataclass(frozen=True, slots=True)
class Stages:
    """The backends that an Options names."""

    describer: backends.Describer
    detector: backends.Detector
    filter: backends.Filter

    @classmethod
    def of(cls, options: Options) -> Stages:
        """Look the backends up; AutofocusError for a name that the tables do not have."""
        return cls(
            backends.create("--describe", backends.DESCRIBERS, options.describe),
            backends.create("--detect", backends.DETECTORS, options.detect),
            backends.create("--filter", backends.FILTERS, options.filter),
        )

    def versions(self) -> dict[str, str]:
        """Stage -> "backend version", for the provenance."""
        stages = {"describe": self.describer, "detect": self.detector, "filter": self.filter}
        return {stage: f"{backend.name} {backend.version}" for stage, backend in stages.items()}


def annotate_episode(path: str | Path, robot: Robot, task: Task, options: Options | None = None) -> Annotation:
    """Annotate one episode, or any rosbag2 bag, for each camera that the task names.

    Nothing is written: `autofocus_core.annotation.write_annotation` does that. Frames about which the pipeline is not
    sure are not valid and say why. Raises AutofocusError for an unreadable bag, a missing image topic, an unknown
    backend, an object that the detector cannot look for, and a bag of which no image can be read.
    """
    options = options or Options()
    path = Path(path)
    started_s = time.perf_counter()
    stages = Stages.of(options)
    seconds: dict[str, float] = {"describe": 0.0, "read_and_detect": 0.0, "track": 0.0, "filter": 0.0}
    queries, cameras, notes = 0, [], {}
    with open_bag(path) as bag:
        for name in task.cameras:
            camera = robot.camera(name)
            check_image_topic(bag, camera)
            annotated, asked, note = _annotate_camera(bag, robot, camera, task, stages, options, seconds)
            cameras.append(annotated)
            notes[name] = note
            queries += asked
    seconds["total"] = time.perf_counter() - started_s
    return Annotation(
        episode=path.name,
        episode_hash=content_hash(path),
        task=task.name,
        instruction=task.instruction,
        cameras=tuple(cameras),
        provenance={
            "content_key": content_key(path, robot, task, options),
            "code": code_version(),
            "backends": stages.versions(),
            "options": dataclasses.asdict(options),
            "queries": queries,
            "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
            "cameras": notes,
        },
    )


def content_key(path: Path, robot: Robot, task: Task, options: Options) -> str:
    """Hex SHA-256 of all that an annotation depends on: recording, robot, task, options, backends, code.

    An annotation with the same key need not be made again.
    """
    parts = {
        "episode": content_hash(path),
        "robot": robot.hash(),
        "task": dataclasses.asdict(task),
        "options": dataclasses.asdict(options),
        "backends": Stages.of(options).versions(),
        "code": code_version(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def code_version() -> str:
    """Twelve hex digits of the hash of this package's sources: changed code makes annotations anew."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _annotate_camera(
    bag: Bag, robot: Robot, camera: Camera, task: Task, stages: Stages, options: Options, seconds: dict[str, float]
) -> tuple[CameraAnnotation, int, dict]:
    """One camera's annotation, the number of questions asked, and what the provenance says about this camera."""
    clock = time.perf_counter
    begun_s = clock()
    description = stages.describer.describe(sample_images(bag, camera, stages.describer.frames_wanted), task)
    stages.detector.prepare(description.objects)
    described_s = clock()
    looked = _look(bag, camera, description, stages.detector, options.batch)
    detected_s = clock()
    stamps_ns, unusable = looked.stamps_ns, looked.unusable
    stamps_s = (stamps_ns - stamps_ns[0]) * 1e-9
    size_px = (camera.height_px, camera.width_px)
    tracks: Sequence[TrackResult] = [
        track_object(
            [found[k] for found in looked.detections], stamps_s, size_px, thing.role,
            [[d for j, other in enumerate(found) if j != k for d in other] for found in looked.detections],
        )
        for k, thing in enumerate(description.objects)
    ]
    tracks = explain_occlusions([_without(track, unusable) for track in tracks])
    tracked_s = clock()
    gripper_ns, gripper = read_gripper(bag, robot)
    phases = gripper_phases(stamps_s, (gripper_ns - stamps_ns[0]) * 1e-9, gripper)
    selection = stages.filter.select(description, tracks, phases)
    filtered_s = clock()
    for stage, spent in zip(
        seconds, np.diff([begun_s, described_s, detected_s, tracked_s, filtered_s]), strict=False
    ):
        seconds[stage] += float(spent)
    objects = tuple(
        _object_track(thing.name, thing.role, track, keep)
        for thing, track, keep in zip(description.objects, tracks, selection.keep, strict=True)
    )
    valid, reason = _frame_validity(objects, selection.keep, unusable)
    note = {
        "sentence": description.sentence,
        "frames": len(stamps_ns),
        "frames_unusable": sum(map(bool, unusable)),
        "stamps_dropped": looked.dropped,
        "phases": [[phase.first, phase.last, phase.name] for phase in phases],
        "coverage": {thing.name: round(float(thing.valid.mean()), 4) for thing in objects},
    }
    annotated = CameraAnnotation(
        camera=camera.name,
        width_px=camera.width_px,
        height_px=camera.height_px,
        stamps_ns=stamps_ns,
        objects=objects,
        valid=valid,
        reason=reason,
    )
    return annotated, description.queries + selection.queries, note


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the detector saw in N frames, by rising stamp; unusable: per frame why, "" where it was usable;
    dropped: messages left out because their stamp was zero or another frame's."""

    stamps_ns: np.ndarray
    unusable: tuple[str, ...]
    detections: tuple[FrameDetections, ...]
    dropped: int


def _look(
    bag: Bag, camera: Camera, description: Description, detector: backends.Detector, batch_size: int
) -> _Looked:
    """Run the detector over all of a camera's frames, a batch at a time; no more images than that are in memory."""
    nothing: FrameDetections = tuple(() for _ in description.objects)
    seen: dict[int, tuple[str, FrameDetections]] = {}
    batch: list[tuple[int, np.ndarray]] = []
    dropped = 0

    def flush() -> None:
        found = detector.detect([image for _, image in batch], description.objects) if batch else []
        seen.update({stamp_ns: ("", each) for (stamp_ns, _), each in zip(batch, found, strict=True)})
        batch.clear()

    taken: set[int] = set()
    for frame in read_frames(bag, camera):
        if frame.stamp_ns <= 0 or frame.stamp_ns in taken:
            dropped += 1
            continue
        taken.add(frame.stamp_ns)
        if frame.image is None:
            seen[frame.stamp_ns] = (frame.reason, nothing)
            continue
        batch.append((frame.stamp_ns, frame.image))
        if len(batch) == batch_size:
            flush()
    flush()
    stamps_ns = sorted(seen)
    unusable = tuple(seen[stamp_ns][0] for stamp_ns in stamps_ns)
    if all(unusable):
        raise AutofocusError(
            f"bag {bag.path}: topic {camera.topic}",
            f"no usable image in {bag.counts[camera.topic]} messages ({unusable[0] if unusable else 'no valid stamp'})",
            f"readable images of {camera.width_px}x{camera.height_px} px with header stamps",
            f"correct the size of camera {camera.name} in the robot YAML, or leave this bag out",
        )
    return _Looked(
        np.array(stamps_ns, dtype=np.int64), unusable, tuple(seen[stamp_ns][1] for stamp_ns in stamps_ns), dropped
    )


def _without(track: TrackResult, unusable: Sequence[str]) -> TrackResult:
    """The track with frames that could not be looked at marked so: a box bridged over them is a guess."""
    bad = np.array([bool(why) for why in unusable])
    if not bad.any():
        return track
    boxes, score = track.boxes_px.copy(), track.score.copy()
    boxes[bad], score[bad] = np.nan, 0.0
    reason = tuple(why or own for why, own in zip(unusable, track.reason, strict=True))
    return TrackResult(boxes, score, track.valid & ~bad, reason)


def _object_track(name: str, role: str, track: TrackResult, keep: np.ndarray) -> ObjectTrack:
    """The track as the annotation stores it; frames for which the filter dropped the object are not valid."""
    dropped = track.valid & ~keep
    reason = tuple("filtered out" if gone else why for gone, why in zip(dropped, track.reason, strict=True))
    return ObjectTrack(name, role, track.boxes_px, track.score, track.valid & keep, reason)


def _frame_validity(
    objects: Sequence[ObjectTrack], keep: np.ndarray, unusable: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Whether a frame's union map says where to look: the image is usable and every kept object is valid.

    A map that lacks an object says "do not look there", which is worse than none; only the robot's own parts may be
    missing, as long as something else is there.
    """
    reasons = []
    for i, why in enumerate(unusable):
        missing = [
            f"{thing.name}: {thing.reason[i]}"
            for thing, kept in zip(objects, keep[:, i], strict=True)
            if kept and not thing.valid[i] and thing.role != "robot"
        ]
        anything = any(thing.valid[i] for thing in objects)
        reasons.append(why or "; ".join(missing) or ("" if anything else "nothing to look at"))
    return np.array([not why for why in reasons]), tuple(reasons)
