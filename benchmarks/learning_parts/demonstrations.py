"""Demonstrations for the learning benchmark: episodes as the recorder writes them, with two kinds of annotations.

    python benchmarks/learning_parts/demonstrations.py --out runs/learning/demonstrations --count 60

A set is a folder that `autofocus train` reads as it is:

    OUT/lift_mate_1f0c.../automatic/s1000000               episode (MCAP, zstd), from the simulator and without ROS
    OUT/lift_mate_1f0c.../automatic/s1000000.annotation    by `saliency_server`, as anybody would get it
    OUT/lift_mate_1f0c.../privileged/s1000000              the same files (hard links)
    OUT/lift_mate_1f0c.../privileged/s1000000.annotation   the simulator's boxes of the task's objects
    OUT/lift_mate_1f0c.../seeds.json                       what became of each seed

The hexadecimal part is a hash of everything the episodes depend on (task, condition, robot, simulator's sources,
MuJoCo's version), so that a set is made once; one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that this file is a script, too

import autofocus_sim
import numpy as np
from autofocus_core.annotation import Annotation, CameraAnnotation, ObjectTrack, write_annotation
from autofocus_core.bag_writer import write_atomic
from autofocus_core.episode import annotation_path, content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.locks import lock_folder
from autofocus_core.schema import Robot, Task, load_robot, load_task
from autofocus_sim.cell import Cell
from autofocus_sim.phases import GOAL_OF
from autofocus_sim.seeds import BENCHMARK_DEMONSTRATIONS, SeedRange
from autofocus_sim.truth import GRIPPER
from simulated_episodes import Written, write_episode
from tqdm import tqdm

from learning_parts.scenes import TASKS, TRAINING_SETS

CONFIG = Path(autofocus_sim.__file__).parents[1] / "config"
AUTOMATIC, PRIVILEGED = "automatic", "privileged"
#: What the episodes depend on, of the simulator's sources.
_SOURCES = ("arm", "cell", "demos", "expert", "ik", "mjcf", "phases", "picture", "scene", "truth")


@dataclass(frozen=True, slots=True)
class SeedRecord:
    """What became of one seed: whether the operator succeeded within the task's timeout (else there is no episode),
    frames and CPU seconds."""

    seed: int
    success: bool
    frames: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DemonstrationSet:
    """A set on disk. ``records``: of every seed that was tried, in order."""

    task: str
    condition: str
    folder: Path
    records: tuple[SeedRecord, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that have an episode, in order: the first k of them are *the* k demonstrations."""
        return tuple(record.seed for record in self.records if record.success)

    def episodes(self, kind: str, count: int | None = None) -> list[Path]:
        """The first ``count`` (all) episodes, beside each an annotation of ``kind``: "automatic" or "privileged"."""
        return [self.folder / kind / f"s{seed}" for seed in self.seeds[:count]]


def make(task: str, condition: str, count: int, out_dir: Path, *, seeds: SeedRange = BENCHMARK_DEMONSTRATIONS,
         automatic: bool = True, workers: int = 1, on_episode: Callable[[], object] = lambda: None) -> DemonstrationSet:
    """The demonstrations of the first ``count`` seeds of ``seeds`` at which the scripted operator succeeds.

    task, condition: the simulator's, one of `scenes.TASKS`, `scenes.TRAINING_SETS`. What is there already is kept, so a
    larger ``count`` adds to a set. automatic: also make the annotations of `saliency_server`. workers: processes, of
    one thread each. on_episode is called after each seed.
    Raises AutofocusError for an unknown task or condition and where the seeds run out.
    """
    folder = Path(out_dir) / f"{task}_{condition}_{settings_hash(task, condition)[:16]}"
    for kind in (AUTOMATIC, PRIVILEGED):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    lock = lock_folder(folder)  # a second process waits, and finds it done
    try:
        records = {record.seed: record for record in _read_records(folder)}
        tried = 0
        with _pool(workers) as run:
            # Those that fail are few: another round takes their successors.
            while missing := count - sum(records[seed].success for seed in seeds.take(tried)):
                todo = [seed for seed in seeds.take(missing, skip=tried) if seed not in records]
                tried += missing
                for record in run([(folder, task, condition, seed) for seed in todo]):
                    records[record.seed] = record
                    _write_records(folder, records)
                    on_episode()
        found = DemonstrationSet(task, condition, folder, tuple(records[seed] for seed in seeds.take(tried)))
        if automatic:
            annotate(found, count, workers)
    finally:
        os.close(lock)
    return found


def annotate(found: DemonstrationSet, count: int | None = None, workers: int = 1) -> None:
    """Annotate the automatic episodes with `saliency_server`, as `autofocus annotate` does; up-to-date ones are kept.

    Raises AutofocusError with the reasons where one could not be annotated.
    """
    from saliency_server.annotate import annotate_all
    from saliency_server.options import Options

    robot, task = sim_robot(), sim_task(found.task)
    outcomes = list(annotate_all(found.episodes(AUTOMATIC, count), robot, task, Options(), workers))
    wrong = [f"{outcome.path.name}: {outcome.error}" for outcome in outcomes if outcome.error]
    if wrong:
        raise AutofocusError(f"annotation of {found.folder / AUTOMATIC}", "; ".join(wrong[:3]), "all annotated",
                             "look at the first of them with `autofocus annotate`")


