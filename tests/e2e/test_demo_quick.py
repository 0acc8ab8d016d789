"""`autofocus demo --quick`: the whole chain for real, with little of everything: that the parts fit together."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from autofocus_cli.demo.settings import QUICK, Paths
from autofocus_core.annotation import read_annotation
from autofocus_core.episode import list_episodes
from autofocus_core.manifest import read_manifest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="rclpy is not importable: use `make test`"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished quick run and what it printed."""
    paths = Paths(tmp_path_factory.mktemp("demo") / "run")
    command = [sys.executable, "-m", "autofocus_cli.main", "demo", "--quick", "--out", str(paths.run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=850,
                          env={**os.environ, "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return paths, done.stdout


def test_every_stage_says_how_long_it_took(run):
    _, printed = run
    for stage in ("setup", "record", "annotate", "train", "export", "offline", "evaluate", "deploy", "report"):
        assert f"== {stage} took" in printed


def test_summary_counts_what_was_done(run):
    paths, _ = run
    summary = json.loads(paths.summary.read_text())
    assert summary["demos"] >= QUICK.demos
    for method in ("bc", "autofocus"):
        for cell in ("nominal", "confounded"):
            assert summary["policies"][method][cell]["rollouts"] == QUICK.rollouts_per_seed
            assert summary["policies"][method]["deployed"][cell]["rollouts"] == QUICK.deployed_per_seed
    assert summary["annotation"]["coverage"] > 0.9
    assert summary["annotation"]["centre_error_px_p50"] < 3.0
    assert summary["policy_node"]["latency_ms_p50"] > 0
    assert summary["wall_s"]["total"] == pytest.approx(
        sum(seconds for stage, seconds in summary["wall_s"].items() if stage != "total"), abs=0.6)


def test_artefacts_are_what_other_tools_read(run):
    paths, _ = run
    summary = json.loads(paths.summary.read_text())
    episodes = list_episodes(paths.episodes)
    assert len(episodes) == summary["demos"]
    assert [e.outcome for e in episodes].count("failure") == summary["demos_failed"]
    for episode in episodes:
        tracks = read_annotation(episode.path).cameras[0].objects
        assert {track.name for track in tracks} == {"red cube", "orange gripper"}
    assert read_manifest(paths.policy("autofocus", 0)).method == "gated"
    assert read_manifest(paths.policy("bc", 0)).method == "none"


def test_report_has_its_pictures(run):
    paths, _ = run
    page = paths.report.read_text()
    assert page.count("data:image/jpeg;base64,") >= 12
    for name in ("demonstration_0", "attention_bc_nominal", "sensitivity_autofocus_confounded"):
        assert f"no picture: {name}" not in page


def test_no_process_is_left(run):
    """Every process of the run names the run's folder, or lies in a group that was ended."""
    paths, _ = run
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(paths.run) not in commands


def test_resume_does_nothing_twice(run):
    paths, _ = run
    before = (paths.stages / "deploy.json").stat().st_mtime_ns
    command = [sys.executable, "-m", "autofocus_cli.main", "demo", "--quick", "--resume", "--out", str(paths.run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "== deploy: done earlier" in done.stdout and "== report took" in done.stdout
    assert (paths.stages / "deploy.json").stat().st_mtime_ns == before


def test_resume_with_other_settings_is_refused(run):
    paths, _ = run
    command = [sys.executable, "-m", "autofocus_cli.main", "demo", "--resume", "--out", str(paths.run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "a run with other settings" in done.stderr
