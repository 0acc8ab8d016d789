"""What a killed, damaged or foreign recording becomes: a readable episode that says what is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import core_samples as samples
import killed_recording
import pytest
from autofocus_core.bags import open_bag
from autofocus_core.episode import list_episodes, load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields
from autofocus_core.schema import parse_task
from demo_recorder import recovery
from demo_recorder.quality import measure
from demo_recorder.recovery import episode_path, find_interrupted, in_use, recover

TASK = parse_task(
    Fields(
        {"schema": 1, "name": "lift", "instruction": "lift it", "cameras": ["front"], "timeout_s": 8}, "the test's task"
    )
)


@pytest.fixture
def writing(tmp_path):
    """Starts a process that records to a path, and waits until at least 200 joint messages are safe."""
    children = []

    def start(name="ep", suffix=".recording", *options):
        argv = [sys.executable, killed_recording.__file__, str(tmp_path / name), suffix, *options]
        path = os.pathsep.join([str(Path(killed_recording.__file__).parent), os.environ.get("PYTHONPATH", "")])
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
        children.append(child)
        while (flushed := int(child.stdout.readline().split()[1])) < 200:
            pass
        return child, flushed

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.fixture
def killed(writing, tmp_path):
    """A recording whose process was killed; gives its directory and how many joint messages were safe."""

    def start(name="ep", suffix=".recording", *options):
        child, flushed = writing(name, suffix, *options)
        child.kill()
        child.wait()
        return tmp_path / (name + suffix), flushed

    return start


def files_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_killed_recording_becomes_an_episode(killed, tmp_path):
    working, flushed = killed("ep", ".recording", "--sidecar")
    original = files_of(working)
    assert find_interrupted(tmp_path) == [working]
    recovered = recover(working)
    assert recovered.path == tmp_path / "ep"
    (episode,) = list_episodes(tmp_path)
    meta = episode.meta
    assert meta == recovered.meta
    with episode.open() as bag:
        counts = dict(bag.counts)
        positions = [msg.position[0] for _, msg in bag.decoded(["/joint_states"])]
        streams, _ = measure(bag, {t: s.expected_rate_hz for t, s in meta.streams.items()}, meta.start_ns, meta.end_ns)
    assert counts["/joint_states"] >= flushed  # nothing that was safe is lost
    assert positions == list(range(len(positions)))
    # What was known before, and figures from the bag.
    assert (meta.id, meta.task, meta.robot, meta.note, meta.software) == ("ep", "lift", "tiny", "first try", "test 1")
    assert (meta.stop_reason, meta.outcome, meta.devices) == ("interrupted", "unknown", {"/front": {"serial": "17"}})
    assert {topic: meta.streams[topic] for topic in streams} == streams
    assert streams["/joint_states"].achieved_rate_hz == pytest.approx(100)
    assert [event.kind for event in meta.events if event.topic == "/front/image"] == ["publisher_lost"]
    # The verdict is bad whatever the figures say, and tells what is lost.
    assert meta.verdict.grade == "bad"
    assert "interrupted" in meta.verdict.reasons[0]
    assert any(reason.startswith("lost: ") for reason in meta.verdict.reasons)
    assert f"{killed_recording.NEVER}: no message at all" in meta.verdict.reasons
    # The original lies aside, as it was.
    assert recovered.original == tmp_path / ".interrupted" / "ep.recording"
    assert files_of(recovered.original) == original
    assert not working.exists() and find_interrupted(tmp_path) == []


def test_a_killed_recorder_loses_nothing_older_than_a_second(killed, tmp_path):
    """The recorder's own queue, threads and file splits, killed while it writes as fast as it can."""
    working, safe = killed("ep", ".recording", "--recorder")
    recovered = recover(working, delete_original=True)
    assert len(list(recovered.path.glob("*.mcap"))) > 1
    with open_bag(recovered.path) as bag:
        positions = [msg.position[0] for _, msg in bag.decoded(["/joint_states"])]
    assert positions == list(range(len(positions))) and len(positions) >= safe
    assert (recovered.meta.stop_reason, recovered.meta.note) == ("interrupted", "first try")
    assert recovered.meta.streams["/joint_states"].missing == 0