def settings_hash(task: str, condition: str) -> str:
    """Hex SHA-256 of what the episodes of a set depend on; AutofocusError for an unknown task or condition."""
    for name, value, allowed in (("task", task, TASKS), ("condition", condition, TRAINING_SETS)):
        if value not in allowed:
            raise AutofocusError(f"demonstrations: {name}", repr(value), " | ".join(allowed), "choose one of these")
    digest = hashlib.sha256(json.dumps([task, condition, version("mujoco")]).encode())
    package = Path(autofocus_sim.__file__).parent
    files = [CONFIG / "sim_arm.yaml", CONFIG / f"{task}.yaml", Path(__file__).parents[1] / "simulated_episodes.py"]
    for file in [*files, *(package / f"{name}.py" for name in _SOURCES)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


# -- one demonstration -------------------------------------------------------------------------------------------------


def write_demonstration(folder: Path, task: str, condition: str, seed: int) -> SeedRecord:
    """One seed: its episode and its privileged annotation. What an interrupted run left of it is replaced."""
    begun_s = time.process_time()
    robot = sim_robot()
    path, twin = folder / AUTOMATIC / f"s{seed}", folder / PRIVILEGED / f"s{seed}"
    unfinished = path.with_name(f"{path.name}.partial")
    for old in (path, unfinished, annotation_path(path), twin, annotation_path(twin)):
        shutil.rmtree(old, ignore_errors=True)
    written = write_episode(path, robot, _cell(), task, condition, seed, exact=False, compression="zstd")
    # One in some hundred attempts jams the cube, pushes it about and succeeds much later: nobody would keep it.
    in_time = written.stamps_ns[-1] - written.stamps_ns[0] <= sim_task(task).timeout_s * 1e9
    success = written.success and bool(in_time)
    if success:
        twin.mkdir()
        for file in path.iterdir():
            os.link(file, twin / file.name)
        write_annotation(privileged_annotation(path, robot, sim_task(task), written), twin)
    else:
        shutil.rmtree(path)
    seconds = round(time.process_time() - begun_s, 3)
    return SeedRecord(seed, success, len(written.stamps_ns), seconds)


def privileged_annotation(path: Path, robot: Robot, task: Task, written: Written) -> Annotation:
    """What only a simulator knows: the box of each of the task's objects in every image, also where the hand covers it.

    Stands for the gaze of a person who always looks at the right things.
    """
    camera = robot.cameras[0]
    tracks = []
    for name in task.objects:
        truth = written.truth[name]
        role = "robot" if name == GRIPPER else "goal" if name == GOAL_OF.get(task.name) else "target"
        reasons = tuple("" if visible else "left the image" for visible in truth.visible)
        score = np.ones(len(truth.visible), dtype=np.float32)
        tracks.append(ObjectTrack(name, role, truth.boxes_px.astype(np.float32), score, truth.visible, reasons))
    count = len(written.stamps_ns)
    annotated = CameraAnnotation(camera.name, camera.width_px, camera.height_px, written.stamps_ns, tuple(tracks),
                                 np.ones(count, dtype=bool), ("",) * count)
    return Annotation(path.name, content_hash(path), task.name, task.instruction, (annotated,),
                      {"backends": {"detect": "the simulator's truth"}})


@lru_cache(maxsize=1)
def sim_robot() -> Robot:
    """The simulated arm."""
    return load_robot(CONFIG / "sim_arm.yaml")


@lru_cache
def sim_task(name: str) -> Task:
    """A task of the simulator by its name."""
    return load_task(CONFIG / f"{name}.yaml")


@lru_cache(maxsize=1)
def _cell() -> Cell:
    """One for a process: building a model and its OpenGL context costs as much as half a demonstration."""
    return Cell()


# -- many --------------------------------------------------------------------------------------------------------------

_Job = tuple[Path, str, str, int]


@contextmanager
def _pool(workers: int) -> Iterator[Callable[[Sequence[_Job]], Iterator[SeedRecord]]]:
    """What runs jobs, in this process or in fresh ones, and gives their records as they are finished."""
    if workers == 1:
        yield lambda jobs: (write_demonstration(*job) for job in jobs)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # inherited
    # Not forked: MuJoCo's OpenGL does not survive a fork.
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield lambda jobs: (
            done.result() for done in as_completed([executor.submit(write_demonstration, *job) for job in jobs])
        )
    finally:
        executor.shutdown(cancel_futures=True)


def _read_records(folder: Path) -> list[SeedRecord]:
    """Of the seeds that are finished: their record is written after their episode."""
    index = folder / "seeds.json"
    if not index.is_file():
        return []
    records = [SeedRecord(**row) for row in json.loads(index.read_text())["seeds"]]
    return [r for r in records if not r.success or annotation_path(folder / PRIVILEGED / f"s{r.seed}").is_dir()]


def _write_records(folder: Path, records: dict[int, SeedRecord]) -> None:
    rows = [asdict(records[seed]) for seed in sorted(records)]
    write_atomic(folder / "seeds.json", json.dumps({"seeds": rows}, indent=1) + "\n")


def main() -> int:
    """Make all sets of the benchmark and say what they cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--count", type=int, default=60, help="demonstrations in each (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--conditions", nargs="+", default=list(TRAINING_SETS), choices=TRAINING_SETS)
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--no-automatic", action="store_true", help="leave out the annotator's maps")
    args = parser.parse_args()
    sets = [(task, condition) for task in args.tasks for condition in args.conditions]
    with tqdm(total=len(sets) * args.count, unit="episode") as bar:
        for task, condition in sets:
            begun_s = time.perf_counter()
            found = make(task, condition, args.count, args.out, automatic=not args.no_automatic, workers=args.workers,
                         on_episode=bar.update)
            good = [record for record in found.records if record.success]
            bar.write(
                f"{task} {condition}: {len(good)} demonstrations of {np.mean([r.frames for r in good]) / 30:.1f} s, "
                f"{np.mean([r.seconds for r in good]):.2f} CPU s each, {len(found.records) - len(good)} failed, "
                f"{time.perf_counter() - begun_s:.0f} s now: {found.folder}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
