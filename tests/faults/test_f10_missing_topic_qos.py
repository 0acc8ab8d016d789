"""F10: a topic is missing, or its publisher offers less than what is asked for: no start, and the reason at once."""

import time

import pytest
from autofocus_core import results
from recorder_cell import IMAGE, INTENT, STATE, Publisher, Recorder, slack, write_robot

COMMAND = "pytest tests/faults/test_f10_missing_topic_qos.py"
JOINTS = ("--joints", f"{STATE}:100", "--joints", f"{INTENT}:10")
CAMERA = ("--image", f"{IMAGE}:320x240:30")
CASES = {
    "missing topic": (JOINTS, "", (IMAGE, "nobody publishes")),
    "best effort against reliable": (
        (*JOINTS, *CAMERA, "--offer", f"{STATE}=best_effort"),
        f"{STATE}: {{reliability: reliable}}",
        (STATE, "reliability", "best_effort"),
    ),
    "volatile against transient local": (
        (*JOINTS, *CAMERA),
        f"{IMAGE}: {{durability: transient_local, reliability: reliable, history: keep_last, depth: 5}}",
        (IMAGE, "durability", "transient_local"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_f10_refuses_to_start_and_says_why(spawn, ros_node, wait_until, tmp_path, case):
    arguments, overrides, named = CASES[case]
    Publisher(spawn, *arguments)
    parameters = []
    if overrides:
        (tmp_path / "qos.yaml").write_text(overrides)
        parameters = [f"qos_overrides:={tmp_path / 'qos.yaml'}"]
    output = tmp_path / "out"
    recorder = Recorder(spawn, ros_node, wait_until, output, *parameters, robot=write_robot(tmp_path / "robot.yaml"))
    recorder.ready()
    present = {STATE, INTENT, IMAGE} - ({IMAGE} if case == "missing topic" else set())
    wait_until(
        lambda: all(recorder.status.get(topic, {}).get("publishers") == "1" for topic in present), 30, "discovery"
    )
    begin_s = time.monotonic()
    answer = recorder.call("start")
    took_s = time.monotonic() - begin_s
    results.record("faults", f"F10 {case}: time to the refusal", took_s, "s", "<= 3", took_s <= 3.0, COMMAND)
    assert not answer.success
    for word in named:
        assert word in answer.message
    for topic in {STATE, INTENT, IMAGE} - {named[0]}:
        assert topic not in answer.message.split("fix:")[0]
    assert recorder.status[""]["state"] == "idle"
    assert not output.exists() or not list(output.iterdir())
    assert took_s < 3.0 * slack()


def test_f10_best_effort_and_latched_are_recorded_as_they_are_offered(spawn, ros_node, wait_until, tmp_path):
    Publisher(spawn, *JOINTS, *CAMERA, "--offer", f"{STATE}=best_effort", "--offer", f"{INTENT}=transient_local")
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", robot=write_robot(tmp_path / "robot.yaml"))
    recorder.ready().start()
    recorder.wait_for_status(lambda s: all(int(s[t]["count"]) > 5 for t in (STATE, INTENT, IMAGE)), 30, "messages")
    qos = {topic: recorder.status[topic]["qos"] for topic in (STATE, INTENT, IMAGE)}
    assert qos == {STATE: "best_effort volatile", INTENT: "reliable transient_local", IMAGE: "reliable volatile"}
    recorder.stop()
