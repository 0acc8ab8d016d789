"""The benchmark's memory: one JSON line for each finished job, appended in one write, so that a run that was killed
goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autofocus_core.errors import AutofocusError
from autofocus_core.results import results_dir


def records_path() -> Path:
    """`learning_runs.jsonl` beside the other figures."""
    return results_dir() / "learning_runs.jsonl"


def read_records(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Records by job key; of several with one key the last counts. Raises AutofocusError for a line that is none."""
    path = path or records_path()
    found: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            record = json.loads(line)
            found[record["key"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise AutofocusError(f"{path}:{number}", str(error), "a record of a job", "remove the line") from error
    return found


def add_record(record: Mapping[str, Any], path: Path | None = None) -> None:
    """Append a record, durably."""
    with (path or records_path()).open("a") as file:
        file.write(json.dumps(record, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())


def pooled(records: Iterable[Mapping[str, Any]], condition: str) -> tuple[int, int, list[float]]:
    """(successes, rollouts, success of each training seed) of several records in one condition."""
    outcomes = [record["rollouts"][condition] for record in records if condition in record["rollouts"]]
    successes = sum(outcome["successes"] for outcome in outcomes)
    rollouts = sum(outcome["rollouts"] for outcome in outcomes)
    return successes, rollouts, [outcome["successes"] / outcome["rollouts"] for outcome in outcomes]
