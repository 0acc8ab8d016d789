"""The description that all episodes of a task share: made once, from the first episode, and kept on the disk."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.episode import content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.files import write_atomic
from autofocus_core.schema import Robot, Task

from saliency_server.ask import Asked, Asker
from saliency_server.backends import Describer
from saliency_server.frames import Frame, check_image_topic, read_joints, sample_frames
from saliency_server.lease import LEASES
from saliency_server.motion import read_motion
from saliency_server.phrases import parse_phrase
from saliency_server.recording import read_recording
from saliency_server.values import Description, Scene

FOLDER = Path(".autofocus/descriptions")
PREPARED_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task's description. source: content hash of the episode it was made from, "" where no episode was looked at;
    describer: name and version of what made it; asked: the questions, for the provenance."""

    description: Description
    source: str
    describer: str
    asked: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON types; `from_json` reads it back."""
        d = self.description
        phases = d.phases or ((),) * len(d.objects)
        affordances = d.affordances or ("",) * len(d.objects)
        return {
            "schema": PREPARED_SCHEMA,
            "describer": self.describer,
            "source": self.source,
            "sentence": d.sentence,
            "objects": [
                {"name": thing.name, "role": thing.role, "affordance": affordance, "phases": list(named)}
                for thing, affordance, named in zip(d.objects, affordances, phases, strict=True)
            ],
            "asked": list(self.asked),
        }

    @classmethod
    def from_json(cls, document: Any) -> Prepared:
        """Raises ValueError for what `to_json` did not write."""
        try:
            if document["schema"] != PREPARED_SCHEMA:
                raise ValueError(f"schema {document['schema']}")
            objects = document["objects"]
            texts = [document["sentence"], document["source"], document["describer"]]
            texts += [thing[key] for thing in objects for key in ("name", "role", "affordance")]
            texts += [phase for thing in objects for phase in thing["phases"]]
            if not objects or not all(isinstance(text, str) for text in texts):
                raise ValueError("texts and at least one object wanted")
            description = Description(
                objects=tuple(parse_phrase(thing["name"], thing["role"]) for thing in objects),
                sentence=document["sentence"],
                queries=0,
                affordances=tuple(thing["affordance"] for thing in objects),
                phases=tuple(tuple(thing["phases"]) for thing in objects),
            )
            return cls(description, document["source"], document["describer"], tuple(document["asked"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no description: {error!r}") from error


def prepare(paths: Sequence[Path], robot: Robot, task: Task, describer: Describer, asker: Asker | None) -> Prepared:
    """The description of a task's episodes, from the cache beside them, or made from the first one that can be read.

    Raises NoAnswer where the model gives no valid answer, and AutofocusError where no episode can be read.
    """
    made_by = f"{describer.name} {describer.version}"
    if describer.frames_wanted == 0 or asker is None:
        return Prepared(describer.describe(Scene((), (), ()), task, asker), "", made_by)
    if not paths:
        raise AutofocusError("description of a task", "no episodes", "at least one", "give episodes to annotate")
    kept = Path(paths[0]).parent / FOLDER / f"{_key(robot, task, made_by, describer.frames_wanted)}.json"
    with _alone(kept, Path(paths[0]).parent):
        known = _read(kept)
        if known is not None:
            return known
        problem: AutofocusError | None = None
        for path in paths:
            try:
                scene = read_recording(path, lambda bag: read_scene(bag, robot, task, describer.frames_wanted))
                source = content_hash(path)
            except AutofocusError as error:  # the first bag of a folder may be a bad one: it fails by itself later
                problem = problem or error
                continue
            before = len(asker.asked)
            description = dataclasses.replace(describer.describe(scene, task, asker), queries=0)
            prepared = Prepared(description, source, made_by, tuple(map(question_record, asker.asked[before:])))
            write_atomic(kept, json.dumps(prepared.to_json(), ensure_ascii=False, indent=1) + "\n")
            return prepared
    raise problem


def read_scene(bag: Bag, robot: Robot, task: Task, wanted: int) -> Scene:
    """`wanted` images of all the task's cameras together, evenly over the recording, and the robot's motion."""
    frames: list[Frame] = []
    for name in task.cameras:
        camera = robot.camera(name)
        check_image_topic(bag, camera)
        frames += sample_frames(bag, camera, -(-wanted // len(task.cameras)))
    frames.sort(key=lambda frame: frame.stamp_ns)
    if not frames:
        raise AutofocusError(
            f"bag {bag.path}", "no usable image", "readable images of the size in the robot YAML", "leave this bag out"
        )
    start_ns = frames[0].stamp_ns
    stamps_ns, joints = read_joints(bag, robot)
    joints_s = (stamps_ns - start_ns) * 1e-9
    words = read_motion(joints_s, joints_s, joints, robot).words(joints_s) if len(joints_s) else []
    return Scene(
        tuple(frame.image for frame in frames),
        tuple((frame.stamp_ns - start_ns) * 1e-9 for frame in frames),
        tuple(words),
    )


def sheet_images(bag: Bag, robot: Robot, task: Task, count: int) -> list[list[np.ndarray]]:
    """`count` images of each camera of the task, evenly over the recording."""
    return [[frame.image for frame in sample_frames(bag, robot.camera(name), count)] for name in task.cameras]


def question_record(asked: Asked) -> dict[str, Any]:
    """What the provenance keeps of a question: what a second run with the same answers would write again."""
    return {
        "purpose": asked.purpose,
        "prompt": asked.prompt,
        "raw_answers": list(asked.raw_answers),
        "problem": asked.problem,
        "notes": list(asked.notes),
    }


def _key(robot: Robot, task: Task, made_by: str, wanted: int) -> str:
    """Not of the episode: a folder that grows keeps its description, and each episode is checked against it."""
    parts = {
        "task": [task.name, task.instruction, list(task.objects), list(task.cameras)],
        "cameras": [dataclasses.asdict(robot.camera(name)) for name in task.cameras],
        "describer": made_by,
        "wanted": wanted,
        "schema": PREPARED_SCHEMA,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path) -> Prepared | None:
    """What is kept, None where nothing is or it is damaged: then it is made anew."""
    try:
        return Prepared.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _alone(path: Path, folder: Path) -> Iterator[None]:
    """Of two who want the same description the second waits, and then finds it. folder: of the episodes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with LEASES.held(folder / path.name):
            yield
    except OSError as error:
        raise AutofocusError(
            f"description {path}", error.strerror or str(error), "a folder that can be written to",
            "check the permissions and the space left; annotations go there, too",
        ) from error
