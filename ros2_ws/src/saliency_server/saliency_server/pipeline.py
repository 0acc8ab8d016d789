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
from autofocus_core.bags import Bag, open_bag, storage_files
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Camera, Robot, Task

from saliency_server import backends
from saliency_server.frames import Frame, check_image_topic, read_frames, read_gripper, sample_images
from saliency_server.keep import Phase, gripper_phases
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
        episode_hash=episode_hash(path),
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


def episode_hash(path: Path) -> str:
    """Hex SHA-256 of the bag's storage files: equal hashes mean the same recording."""
    digest = hashlib.sha256()
    for file in storage_files(Path(path)):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def content_key(path: Path, robot: Robot, task: Task, options: Options) -> str:
    """Hex SHA-256 of all that an annotation depends on: recording, robot, task, options, backends, code.

    An annotation with the same key need not be made again.
    """
    parts = {
        "episode": episode_hash(path),
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
    frames, detections, dropped = _detect(bag, camera, description, stages, options)
    detected_s = clock()
    stamps_ns = np.array([frame.stamp_ns for frame in frames], dtype=np.int64)
    stamps_s = (stamps_ns - stamps_ns[0]) * 1e-9
    size_px = (camera.height_px, camera.width_px)
    tracks: Sequence[TrackResult] = [
        track_object([found[k] for found in detections], stamps_s, size_px) for k in range(len(description.objects))
    ]
    tracks = explain_occlusions([_without_bad_frames(track, frames) for track in tracks])
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
    valid, reason = _frame_validity(objects, selection.keep, frames)
    note = {
        "sentence": description.sentence,
        "frames": len(frames),
        "frames_unusable": sum(frame.image is None and bool(frame.reason) for frame in frames),
        "stamps_dropped": dropped,
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
