"""F11: a publisher is started again with another type in mid-episode."""

import signal
import time

import numpy as np
from autofocus_core import results
from autofocus_core.bags import open_bag
from autofocus_core.episode import list_episodes
from recorder_cell import IMAGE, INTENT, STATE, Publisher, Recorder, numbers, slack, write_robot

COMMAND = "pytest tests/faults/test_f11_type_change.py"
JOINT_STATE, TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"


def test_f11_another_type_ends_the_episode(spawn, ros_node, wait_until, tmp_path):
    """What was recorded stays as it was; not one message of the other type is taken for one of ours."""
    Publisher(spawn, "--joints", f"{INTENT}:10", "--image", f"{IMAGE}:320x240:30")
    driver = Publisher(spawn, "--joints", f"{STATE}:100")
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", robot=write_robot(tmp_path / "robot.yaml"))
    recorder.ready().start()
    time.sleep(1.0)
    driver.process.send_signal(signal.SIGINT)
    driver.process.wait(10)
    recorder.wait_for_status(lambda status: "publisher_lost" in status[""]["last_event"], 30, "the lost publisher")
    Publisher(spawn, "--joints", f"{STATE}:100", "--type", f"{STATE}={TRAJECTORY}")
    wait_until(lambda: ros_node.count_publishers(STATE), 30, "the other driver")
    begin_s = time.monotonic()
    stopped_s = recorder.wait_for_status(lambda status: status[""]["state"] == "stopped", 30, "the end")
    took_s = stopped_s - begin_s
    (episode,) = list_episodes(tmp_path / "out")
    meta = episode.meta
    assert meta.stop_reason == f"type change: {STATE} {JOINT_STATE} -> {TRAJECTORY}"
    assert meta.verdict.grade == "bad"
    kinds = {event.kind: event.topic for event in meta.events}
    assert (kinds["type_change"], kinds["publisher_lost"]) == (STATE, STATE)
    found = numbers(episode.path, STATE)  # decodes each as a JointState
    np.testing.assert_array_equal(np.diff(found), 1)
    with open_bag(episode.path) as bag:
        lengths = {len(message.raw) for message in bag.messages([STATE])}
    foreign = len(lengths) - 1
    results.record(
        "faults", "F11 type change: messages under the wrong schema", foreign, "", "0", foreign == 0, COMMAND
    )
    results.record("faults", "F11 type change: time to the end", took_s, "s", "<= 1", took_s <= 1.0, COMMAND)
    assert foreign == 0
    assert took_s < 1.5 * slack()
    refused = recorder.call("start")
    assert not refused.success
    assert TRAJECTORY in refused.message


def test_f11_two_types_at_once_are_refused(spawn, ros_node, wait_until, tmp_path):
    Publisher(spawn, "--joints", f"{STATE}:100", "--joints", f"{INTENT}:10", "--image", f"{IMAGE}:320x240:30")
    Publisher(spawn, "--joints", f"{STATE}:100", "--type", f"{STATE}={TRAJECTORY}")
    wait_until(lambda: ros_node.count_publishers(STATE) == 2 and ros_node.count_publishers(IMAGE), 30, "both")
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", robot=write_robot(tmp_path / "robot.yaml"))
    recorder.ready()
    wait_until(lambda: recorder.status.get(STATE, {}).get("publishers") == "2", 30, "discovery")
    answer = recorder.call("start")
    assert not answer.success
    for word in (STATE, JOINT_STATE, TRAJECTORY):
        assert word in answer.message
