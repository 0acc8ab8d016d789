"""`autofocus annotate`: annotations for recorded episodes or any rosbag2 bags: resumable, by several workers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from autofocus_core.episode import episode_paths, list_episodes
from autofocus_core.errors import EXIT_CODE, AutofocusError, exit_status
from autofocus_core.saliency import MAP_KINDS
from autofocus_core.schema import Robot, Task, load_robot, load_task
from rich.console import Console
from rich.progress import Progress

from saliency_server.backends import ASKING, DESCRIBERS, DETECTORS, FILTERS
from saliency_server.batch import Told, run, run_here
from saliency_server.item import STATUSES, Outcome, Work, annotate_file
from saliency_server.models.chat import SPECS
from saliency_server.options import GRIPPER_WAYS, Options, Stages
from saliency_server.pipeline import annotate_episode, prepare_task
from saliency_server.prepare import Prepared
from saliency_server.report import REPORT_FILE, make_report, print_report, write_report
from saliency_server.screen import Screen
from saliency_server.threads import limit_threads

__all__ = ["STATUSES", "Outcome", "annotate_all", "annotate_episode", "annotate_file", "main"]

WORKERS = min(2, os.cpu_count() or 1)
BAR_FROM = 100  # reports to read
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def annotate_all(
    paths: Sequence[Path], robot: Robot, task: Task, options: Options, workers: int | None = 1, force: bool = False,
    prepared: Prepared | None = None, *, threads: int = 1, ray: str = "", told: Told = lambda path, progress: None,
) -> Iterator[Outcome]:
    """Outcomes as they are finished, by `workers` processes (1: in this one), or actors of the Ray cluster at `ray`.

    told: hears how far each episode is (not over Ray). AutofocusError where workers cannot be started.
    """
    work = Work(robot, task, options, force, prepared, threads)
    if ray:
        from saliency_server.ray_crew import RayCrew

        with closing(RayCrew(work, ray, workers)) as crew:
            yield from run(crew, paths)
    elif (workers or 1) == 1 or len(paths) < 2:
        limit_threads(threads)
        yield from run_here(work, paths, told)
    else:
        from saliency_server.crew import LocalCrew

        with closing(LocalCrew(work, min(workers, len(paths)), told)) as crew:
            yield from run(crew, paths)


def main(argv: Sequence[str] | None = None) -> int:
    """Annotate the named episodes; 0 when each has an annotation, EXIT_CODE when some failed.

    Raises AutofocusError for what is wrong with the call itself: robot, task, backends, no episode.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.report:
        for folder in args.episodes:
            print_report(_shown(Path(folder), {}, args.quiet), Path(folder), Console())
        return 0
    if not args.robot or not args.task:
        parser.error("--robot and --task are needed (but for --report)")
    robot, task = load_robot(args.robot), load_task(args.task)
    options = Options(
        describe=args.describe, detect=args.detect, filter=args.filter, vlm=args.vlm, map=args.map, alpha=args.alpha,
        gripper=args.gripper, keyframe_s=args.keyframe_s, masks=args.masks,
    )
    Stages.of(options)  # an unknown backend fails here, before any bag is opened
    workers = args.workers if args.workers is not None or args.ray else WORKERS
    for name, value in (("--workers", 1 if workers is None else workers), ("--threads", args.threads)):
        if value < 1:
            raise AutofocusError(name, str(value), "at least 1", f"give the number of {name.removeprefix('--')}")
    for name in task.cameras:
        robot.camera(name)
    paths = [episode.path for folder in args.episodes for episode in list_episodes(folder, robot)]
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    prepared = prepare_task(paths, robot, task, options) if options.describe in ASKING else None
    outcomes: list[Outcome] = []
    try:
        with Screen(len(paths), args.quiet) as screen, closing(annotate_all(
            paths, robot, task, options, workers, args.force, prepared, threads=args.threads, ray=args.ray,
            told=screen.told,
        )) as batch:  # fmt: skip
            for outcome in batch:
                outcomes.append(outcome)
                screen.done(outcome)
    except KeyboardInterrupt:
        print(f"{len(outcomes)} of {len(paths)} episodes are done; the same command goes on from here", file=sys.stderr)
        raise
    _report([Path(folder) for folder in args.episodes], outcomes, args.quiet)
    return _summary(outcomes, args.quiet)


