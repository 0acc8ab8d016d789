"""What blending successive chunks does to the arm: success, time and smoothness of roll-outs on the simulated arm.

    python benchmarks/policy_blending.py runs/demo/policies/autofocus_seed*.pt     # writes results/policy_blending.json

Every way of blending gets the same policies and scenes (`cli/rollout.py`: no ROS, simulated time, the guard's own
core). Smoothness is the root mean square of the acceleration of what the guard commands at 100 Hz, arm joints alone.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_cli.demo.settings import robot_yaml, task_yaml
from autofocus_cli.rollout import GUARD_RATE_HZ, run_rollout, worker_pool
from autofocus_core import results
from autofocus_core.errors import exit_status
from autofocus_core.resample import Observation
from autofocus_core.schema import load_robot, load_task
from autofocus_policy.ensemble import Blender, Blending
from autofocus_policy.runner import Chunk, PolicyRunner
from autofocus_sim.cell import Cell

ROOT = Path(__file__).parents[1]
#: Seeds that may be tuned on.
FIRST_SEED = 12_000
WAYS = {
    "none (newest wins)": Blending("none"),
    "ensemble, m = 0.01 (ACT)": Blending("ensemble", coefficient=0.01),
    "ensemble, m = -0.5": Blending("ensemble", coefficient=-0.5),
    "ensemble, m = -1": Blending("ensemble", coefficient=-1.0),
    "crossfade, 0.2 s": Blending("crossfade", fade_s=0.2),
    "crossfade, 0.4 s": Blending("crossfade", fade_s=0.4),
}


class Blended:
    """A PolicyRunner whose chunks are blended, as in the node."""

    def __init__(self, runner: PolicyRunner, blender: Blender) -> None:
        self._runner, self._blender = runner, blender
        self.manifest = runner.manifest

    def act(self, observation: Observation) -> Chunk:
        return self._blender.add(self._runner.act(observation))


class Watched:
    """A cell that keeps the commands it was given."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.commands: list[np.ndarray] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._cell, name)

    def step(self, command: np.ndarray, duration_s: float) -> None:
        self.commands.append(np.array(command[:-1]))  # without the gripper
        self._cell.step(command, duration_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    success: bool
    time_s: float
    holds: int
    rms_acceleration: float


def run(policy: Path, way: str, condition: str, seeds: list[int]) -> tuple[str, list[Outcome]]:
    """All roll-outs of one policy file with one way of blending, in this process."""
    robot, task = load_robot(robot_yaml()), load_task(task_yaml("lift"))
    runner, cell = PolicyRunner(policy, robot), Cell(task.name, condition, seeds[0])
    outcomes = []
    for seed in seeds:
        blended = Blended(runner, Blender(WAYS[way], robot.command_timeout_ms / 1e3))
        watched = Watched(cell)
        done = run_rollout(blended, watched, robot, task, condition, seed)
        acceleration = np.diff(np.array(watched.commands), 2, axis=0) * GUARD_RATE_HZ**2
        outcomes.append(Outcome(done.success, done.time_s, done.holds, float(np.sqrt((acceleration**2).mean()))))
    cell.close()
    return way, outcomes


def main() -> int:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policies", type=Path, nargs="+", help="policy files of the demo (lift)")
    parser.add_argument("--condition", default="mate", help="of the simulator, as demonstrated (default: %(default)s)")
    parser.add_argument("--rollouts", type=int, default=20, help="for each policy and way (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="folder for the figures")
    args = parser.parse_args()
    seeds = list(range(FIRST_SEED, FIRST_SEED + args.rollouts))
    found: dict[str, list[Outcome]] = {way: [] for way in WAYS}
    with worker_pool(args.workers) as pool:
        futures = [pool.submit(run, policy, way, args.condition, seeds) for policy in args.policies for way in WAYS]
        for future in as_completed(futures):
            way, outcomes = future.result()
            found[way] += outcomes
    files = " ".join(policy.name for policy in args.policies)
    command = f"python benchmarks/policy_blending.py --rollouts {args.rollouts} {files}"
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{'':<28}{'success':>12}{'median s':>10}{'rad/s^2':>9}{'holds':>7}")
    for way, outcomes in found.items():
        good = [o for o in outcomes if o.success]
        rms = float(np.median([o.rms_acceleration for o in outcomes]))
        time_s = float(np.median([o.time_s for o in good])) if good else float("nan")
        holds = sum(o.holds for o in outcomes)
        print(f"{way:<28}{len(good):>5} of {len(outcomes):<4}{time_s:>9.2f}{rms:>9.2f}{holds:>7}")
        for name, value, unit in (("success", len(good) / len(outcomes), f"of {len(outcomes)}"),
                                  ("time to success, median", time_s, "s"),
                                  ("acceleration of the commands, median of rms", rms, "rad/s^2")):
            results.record("policy_blending", f"{way}: {name}", round(value, 3), unit, "compared", True, command,
                           args.out)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
