"""The recorder over real ROS 2: publishers in one process, the recorder in another, services from a third."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from autofocus_core.bags import open_bag
from autofocus_core.episode import list_episodes, load_episode
from autofocus_core.messages import stamp_ns

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "ros2_ws/src/autofocus_sim/config"
ROBOT = CONFIG / "sim_arm.yaml"
PUBLISHER = Path(__file__).with_name("recorder_publisher.py")
IMAGE, STATE, INTENT = "/camera/camera/color/image_raw", "/joint_states", "/teleop/intent"


class Recorder:
    """The recorder process and its services."""

    def __init__(self, spawn, node, wait_until, output: Path, *parameters: str):
        from std_srvs.srv import SetBool, Trigger

        self.output = output
        argv = ["python", "-m", "demo_recorder.node", "--ros-args", "-p", f"robot:={ROBOT}"]
        argv += ["-p", f"task:={CONFIG / 'lift.yaml'}", "-p", f"output:={output}"]
        for parameter in parameters:
            argv += ["-p", parameter]
        self.process = spawn(argv)
        self._wait_until = wait_until
        self._triggers = {
            name: node.create_client(Trigger, f"/demo_recorder/{name}") for name in ("start", "stop", "discard")
        }
        self._outcome = node.create_client(SetBool, "/demo_recorder/outcome")
        self._requests = (Trigger.Request, SetBool.Request)
        wait_until(lambda: all(c.service_is_ready() for c in (*self._triggers.values(), self._outcome)), 60, "recorder")

    def start(self) -> str:
        """Start, once the publishers are discovered: on a busy machine that takes longer than a start waits."""
        answers = []

        def started() -> bool:
            answers.append(self.call("start"))
            return answers[-1].success

        self._wait_until(started, 30, "a start")
        return answers[-1].message

    def call(self, name: str):
        return self._result(self._triggers[name].call_async(self._requests[0]()), name)

    def outcome(self, success: bool):
        return self._result(self._outcome.call_async(self._requests[1](data=success)), "outcome")

    def _result(self, future, what: str):
        self._wait_until(future.done, 30, f"answer to {what}")
        return future.result()


def counters(path: Path, topic: str) -> np.ndarray:
    """The publisher's counter in each message, sorted: what DDS sends again is received late."""
    with open_bag(path) as bag:
        return np.sort([msg.velocity[0] for _, msg in bag.decoded([topic])])


def assert_all_accounted_for(path: Path, topic: str) -> int:
    """Every message between the first and the last is in the bag, or counted as dropped; gives the drops.

    On an idle machine none is dropped. Where the recorder gets no processor for a second, DDS overwrites.
    """
    numbers, quality = counters(path, topic), load_episode(path).meta.streams[topic]
    assert quality.count == len(numbers) == len(set(numbers))
    missing = int(numbers[-1] - numbers[0] + 1 - len(numbers))
    assert quality.drops == missing
    return missing


def slack() -> float:
    """How much longer things may take than on an idle machine: runnable processes for each core."""
    return max(1.0, os.getloadavg()[0] / os.cpu_count())


@pytest.fixture
def cell(spawn, ros_node, wait_until):
    process = spawn(["python", PUBLISHER, ROBOT])
    wait_until(lambda: ros_node.count_publishers("/latched"), 30, "the fake cell, whose last publisher this is")
    return process


def test_an_episode_has_every_message(spawn, ros_node, wait_until, tmp_path, cell):
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", "extra_topics:=[/latched]", "compression:=zstd")
    recorder.start()
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
    recorder.start()
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


def test_start_names_the_topic_nobody_publishes(spawn, ros_node, wait_until, tmp_path):
    spawn(["python", PUBLISHER, ROBOT, "--without", IMAGE])
    wait_until(lambda: ros_node.count_publishers("/latched"), 30, "the fake cell")
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out")
    time.sleep(1.0)  # the topics that are there are discovered, too
    begin = time.monotonic()
    response = recorder.call("start")
    assert time.monotonic() - begin < 3.0 * slack()
    assert not response.success
    assert IMAGE in response.message
    assert STATE not in response.message.split("fix:")[0]
    assert not recorder.call("stop").success
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_discard_keeps_the_episode_out_of_the_way(spawn, ros_node, wait_until, tmp_path, cell):
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out")
    recorder.start()
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
    recorder.start()
    time.sleep(0.5)
    recorder.process.send_signal(signal.SIGSTOP)
    time.sleep(3.0)
    recorder.process.send_signal(signal.SIGCONT)
    time.sleep(1.0)
    path = Path(recorder.call("stop").message)
    assert assert_all_accounted_for(path, STATE) > 0, "nothing was lost, so this test tested nothing"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_f02_a_signal_finishes_the_recording(spawn, ros_node, wait_until, tmp_path, cell, number):
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out")
    recorder.start()
    time.sleep(1.0)
    begin = time.monotonic()
    recorder.process.send_signal(number)
    assert recorder.process.wait(60) == 0
    assert time.monotonic() - begin < 5.0 * slack()
    (episode,) = list_episodes(tmp_path / "out")
    assert episode.meta.stop_reason == f"signal: {number.name}"
    assert_all_accounted_for(episode.path, STATE)


def test_f01_a_killed_recording_is_recoverable(spawn, ros_node, wait_until, tmp_path, cell):
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out")
    name = recorder.start()
    time.sleep(2.0)
    recorder.process.kill()
    recorder.process.wait(5)
    killed_ns = time.time_ns()
    with open_bag(tmp_path / "out" / f"{name}.recording", allow_truncated=True) as bag:
        assert bag.lossy
        last = {topic: 0 for topic in (STATE, IMAGE)}
        for message in bag.messages(last):
            last[message.topic] = message.receive_ns
    assert max(killed_ns - stamp for stamp in last.values()) < 1e9 * slack()


def test_a_missing_parameter_is_named(spawn):
    process = spawn(["python", "-m", "demo_recorder.node", "--ros-args", "-p", f"robot:={ROBOT}"])
    assert process.wait(60) == 2
    assert "task" in process.output_path.read_text()
