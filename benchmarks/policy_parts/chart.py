"""The latencies as one picture: medians as bars, 99th percentiles as marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from policy_parts.networks import ENCODERS

WAYS = {"bare": "(a) bare forward", "request": "(b) stamp to request", "command": "(b) stamp to command",
        "peer": "(c) peer style, stamp to command"}
COLOURS = {"bare": "#8c8c8c", "request": "#56b4e9", "command": "#0072b2", "peer": "#e69f00"}


def draw(found: Mapping[tuple[str, int], Mapping[str, np.ndarray]], path: Path) -> None:
    """`found`: {(encoder, size in px): {way: latencies in ms}}."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    for k, (way, label) in enumerate(WAYS.items()):
        at = np.arange(len(found)) + (k - 1.5) * 0.2
        p50 = [np.percentile(values[way], 50) for values in found.values()]
        p99 = [np.percentile(values[way], 99) for values in found.values()]
        axes.bar(at, p50, 0.18, color=COLOURS[way], label=label)
        axes.vlines(at, p50, p99, color="black", lw=1)
        axes.plot(at, p99, "_", color="black", ms=9)
    axes.set_xticks(range(len(found)), [f"{ENCODERS[encoder]}\n{size} px" for encoder, size in found])
    axes.set(ylabel="ms: bars p50, lines to p99")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
