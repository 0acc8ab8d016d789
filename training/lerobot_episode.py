"""One episode of a LeRobot dataset -> aligned samples, by the same rules as a recorded one (reading.py).

A frame's time is its `stamp_ns` where `autofocus export-lerobot` wrote it, else index / fps, which is LeRobot's time.
States and actions are those of the frame; between frames they are linear.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from autofocus_core.annotation import Annotation, CameraAnnotation, ObjectTrack
from autofocus_core.errors import AutofocusError
from autofocus_core.resample import NS_PER_S, Missing, Observation, StateHistory, StreamBuffer
from autofocus_core.schema import Robot, Task
from autofocus_training.config import Config
from autofocus_training.lerobot_files import libraries
from autofocus_training.lerobot_pictures import MEND, stills, video
from autofocus_training.reading import Part, collect

START_NS = NS_PER_S  # of an episode without stamps: a stamp of zero is one that was never set
OFF_S = 1e-3  # how far `timestamp` may be from index / fps
GAP_PERIODS = 4.5  # what the export leaves between two frames at most, and a half
OUTSIDE = 0.5  # of a joint's range: an action farther beyond its limits is in other units


@dataclass(frozen=True, slots=True)
class View:
    """A camera of the robot and the feature that has its pictures, in the table (`still`) or in videos. objects: names
    of its boxes, None where it is not annotated. Its size is the robot's."""

    camera: str
    feature: str
    still: bool
    objects: tuple[str, ...] | None
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What the episodes of a dataset have in common. fps: frames per second; state_columns, action_columns: which
    numbers of a row the robot's joints are; stamped: whether there is `stamp_ns`."""

    root: Path
    fps: float
    views: tuple[View, ...]
    state_columns: tuple[int, ...]
    action_columns: tuple[int, ...]
    stamped: bool


def data_file(root: Path, chunk: str, number: str) -> Path:
    """Where version 3.0 has a table of frames."""
    return root / "data" / f"chunk-{chunk}" / f"file-{number}.parquet"


def video_file(root: Path, key: str, chunk: str, number: str) -> Path:
    """Where version 3.0 has a video of a feature."""
    return root / "videos" / key / f"chunk-{chunk}" / f"file-{number}.mp4"


