"""The learning benchmark: every method on every task and condition, success with confidence intervals.

    python benchmarks/learning.py run --minutes 60      # goes on where the last run stopped
    python benchmarks/learning.py show                  # what there is and what is to come
    python benchmarks/learning.py report                # tables, plots and figures from the records, in seconds

Records: benchmarks/results/learning_runs.jsonl, one line for each policy. What is asked: learning_parts/scenes.py; in
which order: learning_parts/jobs.py; on which seeds: autofocus_sim/seeds.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from autofocus_core.errors import exit_status
from autofocus_core.results import record, results_dir
from autofocus_training.config import METHODS
from learning_parts.demonstrations import make
from learning_parts.jobs import DEMONSTRATIONS, ROLLOUTS, SWEEP, Job, plan
from learning_parts.records import add_record, read_records
from learning_parts.scenes import TASKS
from learning_parts.tables import markdown, plot_conditions, plot_sweep, targets
from learning_parts.work import run_job
from tqdm import tqdm

COMMAND = "python benchmarks/learning.py run; python benchmarks/learning.py report"
ROOT = Path(__file__).parents[1]
SETS = ROOT / "runs" / "learning" / "demonstrations"
TABLES = ROOT / "docs" / "learning_results.md"


def run(minutes: float, workers: int, only: list[str]) -> int:
    """Do jobs, the most telling first, until the time is over; what was begun is finished."""
    end_s = time.monotonic() + 60.0 * minutes
    done = read_records()
    todo = [job for job in plan(METHODS) if job.key not in done and (not only or job.method in only)]
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers, before they import torch
    with (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(todo), unit="policy", desc="learning benchmark") as bar,
    ):
        running: dict[Future, Job] = {}
        waiting = iter(todo)
        while True:
            while len(running) < workers and time.monotonic() < end_s and (job := next(waiting, None)) is not None:
                demonstrations = make(job.task, job.shown, job.demonstrations, SETS)
                running[pool.submit(run_job, job, demonstrations)] = job
            if not running:
                return 0
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                found = future.result()
                add_record(found)
                shares = ", ".join(f"{c} {o['successes']}/{o['rollouts']}" for c, o in found["rollouts"].items())
                bar.write(f"{job.key}: {shares} ({found['train_s']:.0f} + {found['rollout_s']:.0f} s)")
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


def report() -> int:
    """docs/learning_results.md, its plots, and the figures with targets."""
    records = list(read_records().values())
    parts = [
        "# Results of the learning benchmark\n\nWritten by `python benchmarks/learning.py report` from "
        "`benchmarks/results/learning_runs.jsonl`. Success of closed-loop rollouts, pooled over training seeds, with "
        f"95 % Wilson intervals; {ROLLOUTS} rollouts of each policy in each condition, on seeds that nothing was tuned "
        "on. `mate -> mate_broken`: trained on demonstrations with the confounder, tested with it broken.\n"
    ]
    for task in TASKS:
        for maps in ("automatic", "privileged"):
            for count in sorted({*SWEEP, DEMONSTRATIONS}):
                table = markdown(records, task, maps, count)
                if table.count("\n") > 2:
                    parts.append(f"## {task}, {count} demonstrations, {maps} maps\n\n{table}")
    TABLES.write_text("\n".join(parts))
    images = ROOT / "docs" / "images"
    plot_conditions(records, "lift", DEMONSTRATIONS, images / "learning_lift.png")
    plot_sweep(records, "lift", images / "learning_sweep.png")
    for name, value, unit, target, met in targets(records):
        record("learning", name, value, unit, target, met, COMMAND)
        print(f"{'    ' if met else 'MISS'} {name}: {value:.3g} {unit} (target {target})")
    print(f"{TABLES.relative_to(ROOT)}, {len(records)} policies; figures in {results_dir() / 'learning.json'}")
    return 0


def main() -> int:
    """Parse and dispatch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run", help="do jobs that are not done yet")
    running.add_argument("--minutes", type=float, default=60.0, help="begin no job after this (default: %(default)s)")
    running.add_argument("--workers", type=int, default=2, help="policies at a time (default: %(default)s)")
    running.add_argument("--only", nargs="+", default=[], choices=METHODS, help="methods")
    verbs.add_parser("show", help="what there is")
    verbs.add_parser("report", help="tables, plots, figures")
    args = parser.parse_args()
    if args.verb == "run":
        return run(args.minutes, args.workers, args.only)
    return show() if args.verb == "show" else report()


if __name__ == "__main__":
    sys.exit(exit_status(main))
