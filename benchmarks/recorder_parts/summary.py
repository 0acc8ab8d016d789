"""Trials become figures: medians with their spread, sums of losses, and what each is held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.results import record

from recorder_parts.trial import OURS, Trial
from recorder_parts.workloads import JOINT_STATE, MB, Workload

PART = "recorder"
LABELS = {
    OURS: "this recorder",
    "peer": "peer style",
    "peer_no_disk": "peer style, writing nothing",
    "naive": "naive prototype",
    "copy": "plain copy",
}
NO_TARGET = "(to compare)"
PEER_RATIO, QUEUE_MB, STOP_S, RATE_SHARE = 2.0, 256.0, 1.0, 0.98


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the results."""

    name: str
    value: float
    unit: str
    target: str = NO_TARGET
    ok: bool = True


def row_name(workload: Workload, style: str, what: str) -> str:
    """Name of a row, e.g. "1280x720 at 60 Hz: peer style: CPU"."""
    return f"{workload.title}: {LABELS[style]}: {what}"


def report(
    trials: Sequence[Trial],
    workloads: Sequence[Workload],
    largest: Trial | None,
    storage: str,
    command: str,
    results: Path,
) -> bool:
    """Print every figure and put it on record; whether all targets are met."""
    found = [figure for workload in workloads for figure in _of_workload(trials, workload, storage)]
    if largest is not None:
        unit = f"MB/s ({largest.workload}, CPU {largest.cpu_s / largest.seconds:.2f} core)"
        found.append(Figure("largest load without loss", largest.rate_mb_s, unit))
    for figure in found:
        print(f"{'ok ' if figure.ok else 'NOT'} {figure.name}: {figure.value:.4g} {figure.unit}  {figure.target}")
        value = round(figure.value, 4)
        record(PART, figure.name, value, figure.unit, figure.target, figure.ok, command, results)
    return all(figure.ok for figure in found)


def _of_workload(trials: Sequence[Trial], workload: Workload, storage: str) -> Iterator[Figure]:
    of = {style: [t for t in trials if (t.style, t.workload) == (style, workload.key)] for style in LABELS}
    for style, mine in of.items():
        if mine:
            yield from _of_style(mine, workload, style)
    if of[OURS] and of["peer"]:
        ratio = _median(of["peer"], _cpu) / _median(of[OURS], _cpu)
        name = f"{workload.title}: CPU of the peer style / CPU of this recorder"
        yield Figure(name, ratio, "times", f">= {PEER_RATIO:g}", ratio >= PEER_RATIO)
    if of[OURS]:
        yield from _of_ours(of[OURS], workload)
        yield from _of_copies(of[OURS], workload, storage)
    every = [trial for mine in of.values() for trial in mine]
    if every:
        share = min(trial.rate_share for trial in every)
        name = f"{workload.title}: slowest publisher, share of its nominal rate"
        yield Figure(name, share, "", f">= {RATE_SHARE}", share >= RATE_SHARE)


def _of_style(trials: Sequence[Trial], workload: Workload, style: str) -> Iterator[Figure]:
    ours = style == OURS
    yield _spread(row_name(workload, style, "CPU"), "CPU s/GB", [_cpu(trial) for trial in trials])
    yield _spread(row_name(workload, style, "rate"), "MB/s", [trial.rate_mb_s for trial in trials])
    for what, type_ in (("messages", None), ("joint messages", JOINT_STATE)):
        missing, published, unreported = (
            sum(trial.total(field, type_, workload.streams) for trial in trials)
            for field in ("missing", "published", "unreported")
        )
        target = "0" if ours else NO_TARGET
        lost = row_name(workload, style, f"{what} lost")
        yield Figure(lost, missing, f"of {published}", target, missing == 0 or not ours)
        yield Figure(f"{lost}, not reported", unreported, f"of {published}", target, unreported == 0 or not ours)
    memory_mb = max(trial.memory_total for trial in trials) / MB
    private_mb = max(trial.memory_private for trial in trials) / MB
    yield Figure(row_name(workload, style, "memory peak"), memory_mb, f"MB resident ({private_mb:.0f} of it private)")


def _of_ours(trials: Sequence[Trial], workload: Workload) -> Iterator[Figure]:
    wrong = sum(trial.total("doubled") + trial.total("foreign") for trial in trials)
    yield Figure(row_name(workload, OURS, "messages doubled or foreign"), wrong, "", "0", wrong == 0)
    excess = sum(max(0, account.reported - account.missing) for trial in trials for account in trial.accounts)
    yield Figure(row_name(workload, OURS, "messages reported as lost that are there"), excess, "", "0", excess == 0)
    peaks = [trial.queue_peak for trial in trials if trial.queue_peak is not None]
    if peaks:
        peak_mb = max(peaks) / MB
        yield Figure(
            row_name(workload, OURS, "write queue peak"), peak_mb, "MB seen on status", f"<= {QUEUE_MB:g}",
            peak_mb <= QUEUE_MB * 1.05,
        )  # fmt: skip
    stop_s = max(trial.stop_s for trial in trials)
    name = row_name(workload, OURS, "longest time from stop to its answer")
    yield Figure(name, stop_s, "s", f"<= {STOP_S:g}", stop_s <= STOP_S)


def _of_copies(trials: Sequence[Trial], workload: Workload, storage: str) -> Iterator[Figure]:
    copies = [trial.copy for trial in trials if trial.copy is not None and trial.copy.bytes]
    if copies:
        yield _spread(row_name(workload, "copy", "CPU"), "CPU s/GB", [c.cpu_s / c.bytes * 1e9 for c in copies])
        rates = [copy.bytes / copy.wall_s / MB for copy in copies]
        yield _spread(row_name(workload, "copy", "rate"), f"MB/s to {storage}", rates)


def _spread(name: str, unit: str, values: Sequence[float]) -> Figure:
    spread = f" (median of {len(values)}, {min(values):.4g} to {max(values):.4g})" if len(values) > 1 else ""
    return Figure(name, statistics.median(values), unit + spread)


def _median(trials: Sequence[Trial], of: Callable[[Trial], float]) -> float:
    return statistics.median(of(trial) for trial in trials)


def _cpu(trial: Trial) -> float:
    return trial.cpu_s_per_gb
