"""What a demo run does: all numbers in one place, for the full run and for the quick one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import autofocus_sim
from autofocus_sim import seeds

DEMONSTRATION_SEED = seeds.DEMONSTRATIONS.first
EVALUATION_SEED = seeds.DEMO_EVALUATION.first
DEPLOYMENT_SEED = seeds.DEMO_DEPLOYMENT.first

METHODS = ("bc", "autofocus")
CELLS = ("nominal", "confounded")
TITLES = {"bc": "Plain BC", "autofocus": "AutoFocus"}


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """One run of the demo.

    task, confounder: the demonstrations are made under `confounder` (a condition of the simulator); the cell "nominal"
    is that condition as demonstrated, "confounded" is the same with the coincidence broken.
    demos: successful or not, demonstrations recorded; holdout: successful ones kept from training, for the joint error.
    steps: optimiser steps of every training run; train_seeds: one run of each method per seed.
    rollouts_per_seed: in-process rollouts per training seed and cell; deployed_per_seed: the same over ROS 2.
    """

    task: str = "lift"
    confounder: str = "mate"
    demos: int = 36
    holdout: int = 4
    train_seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 800
    rollouts_per_seed: int = 40
    deployed_per_seed: int = 4
    recording_cells: int = 1  # a second one on two cores loses frames, each counted: 2700 messages of 36 episodes
    deployment_cells: int = 1  # latency is measured here: a second cell on two cores would be what is measured
    workers: int = 2
    latency_ms: float = 20.0

    @property
    def conditions(self) -> dict[str, str]:
        """The simulator's condition of each cell."""
        return {"nominal": self.confounder, "confounded": f"{self.confounder}_broken"}

    def to_json(self) -> dict:
        return {**dataclasses.asdict(self), "conditions": self.conditions}


FULL = DemoSettings()
#: The same chain in one or two minutes: shows that everything works, not how well.
QUICK = DemoSettings(demos=6, holdout=1, train_seeds=(0,), steps=40, rollouts_per_seed=4, deployed_per_seed=1)


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a run's artefacts lie."""

    run: Path

    @property
    def episodes(self) -> Path:
        return self.run / "episodes"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def policies(self) -> Path:
        return self.run / "policies"

    @property
    def stages(self) -> Path:
        """One JSON file per finished stage: what the summary and the report are made from."""
        return self.run / "stages"

    @property
    def summary(self) -> Path:
        return self.run / "summary.json"

    @property
    def report(self) -> Path:
        return self.run / "report.html"

    def policy(self, method: str, seed: int) -> Path:
        return self.policies / f"{method}_seed{seed}.pt"

    def training(self, method: str, seed: int) -> Path:
        return self.run / "training" / f"{method}_seed{seed}"


def robot_yaml() -> Path:
    """The simulated arm's description."""
    return _config("sim_arm.yaml")


def task_yaml(task: str) -> Path:
    """A task's description."""
    return _config(f"{task}.yaml")


def _config(name: str) -> Path:
    return Path(autofocus_sim.__file__).resolve().parent.parent / "config" / name
