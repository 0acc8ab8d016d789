"""From episodes and their annotations to a data set: which objects, which samples, and its hash."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Protocol

import numpy as np
import torch
from autofocus_core.annotation import Annotation
from autofocus_core.episode import Episode
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Robot, Task
from autofocus_training.config import Config
from autofocus_training.names import NEEDS_MAPS
from autofocus_training.processes import without_opencv_threads
from autofocus_training.reading import Part, action_chunks
from autofocus_training.samples import Samples, StoredImages
from autofocus_training.sources import Source, as_sources
from torch import Tensor

__all__ = ["Dataset", "action_chunks", "assemble", "load_dataset", "needs_annotation", "read_annotations"]

PROBES = 8  # samples kept at the cameras' own size, for the export's check


@dataclass(frozen=True, slots=True)
class Dataset:
    """samples; objects: names of their K objects; left_out {reason: frames}; probe_images (P, N, H, W, 3) uint8 at the
    cameras' own size with probe_states (P, A) or (P, states, A) float32; hash: of the recordings, annotations and data
    settings."""

    samples: Samples
    objects: tuple[str, ...]
    left_out: Counter[str]
    probe_images: Tensor
    probe_states: Tensor
    hash: str


class ImageSink(Protocol):
    """Where the images of the samples go, episode by episode."""

    def add(self, images: np.ndarray) -> None:
        """Append (m, N, h, w, 3) uint8."""

    def images(self) -> Tensor | StoredImages:
        """All that were added."""


class InMemory:
    """Keeps the images as one tensor."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(self, images: np.ndarray) -> None:
        """See ImageSink."""
        self._parts.append(images)

    def images(self) -> Tensor:
        """See ImageSink."""
        return torch.from_numpy(np.concatenate(self._parts))


def load_dataset(
    episodes: Sequence[Episode | Source], robot: Robot, task: Task, config: Config,
    on_episode: Callable[[], object] = lambda: None, workers: int = 0,
) -> Dataset:  # fmt: skip
    """Read all `episodes` into memory, in `workers` processes (0: in this one).

    Annotations are taken as a person's review left them; where `needs_annotation` says no, an episode may be without.
    Raises AutofocusError for a missing annotation, a corrupt frame (naming bag, topic and stamp), a stream that is not
    in the bag, cameras of several sizes, a configured object that is not annotated, or where no sample comes out.
    """
    sources = as_sources(episodes)
    annotations = read_annotations(sources, config)
    return assemble(sources, annotations, robot, task, config, InMemory(), on_episode, workers)


def needs_annotation(config: Config) -> bool:
    """Whether every episode must be annotated: for a saliency method, distractors or other backgrounds."""
    return config.method in NEEDS_MAPS or config.paste_shapes > 0 or config.background_swap > 0


def read_annotations(episodes: Sequence[Source], config: Config) -> list[Annotation | None]:
    """The annotation of each episode after review; None where there is none and none is needed."""
    needed = needs_annotation(config)
    return [episode.annotation(needed) for episode in episodes]


