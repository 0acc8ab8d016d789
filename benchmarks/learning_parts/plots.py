"""Pictures of the learning benchmark: success by method and condition, and against the number of demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from autofocus_cli.demo.stats import wilson_interval
from matplotlib.figure import Figure

from learning_parts.jobs import DEMONSTRATIONS, SWEEP, SWEPT
from learning_parts.tables import CLONING, COLUMNS, OURS, Record, name_of, ranked, select, success

#: Of Okabe and Ito (2008), which differ for colour-blind people, too. All others are grey.
COLOURS = {OURS: "#D55E00", CLONING: "#0072B2", "reg-mse": "#009E73"}
MARKERS = {OURS: "o", CLONING: "s", "reg-mse": "^"}
OTHER, OTHER_MARKER = "#555555", "D"


@dataclass(frozen=True, slots=True)
class Style:
    """How a kind of augmentation is drawn. above: of its row; width: of its lines."""

    above: float
    width: float
    filled: bool
    line: str


STYLES = {"annotated": Style(0.17, 2.0, True, "-"), "common": Style(-0.17, 1.2, False, "--")}
SWEEP_COLUMNS = (("nominal", "nominal"), ("mate", "mate"), ("mate", "mate_broken"))
#: What a condition asks, under its name.
ASKS = {
    "nominal": "as demonstrated", "unseen": "other distractors,\ntable, light",
    "mate": "as demonstrated:\na box beside the cube", "mate_broken": "the box elsewhere",
    "lamp": "as demonstrated:\na lamp shows the phase", "lamp_broken": "the lamp at random",
}  # fmt: skip


def plot_conditions(
    records: Sequence[Record], task: str, demonstrations: int, path: Path, only: Sequence[str] = ()
) -> bool:
    """A panel for each condition, a row for each method (`only` these, where any are named): pooled success with its
    95 % Wilson interval, filled where the augmentation used the annotation, a small dot for each training seed. False,
    and no file, where there is no record.
    """
    chosen = select(records, task=task, maps="automatic", demonstrations=demonstrations)
    methods = [method for method in ranked(chosen) if not only or method in only][::-1]  # the best on top
    if not methods:
        return False
    figure = Figure(figsize=(13, 1.6 + 0.36 * len(methods)), layout="constrained")
    panels = figure.subplots(1, len(COLUMNS), sharey=True)
    for axes, (shown, tested) in zip(panels, COLUMNS, strict=True):
        for row, method in enumerate(methods):
            mine = select(chosen, method=method, shown=shown)
            if not mine:
                axes.text(0.5, row, "not measured", ha="center", va="center", fontsize=7, color="#999999")
            for kind, style in STYLES.items():
                successes, rollouts, seeds = success(select(mine, augmentation=kind), shown, tested)
                if rollouts:
                    colour, marker = COLOURS.get(method, OTHER), MARKERS.get(method, OTHER_MARKER)
                    at = row + style.above
                    axes.plot(wilson_interval(successes, rollouts), [at, at], color=colour, linewidth=style.width)
                    if len(seeds) > 1:
                        axes.plot(seeds, [at - 0.17] * len(seeds), ".", color=colour, markersize=3, alpha=0.6)
                    axes.plot(successes / rollouts, at, marker, color=colour, markersize=6,
                              markerfacecolor=colour if style.filled else "white")  # fmt: skip
        axes.set_title(tested.replace("_", " "), fontsize=10, fontweight="bold", pad=26)
        axes.text(0.5, 1.01, ASKS[tested], transform=axes.transAxes, ha="center", va="bottom", fontsize=7.5)
        _rates(axes.set_xlim, axes.set_xticks)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(labelsize=8, left=False)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(methods)), [name_of(method) for method in methods], fontsize=9)
    panels[0].set_ylim(-0.7, len(methods) - 0.3)
    rollouts = f"{task}, {demonstrations} demonstrations, maps from the project's own annotator"
    figure.supxlabel(
        f"share of rollouts that succeed ({rollouts})\nline: 95 % interval; small dots: training seeds; "
        "filled: augmentation that uses the annotation; hollow: common augmentation", fontsize=9,
    )  # fmt: skip
    _save(figure, path)
    return True


def plot_sweep(records: Sequence[Record], task: str, path: Path) -> bool:
    """Success against the number of demonstrations, of the training seeds that all points of a kind of augmentation
    have: a seed that one point lacks would move the curve. False, and no file, where fewer than two numbers were
    measured."""
    shown_here = {shown for shown, _ in SWEEP_COLUMNS}
    chosen = [r for r in select(records, task=task, maps="automatic")
              if r["method"] in SWEPT and r["shown"] in shown_here]  # fmt: skip
    seeds = {kind: common_seeds(select(chosen, augmentation=kind)) for kind in STYLES}
    chosen = [record for record in chosen if record["seed"] in seeds[record["augmentation"]]]
    counts = sorted({*SWEEP, DEMONSTRATIONS})
    if len({record["demonstrations"] for record in chosen}) < 2:
        return False
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    panels = figure.subplots(1, len(SWEEP_COLUMNS), sharey=True)
    for axes, (shown, tested) in zip(panels, SWEEP_COLUMNS, strict=True):
        for number, (method, kind) in enumerate(product(SWEPT, STYLES)):
            points, style = [], STYLES[kind]
            for count in counts:
                mine = select(chosen, demonstrations=count, method=method, augmentation=kind)
                successes, rollouts, _ = success(mine, shown, tested)
                if rollouts:
                    low, high = wilson_interval(successes, rollouts)
                    points.append((count * 1.02 ** (number - 2.5), successes / rollouts, low, high))
            if points:
                x, y, low, high = zip(*points, strict=True)
                axes.plot(x, y, MARKERS[method] + style.line, color=COLOURS[method], markersize=5,
                          label=f"{name_of(method)}, {kind} augmentation", linewidth=style.width,
                          markerfacecolor=COLOURS[method] if style.filled else "white")  # fmt: skip
                axes.vlines(x, low, high, color=COLOURS[method], linewidth=1.2)
        axes.set_title(f"{task}, {tested.replace('_', ' ')}", fontsize=10)
        axes.set_xscale("log")
        axes.set_xlim(counts[0] / 1.2, counts[-1] * 1.2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("demonstrations", fontsize=9)
        _rates(axes.set_ylim, axes.set_yticks)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("success, 95 % interval", fontsize=9)
    handles = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False,
                  fontsize=9)  # fmt: skip
    said = ", ".join(f"{kind} augmentation {len(those)}" for kind, those in seeds.items() if those)
    figure.supxlabel(f"training seeds that all points have: {said}", fontsize=9)
    _save(figure, path)
    return True


def common_seeds(records: Sequence[Record]) -> set[int]:
    """Training seeds that every measured (demonstrations' condition, method, number of demonstrations) has."""
    by_point: dict[tuple[str, str, int], set[int]] = {}
    for r in records:
        by_point.setdefault((r["shown"], r["method"], r["demonstrations"]), set()).add(r["seed"])
    return set.intersection(*by_point.values()) if by_point else set()


def _rates(limits: Any, ticks: Any) -> None:
    """An axis from none to all."""
    limits(-0.04, 1.04)
    ticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", ".25", ".5", ".75", "1"])


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
