"""The report's joint traces: what the operator did, what each policy asked for next, episode by episode."""
# ruff: noqa: E501 (sentences of a page, easier to read in one piece)

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from autofocus_core.schema import Robot

from autofocus_policy import charts
from autofocus_policy.charts import Line, colour, legend
from autofocus_policy.lockstep import NS

if TYPE_CHECKING:
    from autofocus_policy.evaluation import Evaluation

#: Episodes that are drawn; the first one open.
SHOWN_EPISODES = 8


def section(found: Sequence[Evaluation], robot: Robot) -> str:
    """Small multiples: one chart for each joint."""
    episodes = list(found[0].traces)[:SHOWN_EPISODES]
    parts = []
    for number, name in enumerate(episodes):
        body = f"<div class='three'>{''.join(_joint(found, name, robot, j) for j in range(len(robot.all_joints)))}</div>"
        parts.append(f"<h3>{escape(Path(name).name)}</h3>{body}" if number == 0 else
                     f"<details><summary>{escape(Path(name).name)}</summary>{body}</details>")
    left = len(found[0].traces) - len(episodes)
    return ("<section><h2>Joint by joint</h2><p>Where the operator’s command goes, and the next step that each policy asks for at "
            "that moment.</p>" + legend([e.name for e in found], ("done", "operator")) + "".join(parts)
            + (f"<p class='note'>{left} more episodes are in the figures and not drawn.</p>" if left > 0 else "") + "</section>")


def _joint(found: Sequence[Evaluation], name: str, robot: Robot, j: int) -> str:
    joint = robot.all_joints[j]
    scale, unit = (1e3, "mm") if joint.unit == "m" else (1.0, "rad")
    first = found[0].traces[name]
    base_ns = first.stamps_ns[0]
    series = []
    if len(first.action_ns):
        # The recorded commands begin before the first and end after the last observation: the common part is drawn.
        inside = (first.action_ns >= base_ns) & (first.action_ns <= first.stamps_ns[-1] + NS)
        series.append(Line("operator", "done", (first.action_ns[inside] - base_ns) / NS, scale * first.actions[inside, j]))
    else:
        series.append(Line("joint state", "done", (first.stamps_ns - base_ns) / NS, scale * first.states[:, j]))
    for i, each in enumerate(found):
        t = each.traces.get(name)
        if t is not None:
            gaps = np.concatenate([[False], np.diff(t.stamps_ns) > 2.5 * NS / each.runner.manifest.control_rate_hz])
            series.append(Line(each.name, colour(i), (t.stamps_ns - base_ns) / NS + each.summary["dt_s"],
                               scale * t.predicted[:, 0, j], gaps))
    chart = charts.lines(series, "s", f"{joint.name}, {unit}", f"{joint.name} over time", width=330, height=190,
                         from_zero=False)
    return f"<figure>{chart}</figure>"
