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
import torch
from autofocus_cli.demo.settings import EVALUATION_SEED, robot_yaml, task_yaml
from autofocus_cli.demo.stats import proportion
from autofocus_core.resample import Observation
from autofocus_core.schema import Robot, Task, load_robot, load_task
from autofocus_policy.runner import Chunk, PolicyRunner
from autofocus_sim.cell import Cell
from autofocus_sim.seeds import TUNING
from autofocus_sim.view import View
from command_guard.chunk import Request
from command_guard.core import GuardCore

GUARD_RATE_HZ = 100.0
#: From an observation to the guard having its chunk; what a policy node needs on the reference machine.
LATENCY_MS = 20.0
#: Time before the arm is armed, so that no stamp is zero.
EPOCH_S = 1.0

#: Called at every inference: simulated time since the start in s, what was seen, what was answered, the cell.
Watcher = Callable[[float, Observation, Chunk, Cell], None]
#: What makes chunks of observations, one for each.
Answerer = Callable[[list[Observation]], list[Chunk]]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt. time_s: until success, or the task's timeout. The guard's view: holds: how often it stopped the arm
    because the policy was late; faults: because a request was wrong; limited: 100 Hz periods in which a joint could not
    keep up with the request; refused: requests not taken. outcome: "success" or why not, see
    `autofocus_sim.attempt.Attempt.outcome`; stages: what was reached on the way, in order, such as ("red cube grasped",
    "red cube on white plate")."""

    seed: int
    condition: str
    success: bool
    time_s: float
    holds: int
    faults: int
    limited: int
    refused: int
    outcome: str
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """A policy file on seeds of one condition; what a worker process is given."""

    policy: Path
    robot: Path
    task: Path
    condition: str
    seeds: tuple[int, ...]
    latency_ms: float = LATENCY_MS


@dataclass(frozen=True, slots=True)
class Network:
    """A policy in memory, called as a policy file's graph is (docs/formats.md):

    forward(images uint8 (B, N, H, W, 3), state float32 (B, A)) -> (actions float32 (B, T, A), attention), images of the
    cameras' own size, so that resizing is part of what is measured; actions absolute, the k-th (from 0) for
    (k + 1) dt_s after the observation. N cameras in the task's order. An eager module in evaluation mode will do.
    """

    forward: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    dt_s: float

    def answer(self, observations: list[Observation]) -> list[Chunk]:
        """A chunk for each observation, all in one forward pass."""
        images = np.stack([np.stack(list(seen.images.values())) for seen in observations])
        states = np.stack([seen.state for seen in observations]).astype(np.float32)
        with torch.inference_mode():
            actions, attention = self.forward(torch.from_numpy(images), torch.from_numpy(states))
        positions, maps = actions.cpu().numpy().astype(np.float64), attention.cpu().numpy()
        return [
            Chunk(seen.stamp_ns, self.dt_s, positions[i], maps[i]) for i, seen in enumerate(observations)
        ]


class _Attempt:
    """One attempt in hand: the cell, its guard, and the requests that are on their way to it."""

    def __init__(self, cell: Cell, robot: Robot, task: Task, condition: str, seed: int, latency_ms: float) -> None:
        cell.reset(seed, condition, task.name)
        self.cell, self.seed = cell, seed
        self._condition, self._robot = condition, robot
        self._guard = GuardCore(robot, rate_hz=GUARD_RATE_HZ)
        self._period_ticks = round(GUARD_RATE_HZ / robot.control_rate_hz)
        self._latency_ticks = round(latency_ms * 1e-3 * GUARD_RATE_HZ)
        self._last_tick = round(task.timeout_s * GUARD_RATE_HZ)
        self._camera = task.cameras[0]
        self._due: list[tuple[int, Request]] = []
        self._tick, self._refused = 0, 0
        self.now_s = EPOCH_S
        self._guard.on_state(robot.joint_names, cell.joint_positions(), self.now_s)
        self._guard.on_heartbeat(self.now_s)
        self._guard.arm(self.now_s)

    def observation(self, picture: np.ndarray) -> Observation:
        """What the policy sees now; ``picture`` is the cell's, at this moment."""
        stamp_ns = round(self.now_s * 1e9)
        camera = self._camera
        return Observation(stamp_ns, {camera: picture}, {camera: stamp_ns}, self.cell.joint_positions(), stamp_ns)

    def request(self, chunk: Chunk) -> None:
        """Sends the policy's answer on its way."""
        times_s = chunk.dt_s * np.arange(1, len(chunk.positions) + 1)
        request = Request(self.now_s, self._robot.joint_names, times_s, chunk.positions)
        self._due.append((self._tick + self._latency_ticks, request))

    def run_period(self) -> bool:
        """Until the next observation is due; whether there is one."""
        for _ in range(self._period_ticks):
            q = self.cell.joint_positions()
            self._guard.on_state(self._robot.joint_names, q, self.now_s)
            self._guard.on_heartbeat(self.now_s)
            while self._due and self._due[0][0] <= self._tick:
                self._refused += self._guard.on_request(self._due.pop(0)[1], self.now_s) is not None
            command = self._guard.step(self.now_s)
            self.cell.step(q if command is None else command, 1.0 / GUARD_RATE_HZ)
            if self.cell.success or self._tick + 1 == self._last_tick:
                return False
            self._tick += 1
            self.now_s = EPOCH_S + self._tick / GUARD_RATE_HZ
        return True

    def result(self) -> Rollout:
        """How it ended."""
        counts, cell = self._guard.counts, self.cell
        return Rollout(
            self.seed, self._condition, cell.success, round(self.now_s - EPOCH_S, 2), counts["holds_request"],
            counts["faults"], counts["limited_periods"], self._refused, cell.outcome, cell.stages)


