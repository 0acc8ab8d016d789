"""Sets of demonstrations: real episodes with both annotations, made once, and gone on with after an interruption."""

import sys
from pathlib import Path

import numpy as np
import pytest
from autofocus_core.annotation import read_annotation
from autofocus_core.episode import list_episodes
from autofocus_core.errors import AutofocusError
from autofocus_core.resample import observations
from autofocus_core.schema import load_robot, load_task
from sim_config import CONFIG

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from learning_parts import demonstrations
from learning_parts.demonstrations import SeedRecord, make

ROBOT = load_robot(CONFIG / "sim_arm.yaml")


@pytest.fixture(scope="module")
def lift(tmp_path_factory):
    return make("lift", "mate", 1, tmp_path_factory.mktemp("sets"))


def test_an_episode_reads_as_a_recorded_one(lift):
    task = load_task(CONFIG / "lift.yaml")
    (episode,) = list_episodes(lift.folder / "automatic", ROBOT)
    assert [episode.path] == lift.episodes("automatic")
    with episode.open() as bag:
        seen = list(observations(bag, ROBOT, task.cameras))
    assert len(seen) == lift.records[0].frames > 60
    assert seen[0].images["camera"].shape == (240, 320, 3)
    assert np.median(np.diff([each.stamp_ns for each in seen])) == pytest.approx(1e9 / 30, rel=0.15)


def test_both_annotations_fit_the_bytes_and_agree(lift):
    """`read_annotation` checks the content hash; the annotator must find what the simulator knows."""
    (automatic,), (privileged,) = (
        read_annotation(path).cameras for kind in ("automatic", "privileged") for path in lift.episodes(kind)
    )
    task = load_task(CONFIG / "lift.yaml")
    assert tuple(track.name for track in privileged.objects) == task.objects
    assert [track.role for track in privileged.objects] == ["target", "robot"]
    assert privileged.valid.all() and privileged.object("red cube").valid.all()
    np.testing.assert_array_equal(automatic.stamps_ns, privileged.stamps_ns)
    for name in task.objects:
        found, known = automatic.object(name), privileged.object(name)
        both = found.valid & known.valid
        assert both.mean() > 0.9
        centres = [(track.boxes_px[both, :2] + track.boxes_px[both, 2:]) / 2 for track in (found, known)]
        assert np.median(np.hypot(*(centres[0] - centres[1]).T)) < 3.0


def test_what_is_there_is_kept_and_what_is_half_there_is_made_again(lift, monkeypatch):
    made = []
    real = demonstrations.write_demonstration
    monkeypatch.setattr(demonstrations, "write_demonstration", lambda *job: made.append(job[-1]) or real(*job))
    assert make("lift", "mate", 1, lift.folder.parent) == lift and made == []
    # Killed between the episode and its annotation: what the second folder has is not complete.
    annotation = lift.folder / "privileged" / f"s{lift.seeds[0]}.annotation"
    annotation.rename(annotation.with_suffix(".gone"))
    again = make("lift", "mate", 1, lift.folder.parent)
    assert made == [lift.seeds[0]] and again.seeds == lift.seeds and annotation.is_dir()
    read_annotation(again.episodes("automatic")[0])


def test_where_the_operator_fails_the_next_seed_is_taken(tmp_path, monkeypatch):
    def fails_at_odd_seeds(folder, task, condition, seed):
        (folder / "privileged" / f"s{seed}.annotation").mkdir(exist_ok=True)
        return SeedRecord(seed, seed % 2 == 0, 90, 0.1)

    monkeypatch.setattr(demonstrations, "write_demonstration", fails_at_odd_seeds)
    found = make("lift", "lamp", 3, tmp_path, automatic=False)
    assert found.seeds == (1_000_000, 1_000_002, 1_000_004)
    assert [record.seed for record in found.records if not record.success] == [1_000_001, 1_000_003]
    fewer = make("lift", "lamp", 2, tmp_path, automatic=False)
    assert fewer.seeds == found.seeds[:2], "a smaller set is the beginning of a larger one"


def test_sets_differ_by_what_they_depend_on(monkeypatch):
    hashes = {demonstrations.settings_hash(t, c) for t in demonstrations.TASKS for c in demonstrations.TRAINING_SETS}
    assert len(hashes) == 9
    before = demonstrations.settings_hash("lift", "mate")
    monkeypatch.setattr(demonstrations, "version", lambda package: "0.0")
    assert demonstrations.settings_hash("lift", "mate") != before
    with pytest.raises(AutofocusError, match="nominal"):
        demonstrations.settings_hash("lift", "mate_broken")
