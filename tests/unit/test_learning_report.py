"""The learning benchmark's report: what is counted, what is promised, who beats whom. Invented data."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from autofocus_core.errors import AutofocusError
from autofocus_sim.scene import sample_scene
from autofocus_sim.seeds import BENCHMARK_DEMONSTRATIONS, BENCHMARK_EVALUATION
from autofocus_training.names import METHODS
from learning_parts.again import again_key, again_part, filled, pick, repetitions
from learning_parts.coverage import coverage, outside, tray_sides
from learning_parts.jobs import DEMONSTRATIONS, Job, plan
from learning_parts.jobs import tests_of as conditions_of
from learning_parts.plots import common_seeds
from learning_parts.report import write_report
from learning_parts.tables import COLUMNS, looks, markdown, progress
from learning_parts.verdicts import comparison_table, comparisons, newcombe_interval, targets

ROOT = Path(__file__).parents[2]
PLANNED = len(list(plan(METHODS)))
LOOKING = {"attention_share": 0.5, "chance": 0.06, "pointing": 1.0, "moved_by_objects": 0.2,
           "moved_by_background": math.nan}  # fmt: skip


def record(method: str, seed: int, shown: str, successes: tuple[int, int], maps: str = "automatic", task: str = "lift",
           demonstrations: int = DEMONSTRATIONS, augmentation: str = "annotated", **more) -> dict:  # fmt: skip
    job = Job(task, shown, method, maps, demonstrations, seed, augmentation)
    outcomes = {
        name: {"successes": count, "rollouts": 50} for name, count in zip(conditions_of(shown), successes, strict=True)
    }
    return {"key": job.key, **dataclasses.asdict(job), "rollouts": outcomes, "train_s": 80.0 + seed, "held_out": 0.3,
            "looking": LOOKING, "commit": "abc", "machine": "two cores", "settings": method} | more  # fmt: skip


def everything(method: str, successes: tuple[int, int], **more) -> Iterator[dict]:
    for seed in (0, 1, 2):
        for shown in ("nominal", "mate", "lamp"):
            yield record(method, seed, shown, successes, **more)


def rows(table: str) -> dict[str, list[str]]:
    """Cells by method."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:] if "|" in line]
    return {cells[0]: cells[1:] for cells in lines}


def test_a_cell_is_a_count_a_rate_and_an_interval_and_what_was_not_measured_is_a_dash():
    found = [record("none", 0, "mate", (40, 3)), record("none", 1, "mate", (45, 6))]
    cells = rows(markdown(found))["BC"]
    assert len(COLUMNS) == 6 and len(cells) == 1 + 6 + 2
    assert cells == ["9/100 = 0.09 [0.05, 0.16], mate broken only", "-", "-", "85/100 = 0.85 [0.77, 0.91]",
                     "9/100 = 0.09 [0.05, 0.16]", "-", "-", "2", "80"]  # fmt: skip
    assert markdown([]) == ""


def test_methods_are_sorted_by_confounded_success_and_the_best_is_bold():
    found = [*everything("none", (50, 10)), *everything("gated", (48, 45)), record("gril", 0, "mate", (50, 50))]
    table = rows(markdown(found))
    # gril was only asked about one confounder: it is neither first nor bold there, whatever its rate.
    assert list(table) == ["AutoFocus (gated)", "BC", "gril"]
    assert table["AutoFocus (gated)"][0] == "**270/300 = 0.90 [0.86, 0.93]**"
    assert table["gril"][0] == "50/50 = 1.00 [0.93, 1.00], mate broken only"
    assert table["BC"][1].startswith("**150/150") and not table["AutoFocus (gated)"][1].startswith("**")


def test_the_only_method_of_a_column_is_not_its_best():
    assert "**" not in markdown([record("none", 0, "mate", (40, 3))])


def test_looks_are_means_over_policies_and_nan_is_left_out():
    dim = record("none", 1, "mate", (1, 1), looking=LOOKING | {"attention_share": 0.1, "pointing": math.nan})
    blind = record("state-only", 0, "mate", (1, 1), looking=None)
    table = looks([record("none", 0, "mate", (1, 1)), dim, blind])
    assert rows(table) == {"BC": ["2", "30%", "100%", "0.200", "-", "0.300"]}
    assert "6% of its attention" in table
    assert looks([blind]) == ""


def test_progress_counts_the_plan():
    wanted = {"task": "lift", "maps": "automatic", "demonstrations": 30, "augmentation": "annotated"}
    found = [record("none", 0, "mate", (1, 1)), record("none", 0, "mate", (1, 1), task="pack")]
    done, planned = progress(found, **wanted)
    assert done == 1 and planned == 3 * 3 * len(METHODS)


