"""The recorder against a recorder in the style of its ROS 2 peers, a naive one, and a plain file copy, side by side.

    python benchmarks/recorder.py              # about ten minutes on an idle machine; writes results/recorder.json
    python benchmarks/recorder.py --quick --out /tmp/figures

What is compared and what "peer" means: recorder_parts/peer_node.py. Each message carries a counter, so what is missing
from a bag is known to the message, and so is whether the recorder said so.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from autofocus_cli.demo.processes import own_domain, ros_environment
from autofocus_core.dds import make_room
from autofocus_core.errors import AutofocusError, exit_status
from recorder_parts.chart import draw
from recorder_parts.meters import filesystem, warn_if_busy
from recorder_parts.summary import report
from recorder_parts.trial import OURS, STYLES, Trial
from recorder_parts.trial_node import Client, client, run_trial
from recorder_parts.workloads import MB, WORKLOADS, Workload
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
RESULTS, CHART = ROOT / "benchmarks/results", ROOT / "docs/images/recorder_benchmark.png"
#: Compared at one workload only, unless all are asked for: these two make a point, they are not the rivals.
SIDE_STYLES, SIDE_WORKLOAD = ("peer_no_disk", "naive"), "hd60"
#: Rates tried to find the largest one without loss, as shares of a workload's own.
SHARES_DOWN, SHARES_UP = (0.85, 0.7, 0.55, 0.4), (1.25, 1.5, 1.75, 2.0)
#: A publisher that achieves less than this share of its rate is not the load that it claims to be.
RATE_SHARE = 0.98


def main() -> int:
    """Measure, print, record, draw; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a recording (default: %(default)g)")
    parser.add_argument("--repeats", type=int, default=3, help="recordings of each kind (default: %(default)s)")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=list(STYLES))
    parser.add_argument("--all", action="store_true", help=f"{' and '.join(SIDE_STYLES)} at every workload, too")
    parser.add_argument("--limit", choices=WORKLOADS, help="also find the largest rate of this workload without loss")
    parser.add_argument("--quick", action="store_true", help="a smoke run: one recording of 3 s of each kind")
    parser.add_argument("--out", type=Path, help="folder for figures and chart instead of the repository's")
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs/bench_recorder", help="where bags are written")
    args = parser.parse_args()
    make_room(os.environ)  # as our camera node does, for every recorder alike: 2.7 MB images need more than 512 KB
    if args.quick:
        args.seconds, args.repeats = 3.0, 1
    workloads = [WORKLOADS[key] for key in args.workloads]
    _require_room(args.scratch, max(workload.rate_mb_s for workload in workloads) * 1.25, args.seconds)
    plan = _plan(workloads, args.styles, args.repeats, args.all)
    storage = filesystem(args.scratch)
    warn_if_busy()
    print(f"{len(plan)} recordings of {args.seconds:g} s on {os.cpu_count()} cores; bags go to {storage}")
    trials, largest = _run(plan, args, WORKLOADS.get(args.limit))
    (args.scratch / "trials.json").write_text(json.dumps([dataclasses.asdict(trial) for trial in trials], indent=1))
    results = args.out or RESULTS
    results.mkdir(parents=True, exist_ok=True)
    command = "python benchmarks/recorder.py" + (" --quick" if args.quick else f" --seconds {args.seconds:g}")
    met = report(trials, workloads, largest, storage, command, results)
    draw(results, args.out / CHART.name if args.out else CHART, workloads)
    return 0 if met else 1


def _plan(
    workloads: Sequence[Workload], styles: Sequence[str], repeats: int, everything: bool
) -> list[tuple[Workload, str]]:
    """Every repeat goes through all of it, forwards and backwards in turn: nobody always comes after the same one."""
    once = [
        (workload, style)
        for workload in workloads
        for style in styles
        if style not in SIDE_STYLES or everything or workload.key == SIDE_WORKLOAD or len(workloads) == 1
    ]
    return [pair for repeat in range(repeats) for pair in (once if repeat % 2 == 0 else once[::-1])]


def _run(
    plan: Sequence[tuple[Workload, str]], args: argparse.Namespace, limited: Workload | None
) -> tuple[list[Trial], Trial | None]:
    """All trials, and the largest one without loss where it was asked for."""
    trials = []
    with own_domain() as domain_id:
        env = ros_environment(domain_id, args.scratch)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), env.get("PYTHONPATH"))))
        os.environ.update(env)
        with client() as caller, tqdm(plan, unit="recording", disable=None) as bar:
            for number, (workload, style) in enumerate(bar):
                bar.set_description(f"{workload.title}, {style}")
                folder = args.scratch / f"trial_{number}"
                shutil.rmtree(folder, ignore_errors=True)
                trial = run_trial(caller, env, style, workload, args.seconds, folder, copy=style == OURS)
                trials.append(trial)
                bar.write(_line(trial))
            largest = None if limited is None else _largest(caller, env, limited, args)
    return trials, largest


def _largest(caller: Client, env: dict[str, str], workload: Workload, args: argparse.Namespace) -> Trial | None:
    """The fastest cameras that were recorded without loss: upwards from the workload's own rate, or downwards."""

    def attempt(share: float) -> Trial | None:
        slower = workload.slower(share)
        trial = run_trial(caller, env, OURS, slower, args.seconds, args.scratch / slower.key, copy=False)
        print(_line(trial))
        return trial if trial.total("missing") == 0 and trial.rate_share >= RATE_SHARE else None

    best = attempt(1.0)
    if best is None:
        return next((trial for share in SHARES_DOWN if (trial := attempt(share))), None)
    for share in SHARES_UP:
        trial = attempt(share)
        if trial is None:
            break
        best = trial
    return best


def _line(trial: Trial) -> str:
    queue = "" if trial.queue_peak is None else f", queue {trial.queue_peak / MB:.0f} MB"
    return (
        f"{trial.workload:>13} {trial.style:<12} {trial.rate_mb_s:6.1f} MB/s  {trial.cpu_s_per_gb:6.2f} CPU s/GB  "
        f"missing {trial.total('missing')} of {trial.total('published')} ({trial.total('head')} at the start, "
        f"{trial.total('tail')} at the end), reported {trial.total('reported')}, "
        f"rate {trial.rate_share:.1%}, RSS {trial.memory_total / MB:.0f} MB{queue}, stop {trial.stop_s:.2f} s"
    )


def _require_room(scratch: Path, rate_mb_s: float, seconds: float) -> None:
    """Bags are deleted after each recording; at any time there is one, and a copy of it."""
    scratch.mkdir(parents=True, exist_ok=True)
    needed_gb = 2 * rate_mb_s * (seconds + 5) / 1e3 + 2
    free_gb = shutil.disk_usage(scratch).free / 1e9
    if free_gb < needed_gb:
        raise AutofocusError(
            f"scratch folder {scratch}", f"{free_gb:.1f} GB free", f"at least {needed_gb:.1f} GB",
            "free some space, give another --scratch, or record fewer --seconds",
        )


if __name__ == "__main__":
    sys.exit(exit_status(main))
