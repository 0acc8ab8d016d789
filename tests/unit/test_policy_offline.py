"""`autofocus evaluate` on small bags: figures known beforehand, and inputs that do not fit."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import policy_files as files
import pytest
import torch
from autofocus_core.episode import Episode
from autofocus_core.episode_meta import Trim
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import ManifestCamera
from autofocus_policy.evaluation import short_names
from autofocus_policy.lockstep import trace
from autofocus_policy.offline import evaluate_episode, interpolate, main, split_paths
from autofocus_policy.runner import PolicyRunner
from evaluation_bags import MS, ROBOT, T0, annotate, write_bag


class FailsLater(torch.nn.Module):
    """Fine at first, NaN once the waist is beyond 0.2 rad: a second into the bag."""

    def forward(self, images: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = state[:, None].expand(-1, 8, -1).clone()
        if bool(state[0, 0] > 0.2):
            out[:, 3, 2] = float("nan")
        return out, torch.zeros(1, 1, 4, 4)


class Stays(torch.nn.Module):
    """Stays where the arm is, and says nothing of where it looks."""

    def forward(self, images: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return state[:, None].expand(-1, 8, -1).clone(), torch.zeros(1, 1, 4, 4)


def evaluate(tmp_path, *paths, policy=None, options=()):
    policy = files.write_policy(tmp_path / "p.pt") if policy is None else policy
    out = tmp_path / "out.json"
    code = main([str(policy), *map(str, paths), "--robot", str(files.SIM_ROBOT_YAML), "--json", str(out), *options])
    return code, json.loads(out.read_text())


def timeless(summary):
    """Without what a clock measured."""
    if "policies" in summary:
        return {"policies": [timeless(each) for each in summary["policies"]]}
    return {key: value for key, value in summary.items() if key != "latency_ms"}


@pytest.mark.parametrize("error_rad", [0.0, 0.05])
def test_known_errors(error_rad, tmp_path, capsys):
    code, summary = evaluate(tmp_path, write_bag(tmp_path / "bag", error_rad=error_rad))
    assert code == 0 and summary["observations"] in (29, 30)
    np.testing.assert_allclose(summary["mean_error"], [error_rad] * 6, atol=1e-6)
    np.testing.assert_allclose(summary["mean_error_by_step"], np.full((8, 6), error_rad), atol=1e-6)
    assert np.mean(summary["mean_error_standing_still"]) > 0.05
    assert "waist [rad]" in capsys.readouterr().out


def test_it_is_deterministic_and_takes_folders(tmp_path):
    episodes = tmp_path / "episodes"
    write_bag(episodes / "a"), write_bag(episodes / "b", error_rad=0.02)
    annotate(episodes / "a")
    first, second = evaluate(tmp_path, episodes)[1], evaluate(tmp_path, episodes)[1]
    assert timeless(first) == timeless(second) and len(first["episodes"]) == 2
    assert first["covering"]["frames"] and first["attention"]["observations"] in (29, 30)
    np.testing.assert_allclose(first["mean_error"], [0.01] * 6, atol=1e-6)


def test_what_has_no_action_is_not_compared(tmp_path):
    _, summary = evaluate(tmp_path, write_bag(tmp_path / "bag", action_s=0.3))
    assert summary["compared"] < 6 and summary["mean_error_by_step"][7] == [None] * 6


def test_bad_inputs(tmp_path):
    bag = write_bag(tmp_path / "bag", seconds=0.5)
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken.pt"
    broken.write_bytes(files.write_policy(tmp_path / "whole.pt").read_bytes()[:-200])
    eyes = dataclasses.replace(files.manifest_for(ROBOT), cameras=(ManifestCamera("wrist", 320, 240),))
    wrist = files.write_policy(tmp_path / "wrist.pt", manifest=eyes)
    other = dataclasses.replace(files.manifest_for(ROBOT), joints=("a", *ROBOT.joint_names[1:]))
    arm = files.write_policy(tmp_path / "arm.pt", manifest=other)
    for paths, policy, words in (([tmp_path / "empty"], None, "empty"), ([tmp_path / "none"], None, "none"),
                                 ([bag], tmp_path / "none.pt", "none.pt"), ([bag], broken, "copy it again"),
                                 ([bag], wrist, "camera 'wrist'"), ([bag], arm, "joints in order"),
                                 ([bag, broken], None, "copy it again"), ([], None, "no episodes"),
                                 ([tmp_path / "p.pt", bag], None, "twice")):
        with pytest.raises(AutofocusError) as e:
            evaluate(tmp_path, *paths, policy=policy)
        assert words in str(e.value) and e.value.fix
    with pytest.raises(AutofocusError, match="--no-report"):
        evaluate(tmp_path, bag, options=("--report", str(bag / "metadata.yaml/report.html")))


@pytest.mark.parametrize(("lacks", "words"), [({"action_s": 0.0}, "no message on /teleop/intent"),
                                              ({"action_topic": False}, "no topic /teleop/intent")])
def test_without_the_operators_action_it_says_what_it_can(lacks, words, tmp_path, capsys):
    bag = write_bag(tmp_path / "bag", **lacks)
    annotate(bag)
    code, summary = evaluate(tmp_path, bag)
    assert code == 0 and summary["relative_error"] is None and summary["mean_error"] == [None] * 6
    assert summary["compared"] == 0 and summary["covering"]["frames"] == 4 and summary["latency_ms"]["p50"] > 0
    assert words in str(summary["without"]) and words in capsys.readouterr().out
    page = (tmp_path / "p.evaluation.html").read_text()
    assert words in page and "errors are not known" in page


def test_without_an_annotation_it_says_what_is_left_out(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag")
    _, summary = evaluate(tmp_path, bag)
    assert summary["attention"] is None and summary["covering"] is None and summary["relative_error"] < 1e-4
    assert "autofocus annotate" in capsys.readouterr().out and "autofocus annotate" in str(summary["without"])
    # An annotation of other bytes is none, and that it is there is said.
    annotate(bag)
    again = write_bag(tmp_path / "again", error_rad=0.1)
    shutil.copytree(tmp_path / "bag.annotation", tmp_path / "again.annotation")
    _, summary = evaluate(tmp_path, again)
    assert summary["covering"] is None and "another recording" in str(summary["without"])


def test_what_moves_the_action_is_found(tmp_path):
    """Sees weighs left against right: to cover a box in the bright left half with black changes it, and the colour
    around it changes nothing. So the scan, which paints with the colours around, finds nothing but the edge."""
    bag = write_bag(tmp_path / "bag")
    annotate(bag, box=(130.0, 60.0, 190.0, 100.0))  # across the edge
    _, summary = evaluate(tmp_path, bag)
    cube = summary["covering"]["things"]["red cube"]
    assert cube["kind"] == "object" and cube["frames"] == 4
    assert cube["change"] > 0 and cube["background"] < 0.5 * cube["change"]
    share = summary["attention"]
    assert 0 < share["share_by_chance"] < 0.2 and abs(share["share_on_objects"] - share["share_by_chance"]) < 0.1


def test_several_policies_in_one_report_that_needs_nothing_else(tmp_path):
    bag = write_bag(tmp_path / "<b>bag & co")
    annotate(bag)
    (tmp_path / "x").mkdir()
    second = files.write_policy(tmp_path / "x/p.pt", Stays())
    _, summary = evaluate(tmp_path, second, bag, options=("--report", str(tmp_path / "r.html"), "--frames", "2"))
    names = [each["name"] for each in summary["policies"]]
    assert names == [f"{tmp_path.name}/p", "x/p"]
    assert summary["policies"][1]["attention"] is None  # a map of zeros is none
    assert summary["policies"][1]["relative_error"] == pytest.approx(1.0)
    page = (tmp_path / "r.html").read_text()
    assert "<b>bag" not in page and "&lt;b&gt;bag &amp; co" in page
    for word in ("http:", "https:", "<script", "src=\"/", "url("):
        assert word not in page.replace("http://www.w3.org/2000/svg", ""), word
    assert page.count("<svg") >= 10 and page.count("data:image/jpeg;base64,") >= 4 and names[0] in page
    assert "prefers-color-scheme: dark" in page and not (tmp_path / "p.evaluation.html").exists()


def test_a_policy_that_answers_nan_is_a_column_and_the_others_go_on(tmp_path, capsys):
    """One NaN in one policy ended the whole comparison, after minutes, without a figure of the others."""
    bags = [write_bag(tmp_path / name) for name in ("a", "b")]
    annotate(bags[0])
    (tmp_path / "x").mkdir()
    bad = files.write_policy(tmp_path / "x/bad.pt", FailsLater())
    code, summary = evaluate(tmp_path, bad, *bags)
    good, failed = summary["policies"]
    assert code == 1 and good["relative_error"] < 1e-4 and len(good["episodes"]) == 2 and "failed" not in good
    assert failed["failed"].startswith("actions with 1 values not finite, 1.") and failed["failed"].endswith("s into a")
    out = capsys.readouterr().out
    assert "bad: failed: actions with 1 values not finite" in out
    page = (tmp_path / "p.evaluation.html").read_text()
    assert "It failed: actions with 1 values not finite" in page and "it follows the operator" in page
    with pytest.raises(AutofocusError, match="s into a"):  # nothing is left to report on
        evaluate(tmp_path, *bags, policy=bad)


@pytest.mark.parametrize(("late_ms", "words"), [(-200, "ahead of"), (300, "30 images recorded long after")])
def test_f25_stamps_that_the_running_node_refuses_are_refused_here_too(late_ms, words, tmp_path):
    """lockstep gave the intake each header stamp as the time of receipt: a camera whose clock is ahead was refused on
    the robot, and its recording evaluated as if nothing were wrong. Also one whose images come too late."""
    bag = write_bag(tmp_path / "bag", seconds=1.0, camera_late_ms=late_ms)
    with pytest.raises(AutofocusError) as e:
        evaluate(tmp_path, bag)
    assert words in str(e.value)
    assert evaluate(tmp_path, write_bag(tmp_path / "in_time", seconds=1.0, camera_late_ms=40))[0] == 0


def test_a_replay_that_begins_later_is_compared_from_there_on(tmp_path):
    """Which images are taken follows from the first one: with start_offset_s all of them were others than lockstep's,
    and the report said that the live route had missed every observation."""
    runner = PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT)
    episode = Episode(write_bag(tmp_path / "bag"), None)
    whole, later = (trace(episode, runner, ROBOT, offset_s=offset_s).stamps_ns for offset_s in (0.0, 0.55))
    assert later[0] >= T0 + 550 * MS and len(later) in (24, 25)
    assert not set(later) & set(whole), "another grid"


def test_a_rollout_follows_the_policys_own_answers(tmp_path):
    """Sees asks for 0.2 rad a second from where it is: a roll-out goes exactly as the operator did. One that is told
    that the operator was 0.05 rad elsewhere is off by that all the way."""
    for error_rad in (0.0, 0.05):
        _, summary = evaluate(tmp_path, write_bag(tmp_path / f"bag{error_rad}", error_rad=error_rad))
        drift = summary["drift"]
        assert drift["rollouts"] == 1 and drift["elapsed_s"][-1] >= 2.5
        arm = np.array(drift["mean"])[:, :5]  # the gripper's travel ends soon, and so does what is asked of it
        np.testing.assert_allclose(arm, np.full_like(arm, error_rad), atol=1e-6)
        assert drift["standing_still"][-1][0] > 0.4
    _, summary = evaluate(tmp_path, tmp_path / "bag0.05", options=("--rollout-s", "1.0"))
    assert summary["drift"]["rollouts"] == 3 and summary["drift"]["elapsed_s"][-1] == 1.0


def test_blending_is_evaluated_as_it_would_be_sent(tmp_path):
    bag = write_bag(tmp_path / "bag")
    plain, blended = (evaluate(tmp_path, bag, options=("--blending", mode))[1] for mode in ("none", "ensemble"))
    assert timeless(plain) != timeless(blended)
    np.testing.assert_allclose(blended["mean_error"], 0.0, atol=2e-3)


def test_what_is_trimmed_is_not_evaluated(tmp_path):
    """As in training: an operator who waits at the end does not make the policy look better."""
    bag = write_bag(tmp_path / "bag", seconds=2.0)
    runner = PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT)
    kept = SimpleNamespace(trim=Trim(T0 + 500 * MS, T0 + 1200 * MS, "by hand"))
    found, whole = (evaluate_episode(Episode(bag, meta), runner, ROBOT) for meta in (kept, None))
    assert found.stamps_ns[0] >= T0 + 500 * MS and found.stamps_ns[-1] <= T0 + 1200 * MS
    assert 6 <= len(found.stamps_ns) < len(whole.stamps_ns)


def test_paths_are_told_apart(tmp_path):
    a, b = (files.write_policy(tmp_path / name) for name in ("a.pt", "b.torchscript"))
    bag = write_bag(tmp_path / "bag", seconds=0.2)
    (tmp_path / "single.mcap").touch()
    assert split_paths([a, b, bag, tmp_path / "single.mcap", tmp_path / "no"]) == (
        [a, b], [bag, tmp_path / "single.mcap", tmp_path / "no"])
    names = short_names([tmp_path / "x/one/policy.pt", tmp_path / "x/two/policy.pt"])
    assert list(names) == ["one/policy", "two/policy"]


def test_interpolation_does_not_cross_gaps_nor_ends():
    stamps = T0 + np.array([0, 100, 200, 900]) * MS
    values = np.array([[0.0], [1.0], [2.0], [9.0]])
    at = T0 + np.array([-1, 0, 50, 200, 500, 900, 901]) * MS
    expected = [np.nan, 0.0, 0.5, 2.0, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(interpolate(stamps, values, at, 300.0)[:, 0], expected)
