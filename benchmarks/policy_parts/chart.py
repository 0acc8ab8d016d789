"""The figures as one picture: latencies side by side, and the command period at the robot's end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autofocus_core import results

from policy_parts.networks import ENCODERS, SIZES_PX

WAYS = {"(a) bare forward": "#8c8c8c", "(b) stamp to request": "#56b4e9",
        "(b) stamp to command, guard at 100 Hz": "#0072b2", "(c) peer style, stamp to command": "#e69f00",
        "(c) peer style with rosetta's four threads": "#d55e00"}
LOADS = {"idle": "#56b4e9", "all cores loaded": "#d55e00"}
RATES_HZ = (50, 100, 200)


def draw(folder: Path, path: Path) -> None:
    """From the results in `folder`, of this run or of an earlier one; what was never measured is left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = {row["name"]: row["value"] for row in results.rows("policy", folder)}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), width_ratios=(2.2, 1), layout="constrained")
    networks = [f"{words} {size} px" for words in ENCODERS.values() for size in SIZES_PX]
    _bars(left, found, networks, {way: f"{{}}: {way}" for way in WAYS}, WAYS)
    left.set(yscale="log", ylabel="ms: bars p50, lines to p99", title="latency")
    rates = [f"{rate} Hz" for rate in RATES_HZ]
    _bars(right, found, rates, {load: f"command period at {{}}, {load}" for load in LOADS}, LOADS)
    right.axhline(1.2, color="black", lw=0.8, ls=":")
    right.set(ylabel="T: bars p50, lines to p99; dotted: 1.2", title="command period at the robot's end")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _bars(axes, found: Mapping[str, float], groups: list[str], names: Mapping[str, str],
          colours: Mapping[str, str]) -> None:
    """A bar for each group and series up to its p50, a line to its p99. names: {series: row's name for a group}."""
    width = 0.8 / len(names)
    for k, (series, name) in enumerate(names.items()):
        rows = [(i + (k - (len(names) - 1) / 2) * width, *(found.get(f"{name.format(group)}, p{p}") for p in (50, 99)))
                for i, group in enumerate(groups)]
        rows = [row for row in rows if None not in row]
        at, p50, p99 = zip(*rows, strict=True) if rows else ((), (), ())
        axes.bar(at, p50, 0.9 * width, color=colours[series], label=series)
        axes.vlines(at, p50, p99, color="black", lw=1)
        axes.plot(at, p99, "_", color="black", ms=7)
    labels = [" ".join(words[:-2]) + "\n" + " ".join(words[-2:]) for words in (group.split() for group in groups)]
    axes.set_xticks(range(len(groups)), [label.strip() for label in labels], fontsize=8)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
