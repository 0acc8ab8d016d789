"""`autofocus evaluate`: what a policy would have asked for in recorded episodes, against what the operator did.

Lockstep and deterministic: the messages of the bag pass, in order of receipt, through the same intake and runner as
in the running node; no clock is involved. A small error does not promise success, a large one promises failure.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.episode import Episode, list_episodes
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import read_joints
from autofocus_core.messages import stamp_ns
from autofocus_core.resample import Observation
from autofocus_core.schema import Robot, load_robot

from autofocus_policy.intake import Intake
from autofocus_policy.runner import PolicyRunner


@dataclass(frozen=True, slots=True)
class Errors:
    """Absolute errors of one or more episodes, NaN where the recording has no action at that time.

    policy: (N, H, A) float64, |predicted - recorded|, rad or m; still: the same for a policy that stays where the arm
    is, as a yardstick. counts: what the intake refused or left out, over all episodes.
    """

    policy: np.ndarray
    still: np.ndarray
    counts: Counter[str]


def observations(bag: Bag, robot: Robot, intake: Intake, cameras: Sequence[str]) -> Iterator[Observation]:
    """The observations that the running node would have made of these messages."""
    names = {robot.camera(name).topic: name for name in cameras}
    for message, msg in bag.decoded([robot.state.topic, *names]):
        if message.topic == robot.state.topic:
            found = intake.state(msg)
        else:
            found = intake.image(names[message.topic], msg, now_ns=stamp_ns(msg.header))
        if found is not None:
            yield found


def evaluate_episode(episode: Episode, runner: PolicyRunner, robot: Robot) -> Errors:
    """Errors (N, H, A) of one episode; raises AutofocusError where it gives no observation or has no action."""
    manifest = runner.manifest
    cameras = tuple(c.name for c in manifest.cameras)
    intake = Intake(robot, cameras, manifest.control_rate_hz)
    with episode.open() as bag:
        action_ns, actions = read_joints(bag, robot.action.topic, robot)
        if len(action_ns) == 0:
            raise AutofocusError(f"episode {episode.path}", f"no message on {robot.action.topic}", "a recorded action",
                                 "correct action.topic in the robot YAML, or leave this episode out")
        predicted, recorded, states = [], [], []
        steps_ns = np.round(np.arange(1, manifest.horizon + 1) * manifest.dt_s * 1e9).astype(np.int64)
        for observation in observations(bag, robot, intake, cameras):
            predicted.append(runner.act(observation).positions)
            recorded.append(interpolate(action_ns, actions, observation.stamp_ns + steps_ns, robot.action.timeout_ms))
            states.append(observation.state)
    if not predicted:
        raise AutofocusError(f"episode {episode.path}", intake.hold_reason(0) or "no image with a joint state after it",
                             "images and joint states that belong together", "leave this episode out, or check its "
                             "streams with `autofocus episodes`")
    target = np.stack(recorded)
    return Errors(np.abs(np.stack(predicted) - target), np.abs(np.stack(states)[:, None] - target), intake.counts)


def interpolate(stamps_ns: np.ndarray, values: np.ndarray, at_ns: np.ndarray, timeout_ms: float) -> np.ndarray:
    """Rows (T, A) of `values` (N, A) at `at_ns` (T,), linear; NaN outside the stamps and in gaps above the timeout."""
    after = np.searchsorted(stamps_ns, at_ns, side="left")
    inside = (at_ns >= stamps_ns[0]) & (at_ns <= stamps_ns[-1])
    after = np.clip(after, 1 if len(stamps_ns) > 1 else 0, len(stamps_ns) - 1)
    gap_ns = stamps_ns[after] - stamps_ns[np.maximum(after - 1, 0)]
    base_ns = stamps_ns[0]  # float64 holds differences of stamps exactly, stamps not
    seconds = [np.interp((at_ns - base_ns).astype(float), (stamps_ns - base_ns).astype(float), column)
               for column in values.T]
    return np.where((inside & (gap_ns <= timeout_ms * 1e6))[:, None], np.stack(seconds, axis=1), np.nan)


def summarise(errors: dict[str, Errors], robot: Robot, runner: PolicyRunner) -> dict[str, object]:
    """Means over all episodes and per episode, ready for JSON; a mean over nothing is None."""
    policy = np.concatenate([e.policy for e in errors.values()])
    still = np.concatenate([e.still for e in errors.values()])
    counts = sum((e.counts for e in errors.values()), Counter())
    return {
        "method": runner.manifest.method,
        "joints": list(robot.joint_names), "units": [j.unit for j in robot.all_joints],
        "dt_s": runner.manifest.dt_s,
        "observations": len(policy), "compared": int(np.isfinite(policy).all(2).sum()),
        "mean_error": _mean(policy, (0, 1)), "mean_error_standing_still": _mean(still, (0, 1)),
        "p95_error": _numbers(_quiet(np.nanquantile, policy, 0.95, axis=(0, 1))),
        "mean_error_by_step": [_mean(policy[:, k], (0,)) for k in range(policy.shape[1])],
        "episodes": {name: {"observations": len(e.policy), "mean_error": _mean(e.policy, (0, 1))}
                     for name, e in errors.items()},
        "counts": dict(sorted(counts.items())),
    }


def table(summary: dict) -> str:
    """The summary for a terminal: one row for each step ahead, one column for each joint."""
    names = [f"{name} [{unit}]" for name, unit in zip(summary["joints"], summary["units"], strict=True)]
    width = max(len(n) for n in names) + 2

    def row(label: str, values: Sequence[float | None]) -> str:
        return f"{label:<16}" + "".join(f"{'-' if v is None else f'{v:.4f}':>{width}}" for v in values)

    lines = [f"mean |error| over {summary['observations']} observations of {len(summary['episodes'])} episodes",
             f"{'ahead':<16}" + "".join(f"{n:>{width}}" for n in names)]
    lines += [row(f"{(k + 1) * summary['dt_s']:.2f} s", v) for k, v in enumerate(summary["mean_error_by_step"])]
    lines += [row("all", summary["mean_error"]), row("all, p95", summary["p95_error"]),
              row("standing still", summary["mean_error_standing_still"])]
    refused = {k: v for k, v in summary["counts"].items() if k != "observations" and v}
    lines += [f"left out: {refused}"] if refused else []
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status. Raises AutofocusError for files that do not fit."""
    parser = argparse.ArgumentParser(prog="autofocus evaluate", description=__doc__.split("\n", 1)[0])
    parser.add_argument("policy", type=Path, help="policy file written by `autofocus export`")
    parser.add_argument("episodes", type=Path, nargs="+", help="episodes, any rosbag2 recordings, or folders of them")
    parser.add_argument("--robot", type=Path, required=True, help="robot YAML")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write all figures to this file")
    parser.add_argument("--threads", type=int, default=1, help="threads of one inference (1)")
    args = parser.parse_args(argv)
    robot = load_robot(args.robot)
    runner = PolicyRunner(args.policy, robot, args.threads)
    errors = {}
    for folder in args.episodes:
        for episode in list_episodes(folder, robot):
            errors[str(episode.path)] = evaluate_episode(episode, runner, robot)
    summary = summarise(errors, robot, runner)
    print(table(summary))
    if args.json is not None:
        args.json.write_text(json.dumps(summary, indent=1) + "\n")
    return 0


def _mean(values: np.ndarray, axes: tuple[int, ...]) -> list[float | None]:
    return _numbers(_quiet(np.nanmean, values, axis=axes))


def _quiet(function, *args, **kwargs) -> np.ndarray:
    """numpy's nan functions warn of slices without a number; these become None here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*args, **kwargs)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
