"""One episode -> aligned samples. Nothing is skipped in silence: an unreadable frame is an error, and every
frame that cannot be a sample is counted under its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from autofocus_core.annotation import Annotation
from autofocus_core.bags import Bag
from autofocus_core.episode_meta import Trim
from autofocus_core.joints import read_joints
from autofocus_core.resample import NS_PER_MS, NS_PER_S, Missing, Observation, StateHistory, StreamBuffer, observations
from autofocus_core.schema import Robot, Task
from autofocus_training.config import Config
from autofocus_training.images import resize_frames


@dataclass(frozen=True, slots=True)
class Part:
    """The m samples of one episode, as arrays: see `Samples` for their shapes. left_out {reason: frames}; probe: the
    first sample's frames (N, H, W, 3) at the cameras' own size, None where m is 0."""

    images: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    boxes_px: np.ndarray
    valid: np.ndarray
    earlier_px: np.ndarray
    earlier_valid: np.ndarray
    stamps_ns: np.ndarray
    left_out: Counter[str]
    probe: np.ndarray | None


def read_part(
    bag: Bag, robot: Robot, task: Task, annotation: Annotation | None, objects: tuple[str, ...], config: Config,
    trim: Trim | None,
) -> Part:  # fmt: skip
    """The samples of an opened episode; boxes are those of `objects`, in that order.

    Raises AutofocusError for a corrupt frame (naming bag, topic and stamp) and for a stream that is not in the bag.
    """
    bag.require([robot.action.topic])
    stamps_ns, actions = read_joints(bag, robot.action.topic, robot)
    if trim is not None:  # what came after the end is no label either: the episode is as if it had stopped there
        stamps_ns, actions = stamps_ns[stamps_ns <= trim.end_ns], actions[stamps_ns <= trim.end_ns]
    seen = observations(bag, robot, task.cameras, history=StateHistory(config.state_history, config.dt_s))
    max_gap_ns = round(robot.action.timeout_ms * NS_PER_MS)
    return collect(seen, stamps_ns, actions, max_gap_ns, task, annotation, objects, config, trim)


def collect(
    seen: Iterable[Observation | Missing], stamps_ns: np.ndarray, actions: np.ndarray, max_gap_ns: int, task: Task,
    annotation: Annotation | None, objects: tuple[str, ...], config: Config, trim: Trim | None = None,
) -> Part:  # fmt: skip
    """The samples of what was `seen`, with labels from the `actions` (n, A) at `stamps_ns` (n,), which are linear
    between two that are no more than max_gap_ns apart; boxes are those of `objects`, in that order."""
    lookup = _BoxLookup(annotation, task.cameras, objects, config.image_size, config.saliency_window)
    left_out: Counter[str] = Counter()
    rows: list[tuple[np.ndarray, ...]] = []
    probe = None
    for number, observation in enumerate(seen):
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
        probe = native if probe is None else probe
        small = resize_frames(torch.from_numpy(native), *config.image_size).numpy()
        rows.append((small, observation.states.astype(np.float32), chunk.astype(np.float32),
                     *lookup.at(observation.image_stamps_ns), np.int64(observation.stamp_ns)))  # fmt: skip
    if not rows:
        return Part(*(np.zeros((0,)) for _ in range(8)), left_out, None)
    return Part(*(np.stack(column) for column in zip(*rows, strict=True)), left_out, probe)


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


class _BoxLookup:
    """Boxes and validity of each object at an image's stamp and in the frames before, scaled to the resized image."""

    def __init__(
        self, annotation: Annotation | None, cameras: Sequence[str], objects: Sequence[str],
        image_size: tuple[int, int], window: int,
    ) -> None:  # fmt: skip
        self.cameras = tuple(cameras)
        self.shape = (len(self.cameras), len(objects))
        self.before = window - 1
        self.tracks: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self.rows: list[dict[int, int]] = [{} for _ in self.cameras]
        if annotation is None:
            return
        height, width = image_size
        for n, name in enumerate(self.cameras):
            camera = annotation.camera(name)
            self.rows[n] = {stamp: row for row, stamp in enumerate(camera.stamps_ns.tolist())}
            scale = np.array([width / camera.width_px, height / camera.height_px] * 2, dtype=np.float32)
            for track in camera.objects:
                if track.name in objects:
                    seen = np.isfinite(track.boxes_px).all(axis=1)
                    valid = track.valid & camera.valid & seen
                    self.tracks[n, objects.index(track.name)] = (track.boxes_px * scale, valid)

    def at(self, stamps_ns: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N, K, 4) float32 and valid (N, K) bool, then the centres (N, K, W - 1, 2) in the camera's frames
        before and whether these are valid; a frame that was not annotated has nothing valid."""
        boxes = np.full((*self.shape, 4), np.nan, dtype=np.float32)
        valid = np.zeros(self.shape, dtype=bool)
        centres = np.full((*self.shape, self.before, 2), np.nan, dtype=np.float32)
        known = np.zeros((*self.shape, self.before), dtype=bool)
        for (n, k), (track_boxes, track_valid) in self.tracks.items():
            row = self.rows[n].get(stamps_ns[self.cameras[n]])
            if row is None:
                continue
            boxes[n, k], valid[n, k] = track_boxes[row], track_valid[row]
            past = np.arange(row - 1, max(row - 1 - self.before, -1), -1)
            centres[n, k, : len(past)] = (track_boxes[past, :2] + track_boxes[past, 2:]) / 2.0
            known[n, k, : len(past)] = track_valid[past]
        return boxes, valid, centres, known
