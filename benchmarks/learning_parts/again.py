"""Recorded policies trained and rolled out once more: does a figure come out again?"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.errors import AutofocusError
from autofocus_core.results import results_dir

from learning_parts.tables import Record


@dataclass(frozen=True, slots=True)
class Repetition:
    """One policy, twice. successes: by condition, (of the first, of the second); same: whether every rollout had the
    same outcome, as far as the first record says which failed."""

    key: str
    commits: tuple[str, str]
    rollouts: int
    successes: dict[str, tuple[int, int]]
    same: bool


def again_path() -> Path:
    """`learning_again.jsonl` beside the first records."""
    return results_dir() / "learning_again.jsonl"


def again_key(key: str, commit: str) -> str:
    """A second record's name: another commit is another question."""
    return f"{key}@{commit}"


def pick(records: Mapping[str, Record], keys: Sequence[str], count: int, draw: int) -> list[str]:
    """`keys`, or `count` of the recorded ones by lot (`draw`: its seed). AutofocusError for a key without a record."""
    for key in keys:
        if key not in records:
            raise AutofocusError("key of a policy", repr(key), "one in benchmarks/results/learning_runs.jsonl",
                                 "take the key of one of its lines")
    return list(keys) or random.Random(draw).sample(sorted(records), min(count, len(records)))


def repetitions(records: Mapping[str, Record], again: Iterable[Record]) -> list[Repetition]:
    """Each second record beside its first; those whose first is gone, or had other settings, are left out."""
    found = []
    for second in again:
        key = second["key"].rpartition("@")[0]
        first = records.get(key)
        if first is None or first["settings"] != second["settings"]:
            continue
        pairs = {tested: (first["rollouts"][tested], outcome) for tested, outcome in second["rollouts"].items()}
        found.append(
            Repetition(
                key, (first["commit"], second["commit"]), sum(b["rollouts"] for _, b in pairs.values()),
                {tested: (a["successes"], b["successes"]) for tested, (a, b) in pairs.items()},
                all(a["successes"] == b["successes"] and a.get("failed", b["failed"]) == b["failed"]
                    for a, b in pairs.values()),
            )
        )  # fmt: skip
    return found


def filled(records: Mapping[str, Record], again: Iterable[Record]) -> dict[str, Record]:
    """Records of the first policies do not say in which scenes they failed. Where a repetition came out the same, its
    outcomes stand in for those of the first."""
    same = ((one.key, second) for second in again for one in repetitions(records, [second]) if one.same)
    known = {key: second["rollouts"] for key, second in same}
    return {key: {**record, "rollouts": known[key]} if key in known else record for key, record in records.items()}


def again_part(found: Sequence[Repetition]) -> str:
    """Markdown: how many came out the same, and a table of those that did not. Empty without repetitions."""
    if not found:
        return ""
    same, rollouts = [r for r in found if r.same], sum(r.rollouts for r in found)
    text = (
        "## Done again\n\n"
        "`python benchmarks/learning.py again` trains and rolls out recorded policies once more. Of "
        f"{len(found)} ({rollouts} rollouts; {len({r.commits[0] for r in found})} commits before) "
        f"{len(same)} came out the same in every rollout. Another machine's arithmetic may differ in the last digit of "
        "a sum, and a rollout then ends otherwise; the intervals are for that.\n"
    )
    if len(same) == len(found):
        return text
    text += "\n| policy | first | again |\n|---|---|---|\n"
    for one in found:
        if not one.same:
            first, second = (", ".join(f"{tested} {pair[i]}" for tested, pair in one.successes.items()) for i in (0, 1))
            text += f"| {one.key} | {first} (`{one.commits[0]}`) | {second} (`{one.commits[1]}`) |\n"
    return text
