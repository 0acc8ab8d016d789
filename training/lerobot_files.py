"""The files of a LeRobot dataset, version 3.0, as its reader wants them: one parquet and one video a camera for each
episode, and meta/ with info, tasks, episodes and statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Robot, Task

VERSION = "v3.0"
CHUNK_SIZE = 1000  # files of a folder
CODEC = "libx264"
CRF = "18"  # visually lossless, and not lossless
EXACT = "1"  # of the maps: their values mean something
KEY_FRAMES = "2"  # every second frame can be sought: training reads frames at random
QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)


def libraries() -> tuple[ModuleType, ModuleType]:
    """(pyarrow, av); raises AutofocusError that names the extra where they are missing."""
    try:
        import av
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise AutofocusError(
            "LeRobot datasets", f"python package {error.name!r} is not installed", "pyarrow and av",
            "pip install 'autofocus-il[lerobot]'",
        ) from error  # fmt: skip
    return pyarrow, av


class Store:
    """A dataset that is being written, episode by episode."""

    def __init__(
        self, arrow: ModuleType, av: ModuleType, root: Path, robot: Robot, task: Task, objects: tuple[str, ...],
        fps: int,
    ) -> None:  # fmt: skip
        self.arrow, self.av, self.root, self.task, self.fps = arrow, av, root, task, fps
        self.robot_name = robot.name
        self.features = _features(robot, task, objects, fps)
        self.episodes: list[dict[str, Any]] = []
        self.columns: dict[str, list[np.ndarray]] = {}
        self.pixels: dict[str, _Pixels] = {key: _Pixels() for key, f in self.features.items() if f["dtype"] == "video"}
        self.frames = 0

    @contextmanager
    def episode(self) -> Iterator[EpisodeWriter]:
        """The writer of the next episode, which is complete when the block ends."""
        writer = EpisodeWriter(self, len(self.episodes))
        try:
            yield writer
        except BaseException:
            writer.close_videos()
            raise
        self.episodes.append(writer.finish())
        self.frames += writer.length

    def finish(self) -> None:
        """Write meta/."""
        meta = self.root / "meta"
        meta.mkdir(parents=True, exist_ok=True)
        count = len(self.episodes)
        info = {
            "codebase_version": VERSION, "robot_type": self.robot_name, "total_episodes": count,
            "total_frames": self.frames, "total_tasks": 1, "chunks_size": CHUNK_SIZE, "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200, "fps": self.fps, "splits": {"train": f"0:{count}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
            "features": self.features,
        }  # fmt: skip
        (meta / "info.json").write_text(json.dumps(info, indent=4, ensure_ascii=False) + "\n")
        (meta / "stats.json").write_text(json.dumps(self._stats(), indent=4) + "\n")
        tasks = self.arrow.table({"task_index": [0], "__index_level_0__": [self.task.instruction]})
        pandas = {"index_columns": ["__index_level_0__"], "column_indexes": [], "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
             "metadata": None},
            {"name": None, "field_name": "__index_level_0__", "pandas_type": "unicode", "numpy_type": "object",
             "metadata": None}]}  # fmt: skip
        tasks = tasks.replace_schema_metadata({"pandas": json.dumps(pandas)})
        self.arrow.parquet.write_table(tasks, meta / "tasks.parquet")
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        table = self.arrow.Table.from_pylist(self.episodes)
        self.arrow.parquet.write_table(table, meta / "episodes" / "chunk-000" / "file-000.parquet")

    def _stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = {}
        for key, parts in self.columns.items():
            values = np.concatenate(parts).astype(np.float64).reshape(self.frames, -1)
            if not key.startswith("annotation."):  # has NaN where there is no box
                stats[key] = _summary(values)
        for key, pixels in self.pixels.items():
            stats[key] = {
                name: np.reshape(value, (-1, 1, 1)).tolist() if name != "count" else value
                for name, value in _summary(np.concatenate(pixels.kept) / 255.0).items()
            }
        return stats


class _Pixels:
    """A few thousand pixels of a video, for its statistics."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []

    def add(self, image: np.ndarray) -> None:
        if len(self.kept) < 500:
            self.kept.append(image[::16, ::16].reshape(-1, 3))


