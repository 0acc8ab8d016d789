"""How much of what is tested was demonstrated: cubes of the evaluation beyond the places that a training seed saw."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from autofocus_sim.scene import sample_scene
from autofocus_sim.seeds import BENCHMARK_DEMONSTRATIONS, BENCHMARK_EVALUATION, BENCHMARK_TUNING

from learning_parts.jobs import DEMONSTRATIONS, ROLLOUTS, SEEDS, SEEDS_APART, SWEEP
from learning_parts.tables import Record, cell, name_of, select

_DRAWN = 1000  # scenes, to say how often the tray of `pack` stands on the left


@lru_cache
def outside(task: str, seed: int, demonstrations: int = DEMONSTRATIONS, rollouts: int = ROLLOUTS) -> frozenset[int]:
    """Which of the `rollouts` cubes of the evaluation, counted from the first, stand outside the convex hull of those
    of a training seed's first `demonstrations` scenes. Where the cube stands depends on task and seed only, so it is
    the same in all conditions; the operator fails in next to none of these scenes, so they are the demonstrations."""
    from scipy.spatial import Delaunay

    shown = BENCHMARK_DEMONSTRATIONS.after(SEEDS_APART * seed).take(demonstrations)
    hull = Delaunay(_places_m(task, shown))
    beyond = hull.find_simplex(_places_m(task, BENCHMARK_EVALUATION.take(rollouts))) < 0
    return frozenset(np.flatnonzero(beyond).tolist())


def coverage(task: str, records: Sequence[Record]) -> str:
    """Markdown: `outside` of every training seed, and a table of nominal success inside and outside the hull, of
    records that say which scenes were failed."""
    counts = ", ".join(f"{len(outside(task, seed))} (seed {seed})" for seed in SEEDS)
    text = (
        "## What was not demonstrated\n\n"
        f"Of the {ROLLOUTS} places where the cube stands in the evaluation of `{task}`, so many lie outside the convex "
        f"hull of the {DEMONSTRATIONS} demonstrated ones: {counts}. Each training seed has demonstrations of its own; "
        "all methods of a seed have the same.\n"
    )
    found = [r for r in select(records, task=task, shown="nominal", maps="automatic")
             if "failed" in r["rollouts"].get("nominal", {})]  # fmt: skip
    if not found:
        return text
    text += (
        f"\nSuccess in nominal scenes of `{task}` whose cube stands among the demonstrated places, and of those beyond "
        "(records of the first policies do not say in which scenes they failed, and are left out):\n\n"
        "| demonstrations | augmentation | method | among | beyond | seeds |\n|---|---|---|---|---|---|\n"
    )
    groups = {(r["demonstrations"], r["augmentation"], r["method"]) for r in found}
    for count, augmentation, method in sorted(groups):
        mine = select(found, demonstrations=count, augmentation=augmentation, method=method)
        parts = zip(*(_split(record) for record in mine), strict=True)
        among, beyond = (cell(*map(sum, zip(*part, strict=True)))[1] for part in parts)
        text += f"| {count} | {augmentation} | {name_of(method)} | {among} | {beyond} | {len(mine)} |\n"
    return text


def tray_sides(records: Sequence[Record], task: str = "pack") -> str:
    """Markdown: success by the side of the tray, over all conditions but `unseen`, which is failed for reasons of its
    own, with how often the left was demonstrated; of policies of the most demonstrations, whose records say in which
    scenes they failed. Empty without such records. A scene has its tray in the same place in all conditions."""
    count = max(SWEEP)
    found = [r for r in select(records, task=task, maps="automatic", demonstrations=count)
             if all("failed" in outcome for outcome in r["rollouts"].values())]  # fmt: skip
    if not found:
        return ""
    trained = sorted({record["seed"] for record in found})
    shown = ", ".join(
        f"{sum(_tray_left(task, BENCHMARK_DEMONSTRATIONS.after(SEEDS_APART * seed).take(count)))} (seed {seed})"
        for seed in trained
    )
    left = _tray_left(task, BENCHMARK_EVALUATION.take(ROLLOUTS))
    text = (
        f"Of the {count} demonstrations of `{task}` so many have the tray on the left (of the arm: y > 0): {shown}; of "
        f"the {ROLLOUTS} scenes of the evaluation {sum(left)}. Of {_DRAWN:,} scenes that nothing else is measured on: "
        f"{sum(_tray_left(task, BENCHMARK_TUNING.take(_DRAWN)))}, because on the left the place of the `mate` is kept "
        "free. All conditions but `unseen`:\n\n"
        "| augmentation | method | tray on the left | on the right | policies |\n|---|---|---|---|---|\n"
    )
    for augmentation, method in sorted({(r["augmentation"], r["method"]) for r in found}):
        mine = select(found, augmentation=augmentation, method=method)
        cells = []
        for side in (True, False):
            scenes = {number for number, is_left in enumerate(left) if is_left is side}
            outcomes = [o for record in mine for tested, o in record["rollouts"].items() if tested != "unseen"]
            failed = sum(len(scenes.intersection(outcome["failed"])) for outcome in outcomes)
            tried = len(scenes) * len(outcomes)
            cells.append(cell(tried - failed, tried)[1])
        text += f"| {augmentation} | {name_of(method)} | {cells[0]} | {cells[1]} | {len(mine)} |\n"
    return text


def _tray_left(task: str, seeds: range) -> list[bool]:
    scenes = (sample_scene(task, "nominal", seed) for seed in seeds)
    return [placed.position_m[1] > 0.0 for scene in scenes for placed in scene.others if placed.body == "tray"]


def _split(record: Record) -> tuple[tuple[int, int], tuple[int, int]]:
    """(successes, rollouts) in nominal scenes among the demonstrated places, and beyond."""
    outcome = record["rollouts"]["nominal"]
    rollouts, failed = outcome["rollouts"], set(outcome["failed"])
    beyond = outside(record["task"], record["seed"], record["demonstrations"], rollouts)
    among = set(range(rollouts)) - beyond
    return (len(among - failed), len(among)), (len(beyond - failed), len(beyond))


def _places_m(task: str, seeds: range) -> np.ndarray:
    return np.array([sample_scene(task, "nominal", seed).cube.position_m[:2] for seed in seeds])
