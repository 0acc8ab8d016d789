"""A picture of the recorder's figures, drawn from the rows on record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from autofocus_core.results import rows

from recorder_parts.summary import LABELS, PART, row_name
from recorder_parts.workloads import Workload

COLOURS = dict(zip(LABELS, ("#2a78b5", "#d9822b", "#e8b27d", "#9a9a9a", "#4d4d4d"), strict=True))


def draw(results: Path, path: Path, workloads: Sequence[Workload]) -> None:
    """CPU time per GB of each recorder at each workload, what it lost written beside the bars; PNG or SVG at `path`."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = {row["name"]: row for row in rows(PART, results)}
    figure, panels = pyplot.subplots(1, len(workloads), figsize=(4.8 * len(workloads), 3.6), squeeze=False)
    for panel, workload in zip(panels[0], workloads, strict=True):
        measured = [style for style in LABELS if row_name(workload, style, "CPU") in found]
        for place, style in enumerate(reversed(measured)):
            cpu = found[row_name(workload, style, "CPU")]["value"]
            panel.barh(place, cpu, 0.6, color=COLOURS[style])
            panel.text(cpu, place, " " + _label(found, workload, style, cpu), va="center", fontsize=8)
        panel.set_yticks(range(len(measured)), [LABELS[style] for style in reversed(measured)], fontsize=8)
        panel.set_xlim(0, 2.7 * max((found[row_name(workload, s, "CPU")]["value"] for s in measured), default=1.0))
        panel.set_title(f"{workload.title}\n+ three joint topics at 100 Hz", fontsize=9)
        panel.set_xlabel("CPU s per GB recorded", fontsize=8)
        panel.tick_params(axis="x", labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _label(found: dict[str, dict], workload: Workload, style: str, cpu: float) -> str:
    lost = found.get(row_name(workload, style, "messages lost"))
    if lost is None:
        return f"{cpu:.2f}"
    unreported = found[row_name(workload, style, "messages lost, not reported")]["value"]
    if not lost["value"]:
        return f"{cpu:.2f}, nothing lost"
    return f"{cpu:.2f}, lost {lost['value']:g}" + _told(lost["value"], unreported)


def _told(lost: float, unreported: float) -> str:
    """What the recorder said about its losses."""
    if not unreported:
        return ", all reported"
    return ", none reported" if unreported == lost else f", {unreported:g} not reported"
