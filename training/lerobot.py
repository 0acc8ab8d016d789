"""`autofocus export-lerobot`: episodes and their saliency maps as a LeRobot dataset, version 3.0.

LeRobot's time is the frame's index divided by a fixed rate. Frame k is the last image of the first camera within half a
period of that time, with the states, actions and boxes of that image's own stamp, which `stamp_ns` keeps: within a
frame nothing shifts. What repeats or leaves out an image is counted. Videos are lossy; the episodes stay the original.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from autofocus_core.annotation import Annotation
from autofocus_core.episode import Episode
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import read_joints
from autofocus_core.resample import NS_PER_MS, NS_PER_S, Missing, Observation, StreamBuffer, observations
from autofocus_core.review import read_reviewed
from autofocus_core.saliency import gaussian_maps
from autofocus_core.schema import Robot, Task, load_robot, load_task
from autofocus_training.lerobot_files import Store, libraries
from autofocus_training.selection import select_episodes
from tqdm import tqdm

SIGMA = 1.0 / 24.0  # of the maps' Gaussians, as a fraction of the height: 20 px at 480


@dataclass(slots=True)
class Counts:
    """What became of the images: frames written; images shown twice, or not at all; images without state or action."""

    frames: int = 0
    repeated: int = 0
    skipped: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: the observation, the action (A,) at its stamp."""

    observation: Observation
    action: np.ndarray


def write_dataset(
    episodes: Sequence[Episode], robot: Robot, task: Task, out: Path, fps: int | None = None, progress=lambda: None,
) -> Counts:  # fmt: skip
    """Write `episodes` to the folder `out`, which must not exist; `fps`: None is the first camera's rate.

    Raises AutofocusError for a corrupt frame, an episode without a frame, or a gap of the images that no frame can
    stand for; nothing is left of the folder then.
    """
    arrow, av = libraries()
    rate_hz = robot.camera(task.cameras[0]).rate_hz
    fps = round(rate_hz) if fps is None else fps
    if fps < 1:
        raise AutofocusError("--fps", str(fps), "at least 1", "give the rate of the frames in Hz")
    if out.exists():
        raise AutofocusError(f"--out {out}", "exists", "a folder that does not", "give another one, or delete it")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    annotations = [read_reviewed(e.path) if e.annotation_path.is_dir() else None for e in episodes]
    objects = tuple(dict.fromkeys(
        track.name for a in annotations if a is not None for c in a.cameras if c.camera in task.cameras
        for track in c.objects
    ))  # fmt: skip
    counts = Counts()
    store = Store(arrow, av, partial, robot, task, objects, fps)
    try:
        for episode, annotation in zip(episodes, annotations, strict=True):
            _write_episode(store, episode, annotation, robot, task, objects, fps, counts)
            progress()
        store.finish()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts


def _write_episode(
    store: Store, episode: Episode, annotation: Annotation | None, robot: Robot, task: Task, objects: tuple[str, ...],
    fps: int, counts: Counts,
) -> None:  # fmt: skip
    with store.episode() as writer:
        for frame in on_grid(frames_of(episode, robot, task, counts), fps, f"episode {episode.path}", counts):
            seen = frame.observation
            row = {"observation.state": seen.state, "action": frame.action, "stamp_ns": seen.stamp_ns}
            videos = {}
            for name in task.cameras:
                videos[f"observation.images.{name}"] = seen.images[name]
                if objects:
                    boxes, valid, known = _boxes(annotation, name, seen.image_stamps_ns[name], objects)
                    size = seen.images[name].shape[:2]
                    row |= {f"annotation.{name}.boxes_px": boxes.reshape(-1), f"annotation.{name}.valid": valid,
                            f"annotation.{name}.map_valid": known}  # fmt: skip
                    videos[f"observation.saliency.{name}"] = _map(boxes[valid], size) if known else _dark(size)
            writer.add(row, videos)
            counts.frames += 1
        if not writer.length:
            raise AutofocusError(
                f"episode {episode.path}", "no frame with a state and an action", "at least one",
                "leave it out, or check the topics and timeouts in the robot YAML",
            )  # fmt: skip