def assemble(
    episodes: Sequence[Source], annotations: Sequence[Annotation | None], robot: Robot, task: Task, config: Config,
    sink: ImageSink, on_episode: Callable[[], object] = lambda: None, workers: int = 0,
) -> Dataset:  # fmt: skip
    """As `load_dataset`, with the images wherever `sink` keeps them: never more than a few episodes' in memory."""
    _check_cameras(robot, task)
    objects = object_names(annotations, task, config)
    left_out: Counter[str] = Counter()
    parts: list[Part] = []
    numbers: list[np.ndarray] = []
    jobs = [(e, a, robot, task, objects, config) for e, a in zip(episodes, annotations, strict=True)]
    for number, part in enumerate(_parts(jobs, workers)):
        left_out.update(part.left_out)
        if len(part.stamps_ns):
            sink.add(part.images)
            parts.append(_without_images(part))
            numbers.append(np.full(len(part.stamps_ns), number))
        on_episode()
    if not parts:
        reasons = "; ".join(f"{count} frames: {reason}" for reason, count in left_out.items()) or "no frame at all"
        raise AutofocusError(
            f"{len(episodes)} episodes", reasons, "frames with a state and an action",
            "check the topics and timeouts in the robot YAML against the recording (`autofocus episodes`)",
        )  # fmt: skip
    samples, objects = _drop_unseen(_samples(parts, numbers, sink.images(), robot), objects, config)
    probes = parts[:: max(1, len(parts) // PROBES)][:PROBES]
    states = torch.from_numpy(np.stack([part.states[0] for part in probes]))
    states = states if config.state_history > 1 else states[:, 0]
    return Dataset(
        samples, objects, left_out, torch.from_numpy(np.stack([part.probe for part in probes])),
        states, data_hash(episodes, annotations, robot, task, config),
    )  # fmt: skip


def object_names(annotations: Sequence[Annotation | None], task: Task, config: Config) -> tuple[str, ...]:
    """Names of the annotated objects that are used: in the config's order, or all in the task's order and then in order
    of appearance. Raises AutofocusError for one in the config that is annotated nowhere."""
    found = {
        track.name: None
        for annotation in annotations if annotation is not None
        for camera in annotation.cameras if camera.camera in task.cameras
        for track in camera.objects
    }  # fmt: skip
    if config.objects:
        unknown = [name for name in config.objects if name not in found]
        if unknown and (found or needs_annotation(config)):
            raise AutofocusError(
                "config: objects", ", ".join(map(repr, unknown)), ", ".join(map(repr, found)) or "(none annotated)",
                "name annotated objects, or write objects: [] for all of them",
            )  # fmt: skip
        return tuple(name for name in config.objects if name in found)
    return (*(name for name in task.objects if name in found), *(name for name in found if name not in task.objects))


def data_hash(
    episodes: Sequence[Source], annotations: Sequence[Annotation | None], robot: Robot, task: Task, config: Config
) -> str:
    """Hex SHA-256 of everything that decides what the samples are, but the code."""
    digest = hashlib.sha256()
    digest.update(f"{robot.hash()} {data_settings(task, config)}".encode())
    for episode, annotation in zip(episodes, annotations, strict=True):
        digest.update(episode.content_hash().encode())
        for camera in annotation.cameras if annotation is not None else ():
            digest.update(camera.camera.encode() + camera.valid.tobytes() + camera.stamps_ns.tobytes())
            for track in camera.objects:
                digest.update(track.name.encode() + track.boxes_px.tobytes() + track.valid.tobytes())
    return digest.hexdigest()


def data_settings(task: Task, config: Config) -> tuple[object, ...]:
    """The settings among those of a run that decide what the samples are."""
    return (
        task.name, *task.cameras, *config.image_size, config.horizon, config.dt_s, config.anchor_stride,
        config.state_history, config.saliency_window, config.objects,
    )  # fmt: skip


Job = tuple[Source, Annotation | None, Robot, Task, tuple[str, ...], Config]


def _parts(jobs: Sequence[Job], workers: int) -> Iterator[Part]:
    """The part of each job, in order; at most two for each worker are ahead of what was taken."""
    if workers < 1 or len(jobs) < 2:
        yield from (_read(job) for job in jobs)
        return
    with without_opencv_threads():
        pool = ProcessPoolExecutor(
            min(workers, len(jobs)), get_context("fork"), initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            ahead: deque[Future[Part]] = deque()
            for job in jobs:
                ahead.append(pool.submit(_read, job))
                if len(ahead) > 2 * workers:
                    yield _result(ahead.popleft())
            while ahead:
                yield _result(ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _result(future: Future[Part]) -> Part:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise AutofocusError(
            "reading episodes", "a process that reads them was killed", "processes that live",
            "look whether memory ran out (dmesg), and give --workers 0",
        ) from error  # fmt: skip


def _read(job: Job) -> Part:
    episode, annotation, robot, task, objects, config = job
    try:
        return episode.read(robot, task, annotation, objects, config)
    except AutofocusError as error:
        # As it goes to another process: a class of its own need not survive the journey.
        raise AutofocusError(error.where, error.got, error.allowed, error.fix) from error


def _check_cameras(robot: Robot, task: Task) -> None:
    sizes = {name: (robot.camera(name).width_px, robot.camera(name).height_px) for name in task.cameras}
    if len(set(sizes.values())) > 1:
        raise AutofocusError(
            f"task {task.name}: cameras", ", ".join(f"{name} {w}x{h}" for name, (w, h) in sizes.items()),
            "one size for all cameras of a policy, which sees them as one array",
            "set the cameras' drivers to one size and record again, or name fewer cameras in the task YAML",
        )  # fmt: skip


def _without_images(part: Part) -> Part:
    return Part(np.zeros(0, np.uint8), *(getattr(part, name) for name in Part.__slots__[1:]))


def _samples(parts: list[Part], numbers: list[np.ndarray], images: Tensor | StoredImages, robot: Robot) -> Samples:
    def joined(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(part, name) for part in parts]))

    arm, states = len(robot.joints), joined("states")
    names = ("actions", "boxes_px", "valid", "stamps_ns", "earlier_px", "earlier_valid")
    return Samples(
        images=images, states=states if states.shape[1] > 1 else states[:, 0],
        episodes=torch.from_numpy(np.concatenate(numbers)),
        gripper=torch.arange(len(robot.joint_names)) >= arm, **{name: joined(name) for name in names},
    )  # fmt: skip


def _drop_unseen(samples: Samples, objects: tuple[str, ...], config: Config) -> tuple[Samples, tuple[str, ...]]:
    """Leave out objects without one valid box: a keypoint head would stay untrained and feed noise to the policy. Where
    the config names such an object that is an error."""
    seen = samples.valid.any(0).any(0)
    kept = tuple(name for name, keep in zip(objects, seen.tolist(), strict=True) if keep)
    if config.objects and needs_annotation(config) and len(kept) < len(objects):
        raise AutofocusError(
            "config: objects", ", ".join(repr(name) for name in objects if name not in kept) + " without one valid box",
            ", ".join(map(repr, kept)) or "(none)", "look at `autofocus review`, or leave it out",
        )  # fmt: skip
    return Samples(
        samples.images, samples.states, samples.actions, samples.boxes_px[:, :, seen], samples.valid[:, :, seen],
        samples.episodes, samples.stamps_ns, samples.earlier_px[:, :, seen], samples.earlier_valid[:, :, seen],
        samples.gripper,
    ), kept  # fmt: skip
