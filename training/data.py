"""From recorded episodes and their annotations to aligned samples. Nothing is skipped in silence: an unreadable frame
is an error, and every frame that cannot be a sample is counted under its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from autofocus_core.annotation import Annotation
from autofocus_core.bags import Bag
from autofocus_core.episode import Episode
from autofocus_core.episode_meta import Trim
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import read_joints
from autofocus_core.resample import NS_PER_MS, Missing, StreamBuffer, observations
from autofocus_core.review import read_reviewed
from autofocus_core.schema import Robot, Task
from autofocus_training.config import Config
from autofocus_training.images import resize_frames
from autofocus_training.samples import Samples
from torch import Tensor

PROBES = 8  # samples kept at the cameras' own size, for the export's check
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Dataset:
    """samples; objects: names of their K objects; left_out {reason: frames}; probe_images (P, N, H, W, 3) uint8 at the
    cameras' own size with probe_states (P, A) float32; hash: of the recordings, annotations and data settings."""

    samples: Samples
    objects: tuple[str, ...]
    left_out: Counter[str]
    probe_images: Tensor
    probe_states: Tensor
    hash: str


def load_dataset(
    episodes: Sequence[Episode], robot: Robot, task: Task, config: Config,
    on_episode: Callable[[], object] = lambda: None,
) -> Dataset:  # fmt: skip
    """Read all `episodes`; with method "none" and no distractor paste, annotations are not needed.

    Annotations are taken as a person's review left them. Raises AutofocusError for a missing annotation, a corrupt
    frame (naming bag, topic and stamp), a stream that is not in the bag, or where no sample comes out.
    """
    annotated = config.method != "none" or config.paste_shapes > 0
    annotations = [read_reviewed(e.path) if annotated else _annotation_if_any(e) for e in episodes]
    objects = object_names(annotations, task)
    left_out: Counter[str] = Counter()
    parts: list[_Part] = []
    probes: list[tuple[np.ndarray, np.ndarray]] = []
    for number, (episode, annotation) in enumerate(zip(episodes, annotations, strict=True)):
        with episode.open() as bag:
            part = _read_episode(bag, robot, task, annotation, objects, config, left_out, episode.trim)
        if part.stamps_ns:
            parts.append(part)
            part.episode = number
            probes.append(part.probe)
        on_episode()
    if not parts:
        reasons = "; ".join(f"{count} frames: {reason}" for reason, count in left_out.items()) or "no frame at all"
        raise AutofocusError(
            f"{len(episodes)} episodes", reasons, "frames with a state and an action",
            "check the topics and timeouts in the robot YAML against the recording (`autofocus episodes`)",
        )  # fmt: skip
    samples = _stack(parts)
    samples, objects = _drop_unseen(samples, objects)
    probes = probes[:: max(1, len(probes) // PROBES)][:PROBES]
    return Dataset(
        samples, objects, left_out,
        torch.from_numpy(np.stack([images for images, _ in probes])),
        torch.from_numpy(np.stack([state for _, state in probes])).float(),
        _hash(episodes, annotations, robot, task, config),
    )  # fmt: skip


def object_names(annotations: Sequence[Annotation | None], task: Task) -> tuple[str, ...]:
    """Names of all annotated objects: in the task's order, then in order of appearance."""
    found = {
        track.name: None
        for annotation in annotations if annotation is not None
        for camera in annotation.cameras if camera.camera in task.cameras
        for track in camera.objects
    }  # fmt: skip
    return (*(name for name in task.objects if name in found), *(name for name in found if name not in task.objects))


def action_chunks(
    stamps_ns: np.ndarray, actions: np.ndarray, anchors_ns: np.ndarray, horizon: int, dt_s: float, max_gap_ns: int
) -> list[np.ndarray | str]:
    """For each anchor the actions (horizon, A) at anchor + k dt, k = 1 .. horizon, linear between recorded ones and
    the last one after the end; or the reason why there is none.

    A chunk may reach beyond the last action, an anchor may not: what the arm does after the demonstration is no label.
    """
    buffer = StreamBuffer(max_gap_ns, max(1, len(stamps_ns)))
    for stamp, action in zip(stamps_ns.tolist(), actions):
        buffer.push(stamp, action)
    chunks: list[np.ndarray | str] = []
    for anchor in anchors_ns.tolist():
        if not len(stamps_ns) or anchor > stamps_ns[-1]:
            chunks.append("after the last action")
            continue
        times = [anchor + round(k * dt_s * NS_PER_S) for k in range(1, horizon + 1)]
        values = [buffer.interpolate(min(t, int(stamps_ns[-1]))) for t in times]
        if any(value is None for value in values):
            before = times[0] < stamps_ns[0]
            chunks.append("before the first action" if before else "gap in the actions")
            continue
        chunks.append(np.stack(values))
    return chunks


class _Part:
    """The samples of one episode, while they are being read."""

    def __init__(self) -> None:
        self.episode = 0
        self.images: list[Tensor] = []
        self.states: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.boxes: list[np.ndarray] = []
        self.valid: list[np.ndarray] = []
        self.stamps_ns: list[int] = []
        self.probe: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0))


