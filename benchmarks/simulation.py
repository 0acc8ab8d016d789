"""The simulated cell: how reliable the scripted operator is, how long its demonstrations are, what all that costs.

    python benchmarks/simulation.py             # a quarter of an hour on one core; writes results/simulation.json
    python benchmarks/simulation.py --seeds 20 --dry-run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from autofocus_cli.demo.settings import robot_yaml, task_yaml
from autofocus_cli.demo.stats import wilson_interval
from autofocus_cli.rollout import Network, run_rollouts
from autofocus_core.results import record
from autofocus_core.schema import load_robot, load_task
from autofocus_sim.cell import Cell
from autofocus_sim.demos import collect
from autofocus_sim.expert import PERIOD_S
from autofocus_sim.phases import TASKS
from autofocus_sim.scene import CONDITIONS
from autofocus_sim.seeds import OPERATOR
from learning_parts.demonstrations import make
from learning_parts.scenes import TRAINING_SETS
from tqdm import tqdm

COMMAND = "python benchmarks/simulation.py"
PARTS = ("operator", "demonstrations", "rollouts")
#: The scenes were drawn up while looking at the first half of the operator's seeds.
SKIP = 50_000
ROLLOUTS = 16


@dataclass(frozen=True, slots=True)
class Row:
    """A figure and its target ("" for none)."""

    name: str
    value: float
    unit: str
    target: str
    ok: bool


def main() -> int:
    """Measure, print, record; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="attempts per task and condition (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=6, help="demonstrations written per set (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    parser.add_argument("--dry-run", action="store_true", help="print only, write no results")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows: list[Row] = []
    measures = {
        "operator": lambda: operator(args.tasks, args.conditions, args.seeds),
        "demonstrations": lambda: demonstrations(args.tasks, args.episodes),
        "rollouts": lambda: rollouts(args.tasks),
    }
    with tqdm(unit="scene", disable=None) as bar:
        for part in args.parts:
            for found in measures[part]():
                rows += found
                for row in found:
                    bar.write(f"{'ok ' if row.ok else 'NOT'} {row.name}: {row.value:.4g} {row.unit} {row.target}")
                    if not args.dry_run:
                        record("simulation", row.name, row.value, row.unit, row.target, row.ok, COMMAND)
                bar.update()
    return 0 if all(row.ok for row in rows) else 1


def operator(tasks: Sequence[str], conditions: Sequence[str], attempts: int) -> Iterator[list[Row]]:
    """Success within the task's timeout with its interval, and lengths, for each task and condition."""
    cell = Cell()
    for task in tasks:
        timeout_s = load_task(task_yaml(task)).timeout_s
        for condition in conditions:
            runs = [collect(task, condition, seed, cell, render=False) for seed in OPERATOR.take(attempts, SKIP)]
            lengths_s = [len(run.states) * PERIOD_S for run in runs if run.success]
            good = [length_s for length_s in lengths_s if length_s <= timeout_s]
            low, high = wilson_interval(len(good), attempts)
            where = f"operator: {task} {condition}"
            success = len(good) / attempts
            yield [
                Row(f"{where}: success", round(success, 4), f"share of {attempts}, 95 % {low:.3f} to {high:.3f}",
                    ">= 0.95", success >= 0.95),
                Row(f"{where}: median length", round(float(np.median(good)), 2), f"s, longest {max(good):.1f}", "",
                    True),
            ]


def demonstrations(tasks: Sequence[str], episodes: int) -> Iterator[list[Row]]:
    """CPU seconds of one demonstration at 320x240: simulated, pictured, written, and annotated, for each set."""
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            for condition in TRAINING_SETS:
                begun_s = time.process_time()
                found = make(task, condition, episodes, Path(folder), seeds=OPERATOR, automatic=False)
                written_s = time.process_time()
                make(task, condition, episodes, Path(folder), seeds=OPERATOR)
                annotated_s = time.process_time()
                frames = np.mean([r.frames for r in found.records])
                where = f"demonstration: {task} {condition}"
                yield [
                    Row(f"{where}: made", round((written_s - begun_s) / episodes, 3), "CPU s", "", True),
                    Row(f"{where}: annotated", round((annotated_s - written_s) / episodes, 3), "CPU s", "", True),
                    Row(f"{where}: images", round(float(frames), 1), "frames", "", True),
                ]


def rollouts(tasks: Sequence[str]) -> Iterator[list[Row]]:
    """CPU seconds of one attempt that lasts until the timeout: all but the network, which only resizes here."""
    robot = load_robot(robot_yaml())

    def stay(images: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return state[:, None].expand(-1, 8, -1).clone(), torch.zeros(len(state), 1, 1, 1)

    for name in tasks:
        task = load_task(task_yaml(name))
        begun_s = time.process_time()
        found = run_rollouts(Network(stay, PERIOD_S), robot, task, "nominal", OPERATOR.take(ROLLOUTS))
        spent_s = (time.process_time() - begun_s) / ROLLOUTS
        simulated_s = np.mean([rollout.time_s for rollout in found])
        yield [
            Row(f"rollout: {name}: without the network", round(spent_s, 3), "CPU s", "", True),
            Row(f"rollout: {name}: simulated in a CPU second", round(simulated_s / spent_s, 1), "s", "", True),
        ]


if __name__ == "__main__":
    sys.exit(main())