def run_rollout(runner: PolicyRunner, cell: Cell, robot: Robot, task: Task, condition: str, seed: int,
                latency_ms: float = LATENCY_MS, watch: Watcher | None = None) -> Rollout:
    """One attempt at `task` from a fresh scene, until success or the task's timeout."""
    attempt = _Attempt(cell, robot, task, condition, seed, latency_ms)
    going = True
    while going:
        observation = attempt.observation(cell.render())
        chunk = runner.act(observation)
        if watch is not None:
            watch(attempt.now_s - EPOCH_S, observation, chunk, cell)
        attempt.request(chunk)
        going = attempt.run_period()
    return attempt.result()


def run_rollouts(policy: Path | PolicyRunner | Network, robot: Robot, task: Task, condition: str, seeds: Sequence[int],
                 latency_ms: float = LATENCY_MS, at_once: int = 16,
                 on_rollout: Callable[[Rollout], object] = lambda rollout: None) -> list[Rollout]:
    """One rollout for each seed, in the order of `seeds`, in this process: `at_once` of them side by side.

    A :class:`Network` is asked once a period for all that are running; a policy file once for each, as when deployed.
    Side by side or alone makes no difference but for the rounding in a network's batches. on_rollout is called as each
    is finished. Use torch.set_num_threads(1) where several processes do this.
    """
    answer = _answerer(policy, robot)
    waiting = list(enumerate(seeds))[::-1]
    cells: list[Cell] = []
    view = View(_image_size(robot, task))
    running: list[tuple[int, _Attempt]] = []
    finished: dict[int, Rollout] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                index, seed = waiting.pop()
                cell = cells.pop() if cells else Cell(task.name, condition, seed, _image_size(robot, task))
                running.append((index, _Attempt(cell, robot, task, condition, seed, latency_ms)))
            chunks = answer([attempt.observation(_picture(view, attempt.cell)) for _, attempt in running])
            for (index, attempt), chunk in zip(tuple(running), chunks, strict=True):
                attempt.request(chunk)
                if not attempt.run_period():
                    running.remove((index, attempt))
                    cells.append(attempt.cell)
                    finished[index] = attempt.result()
                    on_rollout(finished[index])
    finally:
        view.close()
    return [finished[index] for index in range(len(finished))]


def _answerer(policy: Path | PolicyRunner | Network, robot: Robot) -> Answerer:
    if isinstance(policy, Network):
        return policy.answer
    runner = policy if isinstance(policy, PolicyRunner) else PolicyRunner(policy, robot, threads=1)
    return lambda observations: [runner.act(observation) for observation in observations]


def _image_size(robot: Robot, task: Task) -> tuple[int, int]:
    camera = robot.camera(task.cameras[0])
    return camera.height_px, camera.width_px


def _picture(view: View, cell: Cell) -> np.ndarray:
    """All cells are shown by one view: one OpenGL context instead of many."""
    view.show(cell.snapshot())
    return view.render()


def run_job(job: Job) -> list[Rollout]:
    """All rollouts of a job, in this process, on one thread."""
    robot, task = load_robot(job.robot), load_task(job.task)
    return run_rollouts(job.policy, robot, task, job.condition, job.seeds, job.latency_ms)


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
    parser.add_argument("--task", default="lift", help="lift, place or pack (default: lift)")
    parser.add_argument("--condition", default="nominal",
                        help="nominal, unseen, mate, mate_broken, lamp, lamp_broken (default: nominal)")
    parser.add_argument("--rollouts", type=int, default=30, help="attempts, each with a scene of its own (default: 30)")
    parser.add_argument("--first-seed", type=int, default=EVALUATION_SEED,
                        help=f"seed of the first scene (default: {EVALUATION_SEED}; "
                             f"tune on {TUNING.first} to {TUNING.last} only)")
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
