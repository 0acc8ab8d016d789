"""From records to tables in markdown. Every number here is counted from learning_runs.jsonl."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from autofocus_cli.demo.stats import wilson_interval
from autofocus_training.names import METHODS

from learning_parts.jobs import plan, tests_of
from learning_parts.records import pooled
from learning_parts.scenes import TRAINING_SETS

#: Columns: (condition of the demonstrations, condition of the rollouts).
COLUMNS = tuple((shown, tested) for shown in TRAINING_SETS for tested in tests_of(shown))
CONFOUNDED = (("mate", "mate_broken"), ("lamp", "lamp_broken"))
NAMES = {"none": "BC", "gated": "AutoFocus (gated)", "reg-mse-paper": "reg-mse, the paper's settings"}
OURS, CLONING = "gated", "none"
#: Of `training.looking.Looking`: the column's head, and how a mean is written.
LOOKS = {
    "attention_share": ("attention on objects", "{:.0%}"),
    "pointing": ("peak on target", "{:.0%}"),
    "moved_by_objects": ("moved by covering an object", "{:.3f}"),
    "moved_by_background": ("moved by covering background", "{:.4f}"),
}

Record = Mapping[str, Any]


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """Those whose fields are as `wanted`."""
    return [record for record in records if all(record[key] == value for key, value in wanted.items())]


def success(records: Sequence[Record], shown: str, tested: str) -> tuple[int, int, list[float]]:
    """(successes, rollouts, success by training seed) of records of one method, task and number of demonstrations."""
    return pooled(select(records, shown=shown), tested)


def name_of(method: str) -> str:
    """As tables and plots call it."""
    return NAMES.get(method, method)


def mean_success(records: Sequence[Record], columns: Iterable[tuple[str, str]]) -> float:
    """Mean over `columns` of the pooled success; NaN where one was not measured."""
    shares = []
    for column in columns:
        successes, rollouts, _ = success(records, *column)
        shares.append(successes / rollouts if rollouts else math.nan)
    return fmean(shares)


def confounded(records: Sequence[Record]) -> tuple[int, int, tuple[str, ...]]:
    """(successes, rollouts, conditions measured) of one method over CONFOUNDED together."""
    found = {tested: success(records, shown, tested) for shown, tested in CONFOUNDED}
    measured = tuple(tested for tested, (_, rollouts, _) in found.items() if rollouts)
    return sum(s for s, _, _ in found.values()), sum(n for _, n, _ in found.values()), measured


def ranked(records: Sequence[Record]) -> list[str]:
    """Methods by confounded success, the best first; those where a part of it is missing after the others."""

    def rank(method: str) -> tuple[int, float]:
        successes, rollouts, measured = confounded(select(records, method=method))
        return -len(measured), -successes / rollouts if rollouts else 0.0

    return sorted(dict.fromkeys(record["method"] for record in records), key=rank)


def progress(records: Sequence[Record], **wanted: Any) -> tuple[int, int]:
    """(done, planned) policies with the fields `wanted`."""
    planned = [job for job in plan(METHODS) if all(getattr(job, key) == value for key, value in wanted.items())]
    done = {record["key"] for record in records}
    return sum(job.key in done for job in planned), len(planned)


def markdown(chosen: Sequence[Record]) -> str:
    """Of records with one task, number of demonstrations, kind of maps and of augmentation: a table of methods by
    conditions, successes/rollouts = rate with its 95 % Wilson interval, pooled over training seeds; the best of each
    column in bold, "-" where nothing was measured. Empty where there is no record at all."""
    if not chosen:
        return ""
    methods = ranked(chosen)
    by_method = {method: select(chosen, method=method) for method in methods}
    columns = [[cell(*success(by_method[method], *column)[:2]) for method in methods] for column in COLUMNS]
    both = [_confounded_cell(by_method[method]) for method in methods]
    cells = [_bold(column) for column in (both, *columns)]
    header = " | ".join(tested.replace("_", " ") for _, tested in COLUMNS)
    lines = [f"| method | confounded | {header} | seeds | training, s |", "|---" * (len(COLUMNS) + 4) + "|"]
    for row, method in enumerate(methods):
        mine = by_method[method]
        texts = " | ".join(column[row] for column in cells)
        seconds = median(record["train_s"] for record in mine)
        lines.append(
            f"| {name_of(method)} | {texts} | {len({record['seed'] for record in mine})} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


Cell = tuple[float, str]  # the rate (-1: not measured) and its text


def cell(successes: int, rollouts: int) -> Cell:
    """The rate with its 95 % Wilson interval."""
    if not rollouts:
        return -1.0, "-"
    low, high = wilson_interval(successes, rollouts)
    rate = successes / rollouts
    return rate, f"{successes}/{rollouts} = {rate:.2f} [{low:.2f}, {high:.2f}]"


def _confounded_cell(records: Sequence[Record]) -> Cell:
    successes, rollouts, measured = confounded(records)
    rate, text = cell(successes, rollouts)
    if rollouts and len(measured) < len(CONFOUNDED):  # no rival to those that were asked everything
        return -1.0, f"{text}, {measured[0].replace('_', ' ')} only"
    return rate, text


def _bold(cells: Sequence[Cell]) -> list[str]:
    measured = [rate for rate, _ in cells if rate >= 0]
    return [f"**{text}**" if len(measured) > 1 and rate == max(measured) else text for rate, text in cells]


def looks(records: Sequence[Record]) -> str:
    """Of such records: a table of what `training.looking` found on held-out demonstrations, means over policies,
    whatever they were trained on. Empty where nothing was measured."""
    chosen = [record for record in records if record["looking"]]
    if not chosen:
        return ""
    heads = " | ".join(head for head, _ in LOOKS.values())
    lines = [f"| method | policies | {heads} | held-out loss |", "|---" * (len(LOOKS) + 3) + "|"]
    for method in ranked(chosen):
        mine = select(chosen, method=method)
        cells = [_mean([record["looking"][name] for record in mine], form) for name, (_, form) in LOOKS.items()]
        cells.append(_mean([record["held_out"] for record in mine], "{:.3f}"))
        lines.append(f"| {name_of(method)} | {len(mine)} | {' | '.join(cells)} |")
    even = _mean([record["looking"]["chance"] for record in chosen], "{:.0%}")
    return "\n".join(lines) + f"\n\nAn even map would have {even} of its attention on the objects.\n"


def _mean(values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return form.format(fmean(known)) if known else "-"