def test_recovering_twice_changes_nothing(killed, tmp_path):
    working, _ = killed()
    recover(working)
    before = files_of(tmp_path)
    for again in (working, tmp_path / "ep", tmp_path / ".interrupted" / "ep.recording"):
        with pytest.raises(AutofocusError):
            recover(again)
    assert files_of(tmp_path) == before


def test_a_recording_that_runs_is_left_alone(writing, tmp_path):
    child, _ = writing()
    working = tmp_path / "ep.recording"
    assert in_use(working)
    with pytest.raises(AutofocusError, match="is being written"):
        recover(working)
    assert child.poll() is None and working.is_dir() and not (tmp_path / ".interrupted").exists()


def test_a_name_that_is_taken_is_never_overwritten(killed, tmp_path):
    working, _ = killed()
    samples.write_bag(tmp_path / "ep", samples.small_recording())
    before = files_of(tmp_path)
    with pytest.raises(AutofocusError, match="exists"):
        recover(working)
    (tmp_path / "ep").rename(tmp_path / "other")
    (tmp_path / ".interrupted" / "ep.recording").mkdir(parents=True)
    with pytest.raises(AutofocusError, match="exists"):
        recover(working)
    shutil.rmtree(tmp_path / ".interrupted")
    (tmp_path / "other").rename(tmp_path / "ep")
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("sidecar", [None, "", "{", '{"schema": 2}'], ids=["none", "empty", "cut", "incomplete"])
def test_without_a_sidecar_robot_and_task_tell_what_was_expected(killed, tmp_path, sidecar):
    working, _ = killed()
    if sidecar is not None:
        (working / "episode.json").write_text(sidecar)
    meta = recover(working, robot=samples.robot(), task=TASK).meta
    assert (meta.robot, meta.robot_hash, meta.task) == ("tiny", samples.robot().hash(), "lift")
    assert {t: s.expected_rate_hz for t, s in meta.streams.items()} == {"/joint_states": 100.0, "/front/image": 30.0}
    assert "/intent: no message at all" in meta.verdict.reasons
    with load_episode(tmp_path / "ep", samples.robot()).open() as bag:
        assert meta.start_ns == bag.start_ns


def test_nobody_knows_anything_about_it(killed, tmp_path):
    """A recovered recording of an unknown robot stays readable, for any robot."""
    working, _ = killed("ep", ".partial")
    meta = recover(working).meta
    assert (meta.robot, meta.task, meta.verdict.grade) == ("", "", "bad")
    assert load_episode(tmp_path / "ep", samples.robot()).meta == meta


def test_a_foreign_killed_recording(killed, tmp_path):
    """What `ros2 bag record` leaves when it is killed: a directory with MCAP files and no metadata.yaml."""
    working, flushed = killed()
    working.rename(tmp_path / "rosbag2_2026")
    assert find_interrupted(tmp_path) == [tmp_path / "rosbag2_2026"]
    recovered = recover(tmp_path / "rosbag2_2026")
    assert recovered.path == tmp_path / "rosbag2_2026"
    assert recovered.original == tmp_path / ".interrupted" / "rosbag2_2026"
    assert load_episode(recovered.path).meta.streams["/joint_states"].count >= flushed


def test_a_foreign_recording_that_runs_is_left_alone(tmp_path):
    """rosbag2 takes no lock; but it has its files open."""
    samples.write_bag(tmp_path / "bag", samples.small_recording())
    (tmp_path / "bag" / "metadata.yaml").unlink()
    with (tmp_path / "bag" / "bag_0.mcap").open("ab"), pytest.raises(AutofocusError, match="is being written"):
        recover(tmp_path / "bag")
    assert recover(tmp_path / "bag").path.is_dir()


def test_sqlite_is_refused_with_the_tool_that_can(tmp_path):
    path = samples.foreign_bag(tmp_path / "bag", samples.small_recording(), "sqlite3")
    (path / "metadata.yaml").unlink()
    with pytest.raises(AutofocusError, match="ros2 bag reindex"):
        recover(path)
    assert path.is_dir()


def test_a_whole_episode_needs_no_recovery(tmp_path):
    path = samples.write_bag(tmp_path / "ep", samples.small_recording())
    with pytest.raises(AutofocusError, match="is whole"):
        recover(path)


