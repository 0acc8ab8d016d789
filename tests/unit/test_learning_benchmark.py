"""The learning benchmark's order, memory and tables: what is counted, from which records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from autofocus_core.errors import AutofocusError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from autofocus_training.names import METHODS
from learning_parts.jobs import Job, plan
from learning_parts.jobs import tests_of as conditions_of
from learning_parts.records import add_record, pooled, read_records
from learning_parts.tables import COLUMNS, markdown, plot_conditions, plot_sweep, targets


def record(method: str, seed: int, shown: str, successes: tuple[int, int], **more) -> dict:
    job = Job("lift", shown, method, "automatic", 30, seed)
    outcomes = {
        name: {"successes": count, "rollouts": 50} for name, count in zip(conditions_of(shown), successes, strict=True)
    }
    fields = {name: getattr(job, name) for name in Job.__slots__}
    return {"key": job.key, **fields, "rollouts": outcomes} | more


def everything(method: str, successes: tuple[int, int]) -> Iterator[dict]:
    for seed in (0, 1, 2):
        for shown in ("nominal", "mate", "lamp"):
            yield record(method, seed, shown, successes)


def test_every_job_comes_once_and_the_claim_comes_first():
    jobs = list(plan(METHODS))
    assert len({job.key for job in jobs}) == len(jobs)
    assert {job.method for job in jobs} == set(METHODS)
    assert {(job.task, job.shown) for job in jobs} == {(t, s) for t in ("lift", "place", "pack")
                                                       for s in ("nominal", "mate", "lamp")}
    first = jobs[:15]
    assert {job.seed for job in first} == {0} and {"none", "gated", "reg-mse"} <= {job.method for job in first}


def test_each_training_set_is_tested_as_shown_and_changed():
    assert conditions_of("nominal") == ("nominal", "unseen")
    assert conditions_of("mate") == ("mate", "mate_broken")
    assert len(COLUMNS) == 6


def test_records_survive_and_the_last_of_a_key_counts(tmp_path):
    path = tmp_path / "runs.jsonl"
    assert read_records(path) == {}
    add_record(record("none", 0, "mate", (40, 3)), path)
    add_record(record("none", 1, "mate", (45, 6)), path)
    add_record(record("none", 0, "mate", (41, 2)), path)
    found = read_records(path)
    assert pooled(found.values(), "mate_broken") == (8, 100, [2 / 50, 6 / 50])
    path.write_text(path.read_text() + "{cut")
    with pytest.raises(AutofocusError, match=r"runs\.jsonl:4"):
        read_records(path)


def test_tables_count_seeds_and_say_what_was_not_measured():
    table = markdown([record("none", 0, "mate", (40, 3)), record("none", 1, "mate", (45, 6))], "lift", "automatic", 30)
    row = table.splitlines()[2]
    assert row.startswith("| BC | - | - | **0.85** [0.77, 0.91], seeds 0.80-0.90 | **0.09** [0.05, 0.16]")
    assert row.endswith("| - | - | 2 |")


def test_targets_wait_for_their_figures_and_compare_what_they_name(tmp_path):
    assert targets([record("gated", 0, "mate", (45, 45))])[0][:2] == ("lift, 30 demonstrations: ours, mate broken", 0.9)
    records = [*everything("none", (40, 10)), *everything("gated", (48, 45))]
    found = {name: (round(value, 3), met) for name, value, _, _, met in targets(records)}
    assert found["lift, 30 demonstrations: ours over BC, confounded"] == (4.5, True)
    assert found["lift, 30 demonstrations: ours over BC, all conditions"] == (1.86, True)
    assert found["lift, 30 demonstrations: ours, nominal"] == (0.96, True)
    plot_conditions(records, "lift", 30, tmp_path / "bars.png")
    plot_sweep(records, "lift", tmp_path / "sweep.png")
    assert (tmp_path / "bars.png").stat().st_size > 5000
