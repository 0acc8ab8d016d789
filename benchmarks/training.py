"""Samples per second of the real training loop beside its limit, and how long a run takes to start.

    python benchmarks/training.py                    # some ten minutes on an idle machine; writes results/training.json
    python benchmarks/training.py --lerobot PYTHON   # and LeRobot's loader, by an interpreter that has lerobot 0.4.4

The limit is the same loop with the same network on batches that are in memory already: what the data cost is the
difference. Both run in turn, several times; the ratio is the median of the rounds'. The target is for one thread of
torch, which is the default; where two threads take all cores, what the workers do is taken from the network, and the
row says how much that is.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from autofocus_core import results
from autofocus_core.episode import load_episode
from autofocus_core.errors import exit_status
from autofocus_core.schema import load_robot, load_task
from autofocus_sim.cell import Cell
from autofocus_training import fit
from autofocus_training.cache import load_cached
from autofocus_training.config import Config, load_config
from autofocus_training.data import load_dataset
from autofocus_training.lerobot import write_dataset
from autofocus_training.loader import Share, make_batch
from autofocus_training.processes import keep_freed_memory
from autofocus_training.samples import Normaliser, Samples, StoredImages
from recorder_parts.meters import warn_if_busy
from simulated_episodes import write_episode
from training_parts.peer import lerobot_loading, loading

SIM_CONFIG = Path(__file__).parents[1] / "ros2_ws/src/autofocus_sim/config"
SIZES = {96: (2000, 50), 224: (600, 14)}  # px: samples, timed steps
WARM_UP = 6  # steps: batches that were made before the clock starts are taken
LEROBOT_S = 20.0  # of each measurement beside LeRobot
OBJECTS = 3
RELATIVE = torch.tensor([1.0] * 5 + [0.0])
AUGMENTATION = ("jitter=0.2", "light=0.1", "shift_px=4", "paste_shapes=4", "background_swap=0.3", "gripper_noise=0.25")


def settings(size: int, steps: int) -> Config:
    """The demo's config at `size` px, with every augmentation on that keeps the pixels' grid."""
    return load_config(
        "demo", [f"image_height_px={size}", f"image_width_px={size}", f"steps={steps}", *AUGMENTATION]
    )


def stored_samples(folder: Path, count: int, size: int) -> Samples:
    """Noise on disk, as a cache has it, with objects in it."""
    rng = np.random.default_rng(0)
    path = folder / f"images_{size}.bin"
    with path.open("wb") as file:
        for _ in range(count):
            file.write(rng.integers(0, 255, (1, size, size, 3), dtype=np.uint8).data)
    store = np.memmap(path, np.uint8, "r", shape=(count, 1, size, size, 3))
    corner = torch.from_numpy(rng.uniform(0.1 * size, 0.8 * size, (count, 1, OBJECTS, 2))).float()
    return Samples(
        StoredImages(store, torch.arange(count)), torch.randn(count, 6), torch.randn(count, 8, 6),
        torch.cat([corner, corner + 0.1 * size], dim=-1), torch.ones(count, 1, OBJECTS, dtype=torch.bool),
        torch.arange(count) // 40, torch.arange(count), gripper=RELATIVE == 0,
    )  # fmt: skip


@contextmanager
def in_memory(
    samples: Samples, normaliser: Normaliser, config: Config, first: int, last: int, share: Share, workers: int
) -> Iterator:
    """In place of `loader.batches`: random tensors of the same shapes, made beforehand."""
    made = [make_batch(samples, normaliser, config, step, share) for step in range(3)]
    yield (made[step % 3] for step in range(first, last))


def samples_per_s(samples: Samples, config: Config, workers: int, limit: bool) -> float:
    """Of one run, from the end of the warm-up to the last step."""
    run = fit.begin(samples, RELATIVE, config)
    ends: list[float] = []
    real = fit.batches
    fit.batches = in_memory if limit else real
    try:
        fit.advance(run, samples, config, on_step=lambda step, parts: ends.append(time.perf_counter()), workers=workers)
    finally:
        fit.batches = real
    return config.batch_size * (len(ends) - WARM_UP) / (ends[-1] - ends[WARM_UP - 1])


def loop(folder: Path, rounds: int, quick: bool) -> Iterator[tuple]:
    """Rows (name, value, unit, target, ok)."""
    for size, (count, steps) in SIZES.items():
        samples = stored_samples(folder, count if not quick else 200, size)
        config = settings(size, WARM_UP + (steps if not quick else 4))
        for threads in (1, 2):
            torch.set_num_threads(threads)
            variants = {"limit": (0, True), "two workers": (2, False), "no workers": (0, False)}
            found: dict[str, list[float]] = {name: [] for name in variants}
            for number in range(rounds):
                order = list(variants.items()) if number % 2 == 0 else list(variants.items())[::-1]
                for name, (workers, limit) in order:
                    found[name].append(samples_per_s(samples, config, workers, limit))
            place = f"{size} px, {threads} thread{'s' if threads > 1 else ''}"
            for name, values in found.items():
                yield f"{place}: {name}", round(statistics.median(values), 1), "samples/s", "-", True
            for name in ("two workers", "no workers"):
                ratio = statistics.median(a / b for a, b in zip(found[name], found["limit"]))
                wanted = name == "two workers" and threads == 1  # as `autofocus train` has it
                yield (f"{place}: loop with {name} / limit", round(ratio, 3), "", ">= 0.9" if wanted else "-",
                       ratio >= 0.9 or not wanted)  # fmt: skip


def beside_lerobot(folder: Path, python: Path, quick: bool) -> Iterator[tuple]:
    """Rows of LeRobot's loader and ours on the episodes that `start_up` left, neither with augmentation."""
    robot, task = load_robot(SIM_CONFIG / "sim_arm.yaml"), load_task(SIM_CONFIG / "lift.yaml")
    episodes = [load_episode(path) for path in sorted((folder / "episodes").iterdir())]
    write_dataset(episodes, robot, task, folder / "lerobot")
    for size in SIZES:
        what = {"robot": str(SIM_CONFIG / "sim_arm.yaml"), "task": str(SIM_CONFIG / "lift.yaml"), "size": size,
                "seconds": 2.0 if quick else LEROBOT_S}  # fmt: skip
        mine = loading(what | {"way": "ours", "root": str(folder / "episodes")})
        theirs = lerobot_loading(python, what | {"way": "lerobot", "root": str(folder / "lerobot")}, folder / "links")
        for kind, name in (("loading", "loading alone"), ("loop", "loading and a step of the network")):
            place = f"{size} px, 1 thread, two workers each, {name}"
            yield f"{place}: LeRobot 0.4.4 ({theirs['backend']})", round(theirs[kind], 1), "samples/s", "-", True
            yield f"{place}: ours", round(mine[kind], 1), "samples/s", "-", True
            yield f"{place}: ours / LeRobot", round(mine[kind] / theirs[kind], 2), "times", "-", True


