"""What stands where, in which colour and light: a scene drawn from (task, condition, seed) and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from autofocus_core.errors import AutofocusError

from autofocus_sim import mjcf
from autofocus_sim.phases import TASKS, Phase
from autofocus_sim.truth import CUBE, PLATE, SECOND_CUBE, TRAY

CONDITIONS: tuple[str, ...] = ("nominal", "unseen", "mate", "mate_broken", "lamp", "lamp_broken")

CUBE_X_M = (0.22, 0.40)
CUBE_Y_M = (-0.10, 0.10)
#: +-15 degrees: at +-45 forty demonstrations do not teach the wrist (the cube is 10 px wide in the network's image,
#: and which of its equal turns is nearest jumps there); the fingers turn a cube that is a little off.
CUBE_YAW_RAD = (-np.pi / 12, np.pi / 12)
_CLUTTER_X_M = (0.20, 0.43)
_CLUTTER_Y_M = (-0.19, 0.19)
#: Beside the cube, on the image's right: near enough to be one cluster, far enough for the fingers.
_MATE_OFFSET_M = (0.0, 0.092)
_LAMP_AT_M = (0.30, -0.235, 0.0)
#: `pack` has more to place, and uses more of what the camera sees.
_PACK_CUBE_Y_M = (-0.16, 0.16)
_TRAY_X_M = (0.27, 0.35)
_TRAY_Y_M = (-0.135, 0.135)
_PACK_CLUTTER_X_M = (0.17, 0.45)
_PACK_CLUTTER_Y_M = (-0.25, 0.25)

_SEEN = {"green": (0.10, 0.60, 0.15), "purple": (0.42, 0.14, 0.60)}
_UNSEEN = {
    "yellow": (0.92, 0.85, 0.10), "cyan": (0.10, 0.75, 0.80), "black": (0.05, 0.05, 0.05),
    "brown": (0.36, 0.22, 0.12), "lime": (0.60, 0.90, 0.15), "pink": (0.95, 0.60, 0.78),
}
#: `pack` is about a green cube: what only looks like it would make the annotation a guess.
_SEEN_IN_PACK = {"grey": (0.36, 0.38, 0.42), "purple": _SEEN["purple"]}
_UNSEEN_IN_PACK = {name: rgb for name, rgb in _UNSEEN.items() if name != "lime"}
_UNSEEN_TABLES = ((0.36, 0.44, 0.54), (0.42, 0.52, 0.40), (0.30, 0.28, 0.27), (0.80, 0.78, 0.66))

#: Colour of the lamp in each phase: none near the cube's red or the fingertips' orange.
_LAMP_RGB: dict[Phase, tuple[float, float, float]] = {
    Phase.APPROACH: (0.05, 0.25, 1.0), Phase.DESCEND: (0.05, 0.85, 0.15), Phase.CLOSE: (1.0, 1.0, 1.0),
    Phase.LIFT: (0.50, 0.10, 0.85), Phase.CARRY: (0.05, 0.85, 0.85), Phase.LOWER: (0.10, 0.10, 0.12),
    Phase.OPEN: (0.80, 0.95, 0.15), Phase.RETREAT: (0.45, 0.60, 0.45),
}
#: Nor near those of what else the task is about.
_LAMP_RGB_OF: dict[str, dict[Phase, tuple[float, float, float]]] = {
    "lift": _LAMP_RGB,
    "place": {**_LAMP_RGB, Phase.CLOSE: (0.95, 0.45, 0.75)},
    "pack": {
        **_LAMP_RGB, Phase.CLOSE: (0.95, 0.45, 0.75), Phase.DESCEND: (0.95, 0.85, 0.10),
        Phase.OPEN: (0.04, 0.06, 0.30), Phase.RETREAT: (0.45, 0.50, 0.62),
    },
}


def lamp_rgb(task: str, phase: Phase) -> tuple[float, float, float]:
    """The colour that the lamp shows for a phase of a task."""
    return _LAMP_RGB_OF[task][phase]


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing that stands in the scene: its MuJoCo body, the name people use, where and in what colour."""

    body: str
    name: str
    position_m: tuple[float, float, float]
    yaw_rad: float
    rgb: tuple[float, float, float] | None  # None: the model's own


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a reset sets. ``second_cube``: in `pack` only. ``lamp_schedule``: (start s, phase) pairs in
    `lamp_broken`, else empty."""

    task: str
    condition: str
    seed: int
    cube: Placed
    others: tuple[Placed, ...]
    table_rgb: tuple[float, float, float]
    light_direction: tuple[float, float, float]
    light_diffuse: tuple[float, float, float]
    lamp_schedule: tuple[tuple[float, Phase], ...]
    second_cube: Placed | None = None


def sample_scene(task: str, condition: str, seed: int) -> Scene:
    """The scene of (task, condition, seed). What the task moves depends on task and seed only, so that conditions pair
    up; so does the tray of `pack`. The plate of `place` moves where the mate would be in its way."""
    if task not in TASKS:
        raise AutofocusError("autofocus_sim task", repr(task), " | ".join(TASKS), "choose one of the allowed tasks")
    if condition not in CONDITIONS:
        raise AutofocusError(
            "autofocus_sim condition", repr(condition), " | ".join(CONDITIONS), "choose one of the allowed conditions"
        )
    if seed < 0:
        raise AutofocusError("autofocus_sim seed", str(seed), "an integer >= 0", "give a seed that is not negative")
    rng = np.random.default_rng([seed, TASKS.index(task)])
    clutter_rng = np.random.default_rng([seed, TASKS.index(task), 1 + CONDITIONS.index(condition)])
    cube_xy = (float(rng.uniform(*CUBE_X_M)), float(rng.uniform(*CUBE_Y_M)))
    cube = Placed("cube", CUBE, (*cube_xy, mjcf.CUBE_HALF_M), float(rng.uniform(*CUBE_YAW_RAD)), None)

    taken = [(cube_xy, 0.085)]
    others: list[Placed] = []
    second_cube = None
    if task == "pack":
        second_cube, tray = _second_cube_and_tray(rng, cube_xy)
        others.append(tray)
        taken += [(second_cube.position_m[:2], 0.085), (tray.position_m[:2], 0.115)]
    # The mate first: the plate and the clutter then keep clear of it.
    if condition == "mate":
        mate_xy = (cube_xy[0] + _MATE_OFFSET_M[0], cube_xy[1] + _MATE_OFFSET_M[1])
    else:
        elsewhere = [(cube_xy, 0.14), *taken[1:]]
        mate_xy = _free_spot(clutter_rng, elsewhere, CUBE_X_M, _CLUTTER_Y_M)
    if condition.startswith("mate"):
        others.append(Placed("mate", "blue box", (*mate_xy, mjcf.MATE_HALF_M[2]), 0.0, None))
        taken.append((mate_xy, 0.085))
    if task == "place":
        plate_xy = _free_spot(rng, [(xy, 0.13) for xy, _ in taken], (0.24, 0.38), (-0.15, 0.15))
        others.append(Placed("plate", PLATE, (*plate_xy, mjcf.PLATE_HALF_HEIGHT_M), 0.0, None))
        taken.append((plate_xy, 0.10))
    lamp_schedule: tuple[tuple[float, Phase], ...] = ()
    if condition.startswith("lamp"):
        others.append(Placed("lamp", "lamp", _LAMP_AT_M, 0.0, None))
        taken.append((_LAMP_AT_M[:2], 0.08))
    if condition == "lamp_broken":
        lamp_schedule = _random_schedule(clutter_rng, task)
    others += _clutter(clutter_rng, task, condition, taken)

    table, direction, diffuse = (0.66, 0.64, 0.60), (-0.2, -0.35, -1.0), (0.55, 0.55, 0.55)
    if condition == "unseen":
        table = _UNSEEN_TABLES[clutter_rng.integers(len(_UNSEEN_TABLES))]
        direction = (*map(float, clutter_rng.uniform(-0.7, 0.7, 2)), -1.0)
        diffuse = tuple(map(float, clutter_rng.uniform(0.35, 0.75) * clutter_rng.uniform(0.85, 1.0, 3)))
    return Scene(task, condition, seed, cube, tuple(others), table, direction, diffuse, lamp_schedule,
                 second_cube)


def _second_cube_and_tray(rng: np.random.Generator, cube_xy: tuple[float, float]) -> tuple[Placed, Placed]:
    """Clear of the cube, of each other, and of where the mate may come to stand."""
    mate_xy = (cube_xy[0] + _MATE_OFFSET_M[0], cube_xy[1] + _MATE_OFFSET_M[1])
    tray_xy = _free_spot(rng, [(cube_xy, 0.135), (mate_xy, 0.125)], _TRAY_X_M, _TRAY_Y_M)
    second_xy = _free_spot(rng, [(cube_xy, 0.10), (mate_xy, 0.10), (tray_xy, 0.135)], CUBE_X_M, _PACK_CUBE_Y_M)
    yaw_rad = float(rng.uniform(*CUBE_YAW_RAD))
    return (
        Placed("second_cube", SECOND_CUBE, (*second_xy, mjcf.CUBE_HALF_M), yaw_rad, None),
        Placed("tray", TRAY, (*tray_xy, mjcf.TRAY_HALF_M[2]), 0.0, None),
    )


def _clutter(rng: np.random.Generator, task: str, condition: str,
             taken: list[tuple[tuple[float, float], float]]) -> list[Placed]:
    """Two distractors of known colours, or in `unseen` four of colours that no demonstration shows."""
    seen, unseen = (_SEEN_IN_PACK, _UNSEEN_IN_PACK) if task == "pack" else (_SEEN, _UNSEEN)
    colours, count = (unseen, 4) if condition == "unseen" else (seen, 2)
    area_m = (_PACK_CLUTTER_X_M, _PACK_CLUTTER_Y_M) if task == "pack" else (_CLUTTER_X_M, _CLUTTER_Y_M)
    bodies = rng.choice(sorted(mjcf.DISTRACTORS), size=count, replace=False)
    names = rng.choice(sorted(colours), size=count, replace=False)
    placed = []
    for body, name in zip(map(str, bodies), map(str, names)):
        spot = _free_spot(rng, taken, *area_m)
        taken.append((spot, 0.06))
        yaw_rad = float(rng.uniform(-np.pi, np.pi))
        rgb = tuple(float(value) for value in np.clip(np.array(colours[name]) + rng.uniform(-0.04, 0.04, 3), 0, 1))
        placed.append(Placed(body, f"{name} distractor", (*spot, mjcf.distractor_height_m(body)), yaw_rad, rgb))
    return placed


def _free_spot(rng: np.random.Generator, taken: list[tuple[tuple[float, float], float]],
               x_m: tuple[float, float], y_m: tuple[float, float]) -> tuple[float, float]:
    """A random spot at least its distance from each taken one; the least crowded of 200 draws if none is free."""
    best, best_margin_m = (0.0, 0.0), -np.inf
    for _ in range(200):
        spot = (float(rng.uniform(*x_m)), float(rng.uniform(*y_m)))
        margin_m = min(np.hypot(spot[0] - xy[0], spot[1] - xy[1]) - distance_m for xy, distance_m in taken)
        if margin_m >= 0:
            return spot
        if margin_m > best_margin_m:
            best, best_margin_m = spot, margin_m
    return best


def _random_schedule(rng: np.random.Generator, task: str) -> tuple[tuple[float, Phase], ...]:
    """Two minutes of phases that have nothing to do with what happens, each shown 0.3 to 1.2 s."""
    phases = list(Phase)[:4] if task == "lift" else list(Phase)
    schedule, start_s = [], 0.0
    while start_s < 120.0:
        schedule.append((start_s, phases[rng.integers(len(phases))]))
        start_s += float(rng.uniform(0.3, 1.2))
    return tuple(schedule)
