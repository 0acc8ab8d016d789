"""`autofocus plot`: what runs say of their training, or where their policies look, as one picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from autofocus_core.errors import AutofocusError

MOST_EPISODES = 12  # in one picture, four rows each


def main(argv: list[str]) -> int:
    """`autofocus plot RUN [RUN ...] [--attention EPISODE ... --robot R --task T] --out FILE`."""
    args = parse(argv)
    if args.attention is None:
        from autofocus_training.curves import draw_curves, read_curves

        draw_curves([read_curves(run) for run in args.runs], args.out)
    else:
        _attention(args)
    print(args.out)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="autofocus plot",
        description="Without --attention: the runs' curves over each other. With it: where their policies look at the "
        "start, on the approach, at the grasp and in the lift of annotated episodes, beside the maps.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="what `autofocus train --out` wrote")
    parser.add_argument("--attention", nargs="+", type=Path, metavar="EPISODE",
                        help="episodes, or folders of them, that the policies were not trained on")
    parser.add_argument("--robot", type=Path, help="robot YAML, with --attention")
    parser.add_argument("--task", type=Path, help="task YAML, with --attention")
    parser.add_argument("--camera", help="one of the task's (default: its first), with --attention")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    return parser.parse_args(argv)


def _attention(args: argparse.Namespace) -> None:
    from autofocus_core.episode import list_episodes
    from autofocus_core.schema import load_robot, load_task
    from autofocus_training.attention import draw_attention, load_trained, moments

    if args.robot is None or args.task is None:
        raise AutofocusError(
            "autofocus plot --attention", "no --robot or no --task", "both YAML files", "give those of the training"
        )
    robot, task = load_robot(args.robot), load_task(args.task)
    if args.camera is not None and args.camera not in task.cameras:
        raise AutofocusError("--camera", repr(args.camera), ", ".join(task.cameras), "choose one of these")
    camera = task.cameras.index(args.camera) if args.camera is not None else 0
    policies = [load_trained(run) for run in args.runs]
    episodes = [episode for path in args.attention for episode in list_episodes(path, robot)]
    if len(episodes) > MOST_EPISODES:
        raise AutofocusError(
            "--attention", f"{len(episodes)} episodes", f"at most {MOST_EPISODES}", "name those that are to be seen"
        )
    seen = {episode.id for episode in episodes if any(episode.id in policy.seen for policy in policies)}
    if seen:
        print(f"trained on, so that they prove little: {', '.join(sorted(seen))}")
    rows = [
        row
        for episode in episodes
        for row in moments(policies, episode, robot, task, camera=camera,
                           title=f"{episode.id}\n" if len(episodes) > 1 else "")
    ]  # fmt: skip
    draw_attention(policies, rows, args.out)
