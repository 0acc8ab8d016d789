"""One job: read the demonstrations, train, export, roll the policy out on seeds that nothing was tuned on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from autofocus_cli.rollout import Network, run_rollouts
from autofocus_core.episode import list_episodes
from autofocus_core.results import commit
from autofocus_core.schema import Robot, Task
from autofocus_sim.seeds import BENCHMARK_EVALUATION, SeedRange
from autofocus_training import train
from autofocus_training.config import Config, load_config
from autofocus_training.data import load_dataset
from autofocus_training.export import DeployedPolicy, export_policy
from autofocus_training.names import METHOD_DEFAULTS

from learning_parts.demonstrations import DemonstrationSet, sim_robot, sim_task
from learning_parts.jobs import ABLATIONS, AUGMENTATIONS, ROLLOUTS, TASK_SETTINGS, Job, tests_of

BASE = Path(__file__).with_name("learning.yaml")


def config_of(job: Job, more: tuple[str, ...] = ()) -> Config:
    """The training config of a job: the benchmark's, the task's and the method's own settings, and `more` overrides."""
    method, settings = ABLATIONS.get(job.method) or (job.method, METHOD_DEFAULTS.get(job.method, ()))
    chosen = (*TASK_SETTINGS[job.task], *settings, *AUGMENTATIONS[job.augmentation], *more)
    return load_config(str(BASE), [f"method={method}", f"seed={job.seed}", *chosen])


def run_job(
    job: Job, demonstrations: DemonstrationSet, rollouts: int = ROLLOUTS, seeds: SeedRange = BENCHMARK_EVALUATION,
    more: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """Do it, on one thread; the record of it (see docs/learning.md)."""
    torch.set_num_threads(1)
    robot, task = sim_robot(), sim_task(job.task)
    config = config_of(job, more)
    begun_s = time.monotonic()
    episodes = [list_episodes(p, robot)[0] for p in demonstrations.episodes(job.maps, job.demonstrations)]
    dataset = load_dataset(episodes, robot, task, config)
    read_s = time.monotonic() - begun_s
    checkpoint, history = train.run(dataset, robot, task, config)
    with tempfile.TemporaryDirectory() as folder:
        export_policy(checkpoint, Path(folder) / "policy.pt")  # raises where file and network differ
    deployed = DeployedPolicy(checkpoint.network, checkpoint.normaliser, config.image_size).eval()
    policy = Network(deployed, config.dt_s)
    begun_s = time.monotonic()
    found = {condition: _roll_out(policy, robot, task, condition, rollouts, seeds) for condition in tests_of(job.shown)}
    return {
        "key": job.key, **dataclasses.asdict(job), "rollouts": found, "held_out": history["held_out"],
        "looking": history["looking"], "samples": history["samples"], "steps": config.steps,
        "settings": settings_hash(config), "read_s": round(read_s, 1), "train_s": history["train_s"],
        "rollout_s": round(time.monotonic() - begun_s, 1), "commit": commit(Path(__file__).parent),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }  # fmt: skip


def settings_hash(config: Config) -> str:
    """Twelve hex digits of the config without its seed."""
    known = {key: value for key, value in config.as_dict().items() if key != "seed"}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]


def _roll_out(
    policy: Network, robot: Robot, task: Task, condition: str, count: int, seeds: SeedRange
) -> dict[str, Any]:
    """Every policy meets the same scenes; "failed": which of them, counted from the first, it failed in."""
    results = run_rollouts(policy, robot, task, condition, seeds.take(count))
    failures = Counter(result.outcome for result in results if not result.success)
    failed = [number for number, result in enumerate(results) if not result.success]
    return {"successes": count - len(failed), "rollouts": count, "failures": dict(failures), "failed": failed}
