"""A LeRobot dataset, version 3.0, to train from: what it says about itself, and how that fits a robot and a task.

Nothing in its files becomes a path: the layout is the format's own, and a feature's name is let in by its letters.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Robot, Task
from autofocus_training.lerobot_episode import KINDS, Layout, LerobotEpisode, View, data_file, video_file
from autofocus_training.lerobot_files import libraries

WHOLE = "download the dataset whole (`hf download --repo-type dataset ...`), or export it again"
IMAGES = ("video", "image")  # dtypes of features that are pictures
EPISODE_COLUMNS = ("episode_index", "length", "tasks", "data/chunk_index", "data/file_index")
VIDEO_COLUMNS = ("chunk_index", "file_index", "from_timestamp")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person says where names do not: features by camera of the robot, and which of the robot's joints the
    numbers of a state and of an action are, in the dataset's order (empty: by their names in the dataset)."""

    cameras: Mapping[str, str] = field(default_factory=dict)
    joints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LerobotSelection:
    """The episodes that are learned from; `said` for people: what was taken for what."""

    kept: tuple[LerobotEpisode, ...]
    said: tuple[str, ...]

    def lines(self) -> list[str]:
        """As `selection.Selection.lines`."""
        return list(self.said)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of a verb that can learn from a LeRobot dataset; see `chosen`."""
    parser.add_argument("--lerobot", type=Path, metavar="DIR", help="a LeRobot dataset (v3.0) instead of episodes")
    parser.add_argument("--lerobot-camera", nargs="+", default=[], metavar="CAMERA=FEATURE",
                        help="which of its images a camera of the robot is, where the names do not say it")
    parser.add_argument("--lerobot-joints", nargs="+", default=[], metavar="NAME",
                        help="names in the robot YAML of the numbers of its states and actions, where it has others")


def chosen(args: argparse.Namespace, robot: Robot, task: Task) -> LerobotSelection:
    """The dataset of parsed `add_arguments`; raises as `open_dataset`, and for a pair that is none."""
    pairs = [text.partition("=") for text in args.lerobot_camera]
    wrong = [camera for camera, _, feature in pairs if not camera or not feature]
    if wrong:
        raise AutofocusError("--lerobot-camera", f"{wrong[0]!r}", "CAMERA=FEATURE", "write it that way")
    choice = Choice({camera: feature for camera, _, feature in pairs}, tuple(args.lerobot_joints))
    return open_dataset(args.lerobot, robot, task, choice)


def open_dataset(root: Path, robot: Robot, task: Task, choice: Choice | None = None) -> LerobotSelection:
    """The episodes of the dataset in `root` that are of the task.

    Raises AutofocusError for another version or layout, missing files or libraries, cameras or joints that are not
    those of the robot, and a task that is not in it.
    """
    libraries()
    choice = choice or Choice()
    info = _info(root)
    where = f"LeRobot dataset {root}"
    columns = [_joints(info, key, robot, choice) for key in ("observation.state", "action")]
    views = tuple(
        View(name, key, info["features"][key]["dtype"] == "image", _objects(info, name, where),
             robot.camera(name).width_px, robot.camera(name).height_px)
        for name, key in _cameras(info, task, choice, where).items()
    )  # fmt: skip
    layout = Layout(root, float(info["fps"]), views, *columns, "stamp_ns" in info["features"])
    rows = _episode_rows(root, layout, where)
    frames = sum(row["length"] for row in rows)
    if len(rows) != info["total_episodes"] or frames != info["total_frames"]:
        raise AutofocusError(
            f"{where}: meta/episodes", f"{len(rows)} episodes of {frames} frames",
            f"{info['total_episodes']} episodes of {info['total_frames']} frames, as meta/info.json says", WHOLE,
        )  # fmt: skip
    kept = [_episode(layout, row) for row in _of_task(rows, task, where)]
    for path in sorted({file for episode in kept for file in episode.files}):
        if not path.is_file():
            missing = f"{where}: {path.relative_to(root)}"
            raise AutofocusError(missing, "no such file", "every file of its episodes", WHOLE)
    lines = [f"camera {view.camera}: {view.feature}" for view in views]
    if len(kept) < len(rows):
        lines.append(f"left out {len(rows) - len(kept)} episodes of other tasks")
    return LerobotSelection(tuple(kept), tuple(lines))


def _info(root: Path) -> dict[str, Any]:
    """meta/info.json, checked as far as it is used."""
    path = root / "meta" / "info.json"
    where = f"LeRobot dataset {root}: meta/info.json"
    if not path.is_file():
        raise AutofocusError(where, "no such file", "a folder that holds a LeRobot dataset", "correct --lerobot DIR")
    try:
        info = json.loads(path.read_text())
        version, fps, features = str(info["codebase_version"]), info["fps"], info["features"]
        info["total_episodes"], info["total_frames"]  # a KeyError where one is missing
        keys = {str(key): str(feature["dtype"]) for key, feature in features.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AutofocusError(where, f"damaged: {error!r}", "what LeRobot writes there", WHOLE) from error
    if not version.startswith("v3."):
        raise AutofocusError(
            where, f"version {version!r}", "v3.0",
            "convert it: python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=... (older ones first to v2.1)",
        )  # fmt: skip
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps <= 10_000:
        raise AutofocusError(where, f"fps {fps!r}", "frames per second, above 0", "correct it")
    odd = [key for key in keys if not re.fullmatch(r"[\w.\-]+", key) or ".." in key]
    if odd:
        raise AutofocusError(where, f"features {odd!r}", "names of letters, digits, _, - and .", "rename the features")
    templates = {"data_path": str(data_file(Path(), "{chunk}", "{file}"))}
    if "video" in keys.values():
        templates["video_path"] = str(video_file(Path(), "{key}", "{chunk}", "{file}"))
    for name, wanted in templates.items():
        found = str(info.get(name)).replace("video_key", "key").replace("_index:03d", "")
        if found != wanted:
            raise AutofocusError(where, f"{name} {info.get(name)!r}", "the layout of version 3.0", "convert it to v3.0")
    for key in ("observation.state", "action"):
        if key not in keys:
            raise AutofocusError(
                where, f"features {', '.join(map(repr, keys))}", f"{key!r} among them",
                "joint positions and their targets are what is learned from: record them under these names",
            )  # fmt: skip
    return info


def _cameras(info: Mapping[str, Any], task: Task, choice: Choice, where: str) -> dict[str, str]:
    """The feature of each camera of the task: as chosen, of the same name, or the only one there is."""
    pictures = [
        key for key, feature in info["features"].items()
        if feature["dtype"] in IMAGES and not key.startswith("observation.saliency.") and not _is_depth(feature)
    ]  # fmt: skip
    found: dict[str, str] = {}
    for camera in task.cameras:
        named = [key for key in pictures if key.removeprefix("observation.images.") == camera]
        only = pictures if len(pictures) == len(task.cameras) == 1 else []
        chosen = [choice.cameras[camera]] if camera in choice.cameras else named or only
        if not chosen or chosen[0] not in pictures:
            raise AutofocusError(
                f"{where}: camera {camera!r}", f"{choice.cameras.get(camera, 'no feature of that name')!r}",
                f"one of the images {', '.join(map(repr, pictures)) or '(none)'}",
                f"say which it is: --lerobot-camera {camera}=FEATURE, or name fewer cameras in the task YAML",
            )  # fmt: skip
        found[camera] = chosen[0]
    unknown = [camera for camera in choice.cameras if camera not in found]
    if unknown:
        raise AutofocusError(
            "--lerobot-camera", ", ".join(map(repr, unknown)), ", ".join(map(repr, found)),
            "name cameras that the task YAML has",
        )  # fmt: skip
    if len(set(found.values())) < len(found):
        raise AutofocusError("--lerobot-camera", f"{found}", "another image for each camera", "correct it")
    return found


def _is_depth(feature: Mapping[str, Any]) -> bool:
    info = feature.get("info") or {}
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map"))


def _joints(info: Mapping[str, Any], key: str, robot: Robot, choice: Choice) -> tuple[int, ...]:
    """For each of the robot's joints, which number of the feature it is."""
    feature = info["features"][key]
    width = int((feature.get("shape") or [0])[0])
    names = choice.joints or _names(feature)
    plain = [name.removesuffix(".pos") for name in names]  # as LeRobot's own robots call a joint's position
    if len(plain) != width or any(plain.count(joint) != 1 for joint in robot.joint_names):
        raise AutofocusError(
            f"LeRobot feature {key!r}, {width} numbers", ", ".join(map(repr, names)) or "without names",
            f"the joints of robot {robot.name} among them, each once: {', '.join(robot.joint_names)}",
            "name the joints in the robot YAML so, or say what the numbers are: --lerobot-joints NAME NAME ...",
        )  # fmt: skip
    return tuple(plain.index(joint) for joint in robot.joint_names)


