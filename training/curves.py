"""A picture of what a run's folder tells about its training: losses, held-out loss, learning rate, gradients."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_training.checkpoint import STATE_FILE, read_curve

HISTORY_FILE, CURVES_FILE = "history.json", "curves.png"
#: In the order in which runs get them: Okabe and Ito's (2008), which differ for colour-blind people, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")
SMOOTH = 5  # points in the running mean of what is measured on one batch
#: Panels: name in the curve -> (title, label of the axis, scale). Terms that are not here get a panel of their own.
PANELS = {
    "imitation": ("imitation loss, augmented training batches", "{loss}", "log"),
    "held_out": ("imitation loss, held-out episodes", "{loss}", "log"),
    "saliency": ("saliency loss, before its weight", "each method's own measure", "log"),
    "learning_rate": ("learning rate", "of AdamW", "linear"),
    "gradient_norm": ("norm of the gradient, before clipping", "2-norm over all weights", "log"),
}
LOSS = {"mse": "mean squared error, z-score²", "l1": "mean absolute error, z-scores"}
NOT_DRAWN = ("step", "total")


@dataclass(frozen=True, slots=True)
class Curves:
    """One run. values: by name, (steps (n,) int, values (n,) float); a name is absent where nothing was noted."""

    folder: Path
    method: str
    seed: int
    action_loss: str
    steps: int
    values: Mapping[str, tuple[np.ndarray, np.ndarray]]


def read_curves(folder: Path) -> Curves:
    """A run that is finished (history.json) or was interrupted (run.pt). Raises AutofocusError where it is neither."""
    history = folder / HISTORY_FILE
    if history.is_file():
        try:
            raw = json.loads(history.read_text())
            config, points = raw["config"], raw["curve"]
        except (ValueError, KeyError, TypeError) as error:
            raise AutofocusError(
                str(history), f"not readable: {error!r}", "what `autofocus train` wrote", "train again"
            ) from error
    elif (folder / STATE_FILE).is_file():
        config, points = read_curve(folder / STATE_FILE)
    else:
        raise AutofocusError(
            f"run {folder}", f"neither {HISTORY_FILE} nor {STATE_FILE}", "the --out of `autofocus train`",
            "give a folder that it wrote",
        )  # fmt: skip
    return Curves(
        folder, config["method"], config["seed"], config["action_loss"], config["steps"], _by_name(points)
    )  # fmt: skip


def _by_name(points: Sequence[Mapping[str, float]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    names = dict.fromkeys(name for point in points for name in point if name not in NOT_DRAWN)
    return {
        name: (
            np.array([int(point["step"]) for point in points if name in point]),
            np.array([point[name] for point in points if name in point], dtype=float),
        )
        for name in names
    }


def labels(runs: Sequence[tuple[str, int, Path]]) -> list[str]:
    """A name for each (method, seed, folder): the method, with seed, then folder, where the others share it."""
    said = ["BC (none)" if method == "none" else method for method, _, _ in runs]
    for more in (lambda run: f", seed {run[1]}", lambda run: f", {run[2]}"):
        twice = {name for name in said if said.count(name) > 1}
        said = [name + (more(run) if name in twice else "") for name, run in zip(said, runs, strict=True)]
    return said


def draw_curves(runs: Sequence[Curves], path: Path) -> None:
    """Write a PNG with all `runs` over each other, a panel for each thing that at least one of them noted.

    What is measured on one batch is drawn faintly, with its running mean over SMOOTH points on top.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    noted = dict.fromkeys(name for run in runs for name in run.values)
    names = [name for name in PANELS if name in noted] + [name for name in noted if name not in PANELS]
    columns = 2 if len(names) == 4 else min(3, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    losses = list(dict.fromkeys(LOSS[run.action_loss] for run in runs))
    said = labels([(run.method, run.seed, run.folder) for run in runs])
    for name, axes in zip(names, panels):
        title, unit, scale = PANELS.get(name, (f"loss term `{name}`", "before its weight", "linear"))
        for number, run in enumerate(runs):
            if name in run.values:
                _draw(axes, name, number, *run.values[name])
        axes.set_title(title, fontsize=10)
        axes.set_ylabel(unit.format(loss=" or ".join(losses)), fontsize=9)
        axes.set_xlabel("training step", fontsize=9)
        if scale == "log" and all((run.values[name][1] > 0).all() for run in runs if name in run.values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(0, max(run.steps for run in runs))
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    _share_range([axes for name, axes in zip(names, panels) if name in ("imitation", "held_out")])
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    handles = [_line(number, name) for number, name in enumerate(said)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(runs)), fontsize=9, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw(axes: Any, name: str, number: int, steps: np.ndarray, values: np.ndarray) -> None:
    style = _style(number)
    if name == "held_out":
        axes.plot(steps, values, marker="o", markersize=4, linewidth=1.4, clip_on=False, **style)
    elif name == "learning_rate":
        # The same for runs of one length: dashes let the one below be seen.
        axes.plot(steps, values, linewidth=1.8, color=style["color"], dashes=(4, 4) if number else (1, 0))
    else:
        axes.plot(steps, values, linewidth=0.7, alpha=0.35, **style)
        axes.plot(steps, running_mean(values), linewidth=1.6, **style)


def _share_range(panels: Sequence[Any]) -> None:
    """One range of values for all `panels`."""
    ranges = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in ranges), max(high for _, high in ranges))


def running_mean(values: np.ndarray, width: int = SMOOTH) -> np.ndarray:
    """(n,) -> (n,): the mean of up to `width` values around each, fewer at the ends."""
    before, after = (width - 1) // 2, width // 2
    return np.array([values[max(0, i - before) : i + after + 1].mean() for i in range(len(values))])


def _line(number: int, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, linewidth=2, **_style(number))


def _style(number: int) -> dict[str, str]:
    """Of the run with that number."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number // len(COLOURS) % len(DASHES)]}
