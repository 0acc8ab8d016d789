"""`autofocus evaluate`: what policies would have asked for in recorded episodes, against what the operator did.

Lockstep and deterministic: no clock and no ROS graph is involved, two runs give the same figures (but for the latency).
A small error does not promise success, a large one promises failure.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from autofocus_core.episode import Episode, list_episodes
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Robot, load_robot

from autofocus_policy.ensemble import ACT_COEFFICIENT, MODES, Blending
from autofocus_policy.evaluation import FRAMES, evaluate, left_out, overview, to_json
from autofocus_policy.figures import summarise, table
from autofocus_policy.lockstep import ROLLOUT_S, Trace, interpolate, trace
from autofocus_policy.replayed import compare, page
from autofocus_policy.report import build
from autofocus_policy.runner import PolicyRunner

__all__ = ["evaluate_episode", "interpolate", "main", "summarise", "table"]

RECORDINGS = (".mcap", ".db3")
REPORT_SUFFIX = ".evaluation.html"


def evaluate_episode(episode: Episode, runner: PolicyRunner, robot: Robot) -> Trace:
    """The trace of one episode; raises AutofocusError where it gives no observation."""
    return trace(episode, runner, robot)


def split_paths(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(policies, episodes): the first and every other file that is no recording is a policy.

    Raises AutofocusError where no episodes are left.
    """
    def is_policy(path: Path) -> bool:
        return path.suffix == ".pt" or (path.is_file() and path.suffix not in RECORDINGS)

    policies = [paths[0], *(path for path in paths[1:] if is_policy(path))]
    episodes = [path for path in paths[1:] if not is_policy(path)]
    if not episodes:
        raise AutofocusError("autofocus evaluate", f"{len(policies)} policies and no episodes",
                             "POLICY [POLICY ...] EPISODES ...", "add a recording, or a folder of them")
    return policies, episodes


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 1 where a policy failed. Raises AutofocusError for files that do not fit,
    and where no policy gives a usable answer."""
    args = _parser().parse_args(argv)
    robot = load_robot(args.robot)
    policies, folders = split_paths(args.paths)
    target = None if args.no_report else args.report or policies[0].with_suffix(REPORT_SUFFIX)
    blending = Blending(args.blending, args.blend_coefficient, args.blend_fade_s)
    episodes = [episode for folder in folders for episode in list_episodes(folder, robot)]
    settings = {"threads": args.threads, "blending": blending, "rollout_s": args.rollout_s, "frames": args.frames}
    agreement = None
    if args.replayed is None:
        found = evaluate(policies, episodes, robot, quiet=args.quiet, **settings)
    elif (len(policies), len(episodes)) == (1, 1):
        found, agreement = compare(policies[0], episodes[0], args.replayed, robot, offset_s=args.start_offset_s,
                                   **settings)
    else:
        raise AutofocusError("--replayed", f"{len(policies)} policies and {len(episodes)} episodes",
                             "the one policy and the one recording that were replayed", "leave the others out")
    for each in found:
        words = f"failed: {each.failed}" if each.failed else table(each.summary)
        print((f"{each.name}: " if len(found) > 1 else "") + words + "\n")
    print(overview(found))
    if agreement is not None:
        print(agreement)
    for line in left_out(found):
        print(f"left out: {line}")
    if args.json is not None:
        write(args.json, to_json(found))
    if target is not None:
        write(target, build(found, robot) if agreement is None else page(found, agreement, robot))
        print(f"report: {target}")
    return int(any(each.failed for each in found))


def write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise AutofocusError(f"writing {path}", e.strerror or str(e), "a place that can be written to",
                             "give another one with --report or --json, or --no-report") from e


def _number(lower: float):
    def parse(text: str) -> float:
        value = float(text)
        if not (np.isfinite(value) and value > lower):
            raise argparse.ArgumentTypeError(f"{text} is not above {lower:g}")
        return value
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="autofocus evaluate", description=__doc__.split("\n", 1)[0])
    parser.add_argument("paths", type=Path, nargs="+", metavar="POLICY [POLICY ...] EPISODES ...",
                        help="policy files written by `autofocus export`, then episodes, any rosbag2 recordings, or "
                             "folders of them")
    parser.add_argument("--robot", type=Path, required=True, help="robot YAML")
    parser.add_argument("--report", type=Path, metavar="FILE",
                        help=f"the report, one HTML file (beside the first policy: POLICY{REPORT_SUFFIX})")
    parser.add_argument("--no-report", action="store_true", help="write no report")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--blending", choices=MODES, default="none", help="as in the running node (none)")
    parser.add_argument("--blend-coefficient", type=float, default=ACT_COEFFICIENT, metavar="M",
                        help=f"m of --blending ensemble ({ACT_COEFFICIENT:g})")
    parser.add_argument("--blend-fade-s", type=float, default=0.2, metavar="S", help="of --blending crossfade, s (0.2)")
    parser.add_argument("--rollout-s", type=_number(0.0), default=ROLLOUT_S, metavar="S",
                        help=f"length of a roll-out on the policy's own answers, s ({ROLLOUT_S:g})")
    parser.add_argument("--frames", type=int, default=FRAMES, metavar="N",
                        help=f"frames of each episode that are covered piece by piece; 0: none ({FRAMES})")
    parser.add_argument("--replayed", type=Path, metavar="FOLDER",
                        help="what a node answered in launch/replay.launch.py: compare it with lockstep")
    parser.add_argument("--start-offset-s", type=float, default=0.0, metavar="S",
                        help="with --replayed: start_offset_s of the replay (0)")
    parser.add_argument("--threads", type=int, default=1, help="threads of one inference (1)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser
