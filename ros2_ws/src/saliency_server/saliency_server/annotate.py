"""`autofocus annotate`: annotations for recorded episodes or any rosbag2 bags, resumable, in several processes."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from autofocus_core.annotation import Annotation, read_annotation, write_annotation
from autofocus_core.episode import list_episodes
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.saliency import MAP_KINDS
from autofocus_core.schema import Robot, Task, load_robot, load_task
from tqdm import tqdm

from saliency_server.backends import ASKING, DESCRIBERS, DETECTORS, FILTERS
from saliency_server.models.chat import SPECS
from saliency_server.options import GRIPPER_WAYS, Options, Stages
from saliency_server.pipeline import annotate_episode, content_key, prepare_task
from saliency_server.prepare import Prepared

__all__ = ["Outcome", "annotate_all", "annotate_episode", "annotate_file", "main"]


STATUSES = ("annotated", "up to date", "incomplete", "failed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one episode: status "annotated", "up to date", "incomplete" (annotated, but a question about it
    got no answer: it is done again the next time) or "failed"; coverage: camera/object -> share of valid frames; error:
    the message of a failed or incomplete one; seen: those of the objects that were somewhere, chosen or not."""

    path: Path
    status: str
    frames: int
    coverage: dict[str, float]
    seconds: float
    error: str
    seen: tuple[str, ...] = ()


def annotate_file(
    path: Path, robot: Robot, task: Task, options: Options, force: bool = False, prepared: Prepared | None = None
) -> Outcome:
    """Annotate one episode and write it beside the episode, unless an annotation with the same content key is there.

    prepared: the task's description; None: that which lies beside the episode, or made from this one.
    An AutofocusError becomes an outcome "failed": one bad bag does not stop the others.
    """
    begun_s = time.perf_counter()
    try:
        if prepared is None and options.describe in ASKING:
            prepared = prepare_task([path], robot, task, options)
        with _alone(path):
            present = None if force else _present(path, content_key(path, robot, task, options, prepared))
            annotation = present or annotate_episode(path, robot, task, options, prepared)
            if present is None:
                write_annotation(annotation, path)
    except AutofocusError as error:
        return Outcome(path, "failed", 0, {}, time.perf_counter() - begun_s, str(error))
    unanswered = annotation.provenance.get("unanswered", [])
    return Outcome(
        path,
        "incomplete" if unanswered else "annotated" if present is None else "up to date",
        sum(len(camera.stamps_ns) for camera in annotation.cameras),
        {f"{c.camera}/{thing.name}": float(thing.valid.mean()) for c in annotation.cameras for thing in c.objects},
        time.perf_counter() - begun_s,
        "; ".join(f"a question without an answer: {problem}" for problem in unanswered),
        tuple(
            f"{c.camera}/{thing.name}" for c in annotation.cameras for thing in c.objects
            if not np.isnan(thing.boxes_px).all()
        ),
    )


def annotate_all(
    paths: Sequence[Path], robot: Robot, task: Task, options: Options, workers: int = 1, force: bool = False,
    prepared: Prepared | None = None,
) -> Iterator[Outcome]:
    """Outcomes as they are finished, by `workers` processes (1: in this one)."""
    if workers == 1 or len(paths) < 2:
        yield from (annotate_file(path, robot, task, options, force, prepared) for path in paths)
        return
    # Not forked: OpenCV's and ROS's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(paths)), context, initializer=_one_thread) as pool:
        jobs = [pool.submit(annotate_file, p, robot, task, options, force, prepared) for p in paths]
        for done in as_completed(jobs):
            yield done.result()


def main(argv: Sequence[str] | None = None) -> int:
    """Annotate the named episodes; 0 when each has an annotation, EXIT_CODE when some failed.

    Raises AutofocusError for what is wrong with the call itself: robot, task, backends, no episode.
    """
    args = _parser().parse_args(argv)
    robot, task = load_robot(args.robot), load_task(args.task)
    options = Options(
        describe=args.describe, detect=args.detect, filter=args.filter, vlm=args.vlm, map=args.map, alpha=args.alpha,
        gripper=args.gripper, keyframe_s=args.keyframe_s, masks=args.masks,
    )
    Stages.of(options)  # an unknown backend fails here, before any bag is opened
    if args.workers < 1:
        raise AutofocusError("--workers", str(args.workers), "at least 1", "give the number of processes")
    for name in task.cameras:
        robot.camera(name)
    paths = [episode.path for folder in args.episodes for episode in list_episodes(folder, robot)]
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    if args.workers == 1:
        _one_thread()
    prepared = prepare_task(paths, robot, task, options) if options.describe in ASKING else None
    outcomes = []
    with tqdm(total=len(paths), unit="episode", desc="annotate", disable=args.quiet) as bar:
        for outcome in annotate_all(paths, robot, task, options, args.workers, args.force, prepared):
            outcomes.append(outcome)
            bar.update()
            if outcome.error:
                bar.write(f"{outcome.path.name}: {outcome.status}\n{outcome.error}", file=sys.stderr)
    return _report(outcomes, args.quiet)


