"""Each method's own best settings: every candidate is trained once and rolled out on tuning seeds, ours no more often
than its rivals. What was best is what `METHOD_DEFAULTS` (training/names.py) holds for the benchmark. And how long the
longer tasks are trained, the same for all methods: `jobs.TASK_SETTINGS`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.results import results_dir
from autofocus_training.names import METHOD_DEFAULTS

from learning_parts.jobs import DEMONSTRATIONS, SWEEP, TASK_SETTINGS, Job
from learning_parts.tables import CLONING, OURS, Record, name_of

ROLLOUTS = 40  # in each of the two conditions


def tuning_path() -> Path:
    """`learning_tuning.jsonl` beside the other figures."""
    return results_dir() / "learning_tuning.jsonl"


def _weights(*weights: float) -> tuple[tuple[str, ...], ...]:
    return tuple((f"saliency_weight={weight}",) for weight in weights)


def _softened(*pairs: tuple[float, float]) -> tuple[tuple[str, ...], ...]:
    return tuple((f"saliency_weight={weight}", f"saliency_beta={beta}") for weight, beta in pairs)


#: The first of the paper's regulariser is the paper's own. Methods that are not here have no knob but those of the
#: benchmark's config, which are the same for all.
CANDIDATES: dict[str, tuple[tuple[str, ...], ...]] = {
    "reg-mse": _softened((5.0, 1.0), (20.0, 1.0), (5.0, 10.0)),
    "gril": _weights(1.0, 3.0, 10.0),
    "reg-share": _weights(0.3, 1.0, 3.0),
    "gated": _weights(0.1, 0.3, 1.0),
    "contrastive": _weights(0.03, 0.1, 0.3),
    "reg-l1": _softened((5.0, 1.0), (20.0, 1.0), (5.0, 10.0)),
    "reg-kl": _softened((1.0, 10.0), (0.1, 10.0), (1.0, 1.0)),
    "reg-js": _softened((1.0, 10.0), (5.0, 10.0), (1.0, 1.0)),
    "reg-tv": _softened((1.0, 10.0), (5.0, 10.0), (1.0, 1.0)),
    "gated-union": _weights(0.1, 0.3, 1.0),
    "gated-tight": _weights(0.1, 0.3, 1.0),
}


#: Steps tried for the longer tasks, of plain cloning and of ours.
LENGTHS = {
    "place": (("steps=2000",), ("steps=4000",)),
    "pack": (("steps=4000",), ("steps=8000",), ("steps=16000",)),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """`job` with settings that are tried; used: the benchmark trains with them."""

    job: Job
    settings: tuple[str, ...]
    used: bool

    @property
    def key(self) -> str:
        """Its name in the records."""
        task = "" if self.job.task == "lift" else f"{self.job.task}, "
        return f"{task}{self.job.method}: {', '.join(self.settings)}"


def trials() -> Iterator[Trial]:
    """All of them: methods' own CANDIDATES on `lift` under the mate with common augmentation, training seed 0; then
    LENGTHS, under the mate with all demonstrations and annotated augmentation."""
    for method, candidates in CANDIDATES.items():
        job = Job("lift", "mate", method, "automatic", DEMONSTRATIONS, 0, "common")
        for settings in candidates:
            yield Trial(job, settings, settings == METHOD_DEFAULTS[method])
    for task, lengths in LENGTHS.items():
        for settings in lengths:
            for method in (CLONING, OURS):
                job = Job(task, "mate", method, "automatic", max(SWEEP), 0, "annotated")
                yield Trial(job, settings, settings == TASK_SETTINGS[task])


def tuning_table(records: Sequence[Record]) -> str:
    """Every candidate with its successes, markdown; the settings that the benchmark uses in bold. Empty without."""
    if not records:
        return ""
    lines = ["| task | method | settings | mate | mate broken |", "|---|---|---|---|---|"]
    found = {record["key"]: record for record in records}
    for trial in trials():
        if trial.key not in found:
            continue
        settings = ", ".join(trial.settings)
        cells = " | ".join(
            f"{outcome['successes']}/{outcome['rollouts']}" for outcome in found[trial.key]["rollouts"].values()
        )
        shown = f"**{settings}**" if trial.used else settings
        lines.append(f"| {trial.job.task} | {name_of(trial.job.method)} | {shown} | {cells} |")
    return "\n".join(lines) + "\n"
