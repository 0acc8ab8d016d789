"""The pictures of docs/learning.md: curves of two trainings, and where the two policies look.

    python benchmarks/learning_parts/training_pictures.py       # about five minutes on one core

Plain cloning and ours, as in the benchmark (learning.yaml, 30 demonstrations of `lift` with the `mate`, automatic
maps), but on its tuning seeds. They are shown other scenes: that of the first of the tuning rollouts, as demonstrated
and with the box moved, with the simulator's boxes. Writes docs/images/training_curves.png and training_attention.png.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that this file is a script, too

from autofocus_core.annotation import write_annotation
from autofocus_core.episode import Episode, load_episode
from autofocus_sim.cell import Cell
from autofocus_sim.seeds import BENCHMARK_TUNING, BENCHMARK_TUNING_ROLLOUTS
from autofocus_training import train
from autofocus_training.attention import MOMENTS, draw_attention, load_trained, moments
from autofocus_training.curves import draw_curves, read_curves
from simulated_episodes import write_episode

from learning_parts.demonstrations import AUTOMATIC, CONFIG, make, privileged_annotation, sim_robot, sim_task
from learning_parts.jobs import DEMONSTRATIONS
from learning_parts.work import BASE

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
TASK, METHODS = "lift", ("none", "gated")
#: What is shown: the simulator's condition -> (words beside the rows, which rows).
SCENES = {"mate": ("as demonstrated", MOMENTS), "mate_broken": ("blue box moved", ("start", "approach"))}


def record(folder: Path, condition: str) -> Episode:
    """The operator at work on the first of the tuning rollouts' seeds, with the simulator's boxes."""
    path, seed = folder / condition, BENCHMARK_TUNING_ROLLOUTS.first
    written = write_episode(path, sim_robot(), Cell(), TASK, condition, seed, exact=False)
    write_annotation(privileged_annotation(path, sim_robot(), sim_task(TASK), written), path)
    return load_episode(path, sim_robot())


def main() -> int:
    """Train, look, draw."""
    demonstrations = make(TASK, "mate", DEMONSTRATIONS, ROOT / "runs" / "learning" / "tuning", seeds=BENCHMARK_TUNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown = [str(path) for path in demonstrations.episodes(AUTOMATIC, DEMONSTRATIONS)]
        for method in METHODS:
            arguments = ["--robot", str(CONFIG / "sim_arm.yaml"), "--task", str(CONFIG / f"{TASK}.yaml"), "--config",
                         str(BASE), "--method", method, "--no-cache", "--out", str(folder / method)]  # fmt: skip
            train.main([*shown, *arguments])
        draw_curves([read_curves(folder / method) for method in METHODS], IMAGES / "training_curves.png")
        policies = [load_trained(folder / method) for method in METHODS]
        rows = [
            row
            for condition, (words, which) in SCENES.items()
            for row in moments(policies, record(folder, condition), sim_robot(), sim_task(TASK), which,
                               title=f"{words}\n")
        ]  # fmt: skip
        draw_attention(policies, rows, IMAGES / "training_attention.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
