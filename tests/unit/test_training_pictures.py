"""`autofocus plot`, and the picture that `autofocus train` leaves: what is noted, what is shown, what is said."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
import training_bags as bags
from autofocus_core.episode import load_episode
from autofocus_core.errors import AutofocusError
from autofocus_training import train
from autofocus_training.attention import MOMENTS, draw_attention, load_trained, moments, moments_of
from autofocus_training.checkpoint import save_state
from autofocus_training.curves import draw_curves, labels, read_curves, running_mean
from autofocus_training.fit import begin
from autofocus_training.plot import main
from tiny_samples import RELATIVE, config, samples


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """FOLDER/none and FOLDER/gated, trained for 40 steps on FOLDER/episodes, of which one is held out."""
    folder = tmp_path_factory.mktemp("runs")
    for number in range(3):
        bags.write_episode(folder / "episodes" / f"e{number}")
    for method in ("none", "gated"):
        more = ("--method", method, "--set", "steps=40", "held_out_episodes=1", "--no-cache", "--workers", "0")
        assert train.main(bags.train_arguments(folder, method, *more)) == 0
    return folder


@pytest.fixture
def drawn(monkeypatch) -> list[matplotlib.figure.Figure]:
    """The figures that are written while a test runs."""
    found: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *a, **k: (found.append(self), save(self, *a, **k))
    )
    return found


def test_training_notes_rates_and_gradients_and_leaves_a_picture(runs):
    curves = read_curves(runs / "gated")
    assert set(curves.values) == {"imitation", "saliency", "learning_rate", "gradient_norm", "held_out"}
    steps, rates = curves.values["learning_rate"]
    assert steps.tolist() == [0, 20, 39] and rates.max() <= 1e-2 and rates[-1] < rates[1]
    assert (curves.values["gradient_norm"][1] > 0).all()
    assert curves.values["held_out"][0].tolist() == [0, 20, 39]
    assert "saliency" not in read_curves(runs / "none").values
    assert (runs / "gated" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_drawn_over_each_other_with_a_panel_for_what_any_of_them_noted(runs, tmp_path, drawn):
    assert main([str(runs / "none"), str(runs / "gated"), "--out", str(tmp_path / "c.png")]) == 0
    panels = {axes.get_title(): axes for axes in drawn[0].axes if axes.get_visible()}
    assert len(panels) == 5 and all(axes.get_xlabel() and axes.get_ylabel() for axes in panels.values())
    lines = {title: len(axes.get_lines()) for title, axes in panels.items()}
    assert lines["imitation loss, held-out episodes"] == lines["learning rate"] == 2
    assert lines["saliency loss, before its weight"] == 2  # one run's, and its running mean
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["BC (none)", "gated"]


def test_an_interrupted_run_has_curves_and_what_is_no_run_is_said(tmp_path):
    setting = config("method=gated")
    points = [{"step": 0, "imitation": 1.0, "total": 2.0}, {"step": 20, "imitation": 0.5, "total": 1.0}]
    save_state(tmp_path / "run.pt", begin(samples(), RELATIVE, setting), setting, "data", points)
    curves = read_curves(tmp_path)
    assert curves.values["imitation"][1].tolist() == [1.0, 0.5] and "total" not in curves.values
    draw_curves([curves], tmp_path / "deep" / "c.png")
    with pytest.raises(AutofocusError, match="autofocus train"):
        read_curves(tmp_path / "nothing")
    (tmp_path / "history.json").write_text('{"curve": [')
    with pytest.raises(AutofocusError, match="train again"):
        read_curves(tmp_path)


def test_runs_of_one_method_are_told_apart():
    a, b = Path("a"), Path("b")
    assert labels([("none", 0, a), ("gated", 0, b)]) == ["BC (none)", "gated"]
    assert labels([("gated", 0, a), ("gated", 1, b)]) == ["gated, seed 0", "gated, seed 1"]
    assert labels([("gated", 0, a), ("gated", 0, b)]) == ["gated, seed 0, a", "gated, seed 0, b"]


def test_the_running_mean_neither_moves_nor_invents():
    np.testing.assert_allclose(running_mean(np.array([0.0, 0.0, 5.0, 0.0, 0.0]), 3), [0, 5 / 3, 5 / 3, 5 / 3, 0])
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0]), 5), [2, 2])  # shorter than the window


def test_moments_follow_the_gripper_whichever_way_it_closes():
    opening = np.array([0.04] * 10 + [0.03, 0.02, 0.01, 0.0] + [0.0] * 10)
    for gripper in (opening, -opening):
        assert moments_of(gripper, 24) == (0, 5, 11, 21)
    assert moments_of(np.full(31, 0.04), 31) == moments_of(None, 31) == (0, 10, 20, 30)
    assert moments_of(None, 1) == (0, 0, 0, 0)


def test_attention_is_the_networks_on_the_frame_that_is_shown(runs, tmp_path, drawn):
    policies = [load_trained(runs / name) for name in ("none", "gated")]
    episode = load_episode(bags.write_episode(tmp_path / "new"))
    rows = moments(policies, episode, bags.robot(), bags.task())
    assert [row.name.split(",")[0] for row in rows] == list(MOMENTS)
    for row in rows:
        number = int(row.image[0, 0, 0])  # the red value tells the frame
        np.testing.assert_allclose(row.boxes_px[0], bags.box_at(number), atol=1e-4)
        y, x = np.unravel_index(row.maps[0].argmax(), row.maps[0].shape)
        x0, y0, x1, y1 = row.boxes_px[0]
        assert x0 <= x <= x1 and y0 <= y <= y1
        none, gated = row.looks
        assert len(none.maps) == 1 and len(gated.maps) == len(row.objects) == 2
        assert 0 <= none.share <= 1 and 0 <= gated.share <= 1 and 0 < row.chance < 1
        np.testing.assert_allclose(gated.maps.sum((1, 2)), 1, atol=1e-4)
    assert rows[0].image[0, 0, 0] < rows[-1].image[0, 0, 0]
    draw_attention(policies, rows, tmp_path / "a.png")
    heads = [axes.get_title() for axes in drawn[0].axes[:4]]
    mean = np.mean([row.looks[1].share for row in rows])
    assert heads[3] == f"gated\n{mean:.0%} of attention on the objects" and heads[2].startswith("BC (none)\n")


def test_episodes_that_were_trained_on_are_said_to_be(runs, tmp_path, capsys):
    (held,) = json.loads((runs / "gated" / "history.json").read_text())["held_out_episodes"]
    policy = load_trained(runs / "gated")
    assert policy.seen == {f"e{number}" for number in range(3) if number != held}
    common = ["--robot", str(runs / "robot.yaml"), "--task", str(runs / "task.yaml"), "--out", str(tmp_path / "a.png")]
    for number in range(3):
        assert main([str(runs / "gated"), "--attention", str(runs / "episodes" / f"e{number}"), *common]) == 0
        said = capsys.readouterr().out
        assert ("trained on" in said) == (number != held)


def test_what_cannot_be_looked_at_is_said(runs, tmp_path):
    bare = load_episode(bags.write_episode(tmp_path / "bare", annotate=False))
    with pytest.raises(AutofocusError, match="annotate"):
        moments([load_trained(runs / "gated")], bare, bags.robot(), bags.task())
    with pytest.raises(AutofocusError, match="--robot"):
        main([str(runs / "gated"), "--attention", str(bare.path), "--out", str(tmp_path / "a.png")])
    yamls = ["--robot", str(runs / "robot.yaml"), "--task", str(runs / "task.yaml")]
    with pytest.raises(AutofocusError, match="'nose'"):
        main([str(runs / "gated"), "--attention", str(bare.path), *yamls, "--camera", "nose", "--out", "a.png"])
    with pytest.raises(AutofocusError, match="13 episodes"):
        main([str(runs / "gated"), "--attention", *[str(bare.path)] * 13, *yamls, "--out", "a.png"])
