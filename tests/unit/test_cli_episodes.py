"""`autofocus episodes` on a folder with one of everything: good, usable, bad, foreign, broken, killed, running."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import core_samples as samples
import numpy as np
import pytest
import yaml
from autofocus_cli.episodes import details, main, overview
from autofocus_cli.episodes.checking import check_episode
from autofocus_cli.main import run
from autofocus_core.bag_writer import BagWriter
from autofocus_core.bags import open_bag
from autofocus_core.episode import load_episode, update_meta
from autofocus_core.episode_meta import EpisodeMeta, Event, Trim, Verdict
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import serialize
from autofocus_core.schema import QualityRules
from demo_recorder.quality import measure
from demo_recorder.verdict import judge
from rich.console import Console

MS, T0 = samples.MS, samples.T0_NS
S = 10**9
STATE, IMAGE = "/joint_states", "/front/image"
RATES = {STATE: 100.0, IMAGE: 30.0}


def write(path, *, left_out=(), seconds=2, sidecar=True, close=True, side_px=8, **changes):
    """An episode as the recorder leaves it; `left_out`: numbers of joint messages that are not in it."""
    writer = BagWriter(path, working_suffix=".partial" if close else ".recording")
    writer.add_topic(STATE, samples.JOINT_STATE)
    writer.add_topic(IMAGE, samples.IMAGE)
    entries = []
    for k in range(100 * seconds):
        if k not in left_out:
            moved = np.clip(k / 100 - 0.8, 0, 0.4)
            entries.append((T0 + k * 10 * MS, STATE, samples.joints([moved, 0, 0], T0 + k * 10 * MS)))
    for k in range(30 * seconds):
        stamp = T0 + k * S // 30
        entries.append((stamp, IMAGE, samples.image(np.full((6, side_px, 3), k % 256, np.uint8), stamp)))
    for stamp, topic, message in sorted(entries, key=lambda entry: entry[0]):
        type = samples.JOINT_STATE if topic == STATE else samples.IMAGE
        writer.write(topic, serialize(message, type), stamp + MS, stamp)
    if not close:
        writer.flush()
        return writer
    writer.close()
    if sidecar:
        end_ns = T0 + seconds * S
        with open_bag(path) as bag:
            streams, events = measure(bag, RATES, T0, end_ns)
        meta = EpisodeMeta(path.name, "lift", "lift it", "tiny", samples.robot().hash(), "success", "", T0, end_ns,
                           "requested", streams, events=events, software="test 1")  # fmt: skip
        meta = dataclasses.replace(meta, **changes)
        meta = dataclasses.replace(meta, verdict=judge(meta, QualityRules(), [STATE, IMAGE]))
        (path / "episode.json").write_text(meta.to_json())
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder of recordings; its one writer still runs."""
    tmp_path = tmp_path / "episodes"
    write(tmp_path / "a_good", note="neat [red]one[/]", devices={"/front": {"serial": "17"}})
    (tmp_path / "a_good.annotation").mkdir()
    write(tmp_path / "b_usable", left_out=(100, 101, 102), trim=Trim(T0 + S, T0 + 2 * S, "by hand"))
    write(tmp_path / "c_bad", left_out=range(50, 150), outcome="failure")
    samples.foreign_bag(tmp_path / "d_foreign", samples.small_recording(150), "sqlite3")
    write(tmp_path / "e_broken", sidecar=False)
    (tmp_path / "e_broken" / "episode.json").write_text("{")
    killed = write(tmp_path / "f_killed", close=False)
    shutil.copytree(killed.working, tmp_path / "copy")  # without the lock: nobody writes it
    killed.close()
    shutil.rmtree(tmp_path / "f_killed")
    (tmp_path / "copy").rename(tmp_path / "f_killed.recording")
    running = write(tmp_path / "g_running", close=False)
    yield tmp_path
    running.abort()


def printed(capsys, *argv):
    """(status, what was printed) of `autofocus episodes ...`; undecorated, as into a pipe."""
    status = main([str(argument) for argument in argv])
    return status, capsys.readouterr().out


