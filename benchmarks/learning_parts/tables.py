"""From records to tables, figures with targets, and plots. Every number here is counted from learning_runs.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from autofocus_cli.demo.stats import wilson_interval

from learning_parts.jobs import DEMONSTRATIONS, SWEEP, tests_of
from learning_parts.records import pooled
from learning_parts.scenes import TRAINING_SETS

#: Columns: (condition of the demonstrations, condition of the rollouts).
COLUMNS = tuple((shown, tested) for shown in TRAINING_SETS for tested in tests_of(shown))
CONFOUNDED = (("mate", "mate_broken"), ("lamp", "lamp_broken"))
NAMES = {
    "none": "BC", "gated": "AutoFocus (gated)", "reg-mse": "Reg, MSE (paper)", "reg-share": "Reg, share of activation",
}
COLOURS = {"none": "#8a8f98", "gated": "#d9480f", "reg-mse": "#1971c2", "reg-share": "#2f9e44", "gril": "#7048e8"}

Record = Mapping[str, Any]


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """Those whose fields are as `wanted`."""
    return [record for record in records if all(record[key] == value for key, value in wanted.items())]


def success(records: Sequence[Record], shown: str, tested: str) -> tuple[int, int, list[float]]:
    """(successes, rollouts, success by training seed) of records of one method, task and number of demonstrations."""
    return pooled(select(records, shown=shown), tested)


def markdown(records: Sequence[Record], task: str, maps: str, demonstrations: int) -> str:
    """A table of methods by conditions: pooled success with its 95 % Wilson interval, and the seeds' range."""
    chosen = select(records, task=task, maps=maps, demonstrations=demonstrations)
    methods = dict.fromkeys(record["method"] for record in chosen)
    header = " | ".join(f"{shown} -> {tested}" if shown != tested else shown for shown, tested in COLUMNS)
    lines = [f"| method | {header} | seeds |", "|---" * (len(COLUMNS) + 2) + "|"]
    for method in methods:
        mine = select(chosen, method=method)
        cells = [_cell(*success(mine, *column)) for column in COLUMNS]
        seeds = len({record["seed"] for record in mine})
        lines.append(f"| {NAMES.get(method, method)} | {' | '.join(cells)} | {seeds} |")
    return "\n".join(lines) + "\n"


def _cell(successes: int, rollouts: int, seeds: Sequence[float]) -> str:
    if not rollouts:
        return "-"
    low, high = wilson_interval(successes, rollouts)
    spread = f", seeds {min(seeds):.2f}-{max(seeds):.2f}" if len(seeds) > 1 else ""
    return f"**{successes / rollouts:.2f}** [{low:.2f}, {high:.2f}]{spread}"


def mean_success(records: Sequence[Record], columns: Iterable[tuple[str, str]]) -> float:
    """Mean over `columns` of the pooled success; NaN where one was not measured."""
    shares = []
    for shown, tested in columns:
        successes, rollouts, _ = success(records, shown, tested)
        shares.append(successes / rollouts if rollouts else float("nan"))
    return float(np.mean(shares))


def targets(records: Sequence[Record]) -> list[tuple[str, float, str, str, bool]]:
    """(name, value, unit, target, met) of what has been measured so far."""
    found: list[tuple[str, float, str, str, bool]] = []

    def add(name: str, value: float, unit: str, bound: float) -> None:
        if np.isfinite(value):
            found.append((name, value, unit, f">= {bound:g}", value >= bound))

    lift = select(records, task="lift", maps="automatic", demonstrations=DEMONSTRATIONS)
    ours, cloning = select(lift, method="gated"), select(lift, method="none")
    with np.errstate(divide="ignore"):
        add("lift, 30 demonstrations: ours over BC, confounded",
            float(np.divide(mean_success(ours, CONFOUNDED), mean_success(cloning, CONFOUNDED))), "ratio", 2.04)
        add("lift, 30 demonstrations: ours over BC, all conditions",
            float(np.divide(mean_success(ours, COLUMNS), mean_success(cloning, COLUMNS))), "ratio", 1.5)
    for name, column, bound in (
        ("nominal", ("nominal", "nominal"), 0.95), ("unseen", ("nominal", "unseen"), 0.85),
        ("mate broken", CONFOUNDED[0], 0.90), ("lamp broken", CONFOUNDED[1], 0.90),
    ):  # fmt: skip
        add(f"lift, 30 demonstrations: ours, {name}", mean_success(ours, [column]), "success", bound)
    for task in ("place", "pack"):
        mine = select(records, task=task, maps="automatic", demonstrations=60, method="gated")
        add(f"{task}, 60 demonstrations: ours, nominal", mean_success(mine, [("nominal", "nominal")]), "success", 0.8)
        add(f"{task}, 60 demonstrations: ours, confounded", mean_success(mine, CONFOUNDED), "success", 0.8)
    return found


def plot_conditions(records: Sequence[Record], task: str, demonstrations: int, path: Path) -> None:
    """Bars: success of each method in each condition, with 95 % Wilson intervals and a dot for each training seed."""
    chosen = select(records, task=task, maps="automatic", demonstrations=demonstrations)
    methods = list(dict.fromkeys(record["method"] for record in chosen))
    figure, axes = plt.subplots(figsize=(11, 4.2))
    width = 0.8 / max(1, len(methods))
    for m, method in enumerate(methods):
        mine = select(chosen, method=method)
        for c, column in enumerate(COLUMNS):
            successes, rollouts, seeds = success(mine, *column)
            if not rollouts:
                continue
            share, at = successes / rollouts, c + (m - (len(methods) - 1) / 2) * width
            low, high = wilson_interval(successes, rollouts)
            axes.bar(at, share, width * 0.92, color=COLOURS.get(method, f"C{m}"), alpha=0.85,
                     label=NAMES.get(method, method) if c == 0 else None)
            axes.plot([at, at], [low, high], color="black", linewidth=1)
            axes.plot([at] * len(seeds), seeds, ".", color="black", markersize=3, alpha=0.6)
    axes.set_xticks(range(len(COLUMNS)), [tested.replace("_", "\n") for _, tested in COLUMNS])
    axes.set_ylim(0, 1.03)
    axes.set_ylabel("success")
    axes.set_title(f"{task}, {demonstrations} demonstrations, maps from the project's own annotator")
    axes.legend(fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    _save(figure, path)


def plot_sweep(records: Sequence[Record], task: str, path: Path) -> None:
    """Success against the number of demonstrations, nominal and confounded."""
    columns = (("nominal", "nominal"), ("mate", "mate_broken"))
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    counts = sorted({*SWEEP, DEMONSTRATIONS})
    for axes, column in zip(panels, columns, strict=True):
        for method in ("none", "reg-mse", "gated"):
            points = []
            for count in counts:
                mine = select(records, task=task, maps="automatic", demonstrations=count, method=method)
                successes, rollouts, _ = success(mine, *column)
                if rollouts:
                    points.append((count, successes / rollouts, *wilson_interval(successes, rollouts)))
            if points:
                x, y, low, high = map(np.array, zip(*points, strict=True))
                axes.plot(x, y, "o-", color=COLOURS[method], label=NAMES[method])
                axes.fill_between(x, low, high, color=COLOURS[method], alpha=0.15, linewidth=0)
        axes.set_title(f"{task}, {column[1].replace('_', ' ')}")
        axes.set_xlabel("demonstrations")
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_ylim(0, 1.03)
    panels[0].set_ylabel("success")
    panels[0].legend(frameon=False)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