def start_up(folder: Path, quick: bool) -> Iterator[tuple]:
    """Rows of how long reading takes, without and with the cache."""
    robot, task = load_robot(SIM_CONFIG / "sim_arm.yaml"), load_task(SIM_CONFIG / "lift.yaml")
    cell = Cell()
    paths = [folder / "episodes" / f"lift_{seed}" for seed in range(9500, 9502 if quick else 9512)]
    for seed, path in enumerate(paths, start=9500):
        write_episode(path, robot, cell, "lift", "nominal", seed, exact=False)
    episodes = [load_episode(path) for path in paths]
    config = load_config("demo", ["method=none"])
    cache = folder / "cache"
    ways = {
        "read in one process": lambda: load_dataset(episodes, robot, task, config),
        "read in two processes": lambda: load_dataset(episodes, robot, task, config, workers=2),
        "first start, read into the cache by two": lambda: load_cached(cache, episodes, robot, task, config, workers=2),
        "second start, from the cache": lambda: load_cached(cache, episodes, robot, task, config),
    }
    for name, way in ways.items():
        times = []
        for _ in range(3):
            if name.startswith("first"):
                shutil.rmtree(cache, ignore_errors=True)
            started = time.perf_counter()
            found = way()
            times.append(time.perf_counter() - started)
        value = statistics.median(times)
        second = name.startswith("second")
        yield (f"{len(episodes)} episodes, {len(found.samples)} samples: {name}", round(value, 3), "s",
               "< 1" if second else "-", value < 1.0 or not second)  # fmt: skip


def main() -> int:
    """Measure, print, record; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run of a minute")
    parser.add_argument("--rounds", type=int, default=5, help="how often each variant runs")
    parser.add_argument("--lerobot", type=Path, metavar="PYTHON", help="interpreter with lerobot 0.4.4")
    parser.add_argument("--out", type=Path, help="folder for the rows instead of benchmarks/results")
    args = parser.parse_args()
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    warn_if_busy()
    keep_freed_memory()  # as `autofocus train` does, for the limit too
    command = "python benchmarks/training.py" + (" --quick" if args.quick else "")
    command += " --lerobot PYTHON" if args.lerobot else ""
    met: list[bool] = []
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder, rounds = Path(name), 1 if args.quick else args.rounds
        parts = [start_up(folder, args.quick), loop(folder, rounds, args.quick)]
        if args.lerobot:
            parts.append(beside_lerobot(folder, args.lerobot, args.quick))
        for part in parts:
            for row, value, unit, target, ok in part:
                met.append(ok)
                results.record("training", row, value, unit, target, ok, command, args.out)
                print(f"{'    ' if ok else 'MISS'} {row}: {value} {unit} (target {target})", flush=True)
    print(f"took {(time.monotonic() - began_s) / 60:.1f} min; {sum(met)} of {len(met)} rows as they should be")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(exit_status(main))
