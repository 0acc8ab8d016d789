"""The recorder over real ROS 2: publishers in one process, the recorder in another, services from a third."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from autofocus_core.bags import open_bag
from autofocus_core.episode import list_episodes, load_episode
from autofocus_core.messages import stamp_ns
from recorder_cell import INTENT, ROBOT, STATE, TASK, Recorder, assert_all_accounted_for, slack, write_task

PUBLISHER = Path(__file__).with_name("recorder_publisher.py")
DEVICE_INFO = "/camera/camera/device_info"


@pytest.fixture
def cell(spawn, ros_node, wait_until):
    process = spawn(["python", PUBLISHER, ROBOT])
    wait_until(lambda: ros_node.count_publishers("/latched"), 30, "the fake cell, whose last publisher this is")
    return process


def test_an_episode_has_every_message(spawn, ros_node, wait_until, tmp_path, cell):
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", "extra_topics:=[/latched]", "compression:=zstd")
    recorder.ready().start()
    time.sleep(3.0)
    assert recorder.outcome(True).success
    stopped = recorder.call("stop")
    assert stopped.success, stopped.message
    path = Path(stopped.message)
    assert path.parent == tmp_path / "out"
    for topic, expected in ((STATE, 300), (INTENT, 30)):
        missing = assert_all_accounted_for(path, topic)
        assert missing <= expected * (slack() - 1), f"{missing} of about {expected} messages lost on {topic}"
    meta = load_episode(path).meta
    assert (meta.outcome, meta.stop_reason, meta.task, meta.robot) == ("success", "requested", "lift", "sim_arm")
    with open_bag(path) as bag:
        assert {name: quality.count for name, quality in meta.streams.items()} == bag.counts
        assert bag.counts["/latched"] == 1  # published long before the start
    with open_bag(path) as bag:  # the rate is that of the stamps, whatever the publisher managed
        stamps_ns = np.sort([stamp_ns(msg.header) for _, msg in bag.decoded([STATE])])
    rate_hz = 1e9 * (len(stamps_ns) - 1) / (stamps_ns[-1] - stamps_ns[0])
    assert meta.streams[STATE].achieved_rate_hz == pytest.approx(rate_hz, rel=0.02)
    assert not list((tmp_path / "out").glob("*.recording"))


def test_many_short_episodes_start_and_stop_fast(spawn, ros_node, wait_until, tmp_path, cell):
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out")
    recorder.ready().start()
    assert recorder.call("stop").success
    took_s = []
    for _ in range(3):
        for name in ("start", "stop"):
            begin = time.monotonic()
            response = recorder.call(name)
            took_s.append(time.monotonic() - begin)
            assert response.success, response.message
            time.sleep(0.3)
    assert len(list_episodes(tmp_path / "out")) == 4
    # The median: a busy machine may wait for anything.
    assert np.median(took_s) < 0.5 * slack(), took_s


def test_discard_keeps_the_episode_out_of_the_way(spawn, ros_node, wait_until, tmp_path, cell):
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out")
    recorder.ready().start()
    time.sleep(0.3)
    discarded = recorder.call("discard")
    assert discarded.success, discarded.message
    assert Path(discarded.message).parent == tmp_path / "out" / ".discarded"
    assert load_episode(discarded.message).meta.stop_reason == "discarded"
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [".discarded"]
    recorder.start()
    stopped = Path(recorder.call("stop").message)
    assert Path(recorder.call("discard").message).name == stopped.name  # the one stopped last, too
    assert not stopped.exists()


def test_what_is_lost_on_the_way_is_counted(spawn, ros_node, wait_until, tmp_path, cell):
    """A recorder that hangs for 3 s loses what DDS cannot keep; the sidecar says how much, to the message."""
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out")
    recorder.ready().start()
    time.sleep(0.5)
    recorder.process.send_signal(signal.SIGSTOP)
    time.sleep(3.0)
    recorder.process.send_signal(signal.SIGCONT)
    time.sleep(1.0)
    path = Path(recorder.call("stop").message)
    assert assert_all_accounted_for(path, STATE) > 0, "nothing was lost, so this test tested nothing"


def test_a_session_counts_down_limits_the_time_and_keeps_notes(spawn, ros_node, wait_until, tmp_path, cell):
    rules = {"countdown_s": 0.5, "max_duration_s": 1.0, "target_episodes": 3}
    task = write_task(tmp_path / "task.yaml", recording=rules)
    (tmp_path / "out" / "killed.recording").mkdir(parents=True)
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", task=task).ready()
    wait_until(lambda: recorder.status.get(STATE, {}).get("publishers") == "1", 30, "discovery")
    assert not recorder.set_note("nobody to have it").successful
    answer = recorder.call("start")
    assert (answer.success, answer.message) == (True, "countdown 0.5 s")
    assert recorder.call("stop").message == "countdown cancelled"
    assert recorder.status[""]["state"] == "idle"
    recorder.call("start")
    recorder.wait_for_status(lambda status: status[""]["state"] == "recording", 20, "the end of the countdown")
    assert recorder.set_note("cube slipped").successful
    recorder.wait_for_status(lambda status: status[""]["state"] == "stopped", 20, "the time limit")
    (episode,) = list_episodes(tmp_path / "out")
    assert (episode.meta.stop_reason, episode.meta.note) == ("time limit: 1 s", "cube slipped")
    assert (episode.meta.end_ns - episode.meta.start_ns) / 1e9 == pytest.approx(1.0, abs=0.3 * slack())
    assert recorder.set_note("cube slipped twice").successful  # the one that was stopped last
    assert load_episode(episode.path).meta.note == "cube slipped twice"
    assert recorder.outcome(True).success
    own = recorder.status[""]
    assert {key: own[key] for key in ("episodes", "successes", "target_episodes", "interrupted", "last_outcome")} == {
        "episodes": "1", "successes": "1", "target_episodes": "3", "interrupted": "1", "last_outcome": "success",
    }  # fmt: skip
    assert own["last_grade"] == episode.meta.verdict.grade
    assert "autofocus episodes recover" in recorder.process.output_path.read_text()
    assert (tmp_path / "out" / "killed.recording").is_dir()


def latched_publisher(node, topic):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    return node.create_publisher(String, topic, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))


def texts(path, topic):
    with open_bag(path) as bag:
        return [message.data for _, message in bag.decoded([topic])]


def test_latched_topics_are_in_every_episode(spawn, ros_node, wait_until, tmp_path, cell):
    """Their publisher may be started again, or turn up in mid-recording; what a dead one said is not repeated."""
    from std_msgs.msg import String

    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", "extra_topics:=[/latched]").ready()
    recorder.start()
    camera = latched_publisher(ros_node, DEVICE_INFO)
    camera.publish(String(data='{"serial": "one"}'))
    recorder.wait_for_status(lambda status: status[DEVICE_INFO]["count"] == "1", 30, "a topic that turned up")
    first = recorder.stop()
    recorder.start()
    second = recorder.stop()
    ros_node.destroy_publisher(camera)
    recorder.wait_for_status(lambda status: status[DEVICE_INFO]["publishers"] == "0", 30, "the camera to go")
    camera = latched_publisher(ros_node, DEVICE_INFO)
    camera.publish(String(data='{"serial": "two"}'))
    recorder.wait_for_status(lambda status: status[DEVICE_INFO]["publishers"] == "1", 30, "the camera to come back")
    time.sleep(0.5)
    recorder.start()
    third = recorder.stop()
    for path, serial in ((first, "one"), (second, "one"), (third, "two")):
        assert texts(path, DEVICE_INFO) == [json.dumps({"serial": serial})]
        assert load_episode(path).meta.devices == {DEVICE_INFO: {"serial": serial}}
        with open_bag(path) as bag:
            assert bag.counts["/latched"] == 1
            assert min(message.receive_ns for message in bag.messages()) >= load_episode(path).meta.start_ns


def test_a_publisher_that_comes_back_with_another_qos_is_recorded_on(spawn, ros_node, wait_until, tmp_path, cell):
    """A driver is started again and offers best effort now: a reliable subscription would hear nothing of it."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from std_msgs.msg import String

    def publisher(reliability):
        return ros_node.create_publisher(String, "/extra", QoSProfile(depth=10, reliability=reliability))

    driver = publisher(ReliabilityPolicy.RELIABLE)
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", "extra_topics:=[/extra]").ready()
    recorder.start()
    driver.publish(String(data="before"))
    recorder.wait_for_status(lambda status: status["/extra"]["count"] == "1", 30, "the first message")
    ros_node.destroy_publisher(driver)
    recorder.wait_for_status(lambda status: "publisher_lost" in status[""]["last_event"], 30, "the loss")
    driver = publisher(ReliabilityPolicy.BEST_EFFORT)
    recorder.wait_for_status(lambda status: status["/extra"]["qos"] == "best_effort volatile", 30, "another request")
    wait_until(driver.get_subscription_count, 30, "the match")
    driver.publish(String(data="after"))
    recorder.wait_for_status(lambda status: status["/extra"]["count"] == "2", 30, "the second message")
    path = recorder.stop()
    assert texts(path, "/extra") == ["before", "after"]
    events = load_episode(path).meta.events
    assert [(e.kind, e.topic) for e in events if e.kind == "publisher_lost"] == [("publisher_lost", "/extra")]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ([], "task"),
        ([f"task:={TASK}", "output:=out", "compression:=lzma"], "compression"),
        ([f"task:={TASK}", "output:=out", "queue_mb:=0"], "queue_mb"),
        ([f"task:={TASK}", "output:=out", "sync_period_s:=2"], "decimal point"),
        ([f"task:={TASK}", "output:=out", "qos_overrides:=/not/there.yaml"], "/not/there.yaml"),
    ],
)
def test_a_wrong_parameter_is_named(spawn, parameters, named):
    argv = ["python", "-m", "demo_recorder.node", "--ros-args", "-p", f"robot:={ROBOT}"]
    process = spawn([*argv, *(word for parameter in parameters for word in ("-p", parameter))])
    assert process.wait(60) == 2
    text = process.output_path.read_text()
    assert named in text
    assert "Traceback" not in text
