"""The episode's sidecar, and what counts as an episode."""

import json

import core_samples as samples
import pytest
from autofocus_core.episode import (
    content_hash,
    list_episodes,
    list_unfinished,
    load_episode,
    set_outcome,
    update_meta,
)
from autofocus_core.episode_meta import EpisodeMeta, Event, Latency, StampFaults, StreamQuality, Trim, Verdict
from autofocus_core.errors import AutofocusError

META = EpisodeMeta(
    id="lift_1", task="lift", instruction="lift the red cube", robot="tiny", robot_hash="abc",
    outcome="unknown", note="",
    start_ns=5, end_ns=9, stop_reason="requested",
    streams={
        "/joint_states": StreamQuality(
            samples.JOINT_STATE, 12, 100.0, 99.9, 10.5, gaps=0, bytes=1200, jitter_ms=0.3, missing=2, lost=1, refused=4,
            latency=Latency(0.5, 2.0, 7.0), stamp_faults=StampFaults(1, 2, 3, 4),
        ),
        "/extra": StreamQuality("std_msgs/msg/Bool", 1, None, 0.0, 0.0, 0),
    },
    verdict=Verdict("usable", ("/joint_states: 2 of 14 messages missing",)),
    events=(Event("gap", "/joint_states", 6, 7, "silent"),), events_left_out=3,
    trim=Trim(6, 8, "idle before and after"), devices={"/camera/camera": {"serial": "123"}}, software="test 1",
)  # fmt: skip

#: As version 1 wrote it.
META_1 = {
    "schema": 1, "id": "lift_1", "task": "lift", "instruction": "lift the red cube", "robot": "tiny",
    "robot_hash": "abc", "outcome": "success", "note": "", "start_ns": 5, "end_ns": 9, "stop_reason": "requested",
    "streams": {"/joint_states": {
        "type": samples.JOINT_STATE, "count": 12, "expected_rate_hz": 100.0, "achieved_rate_hz": 99.9,
        "longest_gap_ms": 10.5, "gaps": 0, "drops": 1, "stamp_faults": {"zero": 1, "duplicate": 2, "backwards": 3},
    }},
}  # fmt: skip


def episode(path, meta=META):
    samples.write_bag(path, samples.small_recording())
    (path / "episode.json").write_text(meta.to_json())
    return path


def test_the_sidecar_comes_back(tmp_path):
    loaded = load_episode(episode(tmp_path / "lift_1"), samples.robot())
    assert loaded.meta == META
    assert json.loads((tmp_path / "lift_1/episode.json").read_text())["schema"] == 2
    with loaded.open() as bag:
        assert bag.message_count == 16


def test_a_sidecar_of_version_1_stays_readable(tmp_path):
    path = episode(tmp_path / "lift_1")
    (path / "episode.json").write_text(json.dumps(META_1))
    loaded = load_episode(path)
    quality = loaded.meta.streams["/joint_states"]
    assert (quality.drops, quality.stamp_faults, quality.latency) == (1, StampFaults(1, 2, 3, 0), None)
    assert (loaded.verdict.grade, loaded.trim, loaded.meta.events) == ("unknown", None, ())
    update_meta(path, trim=Trim(5, 6, "by hand"))  # is written as the present version
    assert load_episode(path).trim == Trim(5, 6, "by hand")
    assert json.loads((path / "episode.json").read_text())["schema"] == 2


def test_the_outcome_changes_the_sidecar_and_not_the_hash(tmp_path):
    path = episode(tmp_path / "lift_1")
    before = content_hash(path)
    set_outcome(path, "success", "neat")
    loaded = load_episode(path)
    assert (loaded.outcome, loaded.meta.note) == ("success", "neat")
    assert loaded.content_hash() == before
    with pytest.raises(AutofocusError, match="success"):
        set_outcome(path, "fine")


def test_the_hash_sees_every_byte(tmp_path):
    one, other = (samples.write_bag(tmp_path / name / "bag", samples.small_recording()) for name in "ab")
    assert content_hash(one) == content_hash(other)
    storage = other / "bag_0.mcap"
    data = bytearray(storage.read_bytes())
    data[len(data) // 2] ^= 1
    storage.write_bytes(data)
    assert content_hash(one) != content_hash(other)


def test_a_folder_lists_finished_episodes_only(tmp_path):
    episode(tmp_path / "b")
    samples.foreign_bag(tmp_path / "a", samples.small_recording(), "sqlite3")
    for name in ("c.recording", "b.annotation", "d.partial", ".discarded", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.recording" / "c_0.mcap").write_bytes(b"x")
    assert [(e.id, e.meta is not None) for e in list_episodes(tmp_path)] == [("a", False), ("b", True)]
    assert [e.id for e in list_episodes(tmp_path / "b")] == ["b"]
    assert [path.name for path in list_unfinished(tmp_path)] == ["c.recording"]


@pytest.mark.parametrize("folder", ["", "missing"])
def test_no_episodes_is_an_error(tmp_path, folder):
    with pytest.raises(AutofocusError) as error:
        list_episodes(tmp_path / folder)
    assert error.value.fix


def test_an_unfinished_directory_is_not_skipped_in_silence(tmp_path):
    path = episode(tmp_path / "b")
    (path / "metadata.yaml").unlink()
    (listed,) = list_episodes(tmp_path)
    with pytest.raises(AutofocusError, match="reindex"):
        listed.open()


def test_another_robot_is_refused(tmp_path):
    import dataclasses

    path = episode(tmp_path / "b", dataclasses.replace(META, robot="widowx"))
    with pytest.raises(AutofocusError, match="widowx"):
        load_episode(path, samples.robot())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(schema=3), "schema"),
        (lambda d: d.pop("outcome"), "outcome"),
        (lambda d: d.update(outcome="ok"), "success"),
        (lambda d: d.update(speed=3), "speed"),
        (lambda d: d["streams"]["/extra"].pop("lost"), "/extra"),
    ],
)
def test_bad_sidecars_say_where(tmp_path, change, said):
    path = episode(tmp_path / "b")
    document = json.loads((path / "episode.json").read_text())
    change(document)
    (path / "episode.json").write_text(json.dumps(document))
    with pytest.raises(AutofocusError) as error:
        load_episode(path)
    assert said in str(error.value)
    (path / "episode.json").write_text("{")
    with pytest.raises(AutofocusError, match="unreadable"):
        load_episode(path)