def line_of(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line


def test_list_has_a_line_for_each(folder, capsys):
    status, text = printed(capsys, "list", folder)
    assert status == 0
    good = line_of(text, "a_good")
    for word in ("success", "good", "2.0", "of 30 Hz /front/image", "yes", "neat [red]one[/]"):
        assert word in good
    usable = line_of(text, "b_usable")
    assert "usable" in usable and "1.0" in usable
    assert "failure" in line_of(text, "c_bad") and "bad" in line_of(text, "c_bad")
    assert "foreign bag" in line_of(text, "d_foreign")
    assert "unreadable" in line_of(text, "e_broken")
    assert f"mend it: autofocus episodes recover {folder / 'e_broken'}" in text
    assert f"autofocus episodes recover {folder / 'f_killed.recording'}" in text
    assert "still being recorded: g_running.recording" in text
    assert "5 episodes, 7.5 s" in text
    assert "1 good, 1 usable, 1 bad, 2 unknown" in text and "1 failure, 2 success, 2 unknown" in text


def test_a_small_terminal_gets_whole_names(folder, capsys):
    for width in (80, 100):
        console = Console(width=width)
        overview.print_rows(overview.read_rows(folder), [], console)
        details.print_episode(load_episode(folder / "b_usable"), console)
        text = capsys.readouterr().out
        assert "…" not in text
        assert ("neat [red]one[/]" in text) is (width == 100)
        assert "197 messages" in text and "98.5 of 100 Hz" in text and "missing 3" in text
        assert f"{STATE} {samples.JOINT_STATE}" in text


def test_list_for_programs(folder, capsys):
    _, text = printed(capsys, "list", folder, "--json")
    found = json.loads(text)
    rows = {os.path.basename(row["path"]): row for row in found["episodes"]}
    assert [rows[name]["grade"] for name in rows] == ["good", "usable", "bad", "unknown", "unknown"]
    assert (rows["b_usable"]["gaps"], rows["b_usable"]["kept_s"], rows["a_good"]["annotated"]) == (1, 1.0, True)
    assert rows["d_foreign"]["foreign"] and rows["d_foreign"]["duration_s"] == pytest.approx(1.49, abs=0.03)
    assert {os.path.basename(left["path"]): left["running"] for left in found["unfinished"]} == {
        "f_killed.recording": False, "g_running.recording": True,
    }  # fmt: skip


def test_list_reads_sidecars_only(folder, capsys, monkeypatch):
    """A folder of a thousand episodes must not take as long as reading it."""
    def refuse(*args, **kwargs):
        raise AssertionError("a bag was opened")

    monkeypatch.setattr("autofocus_core.episode.open_bag", refuse)
    assert printed(capsys, "list", folder)[0] == 0


def test_list_of_interrupted_ones_only(folder, capsys):
    for name in ("a_good", "b_usable", "c_bad", "d_foreign", "e_broken"):
        shutil.rmtree(folder / name)
    status, text = printed(capsys, "list", folder)
    assert status == 0 and "f_killed.recording" in text and "0 episodes" in text
    empty = folder.parent / "empty"
    empty.mkdir()
    with pytest.raises(AutofocusError, match="no finished recording"):
        main(["list", str(empty)])


def test_show_tells_everything(folder, capsys):
    gap = Event("gap", STATE, T0 + S, T0 + S + 40 * MS, "nothing received")
    events = (gap, Event("clock_step", "", T0, T0, "+1 s"))
    update_meta(folder / "b_usable", events=events, events_left_out=7)
    _, text = printed(capsys, "show", folder / "b_usable")
    for words in (
        "lift it", "robot tiny", "outcome success", "verdict usable", "trimmed: 1.0 to 2.0 s count (by hand)",
        "/joint_states: 3 of 200 messages missing (1.5 %, good up to 1.0 %)", "1.00 to 1.04: gap /joint_states",
        "0.00: clock_step +1 s", "and 7 more", "test 1",
    ):  # fmt: skip
        assert words in text, words
    row = next(line for line in text.splitlines() if line.startswith(STATE))
    assert row.split()[:3] == [STATE, "JointState", "197"]
    assert "1.0 / 1.0 / 1.0" in row
    _, text = printed(capsys, "show", folder / "a_good")
    assert "device /front: serial 17" in text and "annotated: yes" in text
    _, text = printed(capsys, "show", folder / "d_foreign")
    assert "a foreign bag: 200 messages" in text and samples.JOINT_STATE in text
    _, text = printed(capsys, "show", folder / "a_good", "--json")
    (document,) = json.loads(text)
    assert document["meta"] == json.loads(load_episode(folder / "a_good").meta.to_json())


@pytest.mark.parametrize("workers", [1, 2])
def test_check_reads_everything_and_fails_where_something_is_bad(folder, capsys, workers):
    status, text = printed(capsys, "check", folder, "--workers", workers)
    assert status == 1
    lines = text.splitlines()
    assert [line.split()[:2] for line in lines if not line.startswith(" ")][:5] == [
        ["ok", "a_good"], ["usable", "b_usable"], ["BAD", "c_bad"], ["ok", "d_foreign"], ["BAD", "e_broken"],
    ]  # fmt: skip
    assert "/joint_states: 100 of 200 messages missing (50.0 %, usable up to 5.0 %)" in text
    assert "5 checked: 2 ok, 1 usable, 2 BAD" in text
    assert "interrupted, not checked" in text and "g_running" not in text
    assert printed(capsys, "check", folder / "a_good", folder / "b_usable")[0] == 0


def test_check_finds_every_figure_that_is_not_that_of_the_bag(folder, capsys):
    path = folder / "a_good"
    streams = dict(load_episode(path).meta.streams)
    for name, value in (
        ("count", 7), ("bytes", 7), ("achieved_rate_hz", 99.0), ("longest_gap_ms", 11.0), ("gaps", 3),
        ("jitter_ms", 0.01), ("missing", 1), ("latency", None), ("type", "std_msgs/msg/Bool"),
        ("stamp_faults", dataclasses.replace(streams[STATE].stamp_faults, future=1)),
    ):  # fmt: skip
        changed = {**streams, STATE: dataclasses.replace(streams[STATE], **{name: value})}
        update_meta(path, streams=changed)
        checked = check_episode(path, QualityRules())
        assert checked.grade == "BAD"
        (problem,) = checked.problems
        assert problem.startswith(f"{STATE}: {name} is ") and problem.endswith("in the sidecar")
    update_meta(path, streams={STATE: streams[STATE]})
    assert check_episode(path, QualityRules()).problems == (f"{IMAGE}: in the bag, not in the sidecar",)
    update_meta(path, streams={**streams, "/gone": streams[IMAGE]})
    assert check_episode(path, QualityRules()).problems == ("/gone: 60 messages in the sidecar, none in the bag",)
    # What never came cannot be measured again: it is taken from the sidecar, and judged.
    update_meta(path, streams={**streams, STATE: dataclasses.replace(streams[STATE], lost=4)})
    checked = check_episode(path, QualityRules())
    assert (checked.grade, checked.problems) == ("usable", ())
    assert checked.verdict.reasons == (
        "/joint_states: 4 of 204 messages missing (4 lost on the way) (2.0 %, good up to 1.0 %)",
    )


def test_check_of_a_recording_that_a_full_disk_ended(folder):
    """It has what was written; its other figures are of what had been taken."""
    path = folder / "a_good"
    streams = dict(load_episode(path).meta.streams)
    ended = dataclasses.replace(streams[STATE], refused=9, bytes=7, achieved_rate_hz=99.0)
    update_meta(path, streams={**streams, STATE: ended}, stop_reason="error: No space left on device")
    checked = check_episode(path, QualityRules())
    assert (checked.grade, checked.problems) == ("BAD", ())
    assert "No space left on device" in checked.verdict.reasons[0]


def test_check_by_the_thresholds_of_a_task(folder, capsys):
    task = {"schema": 1, "name": "lift", "instruction": "lift it", "cameras": ["front"], "timeout_s": 8,
            "quality": {"missing_share": {"good": 0.001, "usable": 0.01}}}  # fmt: skip
    (folder.parent / "task.yaml").write_text(yaml.safe_dump(task))
    status, text = printed(capsys, "check", folder / "b_usable", "--task", folder.parent / "task.yaml")
    assert status == 1
    assert "BAD" in text and "usable up to 1.0 %" in text and "the recorder called it usable" in text


def test_check_for_programs(folder, capsys):
    status, text = printed(capsys, "check", folder, "--json")
    assert status == 1
    found = {os.path.basename(entry["path"]): entry for entry in json.loads(text)}
    assert [found[name]["grade"] for name in sorted(found)] == ["ok", "usable", "BAD", "ok", "BAD"]
    assert found["a_good"]["streams"][STATE]["count"] == 200
    assert found["b_usable"]["verdict"]["reasons"]


def test_check_measures_foreign_bags_too(folder, tmp_path, capsys):
    robot = folder.parent / "robot.yaml"
    stream = {"type": samples.JOINT_STATE, "rate_hz": 100, "timeout_ms": 50}
    camera = {"name": "front", "topic": IMAGE, "info_topic": "/front/info", "type": samples.IMAGE, "width_px": 8,
              "height_px": 6, "rate_hz": 60, "timeout_ms": 100}  # fmt: skip
    robot.write_text(yaml.safe_dump({
        "schema": 1, "name": "tiny", "joints": [{"name": n, "unit": "rad", "position": [-3, 3], "velocity": 1,
        "acceleration": 5} for n in ("a", "b")],
        "start": {"pose": [0, 0], "ramp_distance_rad": 0.2, "refuse_distance_rad": 1},
        "state": {"topic": STATE, **stream}, "action": {"topic": "/intent", **stream},
        "command": {"topic": "/command", **stream}, "cameras": [camera], "control_rate_hz": 10,
        "command_timeout_ms": 250, "heartbeat_timeout_ms": 60,
    }))  # fmt: skip
    status, text = printed(capsys, "check", folder / "d_foreign", "--robot", robot)
    assert status == 1
    assert "/intent: no message at all" in text and "/front/image: 33.3 Hz instead of 60 Hz" in text
    assert "/joint_states" not in text


def test_check_names_damage_and_what_cannot_be_decoded(folder, capsys):
    path = write(folder / "h_large", side_px=4000)
    (mcap,) = path.glob("*.mcap")
    data = bytearray(mcap.read_bytes())
    data[len(data) // 3] ^= 0xFF
    mcap.write_bytes(data)
    status, text = printed(capsys, "check", path)
    assert status == 1 and f"autofocus episodes recover {path}" in text
    assert "BAD    h_large" in text and "damaged: h_large_0.mcap: byte" in text and "count is" in text
    writer = BagWriter(folder / "h_garbage")
    writer.add_topic(STATE, samples.JOINT_STATE)
    good = serialize(samples.joints([1, 2, 3], T0), samples.JOINT_STATE)
    for k, raw in enumerate((good, good[:40], good, good[:30])):
        writer.write(STATE, raw, T0 + k, T0 + k)
    writer.close()
    status, text = printed(capsys, "check", folder / "h_garbage")
    assert status == 1 and f"{STATE}: 2 messages cannot be decoded, the first: 40 bytes" in text


def test_check_of_a_sidecar_of_version_1_compares_what_it_had(folder):
    path = folder / "a_good"
    meta = load_episode(path).meta
    streams = {
        topic: {"type": s.type, "count": s.count, "expected_rate_hz": s.expected_rate_hz, "achieved_rate_hz": 1.0,
                "longest_gap_ms": 1.0, "gaps": 9, "drops": 0,
                "stamp_faults": {"zero": 0, "duplicate": 0, "backwards": 0}}
        for topic, s in meta.streams.items()
    }  # fmt: skip
    old = {"schema": 1, **{key: getattr(meta, key) for key in (
        "id", "task", "instruction", "robot", "robot_hash", "outcome", "note", "start_ns", "end_ns", "stop_reason",
    )}, "streams": streams}  # fmt: skip
    (path / "episode.json").write_text(json.dumps(old))
    assert check_episode(path, QualityRules()).grade == "ok"
    old["streams"][STATE]["count"] = 5
    (path / "episode.json").write_text(json.dumps(old))
    problems = (f"{STATE}: count is 200 in the bag, 5 in the sidecar",)
    assert check_episode(path, QualityRules()).problems == problems
    update_meta(path, note="written again, as the present version, and still without those figures")
    assert check_episode(path, QualityRules()).problems == problems


def test_recover_a_whole_folder(folder, capsys):
    status, text = printed(capsys, "recover", folder)
    assert status == 0
    assert f"recovered {folder / 'f_killed'}: 260 messages" in text
    assert "left alone, still being recorded: g_running.recording" in text
    assert f"the original was kept: {folder / '.interrupted' / 'f_killed.recording'}" in text
    assert load_episode(folder / "f_killed").verdict.grade == "bad"
    status, text = printed(capsys, "recover", folder)
    assert status == 0 and "nothing to recover" in text
    status, text = printed(capsys, "recover", folder / "e_broken")
    assert status == 0 and load_episode(folder / "e_broken").meta.streams[STATE].count == 200
    assert printed(capsys, "check", folder)[1].count("BAD ") == 3  # bad, but readable and as the bag says
    with pytest.raises(AutofocusError, match="is being written"):
        main(["recover", str(folder / "g_running.recording")])


def test_recover_and_remove_the_original(folder, capsys):
    _, text = printed(capsys, "recover", "--delete-original", folder / "f_killed.recording")
    assert "the original was removed" in text
    assert not list((folder / ".interrupted").iterdir())


def test_trim_a_folder(folder, capsys):
    for name in ("d_foreign", "e_broken"):
        shutil.rmtree(folder / name)
    status, text = printed(capsys, "trim", folder, "--margin", "0.3")
    assert status == 0
    assert "a_good: 0.5 to 1.5 s of 2.0 s count (idle: 0.5 s before, 0.5 s after the motion)" in text
    assert "b_usable: was trimmed by hand, left as it is" in text
    assert load_episode(folder / "b_usable").trim.reason == "by hand"
    status, text = printed(capsys, "trim", folder, "--margin", "0.3", "--force")
    assert "b_usable: 0.5 to 1.5 s" in text
    status, text = printed(capsys, "trim", folder, "--clear")
    assert status == 0 and text.count("all of its 2.0 s count") == 3
    assert load_episode(folder / "a_good").trim is None


def test_trim_by_hand_is_for_one_episode(folder, capsys):
    _, text = printed(capsys, "trim", folder / "a_good", "--from", "0.5", "--to", "-0.5")
    assert "a_good: 0.5 to 1.5 s of 2.0 s count (by hand)" in text
    for argv, words in (
        (["trim", folder, "--from", "1"], "one episode"),
        (["trim", folder / "a_good", "--clear", "--to", "1"], "one of them"),
        (["trim", folder / "d_foreign"], "only recorded episodes"),
    ):
        with pytest.raises(AutofocusError, match=words):
            main([str(argument) for argument in argv])


def test_one_that_fails_does_not_keep_the_others_from_it(folder, capsys):
    status, text = printed(capsys, "trim", folder)
    assert status == 1
    assert "failed d_foreign: no episode.json" in text and "failed e_broken: unreadable" in text
    assert "a_good: " in text


def test_note_and_outcome(folder, capsys):
    assert main(["note", str(folder / "a_good"), "slipped once"]) == 0
    assert main(["outcome", str(folder / "a_good"), "failure"]) == 0
    meta = load_episode(folder / "a_good").meta
    assert (meta.note, meta.outcome) == ("slipped once", "failure")
    with pytest.raises(SystemExit):
        main(["outcome", str(folder / "a_good"), "fine"])


def test_every_option_says_its_unit_or_default(capsys):
    for verb in ("list", "show", "check", "recover", "trim", "note", "outcome"):
        with pytest.raises(SystemExit) as ended:
            run(["episodes", verb, "--help"])
        assert ended.value.code == 0
        assert len(capsys.readouterr().out) > 200
    with pytest.raises(SystemExit):
        run(["episodes", "trim", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: 0.5)" in text and "(default: 0.02)" in text and "negative: before the end" in text


def test_a_large_folder_is_listed_fast(tmp_path, capsys):
    """Sidecars only: a second for some hundred episodes, however large they are."""
    import time

    write(tmp_path / "ep_000", seconds=1)
    for number in range(1, 200):
        shutil.copytree(tmp_path / "ep_000", tmp_path / f"ep_{number:03d}")
    begin_s = time.process_time()
    assert printed(capsys, "list", tmp_path, "--json")[0] == 0
    assert time.process_time() - begin_s < 2.0
    assert Verdict() == Verdict("unknown", ())
