"""The learning benchmark: every method on every task and condition, success with confidence intervals.

    python benchmarks/learning.py run --minutes 60      # goes on where the last run stopped
    python benchmarks/learning.py tune --minutes 60     # each method's candidates for its own settings, on tuning seeds
    python benchmarks/learning.py show                  # what there is and what is to come
    python benchmarks/learning.py again --pick 3        # recorded policies once more: do the figures come out again?
    python benchmarks/learning.py report                # tables, plots and figures from the records, in seconds

Records: benchmarks/results/learning_runs.jsonl, one line for each policy. What is asked: learning_parts/scenes.py; in
which order: learning_parts/jobs.py; on which seeds: autofocus_sim/seeds.py.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.errors import exit_status
from autofocus_core.results import commit, record
from autofocus_sim.seeds import (
    BENCHMARK_DEMONSTRATIONS,
    BENCHMARK_EVALUATION,
    BENCHMARK_TUNING,
    BENCHMARK_TUNING_ROLLOUTS,
    SeedRange,
)
from autofocus_training.names import METHODS
from learning_parts.again import again_key, again_path, filled, pick, repetitions
from learning_parts.jobs import ABLATIONS, ROLLOUTS, SEEDS_APART, Job, plan
from learning_parts.records import add_record, read_records, records_path
from learning_parts.report import write_report
from learning_parts.scenes import TASKS
from learning_parts.tuning import ROLLOUTS as TRIAL_ROLLOUTS
from learning_parts.tuning import trials, tuning_path
from tqdm import tqdm

COMMAND = "python benchmarks/learning.py run; python benchmarks/learning.py report"
ROOT = Path(__file__).parents[1]
SETS = ROOT / "runs" / "learning" / "demonstrations"
TUNING_SETS = ROOT / "runs" / "learning" / "tuning"
DOCS = ROOT / "docs"


@dataclass(frozen=True, slots=True)
class Todo:
    """One policy to be trained and rolled out; `job` with `settings` beside its own. seeds: of demonstrations, of
    rollouts; sets: folder of its demonstrations; records: where its record goes, under `key`."""

    key: str
    job: Job
    settings: tuple[str, ...]
    seeds: tuple[SeedRange, SeedRange]
    rollouts: int
    sets: Path
    records: Path


def run(minutes: float, workers: int, only: list[str], tasks: list[str]) -> int:
    """Do jobs of the plan, the most telling first; `only` some methods, `tasks` (all, where none are named)."""
    seeds = BENCHMARK_DEMONSTRATIONS, BENCHMARK_EVALUATION
    methods, tasks = only or (*METHODS, *ABLATIONS), tasks or TASKS
    jobs = [job for job in plan(METHODS) if job.method in methods and job.task in tasks]
    work([Todo(job.key, job, (), seeds, ROLLOUTS, SETS, records_path()) for job in jobs], minutes, workers)
    return 0


def tune(minutes: float, workers: int, only: list[str]) -> int:
    """Do trials of methods' own settings, on seeds that are for it."""
    seeds = BENCHMARK_TUNING, BENCHMARK_TUNING_ROLLOUTS
    chosen = [trial for trial in trials() if not only or trial.job.method in only]
    work([Todo(t.key, t.job, t.settings, seeds, TRIAL_ROLLOUTS, TUNING_SETS, tuning_path()) for t in chosen],
         minutes, workers)  # fmt: skip
    return 0


def again(minutes: float, workers: int, keys: list[str], count: int, draw: int) -> int:
    """Train and roll out recorded policies once more: `keys`, or `count` by lot; 1 where one came out otherwise."""
    records, now = read_records(), commit(ROOT)
    jobs = {job.key: job for job in plan(METHODS)}
    chosen = pick({key: r for key, r in records.items() if key in jobs}, keys, count, draw)
    seeds = BENCHMARK_DEMONSTRATIONS, BENCHMARK_EVALUATION
    work([Todo(again_key(key, now), jobs[key], (), seeds, ROLLOUTS, SETS, again_path()) for key in chosen],
         minutes, workers)  # fmt: skip
    seconds = read_records(again_path())
    asked = [seconds[again_key(key, now)] for key in chosen if again_key(key, now) in seconds]
    found = repetitions(records, asked)
    for one in found:
        counts = ", ".join(f"{tested} {a} then {b}" for tested, (a, b) in one.successes.items())
        print(f"{'same     ' if one.same else 'DIFFERENT'} {one.key}: {counts}, of {ROLLOUTS}")
    print(f"{sum(one.same for one in found)} of {len(found)} came out the same; settings have changed since "
          f"for {len(asked) - len(found)}, the time was over for {len(chosen) - len(asked)}")  # fmt: skip
    return 0 if all(one.same for one in found) else 1


