"""The verdict: which figure makes an episode usable or bad, and the words in which an operator is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from autofocus_core.episode_meta import EpisodeMeta, Event, Latency, StampFaults, StreamQuality
from autofocus_core.fields import Fields
from autofocus_core.schema import QualityRules, Threshold, parse_task
from demo_recorder.verdict import judge

RULES = QualityRules(
    missing_share=Threshold(0.01, 0.05), rate_deficit=Threshold(0.05, 0.15), longest_gap_periods=Threshold(3.5, 10),
    jitter_share=Threshold(0.5, 1.5), stamp_fault_share=Threshold(0, 0.01), latency_ms=Threshold(200, 1000),
    min_duration_s=1.0,
)  # fmt: skip
CAMERA = StreamQuality(
    "sensor_msgs/msg/Image", 300, 30.0, 30.0, 34.0, 0, bytes=300 * 230_400, jitter_ms=1.0, latency=Latency(5, 20, 30)
)
STATE = StreamQuality("sensor_msgs/msg/JointState", 1000, 100.0, 100.0, 11.0, 0)
META = EpisodeMeta(
    "lift_1", "lift", "lift it", "arm", "h", "success", "", 0, 10**10, "requested",
    {"/image": CAMERA, "/joint_states": STATE},
)  # fmt: skip


def verdict(required=(), *, meta=META, **camera):
    streams = {**meta.streams, "/image": dataclasses.replace(meta.streams["/image"], **camera)}
    return judge(dataclasses.replace(meta, streams=streams), RULES, required)


def test_a_whole_episode_is_good_and_says_nothing():
    assert verdict(["/image", "/joint_states"]) == judge(META, QualityRules(), ["/image"])
    assert (verdict().grade, verdict().reasons) == ("good", ())


@pytest.mark.parametrize(
    ("changes", "grade", "reason"),
    [
        ({"missing": 12, "count": 288}, "usable", "/image: 12 of 300 messages missing (4.0 %, good up to 1.0 %)"),
        (
            {"missing": 2, "lost": 20, "refused": 10, "count": 270}, "bad",
            "/image: 30 of 300 messages missing (20 lost on the way) (10 refused, the disk was too slow) "
            "(10.0 %, usable up to 5.0 %)",
        ),
        ({"achieved_rate_hz": 27.0}, "usable", "/image: 27.0 Hz instead of 30 Hz (10.0 % less, good up to 5.0 % less)"),
        ({"longest_gap_ms": 412.0}, "bad", "/image: a gap in the data (412 ms, usable up to 333 ms)"),
        ({"jitter_ms": 25.0}, "usable", "/image: irregular, its intervals of 33 ms vary (25.0 ms, good up to 16.7 ms)"),
        (
            {"stamp_faults": StampFaults(zero=2, backwards=1)}, "usable",
            "/image: 3 of 300 time stamps wrong: 2 zero, 1 backwards (1.0 %, good up to 0.0 %)",
        ),
        (
            {"latency": Latency(100, 1200.4, 5000)}, "bad",
            "/image: arrives late, 1 message in 100 even later than this (1200 ms, usable up to 1000 ms)",
        ),
    ],
)  # fmt: skip
def test_each_rule_has_its_words(changes, grade, reason):
    found = verdict(**changes)
    assert (found.grade, found.reasons) == (grade, (reason,))


def test_at_the_limit_is_still_within():
    assert verdict(count=297, missing=3).grade == "good"
    assert verdict(count=285, missing=15).grade == "usable"


def test_a_stream_that_nobody_gave_a_rate_is_not_judged():
    assert verdict(expected_rate_hz=None, lost=100, longest_gap_ms=5000.0, jitter_ms=900.0).grade == "good"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stop_reason": "interrupted"}, "interrupted"),
        ({"stop_reason": "error: No space left on device"}, "No space left on device"),
        ({"stop_reason": "type change: /image"}, "ended with a type change: /image"),
        ({"events": (Event("clock_step", "", 5, 5, "+3600.0 s"),)}, "the clock was set during the recording (+3600"),
        ({"end_ns": 400_000_000}, "only 0.40 s long (at least 1 s)"),
    ],
)
def test_bad_at_once(change, words):
    found = judge(dataclasses.replace(META, **change), RULES, ())
    assert found.grade == "bad"
    assert words in found.reasons[0]
    assert len(found.reasons) == 1


@pytest.mark.parametrize("reason", ["requested", "discarded", "signal: SIGINT", "time limit: 60 s"])
def test_an_orderly_end_is_no_fault(reason):
    assert judge(dataclasses.replace(META, stop_reason=reason), RULES, ()).grade == "good"


def test_a_required_stream_without_messages_is_bad_whether_listed_or_not():
    assert verdict(["/image", "/action"]).reasons == ("/action: no message at all",)
    assert verdict(["/image"], count=0, achieved_rate_hz=0.0).reasons == ("/image: no message at all",)
    assert verdict([], count=0, achieved_rate_hz=0.0).grade == "good"


def test_the_worst_comes_first():
    streams = {
        "/image": dataclasses.replace(CAMERA, missing=6, count=294),  # usable
        "/joint_states": dataclasses.replace(STATE, missing=800, count=200, longest_gap_ms=120.0),  # bad, twice
    }
    meta = dataclasses.replace(META, streams=streams, stop_reason="error: disk full")
    found = judge(meta, RULES, ["/image", "/action"])
    assert [reason.split(" (")[0] for reason in found.reasons] == [
        "the recording ended with an error: disk full",
        "/action: no message at all",
        "/joint_states: 800 of 1000 messages missing",
        "/joint_states: a gap in the data",
        "/image: 6 of 300 messages missing",
    ]
    assert found.grade == "bad"


def test_the_documented_defaults_are_the_defaults():
    text = (Path(__file__).parents[2] / "docs/recording.md").read_text()
    (block,) = (part.split("```")[0] for part in text.split("```yaml\n")[1:] if part.startswith("quality:"))
    task = {"schema": 1, "name": "t", "instruction": "i", "cameras": ["c"], "timeout_s": 1}
    documented = yaml.safe_load(block)["quality"]
    assert parse_task(Fields({**task, "quality": documented}, "docs")).quality == QualityRules()
    assert documented.keys() == {field.name for field in dataclasses.fields(QualityRules)}
