"""The stage "offline": joint error on held-out episodes, and where the policies look. Two worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from autofocus_cli.demo.pictures import (
    demonstration_pictures,
    moments,
    overlay,
    own_attention,
    save_jpeg,
    sensitivity,
    share_inside,
)
from autofocus_cli.demo.settings import EVALUATION_SEED, METHODS, robot_yaml
from autofocus_cli.rollout import worker_pool
from autofocus_core.episode import load_episode
from autofocus_core.schema import Robot, load_robot
from autofocus_policy.offline import evaluate_episode, summarise
from autofocus_policy.runner import PolicyRunner
from autofocus_sim.demos import Demonstration, collect
from autofocus_sim.truth import CUBE, GRIPPER, LAMP, MATE

if TYPE_CHECKING:
    from autofocus_cli.demo.stages import Run
    from autofocus_cli.demo.ui import Bars

#: Scripted runs that show the policies the same moments, the frames taken of each, and the one for the pictures.
SCENES, FRAMES_PER_SCENE, PICTURE_FRAME = 2, 2, 0
#: Seeds of these scenes: beyond those of the rollouts.
SCENE_SEED = EVALUATION_SEED + 9_000
CONFOUNDER_OBJECT = {"lamp": LAMP, "mate": MATE}


@dataclass(frozen=True, slots=True)
class Subject:
    """One policy to be examined, with everything a worker process needs."""

    method: str
    seed: int
    policy: Path
    robot: Path
    task: str
    conditions: Mapping[str, str]
    confounder: str
    held_out: tuple[str, ...]
    pictures: Path | None


def work(run: Run, bars: Bars) -> dict:
    """Joint error by method, joint and training seed; sensitivity by method and scene; pictures for the report."""
    settings = run.settings
    bar = bars.add("policies", len(run.runs()))
    subjects = [
        Subject(method, seed, run.paths.policy(method, seed), robot_yaml(), settings.task, settings.conditions,
                settings.confounder, tuple(run.found["train"]["held_out"]),
                run.paths.run / "pictures" if seed == settings.train_seeds[0] else None)
        for method, seed in run.runs()
    ]
    findings = []
    with worker_pool(settings.workers) as pool:
        for done in as_completed([pool.submit(examine, subject) for subject in subjects]):
            findings.append(done.result())
            bar.advance()
    findings.sort(key=lambda finding: (finding["method"], finding["seed"]))
    camera = run.task.cameras[0]
    captions = demonstration_pictures(Path(run.found["train"]["episodes"][0]), run.robot.camera(camera).topic, camera,
                                      run.paths.run / "pictures")
    return {
        "joint_error": {**{method: {"joints": _joints(findings, method)} for method in METHODS},
                        "episodes": len(run.found["train"]["held_out"])},
        "sensitivity": {method: {cell: _sensitivity(findings, method, cell) for cell in settings.conditions}
                        for method in METHODS},
        "sensitivity_frames": SCENES * FRAMES_PER_SCENE * len(settings.train_seeds),
        "picture_seed": settings.train_seeds[0],
        "demonstration_captions": captions,
        "evaluations": [{key: finding[key] for key in ("method", "seed", "evaluation")} for finding in findings],
    }


def examine(subject: Subject) -> dict:
    """One policy: errors on the held-out episodes; what moves it in scripted scenes; pictures if wanted."""
    robot = load_robot(subject.robot)
    runner = PolicyRunner(subject.policy, robot)
    errors = {path: evaluate_episode(load_episode(path, robot), runner, robot) for path in subject.held_out}
    found = {}
    for cell, condition in subject.conditions.items():
        shares = []
        for scene in range(SCENES):
            demonstration = collect(subject.task, condition, SCENE_SEED + scene)
            for number, tick in enumerate(moments(demonstration, FRAMES_PER_SCENE)):
                heat = sensitivity(runner, robot, demonstration.images[tick], demonstration.states[tick])
                shares.append(_shares(heat, demonstration, tick, subject.confounder))
                if subject.pictures is not None and scene == 0 and number == PICTURE_FRAME:
                    _draw(subject, runner, robot, demonstration, tick, cell, heat)
        found[cell] = shares
    return {"method": subject.method, "seed": subject.seed, "evaluation": summarise(errors, robot, runner),
            "shares": found}


def _shares(heat: np.ndarray, demonstration: Demonstration, tick: int, confounder: str) -> dict[str, float]:
    frame = demonstration.images.shape[1:3]
    boxes = {name: rows[tick] for name, rows in demonstration.boxes_px.items()}
    return {
        "on_objects": share_inside(heat, [boxes[name] for name in (CUBE, GRIPPER) if name in boxes], frame),
        "on_confounder": share_inside(heat, [boxes[name] for name in (CONFOUNDER_OBJECT[confounder],) if name in boxes],
                                      frame),
    }


def _draw(subject: Subject, runner: PolicyRunner, robot: Robot, demonstration: Demonstration, tick: int, cell: str,
          heat: np.ndarray) -> None:
    image, state = demonstration.images[tick], demonstration.states[tick]
    name = f"{subject.method}_{cell}"
    save_jpeg(subject.pictures / f"sensitivity_{name}.jpg", overlay(image, heat / max(heat.max(), 1e-12)))
    attention = own_attention(runner, image, state)
    if attention is not None:
        save_jpeg(subject.pictures / f"attention_{name}.jpg", overlay(image, attention))


def _joints(findings: list[dict], method: str) -> list[dict]:
    """Mean absolute error of each joint, over seeds and by seed, beside that of a policy that stands still."""
    mine = [finding["evaluation"] for finding in findings if finding["method"] == method]
    return [
        {"name": name, "unit": unit, "mean_abs": float(np.mean([e["mean_error"][i] for e in mine])),
         "per_seed": [e["mean_error"][i] for e in mine], "standing_still": mine[0]["mean_error_standing_still"][i]}
        for i, (name, unit) in enumerate(zip(mine[0]["joints"], mine[0]["units"], strict=True))
    ]


def _sensitivity(findings: list[dict], method: str, cell: str) -> dict[str, float]:
    shares = [share for finding in findings if finding["method"] == method for share in finding["shares"][cell]]
    return {key: float(np.mean([share[key] for share in shares])) for key in ("on_objects", "on_confounder")}