def test_targets_compare_what_they_name_and_wait_for_what_is_missing():
    waiting = {target.name: target.met for target in targets([record("gated", 0, "mate", (45, 45))], "annotated")}
    assert waiting.pop("lift, 30 demonstrations: ours, mate broken") is True
    assert set(waiting.values()) == {None} and len(waiting) == 12
    found = [*everything("none", (40, 10)), *everything("gated", (48, 45)), *everything("reg-mse", (41, 9)),
             *everything("mask", (49, 30), maps="privileged")]  # fmt: skip
    found += [record("none", 0, "nominal", (47, 0), demonstrations=60), *everything("gated", (45, 39), task="place",
                                                                                    demonstrations=60)]  # fmt: skip
    found.append(record("gated", 0, "nominal", (47, 0), demonstrations=15))
    measured = {t.name: (round(t.value, 3), t.met) for t in targets(found, "annotated") if t.met is not None}
    lift = "lift, 30 demonstrations: "
    assert measured[lift + "ours over BC, confounded"] == (4.5, True)
    assert measured[lift + "ours over BC, all conditions"] == (1.86, True)
    assert measured[lift + "ours, nominal"] == (0.96, True)
    assert measured["lift: ours with 15 demonstrations less BC with 60, nominal"] == (0.0, True)
    assert measured["place, 60 demonstrations: ours, confounded"] == (0.78, False)
    assert measured[lift + "ours less the best rival, confounded"] == (0.3, True)
    assert measured[lift + "ours less the best rival, nominal"] == (-0.02, False)
    # A figure is kept by its name: with the rival in it, that of an earlier best rival stayed beside the new one.
    assert {t.unit for t in targets(found, "annotated") if "best rival" in t.name} == {"to mask, privileged maps"}


def test_as_good_as_nothing_is_no_ratio_that_can_be_written_down():
    found = [*everything("none", (40, 0)), *everything("gated", (48, 45))]
    ratio = targets(found, "annotated")[0]
    assert ratio.value == math.inf and ratio.met


def test_the_paper_is_reproduced_with_its_own_settings_and_augmentation_where_it_is_better():
    found = [*everything("none", (40, 10), augmentation="common"), *everything("reg-mse", (49, 49)),
             *everything("reg-mse-paper", (40, 10), augmentation="common")]  # fmt: skip
    claims = [t for t in targets(found, "common") if "the paper's settings" in t.name]
    assert [(t.value, t.met) for t in claims] == [(0.0, False), (0.0, False)]
    assert not [t for t in targets(found, "annotated") if "the paper's settings" in t.name]


def test_rivals_are_compared_on_what_both_have_and_corrected_for_their_number():
    found = [*everything("gated", (48, 45)), *everything("none", (40, 10)), *everything("reg-share", (48, 44)),
             record("mask", 0, "mate", (50, 50), maps="privileged"), *everything("gated-union", (48, 50)),
             record("oreo", 0, "mate", (1, 1), maps="privileged")]  # fmt: skip
    table = {c.rival: c for c in comparisons(found)}
    # Neither a variant of ours, nor once more a method without maps.
    assert list(table) == ["mask (privileged maps)", "reg-share (automatic maps)", "BC"]
    assert table["mask (privileged maps)"].ours == (45, 50) and table["mask (privileged maps)"].policies == 1
    assert table["BC"].ours == (270, 300) and table["BC"].theirs == (60, 300) and table["BC"].ahead == 6
    verdicts = {name: c.verdict for name, c in table.items()}
    # 45 against 50 of 50 has p 0.056, and twice that when it is one of two that are left.
    assert verdicts == {"mask (privileged maps)": "not told apart", "reg-share (automatic maps)": "not told apart",
                        "BC": "ours is better"}  # fmt: skip
    mask = table["mask (privileged maps)"]
    assert mask.p == pytest.approx(0.0563, abs=1e-3) and mask.p_holm == pytest.approx(2 * mask.p)
    assert table["reg-share (automatic maps)"].p_holm >= mask.p_holm
    assert "6 of 6 pairs" in comparison_table(list(table.values()))
    assert comparisons([record("none", 0, "mate", (1, 1))]) == [] and comparison_table([]) == ""


def test_a_rival_that_is_better_is_said_to_be():
    found = [*everything("gated", (48, 30)), *everything("reg-share", (48, 45))]
    assert [c.verdict for c in comparisons(found)] == ["the rival is better"]


def test_newcombes_interval_is_that_of_the_paper():
    """Newcombe 1998, table II: 56/70 less 48/80, method 10: 0.0524 to 0.3339; 9/10 less 3/10: 0.1705 to 0.8090."""
    assert newcombe_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert newcombe_interval(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=1e-4)


