"""Policies on episodes: the evaluation behind `autofocus evaluate`, and its figures side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autofocus_core.episode import Episode
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Robot
from tqdm import tqdm

from autofocus_policy import figures
from autofocus_policy.ensemble import Blending
from autofocus_policy.lockstep import ROLLOUT_S, Trace, trace
from autofocus_policy.looks import Examiner, Looks
from autofocus_policy.runner import AnswerError, PolicyRunner

#: Frames of each episode that are covered piece by piece: about 80 forward passes each.
FRAMES = 4


@dataclass(slots=True)
class Evaluation:
    """One policy on all episodes, by their paths. name: short, unlike the others'; summary: see docs/evaluation.md.
    failed: why it gave no usable answer, and when; such a policy has no traces."""

    name: str
    path: Path
    runner: PolicyRunner
    traces: dict[str, Trace] = field(default_factory=dict)
    looks: dict[str, Looks] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    failed: str | None = None

    def summarise(self, robot: Robot) -> dict:
        """Fill and return `summary`."""
        found = list(self.looks.values())
        without = {name: {**t.without, **(self.looks[name].without if name in self.looks else {})}
                   for name, t in self.traces.items()}
        self.summary = {"name": self.name, "policy": str(self.path),
                        **figures.summarise(self.traces, robot, self.runner),
                        "attention": figures.attention(found), "covering": figures.covering(found),
                        "without": {name: reasons for name, reasons in without.items() if reasons}}
        return self.summary

    def fail(self, reason: str) -> None:
        """It gave no usable answer: nothing that was measured before stands for it."""
        self.failed = reason
        self.traces.clear()
        self.looks.clear()
        self.summary = {"name": self.name, "policy": str(self.path), "method": self.runner.manifest.method,
                        "failed": reason, "without": {}}


def evaluate(policies: Sequence[Path], episodes: Sequence[Episode], robot: Robot, *, threads: int = 1,
             blending: Blending | None = None, rollout_s: float = ROLLOUT_S, frames: int = FRAMES,
             quiet: bool = False) -> list[Evaluation]:
    """Every policy on every episode. Raises AutofocusError for what does not fit; before anything has run where it can.

    A policy that gives no usable answer (NaN, an error) has failed, and the others go on; AnswerError where all have.
    `frames`: how many frames of an episode are covered piece by piece; 0 leaves that out.
    """
    found = [Evaluation(name, path, PolicyRunner(path, robot, threads))
             for name, path in short_names(policies).items()]
    # None: a bar on a terminal only.
    with tqdm(total=len(found) * len(episodes), unit="episode", disable=True if quiet else None) as bar:
        for each in found:
            bar.set_description(each.name)
            try:
                for episode in episodes:
                    examiner = Examiner(episode, each.runner, robot, frames)
                    each.traces[str(episode.path)] = trace(episode, each.runner, robot, blending=blending,
                                                           rollout_s=rollout_s, looker=examiner)
                    each.looks[str(episode.path)] = examiner.looks()
                    bar.update()
                each.summarise(robot)
            except AnswerError as e:
                bar.update(len(episodes) - len(each.looks))
                each.fail(e.got)
                if all(other.failed for other in found):
                    raise
    return found


def short_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Each path by the last part of it that tells it from the others. Raises AutofocusError for one given twice."""
    resolved = [path.resolve() for path in paths]
    twice = [str(path) for i, path in enumerate(paths) if resolved[i] in resolved[:i]]
    if twice:
        raise AutofocusError("policies", f"{twice[0]} twice", "each policy file once", "leave one of them out")
    names = [path.with_suffix("").parts for path in resolved]
    for length in range(1, max(map(len, names)) + 1):
        short = ["/".join(parts[-length:]) for parts in names]
        if len(set(short)) == len(short):
            return dict(zip(short, paths, strict=True))
    return {str(path): path for path in paths}  # they differ in their suffix alone


def _of(*keys: str):
    """The value at the end of a chain of keys; None where one of them is missing or None."""
    def look(summary: Mapping) -> float | None:
        for key in keys:
            summary = None if summary is None else summary.get(key)
        return summary
    return look


#: Rows of the overview: what, unit, where in the summary.
ROWS = (
    ("error (standing still: 100 %)", "%", _of("relative_error")),
    ("drift after 1 s (standing still: 100 %)", "%", _of("drift", "relative_after_1_s")),
    ("gripper: movements of the operator", "", _of("gripper", "done")),
    ("  of these not done", "", _of("gripper", "missed")),
    ("  median lateness", "ms", _of("gripper", "median_late_ms")),
    ("attention on the task's objects", "%", _of("attention", "share_on_objects")),
    ("  by chance", "%", _of("attention", "share_by_chance")),
    ("  pointing game: hits", "%", _of("attention", "pointing_hits")),
    ("  KL to the map", "nats", _of("attention", "kl_nats")),
    ("change of action: a task's object covered", "%", _of("covering", "objects")),
    ("  background as large covered", "%", _of("covering", "background")),
    ("  a distractor covered", "%", _of("covering", "distractors")),
    ("frames where something else moves it most", "%", _of("covering", "scan", "elsewhere_first")),
    ("forward pass, p50", "ms", _of("latency_ms", "p50")),
    ("forward pass, p99", "ms", _of("latency_ms", "p99")),
)


def overview(found: Sequence[Evaluation]) -> str:
    """Policies side by side, for a terminal; a figure that could not be measured is "-"."""
    rows = [("", *(each.name for each in found))]
    for label, unit, value in ROWS:
        cells = [value(each.summary) for each in found]
        if any(cell is not None for cell in cells):
            shown = ["-" if cell is None else f"{cell * (100 if unit == '%' else 1):.3g} {unit}".strip()
                     for cell in cells]
            rows.append((label, *("failed" if each.failed else cell for each, cell in zip(found, shown, strict=True))))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}"
                               for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows)


def left_out(found: Sequence[Evaluation]) -> list[str]:
    """What could not be said, each reason once, with the episodes it holds for."""
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for each in found:
        for name, without in each.summary["without"].items():
            for what, why in without.items():
                of = f"{each.name}, " if what == "attention" and len(found) > 1 else ""
                reasons.setdefault((what, why), {})[f"{of}{Path(name).name}"] = None
    return [f"{what} ({why}): {', '.join(names)}" for (what, why), names in reasons.items()]


def to_json(found: Sequence[Evaluation]) -> str:
    """Of one policy its summary; of several {"policies": [summary, ...]}."""
    document = found[0].summary if len(found) == 1 else {"policies": [each.summary for each in found]}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"
