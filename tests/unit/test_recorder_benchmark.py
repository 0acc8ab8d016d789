"""The recorder's benchmark must not flatter: what is missing, doubled or never published is counted to the message."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from autofocus_core.bag_writer import BagWriter
from autofocus_core.messages import header_stamp_ns

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from recorder_parts.audit import EDGE_NS, Account, audit
from recorder_parts.meters import Memory, copy_files, cpu_s, filesystem, memory
from recorder_parts.payloads import Payload
from recorder_parts.publications import LIFE, PublicationLog, Publications, read_publications
from recorder_parts.soak_plan import KILL, MIN_EPISODES, NORMAL, RESTART, Episode, plan, verdict_problems
from recorder_parts.soak_report import figures, trend
from recorder_parts.summary import report
from recorder_parts.trial import OURS, Trial
from recorder_parts.workloads import WORKLOADS, Stream, write_configuration

JOINTS = Stream("/joint_states", "sensor_msgs/msg/JointState", 100.0)
IMAGES = Stream("/camera/image_raw", "sensor_msgs/msg/Image", 30.0, 8, 6, "rgb8")
PERIOD_NS, START_NS = 10_000_000, 1_000_000_000_000
SENT = Publications(np.arange(200), START_NS + PERIOD_NS * np.arange(200))


def recorded(folder: Path, counters: list[int]) -> Path:
    """An .mcap with the joint messages of these counters."""
    payload = Payload(JOINTS)
    with BagWriter(folder / "bag") as bag:
        bag.add_topic(JOINTS.topic, JOINTS.type)
        for number, counter in enumerate(counters):
            bag.write(JOINTS.topic, payload.message(START_NS, counter), START_NS + number, START_NS)
    return folder / "bag"


def account(folder: Path, counters: list[int], sent: Publications = SENT):
    """Of a recording from the first message to 0.1 s after the last one."""
    end_ns = int(sent.times_ns[-1]) + EDGE_NS
    (found,) = audit(recorded(folder, counters), [JOINTS], {JOINTS.topic: sent}, START_NS, end_ns)
    return found


@pytest.mark.parametrize("stream", [JOINTS, IMAGES])
def test_a_counter_survives_and_the_stamp_is_in_its_place(stream):
    payload = Payload(stream)
    raw = payload.message(12_345_678_901, 77)
    assert (payload.counter(raw), header_stamp_ns(raw), len(raw)) == (77, 12_345_678_901, len(payload))
    assert payload.counter(payload.message(0, LIFE * 1_000_000 + 1)) == LIFE * 1_000_000 + 1


def test_a_whole_recording_has_nothing_missing(tmp_path):
    found = account(tmp_path, list(range(200)))
    assert (found.published, found.recorded, found.missing, found.doubled, found.foreign) == (200, 200, 0, 0, 0)
    assert found.rate_share == pytest.approx(1.0, abs=0.01)


def test_holes_at_the_start_inside_and_at_the_end_are_missing(tmp_path):
    found = account(tmp_path, [n for n in range(5, 190) if n != 100])
    assert (found.missing, found.head, found.tail, found.unreported) == (5 + 1 + 10, 5, 10, 16)


def test_doubled_and_foreign_messages_are_not_taken_for_others(tmp_path):
    found = account(tmp_path, [*range(200), 3, 9999])
    assert (found.missing, found.doubled, found.foreign) == (0, 1, 1)


def test_an_empty_recording_misses_everything(tmp_path):
    found = account(tmp_path, [])
    assert (found.published, found.recorded, found.missing) == (200, 0, 200)


def test_a_publisher_started_again_is_audited_too(tmp_path):
    """Its first messages, from before DDS matched it, are counted apart; a hole after that is a loss."""
    counters = np.concatenate([np.arange(100), LIFE + np.arange(100)])
    sent = Publications(counters, START_NS + PERIOD_NS * np.arange(200))
    kept = [*range(100), *(LIFE + n for n in range(7, 100) if n != 50)]
    found = account(tmp_path, kept, sent)
    assert (found.published, found.unmatched, found.missing, found.foreign) == (200, 7, 1, 0)


def test_a_publisher_logs_as_it_goes(tmp_path):
    for life in (0, 10, 2):
        log = PublicationLog(tmp_path, "/camera/image_raw", life)
        for n in range(3):
            log.add(life * 100 + n)
    with next(tmp_path.glob("*@10.times")).open("ab") as file:
        file.write(b"cut")  # a message being logged just now
    sent = read_publications(tmp_path, ["/camera/image_raw", "/other"])
    assert sent["/camera/image_raw"].times_ns.tolist() == [0, 1, 2, 200, 201, 202, 1000, 1001, 1002]
    assert sent["/camera/image_raw"].counters[-1] == 10 * LIFE + 2
    assert len(sent["/other"].times_ns) == 0


def test_every_soak_has_its_discard_kill_and_restart():
    for count in (1, MIN_EPISODES, 72):
        kinds = [planned.kind for planned in plan(count)]
        assert len(kinds) == max(count, MIN_EPISODES)
        assert len(kinds) - kinds.count(NORMAL) == 3
        assert kinds[0] == kinds[-1] == NORMAL


def test_a_soak_notices_a_wrong_verdict():
    def problems(kind: str, grade: str, reasons: tuple[str, ...] = (), late: bool = False) -> list[str]:
        return verdict_problems(Episode(0, kind, 0, 0.0, grade=grade, late=late), reasons)

    assert not problems(NORMAL, "good")
    assert problems(NORMAL, "usable", ("a gap",))
    assert not problems(NORMAL, "usable", ("a gap",), late=True)
    assert problems(KILL, "good") and problems(RESTART, "usable", ("a gap",)) and problems(KILL, "bad")
    assert not problems(KILL, "bad", ("interrupted",))


def trial(style: str, cpu: float, missing: int = 0, reported: int = 0, rate_share: float = 1.0) -> Trial:
    """1 GB at 1280x720@60."""
    held = Account("/joint_states", 1000, 1000 - missing, missing, 0, 0, 0, reported, 0, 0, 10**9, rate_share)
    return Trial(style, "hd60", 6.0, cpu, 1.0, 0.1, 10**8, 10**8, 10**7, (held,), None)


@pytest.mark.parametrize(
    "trials, met",
    [
        ([trial(OURS, 1.0), trial("peer", 2.1)], True),
        ([trial(OURS, 1.0), trial("peer", 1.9)], False),
        ([trial(OURS, 1.0, missing=1, reported=1), trial("peer", 3.0)], False),
        ([trial(OURS, 1.0, missing=1), trial("peer", 3.0)], False),
        ([trial(OURS, 1.0, reported=1), trial("peer", 3.0)], False),
        ([trial(OURS, 1.0), trial("peer", 3.0, missing=50)], True),  # its losses are shown, they are not ours
        ([trial(OURS, 1.0), trial("peer", 3.0, rate_share=0.9)], False),  # not the load that it claims to be
    ],
)
def test_targets_are_met_or_not(tmp_path, trials, met):
    assert report(trials, [WORKLOADS["hd60"]], None, "ext4", "python benchmarks/recorder.py", tmp_path) == met


def soaked(growth_mb_per_episode: float) -> tuple[list[Episode], list[tuple[float, Memory]]]:
    """Episodes of 20 s every 25 s whose memory peaks grow; the idle times between show nothing of it."""
    episodes = [
        Episode(n, NORMAL, 0, n * 25.0, n * 25.0 + 20, messages=1, bytes=1, grade="good")
        for n in range(20)
    ]
    samples = [
        (t, Memory(0, int(1e6 * (60 + growth_mb_per_episode * (t // 25) + t % 3)) if t % 25 < 20 else 40_000_000))
        for t in map(float, range(500))
    ]
    return episodes, samples


def test_a_leak_is_not_flat_and_noise_is():
    assert trend(*soaked(1.0)) == pytest.approx(1 / 25, rel=0.05)  # MB in s
    assert trend(*soaked(0.0)) == pytest.approx(0.0, abs=1e-3)
    episodes, samples = soaked(0.0)
    leaking = [(t, m if t < 250 else Memory(0, m.private + round(4e4 * (t - 250)))) for t, m in samples]
    assert trend([replace(e, life=e.number // 10) for e in episodes], leaking) is None  # five episodes make no trend
    assert trend([replace(e, life=e.number // 14) for e in episodes], leaking) > 0.01  # it leaks from its tenth on


def test_a_soak_with_a_leak_a_silent_loss_or_a_long_kill_misses_its_targets():
    def met(episodes: list[Episode], samples: list) -> bool:
        return all(figure.ok for figure in figures(episodes, samples, 10**8, 500.0))

    assert met(*soaked(0.0))
    assert not met(*soaked(1.0))
    for field, value in (("unreported", 1), ("wrong", 1), ("problems", ["a wrong verdict"])):
        episodes, samples = soaked(0.0)
        setattr(episodes[7], field, value)
        assert not met(episodes, samples), field
    episodes, samples = soaked(0.0)
    episodes[9].kind, episodes[9].tail_s = KILL, 1.5
    assert not met(episodes, samples)


def test_configurations_are_valid(tmp_path):
    from autofocus_core.schema import load_robot, load_task

    for workload in WORKLOADS.values():
        robot, task = (path for path in write_configuration(workload, tmp_path / workload.key))
        cameras = load_robot(robot).cameras
        assert {camera.topic for camera in cameras} == {stream.topic for stream in workload.cameras}
        assert set(load_task(task).cameras) == {camera.name for camera in cameras}
    assert WORKLOADS["hd60"].rate_mb_s == pytest.approx(165.9, abs=0.1)


def test_meters_measure(tmp_path):
    import os
    import time

    before_s, begin_s = cpu_s(os.getpid()), time.process_time()
    while time.process_time() - begin_s < 0.2:
        pass
    assert cpu_s(os.getpid()) - before_s == pytest.approx(time.process_time() - begin_s, abs=0.05)
    assert 0 < memory(os.getpid()).private < memory(os.getpid()).total
    (tmp_path / "a").write_bytes(os.urandom(5_000_000))
    copied = copy_files([tmp_path / "a"], tmp_path / "copy")
    assert (tmp_path / "copy/a").read_bytes() == (tmp_path / "a").read_bytes()
    assert copied.bytes == 5_000_000 and copied.wall_s > 0 and 0 <= copied.cpu_s < 5
    assert " on " in filesystem(tmp_path)