def test_what_was_not_demonstrated_is_counted():
    """More demonstrations leave no more outside; the hull of three places holds next to none of 50."""
    counts = [len(outside("lift", 0, shown)) for shown in (3, 10, 30, 60)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 40 and counts[-1] < 25
    said = coverage("lift", [record("gated", 0, "nominal", (40, 10))])
    assert f"ones: {counts[2]} (seed 0), {len(outside('lift', 1))} (seed 1), " in said
    assert "among" not in said  # that record does not say which scenes it failed in


def test_success_is_told_apart_by_whether_the_place_was_demonstrated():
    beyond = outside("lift", 1)
    failed = sorted(beyond)[:3] + sorted(set(range(50)) - beyond)[:1]
    mine = record("gated", 1, "nominal", (46, 10))
    mine["rollouts"]["nominal"]["failed"] = failed
    said = coverage("lift", [mine, record("gated", 0, "nominal", (40, 10))])
    row = next(line for line in said.splitlines() if line.startswith("| 30 | annotated | AutoFocus (gated) |"))
    assert f" {50 - len(beyond) - 1}/{50 - len(beyond)} = " in row and row.endswith("| 1 |")
    assert f" {len(beyond) - 3}/{len(beyond)} = " in row


def test_a_policy_that_is_trained_once_more_is_the_same_only_where_every_rollout_is():
    first = {r["key"]: r for r in (record("none", seed, "mate", (40, 3)) for seed in range(4))}
    keys = list(first)
    for key, failed in ((keys[1], [0, 9]), (keys[2], [0, 9])):
        first[key]["rollouts"]["mate"]["failed"] = failed

    def second(key: str, counts: tuple[int, int], failed: list[int], **more) -> dict:
        found = {name: {"successes": count, "rollouts": 50, "failed": failed}
                 for name, count in zip(conditions_of("mate"), counts, strict=True)}  # fmt: skip
        return {**first[key], "key": again_key(key, "def"), "commit": "def", "rollouts": found, **more}

    again = [second(keys[0], (40, 4), [1]), second(keys[1], (40, 3), [0, 8]), second(keys[2], (40, 3), [0, 9]),
             second(keys[3], (40, 3), [5]), second(keys[3], (1, 1), [], settings="others"),
             second(keys[0], (1, 1), []) | {"key": "gone/0@def"}]  # fmt: skip
    found = repetitions(first, again)
    assert [(one.key, one.same) for one in found] == [(keys[0], False), (keys[1], False), (keys[2], True),
                                                      (keys[3], True)]  # fmt: skip
    said = again_part(found)
    assert "Of 4 (400 rollouts; 1 commits before) 2 came out the same" in said
    assert "mate 40, mate_broken 3 (`abc`) | mate 40, mate_broken 4 (`def`) |" in said and keys[3] not in said
    assert again_part([]) == ""
    # What came out the same says which scenes were failed, for a first record that does not.
    known = filled(first, again)
    assert known[keys[3]]["rollouts"]["mate"]["failed"] == [5] and known[keys[3]]["commit"] == "abc"
    assert "failed" not in known[keys[0]]["rollouts"]["mate"]


def test_policies_are_picked_by_name_or_by_a_lot_that_can_be_drawn_again():
    records = {r["key"]: r for r in everything("none", (1, 1))}
    lot = pick(records, [], 3, 0)
    assert len(set(lot)) == 3 and lot == pick(records, [], 3, 0) and lot != pick(records, [], 3, 1)
    assert len(pick(records, [], 99, 0)) == len(records)
    assert pick(records, lot[:1], 3, 0) == lot[:1]
    with pytest.raises(AutofocusError, match="lift/mate/nobody"):
        pick(records, ["lift/mate/nobody"], 3, 0)


def test_pack_is_told_apart_by_the_side_of_the_tray():
    """Every scene has it on one side; a record fails in all scenes of one of them, another does not say where."""

    def tray_left(seed: int) -> bool:
        others = sample_scene("pack", "lamp", seed).others
        return next(placed for placed in others if placed.body == "tray").position_m[1] > 0

    left = [number for number, seed in enumerate(BENCHMARK_EVALUATION.take(50)) if tray_left(seed)]
    assert 0 < len(left) < 25
    mine = record("gated", 0, "lamp", (50 - len(left), 50), task="pack", demonstrations=60)
    mine["rollouts"]["lamp"]["failed"], mine["rollouts"]["lamp_broken"]["failed"] = left, []
    said = tray_sides([mine, record("gated", 1, "lamp", (5, 5), task="pack", demonstrations=60)])
    assert f"| annotated | AutoFocus (gated) | {len(left)}/{2 * len(left)} = 0.50" in said
    assert f" {100 - 2 * len(left)}/{100 - 2 * len(left)} = 1.00" in said and said.endswith("| 1 |\n")
    shown = sum(map(tray_left, BENCHMARK_DEMONSTRATIONS.take(60)))
    assert f"(of the arm: y > 0): {shown} (seed 0); of the 50 scenes of the evaluation {len(left)}." in said
    assert tray_sides([record("gated", 0, "lamp", (5, 5), task="pack", demonstrations=60)]) == ""


def test_a_curve_is_of_the_seeds_that_all_its_points_have():
    thirty = [record("gated", seed, "mate", (40, 10)) for seed in (0, 1, 2)]
    five = [record("gated", seed, "mate", (20, 5), demonstrations=5) for seed in (0, 2)]
    assert common_seeds([*thirty, *five]) == {0, 2}
    assert common_seeds([]) == set()


def test_the_page_has_what_there_is_and_says_what_is_missing(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "learning_sweep.png").write_bytes(b"of another run")
    found = [*everything("none", (40, 10)), *everything("gated", (48, 44)), *everything("reg-share", (48, 44)),
             record("gril", 0, "mate", (40, 10), commit="def", settings="a"), record("gril", 1, "mate", (4, 1)),
             record("none", 0, "mate", (40, 30), augmentation="common")]  # fmt: skip
    promised = write_report(found, tmp_path)
    assert len(promised) == 15 + 13 and {t.name.split(", ")[-1] for t in promised} == {
        "common augmentation", "annotated augmentation"}  # fmt: skip
    page = (tmp_path / "learning_results.md").read_text()
    assert f"**30 of {PLANNED} planned policies are done" in page
    assert f"29 of {9 * len(METHODS)} planned policies" in page
    assert "2 commits: `abc` (29), `def` (1)" in page and "more than one setting: gril (lift, annotated)" in page
    assert "With annotated augmentation. **Not told apart** (1 of 3): reg-share (automatic maps)." in page
    assert "With common augmentation" not in page  # ours is not measured there
    assert page.index("**missed**") < page.index("| met |") < page.index("| not measured yet |")
    assert (tmp_path / "images" / "learning_lift.png").stat().st_size > 5000
    assert (tmp_path / "images" / "learning_leaders.png").stat().st_size > 5000 and "learning_leaders" not in page
    assert not (tmp_path / "images" / "learning_sweep.png").exists() and "learning_sweep" not in page
    write_report([*found, record("gated", 0, "mate", (30, 20), demonstrations=10)], tmp_path)
    page = (tmp_path / "learning_results.md").read_text()
    assert "](images/learning_sweep.png)" in page
    assert "## lift, 10 demonstrations, automatic maps, annotated augmentation" in page
    assert (tmp_path / "images" / "learning_sweep.png").stat().st_size > 5000


def report(*more: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks" / "learning.py"), "report", *more]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp"} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment)


