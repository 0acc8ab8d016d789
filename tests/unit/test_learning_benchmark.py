"""The learning benchmark's order and memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from autofocus_core.errors import AutofocusError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from autofocus_sim.seeds import BENCHMARK_DEMONSTRATIONS
from autofocus_training.config import load_config
from autofocus_training.names import METHOD_DEFAULTS, METHODS
from learning_parts.jobs import ABLATIONS, SEEDS, SEEDS_APART, TASK_SETTINGS, Job, needs_maps, plan
from learning_parts.jobs import tests_of as conditions_of
from learning_parts.records import add_record, pooled, read_records
from learning_parts.tuning import CANDIDATES, LENGTHS, trials, tuning_table
from learning_parts.work import config_of

TRIED = Path(__file__).parents[2] / "benchmarks" / "results" / "learning_tuning.jsonl"


def record(seed: int, successes: tuple[int, int]) -> dict:
    job = Job("lift", "mate", "none", "automatic", 30, seed, "common")
    names = conditions_of("mate")
    return {"key": job.key, "rollouts": {n: {"successes": k, "rollouts": 50} for n, k in zip(names, successes)}}


def test_every_job_comes_once_and_the_claim_comes_first():
    jobs = list(plan(METHODS))
    assert len({job.key for job in jobs}) == len(jobs)
    assert {job.method for job in jobs} == {*METHODS, *ABLATIONS}
    assert {(job.task, job.shown) for job in jobs} == {(t, s) for t in ("lift", "place", "pack")
                                                       for s in ("nominal", "mate", "lamp")}
    assert all(needs_maps(job.method) for job in jobs if job.maps == "privileged")  # else trained twice, alike
    first = jobs[:15]
    assert {job.seed for job in first} == {0} and {"none", "gated", "reg-mse"} <= {job.method for job in first}


def test_an_ablation_is_its_method_with_its_own_settings_and_nothing_else():
    paper, tuned = (config_of(Job("lift", "mate", method, "automatic", 30, 0, "common")).as_dict()
                    for method in ("reg-mse-paper", "reg-mse"))  # fmt: skip
    assert {key: paper[key] for key in paper if paper[key] != tuned[key]} == {"saliency_beta": 1.0}
    assert needs_maps("reg-mse-paper") and needs_maps("gated") and not needs_maps("none")


def test_each_training_seed_is_shown_demonstrations_of_its_own():
    """All seeds shared 30 demonstrations: what differed between seeds did not include which corner of the table had
    been demonstrated."""
    assert max(job.demonstrations for job in plan(METHODS)) < SEEDS_APART / 2  # room for operators that failed
    assert BENCHMARK_DEMONSTRATIONS.after(SEEDS_APART * max(SEEDS)).take(SEEDS_APART)


def test_each_training_set_is_tested_as_shown_and_changed():
    assert conditions_of("nominal") == ("nominal", "unseen")
    assert conditions_of("mate") == ("mate", "mate_broken")


def test_records_survive_and_the_last_of_a_key_counts(tmp_path):
    path = tmp_path / "runs.jsonl"
    assert read_records(path) == {}
    add_record(record(0, (40, 3)), path)
    add_record(record(1, (45, 6)), path)
    add_record(record(0, (41, 2)), path)
    found = read_records(path)
    assert pooled(found.values(), "mate_broken") == (8, 100, [2 / 50, 6 / 50])
    path.write_text(path.read_text() + "{cut")
    with pytest.raises(AutofocusError, match=r"runs\.jsonl:4"):
        read_records(path)


def test_every_method_with_a_knob_is_tried_as_often_as_ours_and_what_is_used_was_tried():
    assert set(CANDIDATES) == set(METHOD_DEFAULTS)
    assert {len(candidates) for candidates in CANDIDATES.values()} == {len(CANDIDATES["gated"])}
    for trial in trials():
        load_config("demo", [f"method={trial.job.method}", *trial.settings])  # every key is one
    for method, used in METHOD_DEFAULTS.items():
        assert used in CANDIDATES[method], method


def test_what_is_used_is_what_did_best_of_the_candidates():
    """Successes of both conditions together; of candidates that are level, any."""
    found = {key: sum(o["successes"] for o in r["rollouts"].values()) for key, r in read_records(TRIED).items()}
    assert set(found) == {trial.key for trial in trials()}
    for method, used in METHOD_DEFAULTS.items():
        mine = [trial for trial in trials() if trial.job.method == method and trial.job.task == "lift"]
        best = max(mine, key=lambda trial: found[trial.key])
        level = [trial.settings for trial in mine if found[trial.key] == found[best.key]]
        assert used in level, f"{method}: {best.settings} had {found[best.key]} of 80"


@pytest.mark.parametrize("task", LENGTHS)
def test_the_longer_tasks_are_trained_as_long_as_did_best_and_all_methods_alike(task):
    """Of lengths that are level, the shorter."""
    found = {key: sum(o["successes"] for o in r["rollouts"].values()) for key, r in read_records(TRIED).items()}
    tried: dict[tuple[str, ...], int] = {}
    for trial in trials():
        if trial.job.task == task:
            tried[trial.settings] = tried.get(trial.settings, 0) + found[trial.key]
    assert TASK_SETTINGS[task] == max(tried, key=tried.__getitem__)
    configs = [config_of(Job(task, "mate", method, "automatic", 60, 0, "common")) for method in METHODS]
    assert {f"steps={config.steps}" for config in configs} == set(TASK_SETTINGS[task])


def test_the_table_of_candidates_shows_which_one_is_used():
    tried = list(trials())
    outcomes = {n: {"successes": k, "rollouts": 40} for n, k in zip(conditions_of("mate"), (31, 7))}
    table = tuning_table([{"key": trial.key, "rollouts": outcomes} for trial in tried[:3]])
    rows = table.splitlines()[2:]
    assert len(rows) == 3 and all("31/40 | 7/40" in row for row in rows)
    assert [("**" in row) for row in rows] == [t.used for t in tried[:3]]
    assert tuning_table([]) == ""
