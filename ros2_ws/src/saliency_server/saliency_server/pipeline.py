"""describe -> detect and follow -> choose -> validity, over one episode: a bag in, an Annotation out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import autofocus_core
import numpy as np
from autofocus_core.annotation import Annotation, CameraAnnotation, MapStyle
from autofocus_core.bags import Bag
from autofocus_core.episode import content_hash
from autofocus_core.schema import Robot, Task

from saliency_server.ask import Asker, NoAnswer
from saliency_server.assemble import camera_annotation
from saliency_server.course import Course, Tell, silent
from saliency_server.draw import contact_sheet
from saliency_server.following import open_view
from saliency_server.frames import check_image_topic, read_joints
from saliency_server.motion import Motion, read_motion
from saliency_server.options import Options, Stages
from saliency_server.prepare import Prepared, prepare, question_record, read_scene, sheet_images
from saliency_server.recording import losses_record, read_recording
from saliency_server.values import Description, Selection
from saliency_server.views import Episode

__all__ = ["Options", "Stages", "annotate_episode", "code_version", "content_key", "prepare_task"]

MOST_QUESTIONS = 4  # of an episode, the check of its description included
MOST_CHOICES = 3


def prepare_task(
    paths: Sequence[str | Path], robot: Robot, task: Task, options: Options | None = None
) -> Prepared:
    """The description that the episodes share: at most one question, none if it lies in the cache beside them.

    Raises NoAnswer where the model gives no valid answer: then there is nothing to look for in any episode.
    """
    stages = Stages.of(options or Options())
    return prepare([Path(path) for path in paths], robot, task, stages.describer, stages.asker())


def annotate_episode(
    path: str | Path, robot: Robot, task: Task, options: Options | None = None, prepared: Prepared | None = None,
    tell: Tell = silent,
) -> Annotation:
    """Annotate one episode, or any rosbag2 bag, for each camera that the task names.

    prepared: the task's description (see `prepare_task`); without it the episode is described by itself. tell: hears
    how far it is. Nothing is written: `autofocus_core.annotation.write_annotation` does that. Frames about which the
    pipeline is not sure are not valid and say why; questions without an answer are listed under `unanswered` in the
    provenance. Of a damaged recording what is whole is annotated, and `recording` in the provenance says what is not.
    Raises AutofocusError for an unreadable bag, a missing image topic, an unknown backend, an object that the detector
    cannot look for, and a bag of which no image can be read.
    """
    options = options or Options()
    path = Path(path)
    course = Course(tell)
    stages = Stages.of(options)
    asker = stages.asker()
    seen = read_recording(path, lambda bag: _look(bag, path, robot, task, stages, options, asker, prepared, course))
    described, views, selections, cameras = seen.described, seen.episode.cameras, seen.selections, seen.cameras
    asked = [] if asker is None else asker.asked
    notes = {
        view.camera.name: {
            "frames": len(view.stamps_ns),
            "frames_unusable": sum(map(bool, view.looker.frames.unusable)),
            "stamps_dropped": view.looker.frames.dropped,
            "gripper": gripper,
            "choices": list(chosen.notes),
            "coverage": {thing.name: round(float(thing.valid.mean()), 4) for thing in camera.objects},
        }
        for view, gripper, chosen, camera in zip(views, seen.grippers, selections, cameras, strict=True)
    }
    return Annotation(
        episode=path.name,
        episode_hash=content_hash(path),
        task=task.name,
        instruction=task.instruction,
        cameras=cameras,
        provenance={
            "content_key": content_key(path, robot, task, options, prepared),
            "code": code_version(),
            "backends": stages.versions(),
            "options": dataclasses.asdict(options),
            "queries": len(asked),
            "unanswered": [question.problem for question in asked if question.problem],
            "description": described.record(),
            "questions": [question_record(question) for question in asked],
            "motion": _motion_record(seen.episode.motion),
            "recording": seen.recording,
            "cameras": notes,
        },
        maps=MapStyle(options.map, options.alpha),
        run={
            "seconds": course.seconds(),
            "questions": [
                {
                    "purpose": q.purpose, "tries": q.tries, "seconds": q.seconds, "prompt_tokens": q.prompt_tokens,
                    "completion_tokens": q.completion_tokens, "cost": q.cost,
                }
                for q in asked
            ],
            "cost": sum(question.cost for question in asked),
        },
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen in a recording, camera by camera in the task's order; recording: what is wrong with it."""

    described: _Described
    episode: Episode
    grippers: tuple[str, ...]
    selections: list[Selection]
    cameras: tuple[CameraAnnotation, ...]
    recording: dict[str, Any]


def _look(
    bag: Bag, path: Path, robot: Robot, task: Task, stages: Stages, options: Options, asker: Asker | None,
    prepared: Prepared | None, course: Course,
) -> _Seen:
    """Everything that needs the recording's messages."""
    course.begin("describe")
    bag.keep(robot.state.topic)
    for name in task.cameras:
        check_image_topic(bag, robot.camera(name))
    described = _describe(bag, path, robot, task, stages, asker, prepared)
    stages.detector.prepare(described.description.objects)
    course.done("describe")
    course.begin("detect", sum(bag.counts[robot.camera(name).topic] for name in task.cameras))
    joints_of_bag = cache(lambda: read_joints(bag, robot))  # read while the first camera's images are: see Bag.keep
    views, grippers = [], []
    for name in task.cameras:
        camera = robot.camera(name)
        view, gripper = open_view(bag, robot, camera, described.description, stages, options, course, joints_of_bag)
        views.append(view)
        grippers.append(gripper)
    lead = views[0]
    joints_ns, joints = joints_of_bag()
    motion = read_motion(lead.looker.stamps_s, (joints_ns - lead.stamps_ns[0]) * 1e-9, joints, robot)
    episode = Episode(task, described.description, tuple(views), motion)
    course.begin("filter")
    selections = _select(episode, stages, asker, described.problem)
    course.done("filter")
    course.begin("masks")
    cameras = [camera_annotation(view, chosen, stages.masks) for view, chosen in zip(views, selections, strict=True)]
    course.done("masks")
    return _Seen(described, episode, tuple(grippers), selections, tuple(cameras), losses_record(bag))


