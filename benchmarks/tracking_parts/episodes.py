"""Simulated demonstrations with the true box of every thing in every image, and no bag in between."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from autofocus_sim.cell import Cell
from autofocus_sim.demos import demonstration_rng
from autofocus_sim.expert import Expert

FRAME_TICKS = (4, 3, 3)  # of 10 ms, between the images within one operator period: 30 Hz
MAX_PERIODS = 150
CLUTTER = "distractor"  # all clutter goes by one name: several things that the tracker must tell apart
ROBOT = "orange gripper"


@dataclass(frozen=True, slots=True)
class Thing:
    """One true thing. phrase: the name it is looked for by; boxes_px (N, 4): of its visible part, NaN where nothing
    is; centre_px (N, 2): where the centre of the whole thing projects to; visible (N,): at least 12 px of it."""

    phrase: str
    boxes_px: np.ndarray
    centre_px: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True, slots=True)
class Episode:
    """stamps_s (N,); gripper_m (N,): its opening; things by their own names; grey (N, H, W) uint8, or None."""

    condition: str
    seed: int
    stamps_s: np.ndarray
    size_px: tuple[int, int]
    gripper_m: np.ndarray
    things: dict[str, Thing]
    grey: np.ndarray | None

    @property
    def phrases(self) -> list[str]:
        """The names looked for, each once."""
        return list(dict.fromkeys(thing.phrase for thing in self.things.values()))


def simulate(cell: Cell, task: str, condition: str, seed: int, pictures: bool) -> Episode:
    """Let the expert do `task` once and write down the truth at 30 Hz."""
    cell.reset(seed, condition, task)
    expert = Expert(task)
    expert.reset(demonstration_rng(seed))
    rows: dict[str, list[tuple[np.ndarray, np.ndarray, bool]]] = {}
    stamps, gripper, grey = [], [], []
    sent = cell.joint_positions()
    for _ in range(MAX_PERIODS):
        action = expert.act(cell.truth(boxes=False), cell.joint_positions())
        cell.operator_phase = int(action.phase)
        commands = iter(np.linspace(sent, action.noisy, 1 + sum(FRAME_TICKS))[1:])
        sent = action.noisy
        for ticks in FRAME_TICKS:
            stamps.append(cell.time_s)
            gripper.append(cell.joint_positions()[-1])
            if pictures:
                grey.append(cv2.cvtColor(cell.render(), cv2.COLOR_RGB2GRAY))
            for name, found in cell.truth(exact=True).objects.items():
                rows.setdefault(name, []).append((found.box_px, found.pixel_xy, found.visible))
            for _ in range(ticks):
                cell.step(next(commands), 0.01)
        if action.done:
            break
    things = {
        name: Thing(
            CLUTTER if name.endswith("distractor") else name,
            np.array([box for box, _, _ in seen]), np.array([at for _, at, _ in seen]), np.array([v for *_, v in seen]),
        )
        for name, seen in rows.items()
    }
    pictured = np.array(grey) if pictures else None
    return Episode(
        condition, seed, np.array(stamps), cell.image_size, np.array(gripper), things, pictured
    )