class EpisodeWriter:
    """The rows and videos of one episode."""

    def __init__(self, store: Store, number: int) -> None:
        self._store, self._number = store, number
        self._chunk, self._file = divmod(number, CHUNK_SIZE)
        self._rows: list[dict[str, Any]] = []
        self._videos: dict[str, tuple[Any, Any]] = {}
        self.length = 0

    def add(self, row: dict[str, Any], videos: dict[str, np.ndarray]) -> None:
        """Append a frame: values by feature, and images (H, W, 3) uint8 RGB by video feature."""
        k = self.length
        self._rows.append(row | {
            "timestamp": np.float32(k / self._store.fps), "frame_index": k, "episode_index": self._number,
            "index": self._store.frames + k, "task_index": 0,
        })  # fmt: skip
        for key, image in videos.items():
            self._store.pixels[key].add(image)
            container, stream = self._videos.get(key) or self._open(key, image.shape)
            frame = self._store.av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = k
            for packet in stream.encode(frame):
                container.mux(packet)
        self.length += 1

    def _open(self, key: str, shape: tuple[int, ...]) -> tuple[Any, Any]:
        folder = self._store.root / "videos" / key / f"chunk-{self._chunk:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        container = self._store.av.open(str(folder / f"file-{self._file:03d}.mp4"), "w")
        saliency = key.startswith("observation.saliency.")
        options = {"crf": EXACT if saliency else CRF, "g": KEY_FRAMES, "bf": "0"}
        stream = container.add_stream(CODEC, rate=self._store.fps, options=options)
        stream.height, stream.width = shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, self._store.fps)
        self._videos[key] = container, stream
        return container, stream

    def close_videos(self) -> None:
        """Flush and close what is open."""
        for container, stream in self._videos.values():
            for packet in stream.encode():
                container.mux(packet)
            container.close()
        self._videos = {}

    def finish(self) -> dict[str, Any]:
        """Write the parquet; the row of meta/episodes."""
        keys = list(self._videos)
        self.close_videos()
        if not self._rows:
            return {}
        arrow, arrays = self._store.arrow, {}
        for key, feature in self._store.features.items():
            if feature["dtype"] == "video":
                continue
            values = np.stack([np.asarray(row[key]) for row in self._rows]).astype(feature["dtype"])
            self._store.columns.setdefault(key, []).append(values)
            if values.size == len(values):  # a feature of one value is read as a plain one
                arrays[key] = arrow.array(values.reshape(-1))
            else:
                flat = arrow.array(values.reshape(-1))
                arrays[key] = arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
        folder = self._store.root / "data" / f"chunk-{self._chunk:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        arrow.parquet.write_table(arrow.table(arrays), folder / f"file-{self._file:03d}.parquet")
        row = {
            "episode_index": self._number, "tasks": [self._store.task.instruction], "length": self.length,
            "data/chunk_index": self._chunk, "data/file_index": self._file,
            "dataset_from_index": self._store.frames, "dataset_to_index": self._store.frames + self.length,
            "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0,
        }  # fmt: skip
        for key in keys:
            row |= {
                f"videos/{key}/chunk_index": self._chunk, f"videos/{key}/file_index": self._file,
                f"videos/{key}/from_timestamp": 0.0, f"videos/{key}/to_timestamp": self.length / self._store.fps,
            }  # fmt: skip
        return row


def _features(robot: Robot, task: Task, objects: tuple[str, ...], fps: int) -> dict[str, Any]:
    joints = {"dtype": "float32", "shape": [len(robot.joint_names)], "names": list(robot.joint_names)}
    features: dict[str, Any] = {"observation.state": joints, "action": joints}
    for name in task.cameras:
        camera = robot.camera(name)
        shape = [camera.height_px, camera.width_px, 3]
        video = {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"], "info": {
            "video.height": shape[0], "video.width": shape[1], "video.codec": "h264", "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False, "video.fps": fps, "video.channels": 3, "has_audio": False,
        }}  # fmt: skip
        features[f"observation.images.{name}"] = video
        if objects:
            corners = [f"{thing}.{corner}" for thing in objects for corner in ("x0", "y0", "x1", "y1")]
            features |= {
                f"observation.saliency.{name}": video,
                f"annotation.{name}.boxes_px": {"dtype": "float32", "shape": [len(corners)], "names": corners},
                f"annotation.{name}.valid": {"dtype": "bool", "shape": [len(objects)], "names": list(objects)},
                f"annotation.{name}.map_valid": {"dtype": "bool", "shape": [1], "names": None},
            }
    one = {"shape": [1], "names": None}
    whole = {"dtype": "int64", **one}
    return features | {
        "stamp_ns": whole, "timestamp": {"dtype": "float32", **one}, "frame_index": whole, "episode_index": whole,
        "index": whole, "task_index": whole,
    }  # fmt: skip


def _summary(values: np.ndarray) -> dict[str, Any]:
    """Of (M, D), by column."""
    quantiles = {f"q{round(100 * q):02d}": np.quantile(values, q, axis=0).tolist() for q in QUANTILES}
    return {
        "min": values.min(0).tolist(), "max": values.max(0).tolist(), "mean": values.mean(0).tolist(),
        "std": values.std(0).tolist(), "count": [len(values)], **quantiles,
    }  # fmt: skip