def content_key(
    path: Path, robot: Robot, task: Task, options: Options, prepared: Prepared | None = None
) -> str:
    """Hex SHA-256 of all that an annotation depends on: recording, robot, calibration, task, description, options,
    backends, code.

    An annotation with the same key need not be made again.
    """
    parts = {
        "episode": content_hash(path),
        "robot": robot.hash(),
        "calibration": _calibration(robot, task),
        "task": dataclasses.asdict(task),
        "options": dataclasses.asdict(options),
        "prepared": None if prepared is None else prepared.to_json(),
        "backends": Stages.of(options).versions(),
        "code": code_version(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


#: Parts of this package that see annotations and do not make them.
NOT_IN_ANNOTATIONS = (
    "review", "annotate.py", "batch.py", "crew.py", "failures.py", "item.py", "node.py", "quality.py",
    "ray_crew.py", "report.py", "screen.py", "threads.py", "watch.py",
)  # fmt: skip
#: Parts of autofocus_core that make pixels, positions and the annotation's own bytes.
CORE_IN_ANNOTATIONS = (
    "annotation.py", "annotation_bag.py", "image_header.py", "images.py", "joints.py", "kinematics.py", "masks.py",
    "saliency.py",
)  # fmt: skip


@lru_cache(maxsize=1)
def code_version() -> str:
    """Twelve hex digits of the hash of the sources that an annotation hangs on: changed code makes annotations anew,
    a changed progress bar does not."""
    return sources_version(Path(__file__).parent, Path(autofocus_core.__file__).parent)


def sources_version(own: Path, core: Path) -> str:
    """See `code_version`; own, core: the folders of this package and of autofocus_core."""
    files = [file for file in own.rglob("*.py") if file.relative_to(own).parts[0] not in NOT_IN_ANNOTATIONS]
    digest = hashlib.sha256()
    for name, file in sorted((file.relative_to(own).as_posix(), file) for file in files):
        digest.update(f"{name}\0".encode() + file.read_bytes())
    for name in CORE_IN_ANNOTATIONS:
        digest.update(f"core/{name}\0".encode() + (core / name).read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Described:
    """What an episode's description is and where it comes from. how: "task", "episode", or "none"; problem: why there
    is none that fits; check: what the check of the task's description said."""

    description: Description
    how: str
    check: str = ""
    problem: str = ""

    def record(self) -> dict[str, Any]:
        known = Prepared(self.description, "", "").to_json()
        return {
            "from": self.how, "check": self.check, "problem": self.problem, "sentence": known["sentence"],
            "objects": known["objects"],
        }


def _describe(
    bag: Bag, path: Path, robot: Robot, task: Task, stages: Stages, asker: Asker | None, prepared: Prepared | None
) -> _Described:
    """The task's description where it fits the episode, else one of its own; an empty one where there is no answer."""
    describer = stages.describer
    check = notes = ""
    if prepared is not None:
        if describer.check_frames == 0 or prepared.source == content_hash(path):
            return _Described(prepared.description, "task")
        sheets = [contact_sheet(images) for images in sheet_images(bag, robot, task, describer.check_frames) if images]
        verdict = describer.check(sheets, task, prepared.description, asker)
        check = f"not checked: {verdict.problem}" if verdict.problem else verdict.notes or "fits"
        if verdict.fits:
            return _Described(prepared.description, "task", check)
        notes = f"a description of another episode does not fit this one: {verdict.notes}"
    scene = read_scene(bag, robot, task, describer.frames_wanted) if describer.frames_wanted else None
    try:
        return _Described(describer.describe(scene, task, asker, notes), "episode", check)
    except NoAnswer as error:
        return _Described(Description((), "", 1), "none", check, error.reason)


def _select(episode: Episode, stages: Stages, asker: Asker | None, problem: str) -> list[Selection]:
    """What the filter keeps; where nothing was described nothing is, and every frame says why."""
    if problem:
        return [
            Selection(np.zeros((len(view.things), len(view.stamps_ns)), dtype=bool),
                      (f"not described: {problem}",) * len(view.stamps_ns))
            for view in episode.cameras
        ]
    asked = 0 if asker is None else asker.questions
    return stages.filter.select(episode, asker, min(MOST_CHOICES, MOST_QUESTIONS - asked))


def _motion_record(motion: Motion) -> dict[str, Any]:
    return {
        "source": motion.source,
        "note": motion.note,
        "phases": [[phase.first, phase.last, phase.name] for phase in motion.phases],
        "events": [[event.frame, event.what] for event in motion.events],
    }


def _calibration(robot: Robot, task: Task) -> list[Any]:
    """What projections depend on and `Robot.hash` leaves out: where the cameras are, and the model's own bytes."""
    cameras = [robot.camera(name) for name in task.cameras]
    model = None
    if robot.kinematics is not None:
        file = Path(robot.kinematics.model)
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
        model = [digest, robot.kinematics.tip]
    return [model, [[dataclasses.asdict(c)[key] for key in ("extrinsics", "intrinsics")] for c in cameras]]