def _read_episode(
    bag: Bag, robot: Robot, task: Task, annotation: Annotation | None, objects: tuple[str, ...], config: Config,
    left_out: Counter[str], trim: Trim | None,
) -> _Part:  # fmt: skip
    bag.require([robot.action.topic])
    stamps_ns, actions = read_joints(bag, robot.action.topic, robot)
    if trim is not None:  # what came after the end is no label either: the episode is as if it had stopped there
        stamps_ns, actions = stamps_ns[stamps_ns <= trim.end_ns], actions[stamps_ns <= trim.end_ns]
    lookup = _BoxLookup(annotation, task.cameras, objects, robot, config.image_size)
    max_gap_ns = round(robot.action.timeout_ms * NS_PER_MS)
    part = _Part()
    for number, observation in enumerate(observations(bag, robot, task.cameras)):
        if number % config.anchor_stride:
            continue
        if trim is not None and not trim.start_ns <= observation.stamp_ns <= trim.end_ns:
            left_out["outside the trim"] += 1
            continue
        if isinstance(observation, Missing):
            left_out[observation.reason] += 1
            continue
        anchor = np.array([observation.stamp_ns])
        (chunk,) = action_chunks(stamps_ns, actions, anchor, config.horizon, config.dt_s, max_gap_ns)
        if isinstance(chunk, str):
            left_out[chunk] += 1
            continue
        native = np.stack([observation.images[name] for name in task.cameras])
        boxes, valid = lookup.at(observation.image_stamps_ns)
        part.images.append(resize_frames(torch.from_numpy(native), *config.image_size))
        part.states.append(observation.state)
        part.actions.append(chunk)
        part.boxes.append(boxes)
        part.valid.append(valid)
        part.stamps_ns.append(observation.stamp_ns)
        if len(part.stamps_ns) == 1:
            part.probe = (native, observation.state)
    return part


class _BoxLookup:
    """Boxes and validity of each object at an image's stamp, scaled to the resized image."""

    def __init__(
        self, annotation: Annotation | None, cameras: Sequence[str], objects: Sequence[str], robot: Robot,
        image_size: tuple[int, int],
    ) -> None:  # fmt: skip
        self.cameras = tuple(cameras)
        self.shape = (len(self.cameras), len(objects), 4)
        self.tracks: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self.rows: list[dict[int, int]] = [{} for _ in self.cameras]
        if annotation is None:
            return
        for n, name in enumerate(self.cameras):
            camera = annotation.camera(name)
            self.rows[n] = {stamp: row for row, stamp in enumerate(camera.stamps_ns.tolist())}
            height, width = image_size
            scale = np.array([width / camera.width_px, height / camera.height_px] * 2, dtype=np.float32)
            for track in camera.objects:
                seen = np.isfinite(track.boxes_px).all(axis=1)
                self.tracks[n, objects.index(track.name)] = (track.boxes_px * scale, track.valid & camera.valid & seen)

    def at(self, stamps_ns: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, K, 4) float32 and valid (N, K) bool; a frame that was not annotated has nothing valid."""
        boxes = np.full(self.shape, np.nan, dtype=np.float32)
        valid = np.zeros(self.shape[:2], dtype=bool)
        for (n, k), (track_boxes, track_valid) in self.tracks.items():
            row = self.rows[n].get(stamps_ns[self.cameras[n]])
            if row is not None:
                boxes[n, k], valid[n, k] = track_boxes[row], track_valid[row]
        return boxes, valid


def _stack(parts: list[_Part]) -> Samples:
    def floats(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).float()

    return Samples(
        images=torch.stack([image for part in parts for image in part.images]),
        states=floats([state for part in parts for state in part.states]),
        actions=floats([action for part in parts for action in part.actions]),
        boxes_px=floats([boxes for part in parts for boxes in part.boxes]),
        valid=torch.from_numpy(np.stack([valid for part in parts for valid in part.valid])),
        episodes=torch.tensor([part.episode for part in parts for _ in part.stamps_ns]),
        stamps_ns=torch.tensor([stamp for part in parts for stamp in part.stamps_ns]),
    )


def _drop_unseen(samples: Samples, objects: tuple[str, ...]) -> tuple[Samples, tuple[str, ...]]:
    """Leave out objects without one valid box: a keypoint head would stay untrained and feed noise to the policy."""
    seen = samples.valid.any(0).any(0)
    kept = Samples(
        samples.images, samples.states, samples.actions, samples.boxes_px[:, :, seen], samples.valid[:, :, seen],
        samples.episodes, samples.stamps_ns,
    )  # fmt: skip
    return kept, tuple(name for name, keep in zip(objects, seen.tolist(), strict=True) if keep)


def _annotation_if_any(episode: Episode) -> Annotation | None:
    return read_reviewed(episode.path) if episode.annotation_path.is_dir() else None


def _hash(
    episodes: Sequence[Episode], annotations: Sequence[Annotation | None], robot: Robot, task: Task, config: Config
) -> str:
    digest = hashlib.sha256()
    settings = (task.name, *task.cameras, *config.image_size, config.horizon, config.dt_s, config.anchor_stride)
    digest.update(f"{robot.hash()} {settings}".encode())
    for episode, annotation in zip(episodes, annotations, strict=True):
        digest.update(episode.content_hash().encode())
        if episode.trim is not None:
            digest.update(f"trim {episode.trim.start_ns} {episode.trim.end_ns}".encode())
        for camera in annotation.cameras if annotation is not None else ():
            for track in camera.objects:
                digest.update(track.name.encode() + track.boxes_px.tobytes() + track.valid.tobytes())
    return digest.hexdigest()