def cli() -> int:
    """Entry point of `ros2 run saliency_server annotate`."""
    try:
        return exit_status(main)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autofocus annotate",
        description="Find what matters in recorded episodes; boxes and saliency maps go to EPISODE.annotation.",
    )
    parser.add_argument(
        "episodes", nargs="+", metavar="EPISODES",
        help="episode, rosbag2 directory, single .mcap or .db3 file, or a folder of episodes",
    )
    parser.add_argument("--robot", help="robot YAML: which topics the cameras are on")
    parser.add_argument("--task", help="task YAML: instruction, objects, cameras to annotate")
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
        "--workers", type=int, metavar="N",
        help=f"processes (default: {WORKERS}); with --ray actors (default: as many as the cluster has room for)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N",
        help="processors for a model's arithmetic, in each worker (default: %(default)s); another number may change "
        "the last digits of what models say",
    )
    parser.add_argument(
        "--ray", default="", metavar="ADDRESS",
        help="spread over a Ray cluster: local (one on loopback, for this batch), auto, HOST:PORT or ray://HOST:PORT; "
        "every node must see the episodes under the same path",
    )
    parser.add_argument("--force", action="store_true", help="make annotations anew that are up to date")
    parser.add_argument(
        "--report", action="store_true", help="annotate nothing: print the quality report of what is there"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary; errors only")
    return parser


def _report(folders: Sequence[Path], outcomes: Sequence[Outcome], quiet: bool) -> None:
    """Write the report of each folder that was given, and of the folder of a single episode where it has one already;
    print it."""
    known = {outcome.path: outcome.quality for outcome in outcomes if outcome.quality is not None}
    for given in folders:
        single = given.is_file() or (given / "metadata.yaml").is_file()
        folder = given.resolve().parent if single else given
        if not single or (folder / REPORT_FILE).is_file():
            report = _shown(folder, known, quiet)
            write_report(folder, report)
        if not quiet:
            shown = _shown(given, known, quiet) if single else report
            print_report(shown, given, Console())


def _shown(folder: Path, known: dict, quiet: bool) -> dict:
    """The report; a bar where reading takes long."""
    count = len(episode_paths(folder))
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal or count - len(known) < BAR_FROM
    with Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("report", total=count)
        return make_report(folder, known, lambda: bar.advance(task))


def _summary(outcomes: Sequence[Outcome], quiet: bool) -> int:
    """Print what became of the episodes; the exit status. An object found in no frame at all is an error: silence would
    look well."""
    problems = [outcome for outcome in outcomes if outcome.status in ("failed", "incomplete")]
    frames = sum(outcome.frames for outcome in outcomes)
    names = sorted({name for outcome in outcomes for name in outcome.coverage})
    coverage = {
        name: sum(o.coverage.get(name, 0.0) * o.frames for o in outcomes) / frames for name in names if frames
    }
    if not quiet:
        counts = {s: sum(o.status == s for o in outcomes) for s in STATUSES}
        print(", ".join(f"{count} {status}" for status, count in counts.items()), f"({frames} frames)")
    seen = {name for outcome in outcomes for name in outcome.seen}
    missing = [name for name, share in coverage.items() if share == 0.0 and name not in seen]
    if missing and not any(outcome.status == "incomplete" for outcome in outcomes):
        raise AutofocusError(
            "annotation", f"{', '.join(missing)}: valid in no frame of any episode", "objects that can be seen",
            "look at the reasons in annotation.json; check the names in the task YAML, or choose another --detect",
        )
    return EXIT_CODE if problems else 0


if __name__ == "__main__":
    sys.exit(cli())