@dataclass(frozen=True, slots=True)
class LerobotEpisode:
    """An episode of `length` frames, a `sources.Source`. data: its table; videos: (camera, file, where in it the
    episode begins, s). Both may be shared with other episodes."""

    layout: Layout
    number: int
    length: int
    data: Path
    videos: tuple[tuple[str, Path, float], ...]

    @property
    def id(self) -> str:
        """As an episode's."""
        return f"{self.layout.root.name}/{self.number}"

    @property
    def where(self) -> str:
        """For messages."""
        return f"LeRobot dataset {self.layout.root}: episode {self.number}"

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it is read from."""
        return self.data, *(path for _, path, _ in self.videos)

    def content_hash(self) -> str:
        """See Source."""
        parts = [self._place(), *(_file_hash(path, *_state(path)) for path in self.files)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def fingerprint(self) -> tuple[object, ...]:
        """See Source."""
        return (self._place(), *((str(path.resolve()), *_state(path)) for path in self.files))

    def _place(self) -> tuple[object, ...]:
        """Where in the files it is, and how they are read; not where they lie."""
        starts_s = tuple(start_s for _, _, start_s in self.videos)
        return self.number, self.length, starts_s, replace(self.layout, root=Path())

    def annotation(self, needed: bool) -> Annotation | None:
        """See Source; what `autofocus export-lerobot` wrote, box by box."""
        views = self.layout.views
        lacking = [view.camera for view in views if view.objects is None]
        if lacking and not needed:
            return None
        if lacking:
            raise AutofocusError(
                self.where, f"no annotated objects for camera {', '.join(lacking)}",
                "the features that export-lerobot writes",
                "annotate recorded episodes (`autofocus annotate`) and export them, write annotation.CAMERA.boxes_px, "
                ".valid and .map_valid yourself (docs/learning.md), or train without maps: --method none, "
                "paste_shapes=0, background_swap=0",
            )  # fmt: skip
        rows = self._rows([f"annotation.{view.camera}.{kind}" for view in views for kind in KINDS])
        stamps, used = self._stamps(rows)
        cameras = tuple(_annotated(view, rows, stamps, used) for view in views)
        return Annotation(self.id, "", "", "", cameras)

    def read(
        self, robot: Robot, task: Task, annotation: Annotation | None, objects: tuple[str, ...], config: Config
    ) -> Part:
        """See Source. Raises AutofocusError for frames that are missing, of another size or not where index / fps
        says, and for numbers that are not those of the robot's joints."""
        keys = [view.feature for view in self.layout.views if view.still]
        rows = self._rows(["observation.state", "action", *keys])
        stamps, used = self._stamps(rows)
        states, actions = self._joints(rows, "observation.state", robot), self._joints(rows, "action", robot)
        max_gap_ns = round(GAP_PERIODS * NS_PER_S / self.layout.fps)
        seen = self._observations(rows, states, StateHistory(config.state_history, config.dt_s), max_gap_ns)
        return collect(seen, stamps[used], actions[used], max_gap_ns, task, annotation, objects, config)

    def _rows(self, keys: list[str]) -> Any:
        """The table of its frames: `keys` and what tells their order and time, checked."""
        arrow, _ = libraries()
        columns = ["frame_index", "timestamp", *(["stamp_ns"] if self.layout.stamped else []), *keys]
        try:
            rows = arrow.parquet.read_table(
                self.data, columns=columns, filters=[("episode_index", "=", self.number)], partitioning=None
            )
        except (OSError, ValueError, arrow.ArrowException) as error:
            got = str(error).split("\n")[0]
            raise AutofocusError(f"{self.where}: {self.data}", got, "a table of frames", MEND) from error
        lacking = [name for name in columns if name not in rows.column_names]
        if lacking:
            raise AutofocusError(f"{self.where}: {self.data}", f"no {', '.join(lacking)}", "these columns", MEND)
        index = rows["frame_index"].to_numpy()
        if not np.array_equal(index, np.arange(self.length)):
            raise AutofocusError(
                f"{self.where}: {self.data}", f"{len(index)} rows, or not in order",
                f"frames 0 to {self.length - 1}, as meta/episodes says", MEND,
            )  # fmt: skip
        seconds = rows["timestamp"].to_numpy()
        off = np.flatnonzero(~(np.abs(seconds - index / self.layout.fps) <= OFF_S))
        if len(off):
            k = int(off[0])
            raise AutofocusError(
                f"{self.where}: frame {k}", f"timestamp {seconds[k]:.4f} s",
                f"{k / self.layout.fps:.4f} s, which is its index at {self.layout.fps:g} fps",
                "correct fps in meta/info.json, or export the dataset at its true rate",
            )  # fmt: skip
        return rows

    def _stamps(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """(stamps int64 (n,), which of them show a picture for the first time)."""
        if not self.layout.stamped:
            stamps = START_NS + np.round(np.arange(self.length) * (NS_PER_S / self.layout.fps)).astype(np.int64)
            return stamps, np.ones(self.length, bool)
        stamps = rows["stamp_ns"].to_numpy()
        later = np.diff(stamps)
        if (later < 0).any():
            raise AutofocusError(f"{self.where}: stamp_ns", "falling", "rising, or the same again", MEND)
        return stamps, np.concatenate([[True], later > 0])

    def _joints(self, rows: Any, key: str, robot: Robot) -> np.ndarray:
        """(n, A) float64, in the robot's order."""
        columns = self.layout.state_columns if key == "observation.state" else self.layout.action_columns
        values = _matrix(rows, key).astype(np.float64)[:, list(columns)]
        lower, upper = (np.array([getattr(joint, name) for joint in robot.all_joints]) for name in ("lower", "upper"))
        far = ~((values > lower - OUTSIDE * (upper - lower)) & (values < upper + OUTSIDE * (upper - lower)))  # or NaN
        if far.any():
            k, joint = np.argwhere(far)[0]
            raise AutofocusError(
                f"{self.where}: frame {k}: {key} of {robot.joint_names[joint]}", f"{values[k, joint]:g}",
                f"{lower[joint]:g} to {upper[joint]:g} {robot.all_joints[joint].unit}, by the robot YAML",
                "convert the dataset's units (degrees, percent) to those of the robot YAML, or correct its limits",
            )  # fmt: skip
        return values

    def _observations(
        self, rows: Any, states: np.ndarray, history: StateHistory, max_gap_ns: int
    ) -> Iterator[Observation | Missing]:
        stamps, used = self._stamps(rows)
        buffer = StreamBuffer(max_gap_ns, self.length)
        for stamp, state in zip(stamps[used].tolist(), states[used]):
            buffer.push(stamp, state)
        pictures = {view.camera: self._pictures(view, rows) for view in self.layout.views}
        for k, (stamp, first) in enumerate(zip(stamps.tolist(), used.tolist())):
            images = {camera: next(stream) for camera, stream in pictures.items()}
            earlier = tuple(buffer.interpolate(stamp - age_ns) for age_ns in history.ages_ns)
            if not first:
                yield Missing("a picture that is repeated to keep the rate", stamp)
            elif any(state is None for state in earlier):
                yield Missing("too early for its history of states", stamp)
            else:
                yield Observation(stamp, images, dict.fromkeys(images, stamp), states[k], stamp, earlier)

    def _pictures(self, view: View, rows: Any) -> Iterator[np.ndarray]:
        """The frames of a camera, uint8 (H, W, 3) RGB, in order: as many as there are rows."""
        if view.still:
            stream = stills(rows[view.feature], f"{self.where}: {view.feature}")
        else:
            path, start_s = next((path, start_s) for camera, path, start_s in self.videos if camera == view.camera)
            stream = video(path, start_s, self.length, self.layout.fps, f"{self.where}: {path}")
        for image in stream:
            if image.shape != (view.height_px, view.width_px, 3):
                raise AutofocusError(
                    f"{self.where}: {view.feature}", f"{image.shape[1]}x{image.shape[0]}",
                    f"{view.width_px}x{view.height_px}, as camera {view.camera} has in the robot YAML",
                    "give a robot YAML whose camera has the size that the policy will see",
                )  # fmt: skip
            yield image


KINDS = ("boxes_px", "valid", "map_valid")


def _annotated(view: View, rows: Any, stamps: np.ndarray, used: np.ndarray) -> CameraAnnotation:
    boxes, valid, known = (_matrix(rows, f"annotation.{view.camera}.{kind}")[used] for kind in KINDS)
    nothing = ("",) * len(boxes)
    tracks = tuple(
        ObjectTrack(name, "", boxes[:, 4 * k : 4 * k + 4].astype(np.float32), valid[:, k].astype(np.float32),
                    valid[:, k].astype(bool), nothing)
        for k, name in enumerate(view.objects or ())
    )  # fmt: skip
    return CameraAnnotation(
        view.camera, view.width_px, view.height_px, stamps[used], tracks, known[:, 0].astype(bool), nothing
    )


def _matrix(rows: Any, key: str) -> np.ndarray:
    """(n, width) of a column of lists, or of one number each."""
    column = rows[key].combine_chunks()
    flat = column.flatten() if hasattr(column, "flatten") and str(column.type).find("list") >= 0 else column
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@lru_cache(maxsize=1024)
def _file_hash(path: Path, *state: int) -> str:
    """Hex SHA-256; `state` tells when it is another file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
