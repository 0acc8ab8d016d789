"""How much of what is tested was demonstrated: cubes of the evaluation beyond the places that a training seed saw."""

from __future__ import annotations

import numpy as np
from autofocus_sim.scene import sample_scene
from autofocus_sim.seeds import BENCHMARK_DEMONSTRATIONS, BENCHMARK_EVALUATION

from learning_parts.jobs import DEMONSTRATIONS, ROLLOUTS, SEEDS, SEEDS_APART


def outside(task: str, seed: int, demonstrations: int = DEMONSTRATIONS, rollouts: int = ROLLOUTS) -> int:
    """How many of the `rollouts` cubes of the evaluation stand outside the convex hull of those of a training seed's
    first `demonstrations` scenes. Where the cube stands depends on task and seed only, so it is the same in all
    conditions; the operator fails in next to none of these scenes, so they are the demonstrations."""
    from scipy.spatial import Delaunay

    shown = BENCHMARK_DEMONSTRATIONS.after(SEEDS_APART * seed).take(demonstrations)
    hull = Delaunay(_places_m(task, shown))
    return int((hull.find_simplex(_places_m(task, BENCHMARK_EVALUATION.take(rollouts))) < 0).sum())


def coverage(task: str) -> str:
    """A sentence on `outside` of every training seed, markdown."""
    counts = ", ".join(f"{outside(task, seed)} (seed {seed})" for seed in SEEDS)
    return (
        f"Of the {ROLLOUTS} places where the cube stands in the evaluation of `{task}`, so many lie outside the convex "
        f"hull of the {DEMONSTRATIONS} demonstrated ones: {counts}. Each training seed has demonstrations of its own; "
        "all methods of a seed have the same.\n"
    )


def _places_m(task: str, seeds: range) -> np.ndarray:
    return np.array([sample_scene(task, "nominal", seed).cube.position_m[:2] for seed in seeds])
