"""Demonstrations in process, many times faster than real time: what the recorder sees over ROS, without ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autofocus_sim.cell import Cell
from autofocus_sim.expert import PERIOD_S, Expert

#: Twice what the longest task takes.
MAX_TICKS = 250


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One demonstration on the operator's 10 Hz grid; T ticks, A joints.

    ``images`` uint8 (T, H, W, 3) rgb, ``states`` float64 (T, A), ``clean_targets`` float64 (T, A) for one period
    after each state, ``phases`` int (T,), ``boxes_px`` per object float64 (T, 4) x0 y0 x1 y1 with NaN where invisible.
    """

    images: np.ndarray
    states: np.ndarray
    clean_targets: np.ndarray
    noisy_targets: np.ndarray
    phases: np.ndarray
    boxes_px: dict[str, np.ndarray]
    success: bool


def collect(task: str, condition: str, seed: int, cell: Cell | None = None, render: bool = True) -> Demonstration:
    """Lets the expert do ``task`` once. ``cell`` saves building a model for every call; ``render=False`` leaves the
    images and boxes empty."""
    cell = cell or Cell(task, condition, seed)
    cell.reset(seed, condition, task)
    expert = Expert(task)
    expert.reset(demonstration_rng(seed))
    images, states, clean, noisy, phase_list = [], [], [], [], []
    boxes: dict[str, list[np.ndarray]] = {}
    for _ in range(MAX_TICKS):
        truth, q = cell.truth(boxes=False), cell.joint_positions()
        action = expert.act(truth, q)
        cell.operator_phase = int(action.phase)
        if render:
            images.append(cell.render())
            for name, found in cell.truth(exact=True).objects.items():
                boxes.setdefault(name, []).append(found.box_px)
        states.append(q)
        clean.append(action.clean)
        noisy.append(action.noisy)
        phase_list.append(int(action.phase))
        if action.done:
            break
        cell.follow(action.noisy, PERIOD_S)
    return Demonstration(
        np.array(images, dtype=np.uint8), np.array(states), np.array(clean), np.array(noisy), np.array(phase_list),
        {name: np.array(rows) for name, rows in boxes.items()}, cell.success,
    )


def demonstration_rng(seed: int) -> np.random.Generator:
    """The expert's own source of noise in the demonstration of ``seed``."""
    return np.random.default_rng([seed, 77])