def test_a_broken_sidecar_is_made_anew_and_the_messages_stay(tmp_path):
    path = samples.write_bag(tmp_path / "ep", samples.small_recording())
    (path / "episode.json").write_text("{ not json")
    before = {name: data for name, data in files_of(path).items() if not name.endswith(".json")}
    recovered = recover(path, robot=samples.robot())
    meta = load_episode(path).meta
    assert meta == recovered.meta
    assert meta.verdict.grade == "bad" and "sidecar" in meta.verdict.reasons[0]
    assert (path / "episode.json.broken").read_text() == "{ not json"
    assert {name: data for name, data in files_of(path).items() if ".json" not in name} == before


def test_a_sidecar_of_a_newer_version_is_not_thrown_away(tmp_path):
    path = samples.write_bag(tmp_path / "ep", samples.small_recording())
    (path / "episode.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(AutofocusError, match="update AutoFocus-IL"):
        recover(path)


def test_a_damaged_episode_keeps_its_outcome_and_says_what_is_lost(killed, tmp_path):
    working, _ = killed("ep", ".recording", "--sidecar")
    recovered = recover(working)
    (mcap,) = recovered.path.glob("*.mcap")
    data = bytearray(mcap.read_bytes())
    data[len(data) // 2] ^= 0xFF
    mcap.write_bytes(data)
    shutil.rmtree(tmp_path / ".interrupted")
    again = recover(recovered.path)
    assert again.meta.stop_reason.startswith("error: damaged files")
    assert (again.meta.verdict.grade, again.meta.note) == ("bad", "first try")
    assert 0 < again.meta.streams["/joint_states"].count < recovered.meta.streams["/joint_states"].count
    with open_bag(again.path) as bag:
        assert sum(1 for _ in bag.decoded()) == bag.message_count


def test_nothing_to_recover_leaves_everything_where_it_was(tmp_path):
    """Killed before its first chunk: there is no message, and no episode."""
    working = tmp_path / "ep.recording"
    working.mkdir()
    (working / "ep_0.mcap").write_bytes(b"\x89MCAP0\r\n")
    with pytest.raises(AutofocusError, match="no whole message"):
        recover(working)
    assert working.is_dir() and not (tmp_path / "ep").exists() and find_interrupted(tmp_path) == [working]


def test_a_recovery_that_was_killed_can_be_done_again(killed, tmp_path, monkeypatch):
    """Between setting aside and the new episode the recording has neither its old place nor its name."""
    working, flushed = killed("ep", ".recording", "--sidecar")

    class Killed(BaseException):
        pass

    def die(*args):
        monkeypatch.setattr(recovery.Path, "rename", lambda *args: (_ for _ in ()).throw(Killed))
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(recovery, "rebuild", die)
        with pytest.raises(Killed):
            recover(working)
    monkeypatch.undo()
    aside = tmp_path / ".interrupted" / "ep.recording"
    assert find_interrupted(tmp_path) == [aside]
    assert episode_path(aside) == tmp_path / "ep"
    recovered = recover(aside)
    assert recovered.original == aside and recovered.meta.streams["/joint_states"].count >= flushed
    assert recovered.meta.stop_reason == "interrupted"


def test_the_original_goes_only_after_the_episode_was_read(killed, tmp_path, monkeypatch):
    working, _ = killed()
    monkeypatch.setattr(recovery, "_verify", lambda *args: (_ for _ in ()).throw(AutofocusError("a", "b", "c", "d")))
    with pytest.raises(AutofocusError):
        recover(working, delete_original=True)
    assert (tmp_path / ".interrupted" / "ep.recording").is_dir()
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "ep")
    recovered = recover(tmp_path / ".interrupted" / "ep.recording", delete_original=True)
    assert recovered.original is None and not list((tmp_path / ".interrupted").iterdir())
    assert recovered.path.is_dir()


def test_annotations_and_unfinished_rebuilds_are_no_recordings(tmp_path):
    for name in ("ep.annotation.partial", "ep.annotation", "notes"):
        (tmp_path / name).mkdir()
    rebuilding = tmp_path / "ep.partial"
    rebuilding.mkdir()
    (rebuilding / ".rebuild").write_text("")
    assert find_interrupted(tmp_path) == []