def work(todos: list[Todo], minutes: float, workers: int) -> None:
    """Do what has no record yet, in order, until the time is over; what was begun is finished."""
    from learning_parts.demonstrations import make  # here: a report needs neither MuJoCo nor torch
    from learning_parts.work import run_job

    end_s = time.monotonic() + 60.0 * minutes
    done = {path: read_records(path) for path in {todo.records for todo in todos}}
    todos = [todo for todo in todos if todo.key not in done[todo.records]]
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers, before they import torch
    with (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(todos), unit="policy", desc="learning benchmark") as bar,
    ):
        running: dict[Future, Todo] = {}
        waiting = iter(todos)
        while True:
            while len(running) < workers and time.monotonic() < end_s and (todo := next(waiting, None)) is not None:
                job, (shown, tested) = todo.job, todo.seeds
                shown = shown.after(SEEDS_APART * job.seed)
                demonstrations = make(job.task, job.shown, job.demonstrations, todo.sets, seeds=shown)
                running[pool.submit(run_job, job, demonstrations, todo.rollouts, tested, todo.settings)] = todo
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                todo = running.pop(future)
                found = future.result() | {"key": todo.key}
                add_record(found, todo.records)
                shares = ", ".join(f"{c} {o['successes']}/{o['rollouts']}" for c, o in found["rollouts"].items())
                bar.write(f"{todo.key}: {shares} ({found['train_s']:.0f} + {found['rollout_s']:.0f} s)")
                bar.update()


def show() -> int:
    """How much of the plan is done, by task and demonstrations' condition."""
    done = read_records()
    jobs = list(plan(METHODS))
    for task in TASKS:
        mine = [job for job in jobs if job.task == task]
        print(f"{task}: {sum(job.key in done for job in mine)} of {len(mine)} policies")
    seconds = sum(r["read_s"] + r["train_s"] + r["rollout_s"] for r in done.values())
    print(f"{seconds / 3600:.1f} core hours so far, {ROLLOUTS} rollouts a condition")
    commits = Counter(r["commit"] for r in done.values())
    print("commits: " + ", ".join(f"{name} ({count})" for name, count in commits.most_common()))
    return 0


def report(path: Path | None, docs: Path) -> int:
    """The page, its pictures, and, of the benchmark's own records (`path` None), the figures with targets. Trials of
    settings are those beside the records."""
    planned = {job.key for job in plan(METHODS)}
    found, seconds = read_records(path), list(read_records(again_path()).values()) if path is None else []
    records = [record for key, record in filled(found, seconds).items() if key in planned]
    if len(records) < len(found):
        print(f"left out {len(found) - len(records)} records of another plan than this checkout's")
    if not records:
        print(f"{path or records_path()}: no records yet; `python benchmarks/learning.py run --minutes 60` makes some")
        return 0
    tried = read_records((path or records_path()).with_name(tuning_path().name))
    repeated = repetitions(found, seconds)
    if repeated:
        same = sum(one.same for one in repeated) / len(repeated)
        record("learning", "policies trained again: share with the same outcome in every rollout", same, "share", "1",
               same == 1.0, COMMAND)  # fmt: skip
    for target in write_report(records, docs, list(tried.values()), repeated):
        if target.met is None:
            print(f"   ? {target.name}: not measured yet (target {target.text})")
            continue
        if path is None and math.isfinite(target.value):
            record("learning", target.name, target.value, target.unit, target.text, target.met, COMMAND)
        word = "    " if target.met else "MISS"
        print(f"{word} {target.name}: {target.value:.3g} {target.unit} (target {target.text})")
    print(f"{docs / 'learning_results.md'}: {len(records)} of {len(planned)} planned policies")
    return 0


def main() -> int:
    """Parse and dispatch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, words in (("run", "do jobs that are not done yet"), ("tune", "try methods' own settings"),
                        ("again", "train and roll out recorded policies once more")):  # fmt: skip
        running = verbs.add_parser(verb, help=words)
        running.add_argument("--minutes", type=float, default=60.0, help="begin none after this (default: %(default)s)")
        running.add_argument("--workers", type=int, default=2, help="policies at a time (default: %(default)s)")
        if verb == "again":
            running.add_argument("keys", nargs="*", metavar="KEY", help="of a record (default: --pick by lot)")
            running.add_argument("--pick", type=int, default=3, help="how many (default: %(default)s)")
            running.add_argument("--draw", type=int, default=0, help="seed of the lot (default: %(default)s)")
            continue
        running.add_argument("--only", nargs="+", default=[], choices=(*METHODS, *ABLATIONS), help="methods")
        if verb == "run":
            running.add_argument("--tasks", nargs="+", default=[], choices=TASKS, help="tasks (default: all)")
    verbs.add_parser("show", help="what there is")
    reporting = verbs.add_parser("report", help="tables, plots, figures")
    reporting.add_argument("--records", type=Path, help="another file of records; its figures are only printed")
    reporting.add_argument("--docs", type=Path, default=DOCS, help="where the page goes (default: %(default)s)")
    args = parser.parse_args()
    if args.verb == "run":
        return run(args.minutes, args.workers, args.only, args.tasks)
    if args.verb == "again":
        return again(args.minutes, args.workers, args.keys, args.pick, args.draw)
    if args.verb == "tune":
        return tune(args.minutes, args.workers, args.only)
    return show() if args.verb == "show" else report(args.records, args.docs)


if __name__ == "__main__":
    sys.exit(exit_status(main))
