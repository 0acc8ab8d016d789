"""Rollouts of a policy file on the simulated arm in one process and in simulated time: many times faster than ROS.

The same three parts as when deployed: the simulated cell, the command guard's core at 100 Hz, the policy runner at
control rate. What DDS, threads and the operating system add is replaced by one constant latency.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from autofocus_cli.demo.settings import EVALUATION_SEED, robot_yaml, task_yaml
from autofocus_cli.demo.stats import proportion
from autofocus_core.resample import Observation
from autofocus_core.schema import Robot, Task, load_robot, load_task
from autofocus_policy.runner import Chunk, PolicyRunner
from autofocus_sim.cell import Cell
from command_guard.chunk import Request
from command_guard.core import GuardCore

GUARD_RATE_HZ = 100.0
#: From an observation to the guard having its chunk; what a policy node needs on the reference machine.
LATENCY_MS = 20.0
#: Time before the arm is armed, so that no stamp is zero.
EPOCH_S = 1.0

#: Called at every inference: simulated time since the start in s, what was seen, what was answered, the cell.
Watcher = Callable[[float, Observation, Chunk, Cell], None]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt. time_s: until success, or the task's timeout. The guard's view: holds: how often it stopped the arm
    because the policy was late; faults: because a request was wrong; limited: 100 Hz periods in which a joint could not
    keep up with the request; refused: requests not taken."""

    seed: int
    condition: str
    success: bool
    time_s: float
    holds: int
    faults: int
    limited: int
    refused: int


@dataclass(frozen=True, slots=True)
class Job:
    """A policy file on seeds of one condition; what a worker process is given."""

    policy: Path
    robot: Path
    task: Path
    condition: str
    seeds: tuple[int, ...]
    latency_ms: float = LATENCY_MS


def run_rollout(runner: PolicyRunner, cell: Cell, robot: Robot, task: Task, condition: str, seed: int,
                latency_ms: float = LATENCY_MS, watch: Watcher | None = None) -> Rollout:
    """One attempt at `task` from a fresh scene, until success or the task's timeout."""
    cell.reset(seed, condition, task.name)
    guard = GuardCore(robot, rate_hz=GUARD_RATE_HZ)
    period_ticks = round(GUARD_RATE_HZ / robot.control_rate_hz)
    latency_ticks = round(latency_ms * 1e-3 * GUARD_RATE_HZ)
    camera = runner.manifest.cameras[0].name
    names = robot.joint_names
    due: list[tuple[int, Request]] = []
    refused = 0
    now_s = EPOCH_S
    guard.on_state(names, cell.joint_positions(), now_s)
    guard.on_heartbeat(now_s)
    guard.arm(now_s)
    for tick in range(round(task.timeout_s * GUARD_RATE_HZ)):
        now_s = EPOCH_S + tick / GUARD_RATE_HZ
        q = cell.joint_positions()
        guard.on_state(names, q, now_s)
        guard.on_heartbeat(now_s)
        if tick % period_ticks == 0:
            stamp_ns = round(now_s * 1e9)
            observation = Observation(stamp_ns, {camera: cell.render()}, {camera: stamp_ns}, q, stamp_ns)
            chunk = runner.act(observation)
            if watch is not None:
                watch(now_s - EPOCH_S, observation, chunk, cell)
            times_s = chunk.dt_s * np.arange(1, len(chunk.positions) + 1)
            due.append((tick + latency_ticks, Request(now_s, names, times_s, chunk.positions)))
        while due and due[0][0] <= tick:
            refused += guard.on_request(due.pop(0)[1], now_s) is not None
        command = guard.step(now_s)
        cell.step(q if command is None else command, 1.0 / GUARD_RATE_HZ)
        if cell.success:
            break
    return Rollout(
        seed, condition, cell.success, round(now_s - EPOCH_S, 2), guard.counts["holds_request"],
        guard.counts["faults"], guard.counts["limited_periods"], refused)


def run_job(job: Job) -> list[Rollout]:
    """All rollouts of a job, in this process, on one thread."""
    robot, task = load_robot(job.robot), load_task(job.task)
    runner = PolicyRunner(job.policy, robot, threads=1)
    cell = Cell(task.name, job.condition, job.seeds[0])
    try:
        return [run_rollout(runner, cell, robot, task, job.condition, seed, job.latency_ms) for seed in job.seeds]
    finally:
        cell.close()


def run_jobs(jobs: Sequence[Job], workers: int = 2) -> Iterator[tuple[int, list[Rollout]]]:
    """(index of the job, its rollouts) as they are finished, over `workers` fresh processes (one thread each)."""
    with worker_pool(workers) as pool:
        futures = {pool.submit(run_job, job): index for index, job in enumerate(jobs)}
        for done in as_completed(futures):
            yield futures[done], done.result()


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes with one numerical thread each; waiting jobs are dropped when the block is left by an error."""
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers, before they import torch
    # Not forked: torch's and MuJoCo's threads do not survive a fork. An executor, unlike a Pool, says when one dies.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def rollouts(policy: Path, robot: Path, task: Path, condition: str, seeds: Sequence[int],
             latency_ms: float = LATENCY_MS, workers: int = 2) -> list[Rollout]:
    """One rollout for each seed, in the order of `seeds`, shared out over `workers` processes."""
    seeds = list(seeds)
    parts = [seeds[i::workers] for i in range(workers) if seeds[i::workers]]
    jobs = [Job(Path(policy), Path(robot), Path(task), condition, tuple(part), latency_ms) for part in parts]
    found = {r.seed: r for _, results in run_jobs(jobs, len(jobs)) for r in results}
    return [found[seed] for seed in seeds]


def main(argv: list[str]) -> int:
    """`autofocus rollout POLICY`: success of a policy file on the simulated arm."""
    parser = argparse.ArgumentParser(prog="autofocus rollout", description=__doc__)
    parser.add_argument("policy", type=Path, help="a policy file written by `autofocus export`")
    parser.add_argument("--task", default="lift", help="lift or place (default: lift)")
    parser.add_argument("--condition", default="nominal",
                        help="nominal, unseen, mate, mate_broken, lamp, lamp_broken (default: nominal)")
    parser.add_argument("--rollouts", type=int, default=30, help="attempts, each with a scene of its own (default: 30)")
    parser.add_argument("--first-seed", type=int, default=EVALUATION_SEED,
                        help=f"seed of the first scene (default: {EVALUATION_SEED}; tune on 10000-19999 only)")
    parser.add_argument("--latency-ms", type=float, default=LATENCY_MS,
                        help=f"from observation to guard, ms (default: {LATENCY_MS:g})")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--json", action="store_true", help="every rollout as JSON")
    args = parser.parse_args(argv)
    seeds = range(args.first_seed, args.first_seed + args.rollouts)
    results = rollouts(args.policy, robot_yaml(), task_yaml(args.task), args.condition, seeds,
                       args.latency_ms, args.workers)
    summary = proportion(sum(r.success for r in results), len(results))
    if args.json:
        print(json.dumps({**summary, "rollouts": [asdict(r) for r in results]}, indent=1))
    else:
        low, high = summary["ci95"]
        print(f"{args.condition}: {summary['successes']}/{summary['rollouts']} = {100 * summary['success']:.0f} % "
              f"[{100 * low:.0f}, {100 * high:.0f}], guard holds {sum(r.holds for r in results)}, "
              f"refused requests {sum(r.refused for r in results)}")
    return 0
