"""A picture of both rules' figures over the detector's recall, drawn from the rows on record."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from autofocus_core.results import rows

RECALLS = (1.0, 0.95, 0.90, 0.80)
RULES = {"this tracker": "#2a78b5", "reference rule": "#d9822b"}
#: figure -> scale of its axis, and the target line
PANELS = {
    "questions per episode": ("log", 4.0),
    "id switches per 10 episodes": ("symlog", 1.0),
    "coverage": ("linear", 0.98),
    "centre error p95": ("linear", None),
}


def draw(results: Path, path: Path) -> None:
    """PNG at `path`; targets, which are for recall 0.90, as a mark there."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = {row["name"]: row for row in rows("saliency_tracking", results)}
    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(3.6 * len(PANELS), 3.3))
    for panel, (name, (scale, target)) in zip(panels, PANELS.items(), strict=True):
        for rule, colour in RULES.items():
            values = [found[f"recall {recall:.2f}: {rule}: {name}"]["value"] for recall in RECALLS]
            panel.plot(RECALLS, values, "o-", color=colour, label=rule)
            above = 6 if rule == "reference rule" or name != "coverage" else -12
            for recall, value in zip(RECALLS, values, strict=True):
                text = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
                panel.annotate(text, (recall, value), textcoords="offset points", xytext=(0, above), fontsize=7,
                               ha="center", color=colour)
        if target is not None:
            panel.hlines(target, 0.885, 0.915, color="#333333", label="target at 0.90")
        panel.set_yscale(scale)
        panel.margins(x=0.12, y=0.15)
        panel.invert_xaxis()
        panel.set_xticks(RECALLS, [f"{recall:.2f}" for recall in RECALLS])
        unit = ", px" if name.startswith("centre") else ""
        panel.set_title(name + unit, fontsize=9)
        panel.set_xlabel("recall of the detector", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=7, frameon=False, loc="center left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
