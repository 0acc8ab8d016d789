"""`autofocus demo`: argument parsing, the order of the stages, what is printed at the end, the exit status."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import signal
from pathlib import Path

from autofocus_cli.demo import stages, summary
from autofocus_cli.demo.settings import FULL, QUICK, DemoSettings, Paths
from autofocus_cli.demo.ui import Ui
from autofocus_core.errors import AutofocusError

EPILOG = """\
Everything lands in the run folder: episodes/ with their annotations, training/, policies/, logs/ (one file for each
process), pictures/, stages/ (what each stage found), summary.json and report.html.
Exit status: 0 when every stage ran, also where a figure stayed below what is expected (that is printed, and shown in
the report); 2 when a stage failed.
"""


def main(argv: list[str]) -> int:
    """Entry point of the verb. AutofocusError when a stage fails."""
    args = _parser().parse_args(argv)
    settings = _settings(args)
    paths = Paths(args.out.resolve())
    ui = Ui()
    _end_like_ctrl_c_on_sigterm()
    if not args.resume:
        clear(paths.run)
    paths.stages.mkdir(parents=True, exist_ok=True)
    run = stages.Run(settings, paths, ui)
    if args.resume:
        run.adopt_earlier_stages()
    for stage in stages.ORDER:
        run.perform(stage)
    return _conclude(run, args)


def clear(folder: Path) -> None:
    """Remove an earlier run. Refuses a folder that holds something else: AutofocusError."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / "stages").is_dir():
        raise AutofocusError(f"run folder {folder}", "a folder that no demo wrote", "an earlier run, or nothing",
                             "give another folder with --out, or remove this one yourself")
    shutil.rmtree(folder)


def _conclude(run: stages.Run, args: argparse.Namespace) -> int:
    ui, paths = run.ui, run.paths
    result = json.loads(paths.summary.read_text())
    ui.line()
    ui.console.print(summary.terminal_table(result))
    missed = [row for row in summary.expectations(result) if not row[-1]]
    if args.quick:
        ui.line("A quick run: it shows that every part works. Its figures mean nothing.")
    elif missed:
        ui.line("Below what is expected:")
        for name, value, unit, target, _ in missed:
            ui.line(f"  {name}: {value} {unit}, expected {target}")
    else:
        ui.line("Every expected figure was reached.")
    if args.record_results:
        summary.record_results(result)
        ui.line("Figures written to benchmarks/results/demo.json")
    node = result["policy_node"]
    ui.line(f"Policy node: latency {node['latency_ms_p50']} ms median, {node['latency_ms_p99']} ms p99; period p99 "
            f"{node['period_ms_p99']} ms.")
    ui.line(f"Wall time {result['wall_s']['total'] / 60:.1f} min. Summary: {paths.summary}")
    ui.line(f"Report: {paths.report}")
    return 0


def _settings(args: argparse.Namespace) -> DemoSettings:
    settings = QUICK if args.quick else FULL
    given = {name: value for name in ("confounder", "demos", "steps", "rollouts_per_seed", "deployed_per_seed")
             if (value := getattr(args, name)) is not None}
    if args.cells is not None:
        given |= {"recording_cells": args.cells, "deployment_cells": args.cells}
    return dataclasses.replace(settings, **given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autofocus demo", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same chain with little of everything: 1 to 2 minutes")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default: runs/demo)")
    parser.add_argument("--resume", action="store_true",
                        help="keep the stages that are done; without it the run folder is emptied first")
    parser.add_argument("--confounder", choices=("lamp", "mate"),
                        help=f"what misleads in the demonstrations (default: {FULL.confounder})")
    parser.add_argument("--demos", type=int, help=f"demonstrations to record (default: {FULL.demos})")
    parser.add_argument("--steps", type=int, help=f"optimiser steps of each training (default: {FULL.steps})")
    parser.add_argument("--rollouts-per-seed", type=int,
                        help=f"in-process rollouts per training seed and cell (default: {FULL.rollouts_per_seed})")
    parser.add_argument("--deployed-per-seed", type=int,
                        help=f"rollouts over ROS 2 per training seed and cell (default: {FULL.deployed_per_seed})")
    parser.add_argument("--cells", type=int, choices=range(1, 5), metavar="N",
                        help="cells at a time, recording and deploying; fewer take longer and bear a busier machine "
                             f"(default: {FULL.recording_cells} and {FULL.deployment_cells})")
    parser.add_argument("--record-results", action="store_true",
                        help="also write the figures to benchmarks/results/demo.json, which is under version control")
    return parser


def _end_like_ctrl_c_on_sigterm() -> None:
    """A terminated demo ends its processes, too: SIGTERM becomes the same exception as Ctrl-C."""
    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