def cli() -> int:
    """Entry point of `ros2 run saliency_server annotate`."""
    try:
        return main()
    except AutofocusError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autofocus annotate",
        description="Find what matters in recorded episodes; boxes and saliency maps go to EPISODE.annotation.",
    )
    parser.add_argument(
        "episodes", nargs="+", metavar="EPISODES",
        help="episode, rosbag2 directory, single .mcap or .db3 file, or a folder of episodes",
    )
    parser.add_argument("--robot", required=True, help="robot YAML: which topics the cameras are on")
    parser.add_argument("--task", required=True, help="task YAML: instruction, objects, cameras to annotate")
    parser.add_argument(
        "--vlm", default="", metavar="SPEC",
        help=f"vision-language model that describes and filters: {SPECS}; keys come from the environment",
    )
    parser.add_argument(
        "--describe", default="", metavar="BACKEND",
        help=f"where the objects' names come from: {', '.join(DESCRIBERS)} (default: vlm with --vlm, else instruction)",
    )
    parser.add_argument(
        "--detect", default="colour-terms", metavar="BACKEND",
        help=f"what finds them: {', '.join(DETECTORS)} or transformers:MODEL[@REVISION] (default: %(default)s)",
    )
    parser.add_argument(
        "--filter", default="", metavar="BACKEND",
        help=f"what says when each matters: {', '.join(FILTERS)} (default: vlm with --vlm, else task-objects)",
    )
    parser.add_argument(
        "--keyframe-s", type=float, metavar="S",
        help="show the detector a frame every S seconds, and more where in doubt (default: every frame)",
    )
    parser.add_argument(
        "--gripper", default="auto", choices=GRIPPER_WAYS,
        help="from joint states and the camera's extrinsics, or by its name (default: %(default)s)",
    )
    parser.add_argument(
        "--map", default="gaussian", choices=MAP_KINDS,
        help="maps: Gaussian at the centre, Gaussian shaped by the box, or the box filled (default: %(default)s)",
    )
    parser.add_argument(
        "--masks", default="", metavar="SPEC",
        help="SAM 2 model that makes masks out of boxes, transformers:MODEL; --map mask then shows them",
    )
    parser.add_argument(
        "--alpha", type=float, default=0.0,
        help="what a map keeps of the one before it, 0 to below 1; 0.7 in the paper (default: %(default)s, none)",
    )
    parser.add_argument(
        "--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="make annotations anew that are up to date")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary; errors only")
    return parser


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the episode's lock: of two annotators the second waits, and then finds the work done.

    The lock is on the recording itself, so nothing is left behind by whoever is killed.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise AutofocusError(
            f"episode {path}", error.strerror or str(error), "a readable recording", "check path and permissions"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _present(path: Path, key: str) -> Annotation | None:
    """The annotation that is there if it has this content key, else None (also where it is damaged, or where a question
    about it got no answer: made anew)."""
    try:
        annotation = read_annotation(path)
    except AutofocusError:
        return None
    if annotation.provenance.get("content_key") != key or annotation.provenance.get("unanswered"):
        return None
    return annotation


def _report(outcomes: Sequence[Outcome], quiet: bool) -> int:
    """Print the summary; its exit status. An object found in no frame at all is an error: silence would look well."""
    failed = [outcome for outcome in outcomes if outcome.status in ("failed", "incomplete")]
    frames = sum(outcome.frames for outcome in outcomes)
    names = sorted({name for outcome in outcomes for name in outcome.coverage})
    coverage = {
        name: sum(o.coverage.get(name, 0.0) * o.frames for o in outcomes) / frames for name in names if frames
    }
    if not quiet:
        counts = {s: sum(o.status == s for o in outcomes) for s in STATUSES}
        print(", ".join(f"{count} {status}" for status, count in counts.items()), f"({frames} frames)")
        for name, share in coverage.items():
            print(f"  {name}: valid in {share:.1%} of the frames")
    seen = {name for outcome in outcomes for name in outcome.seen}
    missing = [name for name, share in coverage.items() if share == 0.0 and name not in seen]
    if missing and not any(outcome.status == "incomplete" for outcome in outcomes):
        raise AutofocusError(
            "annotation", f"{', '.join(missing)}: valid in no frame of any episode", "objects that can be seen",
            "look at the reasons in annotation.json; check the names in the task YAML, or choose another --detect",
        )
    return EXIT_CODE if failed else 0


def _one_thread() -> None:
    # Images are small: OpenCV's threads would only fight with the other workers.
    cv2.setNumThreads(1)


if __name__ == "__main__":
    sys.exit(cli())