def _names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """A list; a dict of lists, as {"motors": [...]}; or a dict of places, as {"x": 0, "y": 1}."""
    names = feature.get("names")
    if isinstance(names, Mapping):
        if all(isinstance(value, int) for value in names.values()):
            return tuple(sorted(names, key=names.__getitem__))
        names = [name for value in names.values() if isinstance(value, Sequence) for name in value]
    return tuple(map(str, names or ()))


def _objects(info: Mapping[str, Any], camera: str, where: str) -> tuple[str, ...] | None:
    """A camera's annotated objects, None where it has no such features: see docs/adr/0018-lerobot.md."""
    boxes, valid, known = (info["features"].get(f"annotation.{camera}.{kind}") for kind in KINDS)
    if boxes is None or valid is None or known is None:
        return None
    names = _names(valid)
    if len(set(names)) != len(names) or list(boxes["shape"]) != [4 * len(names)]:
        raise AutofocusError(
            f"{where}: annotation.{camera}", f"boxes {boxes['shape']} of {', '.join(map(repr, names))}",
            "four numbers for each object, and a name for each", "export it again (docs/adr/0018-lerobot.md)",
        )  # fmt: skip
    return names


def _episode_rows(root: Path, layout: Layout, where: str) -> list[dict[str, Any]]:
    """Of meta/episodes, by number; without the statistics."""
    arrow, _ = libraries()
    columns = list(EPISODE_COLUMNS)
    for view in layout.views:
        if not view.still:
            columns += [f"videos/{view.feature}/{name}" for name in VIDEO_COLUMNS]
    files = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise AutofocusError(f"{where}: meta/episodes", "no parquet file", "at least one", WHOLE)
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            rows += arrow.parquet.read_table(file, columns=columns).to_pylist()
        except (OSError, ValueError, arrow.ArrowException) as error:
            got = str(error).split("\n")[0]
            raise AutofocusError(f"{where}: {file.relative_to(root)}", got, "a table of episodes", WHOLE) from error
        lacking = [name for name in columns if rows and (name not in rows[-1] or rows[-1][name] is None)]
        if lacking:
            allowed = "these columns of version 3.0"
            raise AutofocusError(f"{where}: {file.relative_to(root)}", f"no {', '.join(lacking)}", allowed, WHOLE)
    return sorted(rows, key=lambda row: row["episode_index"])