def test_a_stranger_can_report_on_any_file(tmp_path):
    """The command itself: on nothing, on a part (figures are kept of the benchmark's own records only), on damage."""
    results = {"AUTOFOCUS_RESULTS": str(tmp_path)}
    nothing = report("--docs", str(tmp_path), **results)
    assert nothing.returncode == 0 and "no records yet" in nothing.stdout and not list(tmp_path.iterdir())
    part = tmp_path / "part.jsonl"
    kept, foreign = record("gated", 0, "mate", (45, 41)), {"key": "lift/mate/gated/7"}
    part.write_text("".join(json.dumps(one) + "\n" for one in (kept, foreign)))
    done = report("--records", str(part), "--docs", str(tmp_path), **results)
    assert done.returncode == 0 and "MISS lift, 30 demonstrations: ours, mate broken" in done.stdout
    assert "left out 1 records" in done.stdout
    assert f": 1 of {PLANNED} planned policies" in done.stdout and not (tmp_path / "learning.json").exists()
    part.rename(tmp_path / "learning_runs.jsonl")
    assert report("--docs", str(tmp_path), **results).returncode == 0
    (row,) = json.loads((tmp_path / "learning.json").read_text())
    assert row["value"] == 0.82 and row["ok"] is False and row["target"] == ">= 0.9"
    part.write_text("{cut\n")
    damaged = report("--records", str(part), "--docs", str(tmp_path), **results)
    assert damaged.returncode == 2 and "part.jsonl:1" in damaged.stderr and "Traceback" not in damaged.stderr
