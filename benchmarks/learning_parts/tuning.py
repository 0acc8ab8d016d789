"""Each method's own best settings: every candidate is trained once and rolled out on tuning seeds, ours no more often
than its rivals. What was best is what `METHOD_DEFAULTS` (training/names.py) holds for the benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.results import results_dir
from autofocus_training.names import METHOD_DEFAULTS

from learning_parts.jobs import DEMONSTRATIONS, Job
from learning_parts.tables import Record, name_of

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
}


@dataclass(frozen=True, slots=True)
class Trial:
    """A method with one of its CANDIDATES: `lift` under the mate, common augmentation, training seed 0."""

    method: str
    settings: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its name in the records."""
        return f"{self.method}: {', '.join(self.settings)}"

    @property
    def job(self) -> Job:
        """What is trained, but for the settings."""
        return Job("lift", "mate", self.method, "automatic", DEMONSTRATIONS, 0, "common")


def trials() -> Iterator[Trial]:
    """All of them, method by method."""
    for method, candidates in CANDIDATES.items():
        for settings in candidates:
            yield Trial(method, settings)


def tuning_table(records: Sequence[Record]) -> str:
    """Every candidate with its successes, markdown; the settings that the benchmark uses in bold. Empty without."""
    if not records:
        return ""
    lines = ["| method | settings | mate | mate broken |", "|---|---|---|---|"]
    found = {record["key"]: record for record in records}
    for trial in trials():
        if trial.key not in found:
            continue
        used = trial.settings == METHOD_DEFAULTS[trial.method]
        settings = ", ".join(trial.settings)
        cells = " | ".join(
            f"{outcome['successes']}/{outcome['rollouts']}" for outcome in found[trial.key]["rollouts"].values()
        )
        lines.append(f"| {name_of(trial.method)} | {f'**{settings}**' if used else settings} | {cells} |")
    return "\n".join(lines) + "\n"