def frames_of(episode: Episode, robot: Robot, task: Task, counts: Counts) -> Iterator[Frame]:
    """Every image of the first camera inside the trim that has all else, with the action at its stamp."""
    with episode.open() as bag:
        stamps_ns, actions = read_joints(bag, robot.action.topic, robot)
        buffer = StreamBuffer(round(robot.action.timeout_ms * NS_PER_MS), max(1, len(stamps_ns)))
        for stamp, action in zip(stamps_ns.tolist(), actions):
            buffer.push(stamp, action)
        for observation in observations(bag, robot, task.cameras):
            stamp, trim = observation.stamp_ns, episode.trim
            action = buffer.interpolate(stamp)
            reason = (
                "outside the trim" if trim is not None and not trim.start_ns <= stamp <= trim.end_ns
                else observation.reason if isinstance(observation, Missing)
                else "no action at its stamp" if action is None else None
            )  # fmt: skip
            if reason is None:
                yield Frame(observation, action)
            else:
                counts.left_out[reason] = counts.left_out.get(reason, 0) + 1


def on_grid(frames: Iterator[Frame], fps: int, where: str, counts: Counts) -> Iterator[Frame]:
    """One frame for each period of 1/fps s: the last one stamped before the middle between it and the next.

    Raises AutofocusError where frames are more than three periods apart: a picture that stands still for so long would
    be made up.
    """
    period_ns = NS_PER_S / fps
    held: Frame | None = None
    start_ns, k, used = 0, 0, False
    for frame in frames:
        stamp = frame.observation.stamp_ns
        if held is None:
            held, start_ns = frame, stamp
            continue
        gap_ns = stamp - held.observation.stamp_ns
        if gap_ns > 3 * period_ns:
            raise AutofocusError(
                where, f"{gap_ns / NS_PER_S:.3f} s without a usable frame after stamp {held.observation.stamp_ns} ns",
                f"frames at most {3 / fps:.3f} s apart, since LeRobot's time is index / fps",
                "trim the episode (`autofocus episodes trim`), leave it out, or give a lower --fps",
            )  # fmt: skip
        used = False
        while start_ns + (k + 0.5) * period_ns < stamp:
            counts.repeated += used
            yield held
            k, used = k + 1, True
        counts.skipped += not used
        held = frame
    if held is not None:
        yield held


def _boxes(
    annotation: Annotation | None, camera: str, stamp_ns: int, objects: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, bool]:
    """(K, 4) boxes in px of the frame, NaN where there is none; (K,) valid; whether the frame has a map."""
    boxes, valid = np.full((len(objects), 4), np.nan, np.float32), np.zeros(len(objects), bool)
    if annotation is None or camera not in {c.camera for c in annotation.cameras}:
        return boxes, valid, False
    found = annotation.camera(camera)
    row = int(np.searchsorted(found.stamps_ns, stamp_ns))
    if row == len(found.stamps_ns) or found.stamps_ns[row] != stamp_ns:
        return boxes, valid, False
    for track in found.objects:
        k = objects.index(track.name)
        boxes[k], valid[k] = track.boxes_px[row], track.valid[row]
    return boxes, valid, bool(found.valid[row])


def _map(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: the union of the boxes' Gaussians, 255 = 1, grey."""
    union = gaussian_maps(boxes, size, size, SIGMA * size[0]).sum(0) if len(boxes) else np.zeros(size)
    grey = np.round(255.0 * union / max(float(union.max()), 1e-8)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _dark(size: tuple[int, int]) -> np.ndarray:
    return np.zeros((*size, 3), np.uint8)


def main(argv: list[str]) -> int:
    """`autofocus export-lerobot EPISODES --robot --task --out DIR`."""
    parser = argparse.ArgumentParser(
        prog="autofocus export-lerobot", description="Write episodes and saliency maps as a LeRobot dataset (v3.0)."
    )
    parser.add_argument("episodes", nargs="+", type=Path, help="episodes, or folders of episodes")
    parser.add_argument("--robot", required=True, type=Path, help="robot YAML")
    parser.add_argument("--task", required=True, type=Path, help="task YAML")
    parser.add_argument("--out", required=True, type=Path, help="folder to write; must not exist")
    parser.add_argument("--fps", type=int, help="frames per second (default: the first camera's rate)")
    parser.add_argument("--include-bad", action="store_true", help="also recordings with verdict bad")
    args = parser.parse_args(argv)
    robot, task = load_robot(args.robot), load_task(args.task)
    selection = select_episodes(args.episodes, robot, args.include_bad)
    print(*selection.lines(), sep="\n", end="\n" if selection.lines() else "")
    with tqdm(total=len(selection.kept), desc="writing episodes", unit="episode", disable=None) as bar:
        counts = write_dataset(selection.kept, robot, task, args.out, args.fps, bar.update)
    print(f"{args.out}: {len(selection.kept)} episodes, {counts.frames} frames; {counts.repeated} images repeated and "
          f"{counts.skipped} left out to keep the rate")  # fmt: skip
    for reason, count in counts.left_out.items():
        print(f"left out {count} images: {reason}")
    return 0