def _of_task(rows: Sequence[Mapping[str, Any]], task: Task, where: str) -> list[Mapping[str, Any]]:
    """Those of the task's instruction; all of them where they are of one task, whatever it is called."""
    tasks = sorted({str(name) for row in rows for name in row["tasks"]})
    if len(tasks) > 1 and task.instruction not in tasks:
        raise AutofocusError(
            f"{where}: tasks", f"no {task.instruction!r}", ", ".join(map(repr, tasks)),
            "set `instruction` in the task YAML to one of them: episodes of that task are learned from",
        )  # fmt: skip
    return [row for row in rows if len(tasks) == 1 or task.instruction in row["tasks"]]


def _episode(layout: Layout, row: Mapping[str, Any]) -> LerobotEpisode:
    videos = []
    for view in layout.views:
        if not view.still:
            chunk, number, start_s = (row[f"videos/{view.feature}/{name}"] for name in VIDEO_COLUMNS)
            path = video_file(layout.root, view.feature, f"{chunk:03d}", f"{number:03d}")
            videos.append((view.camera, path, float(start_s)))
    path = data_file(layout.root, f"{row['data/chunk_index']:03d}", f"{row['data/file_index']:03d}")
    return LerobotEpisode(layout, row["episode_index"], row["length"], path, tuple(videos))
