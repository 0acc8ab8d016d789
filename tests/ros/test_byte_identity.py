"""What is in an episode is what was published, bit for bit: in order, nothing more, nothing less.

Two readers that are not ours tell: rosbags and the mcap package. Identity is that of the serialised CDR as it is on the
wire; see identity_publisher.py for the up to three zeros that RTPS puts behind short messages. What was published
through rclpy's typed interface is compared with what another subscriber got: who publishes never sees those bytes.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

PUBLISHER = Path(__file__).with_name("identity_publisher.py")
LATCHED_TOPIC, TYPED_TOPIC = "/robot_description", "/typed/joints"
EXTRA_TOPICS = ("/camera/image_raw/compressed", "/notes", "/blobs", LATCHED_TOPIC, TYPED_TOPIC)
SPLIT_MB = 4


def digest(raw: bytes | memoryview) -> str:
    return hashlib.sha256(raw).hexdigest()


def by_mcap(episode: Path) -> Iterator[tuple[str, bytes]]:
    for file in episode_files(episode):
        with file.open("rb") as stream:
            for _, channel, message in make_reader(stream, validate_crcs=True).iter_messages(log_time_order=False):
                assert channel.message_encoding == "cdr"
                yield channel.topic, message.data


def by_rosbags(episode: Path) -> Iterator[tuple[str, bytes]]:
    with Reader(episode) as reader:
        for connection, _, raw in reader.messages():
            yield connection.topic, raw


def episode_files(episode: Path) -> list[Path]:
    """In the order of their numbers, NAME_0.mcap, NAME_1.mcap ..."""
    return sorted(episode.glob("*.mcap"), key=lambda path: int(path.stem.rsplit("_", 1)[1]))


def write_configuration(folder: Path) -> tuple[Path, Path]:
    """A robot whose topics are those of the publisher."""
    joint = {"unit": "rad", "position": [-3.1, 3.1], "velocity": 3.0, "acceleration": 20.0}
    stream = {"type": "sensor_msgs/msg/JointState", "rate_hz": 50, "timeout_ms": 100}
    camera = {"name": "camera", "topic": "/camera/image_raw", "info_topic": "/camera/camera_info"}
    camera |= {"type": "sensor_msgs/msg/Image", "width_px": 640, "height_px": 480, "rate_hz": 30, "timeout_ms": 200}
    robot = {
        "schema": 1,
        "name": "odd",
        "joints": [{"name": "waist", **joint}],
        "start": {"pose": [0.0], "ramp_distance_rad": 0.3, "refuse_distance_rad": 1.0},
        "state": {"topic": "/joint_states", **stream},
        "action": {"topic": "/teleop/intent", **stream},
        "command": {"topic": "/arm/command", **stream},
        "cameras": [camera],
        "control_rate_hz": 10,
        "command_timeout_ms": 250,
        "heartbeat_timeout_ms": 50,
    }
    task = {"schema": 1, "name": "odd", "instruction": "nothing", "cameras": ["camera"], "timeout_s": 60.0}
    for name, document in (("robot", robot), ("task", task)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return folder / "robot.yaml", folder / "task.yaml"


class Witness:
    """A subscriber beside the recorder: the wire bytes of one topic, and how far the recording has come."""

    def __init__(self, node) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import JointState

        self.raw: list[bytes] = []
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()
        node.create_subscription(JointState, TYPED_TOPIC, self.raw.append, 1000, raw=True)
        node.create_subscription(DiagnosticArray, "/demo_recorder/status", self._on_status, 10)

    def _on_status(self, message) -> None:
        values = [{pair.key: pair.value for pair in status.values} for status in message.status]
        with self._lock:
            self.counts |= {v["topic"]: int(v["count"]) for v in values if v.get("topic") and v.get("count")}

    def recorded(self) -> dict[str, int]:
        """Messages recorded so far by topic, by the recorder's own word."""
        with self._lock:
            return dict(self.counts)


@pytest.mark.parametrize("compression, split_mb", [("none", 0), ("none", SPLIT_MB), ("zstd", SPLIT_MB)])
def test_an_episode_is_what_was_published(spawn, ros_node, wait_until, tmp_path, compression, split_mb):
    from std_srvs.srv import Trigger

    robot, task = write_configuration(tmp_path)
    log, go = tmp_path / "published.log", tmp_path / "go"
    spawn(["python", PUBLISHER, log, go])
    witness = Witness(ros_node)
    parameters = {"robot": robot, "task": task, "output": tmp_path / "out", "compression": compression}
    parameters |= {"extra_topics": f"[{', '.join(EXTRA_TOPICS)}]", "max_file_mb": split_mb}
    pairs = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    spawn(["python", "-m", "demo_recorder.node", "--ros-args", *pairs])
    clients = {name: ros_node.create_client(Trigger, f"/demo_recorder/{name}") for name in ("start", "stop")}
    wait_until(lambda: all(client.service_is_ready() for client in clients.values()), 60, "the recorder")

    def call(name: str):
        future = clients[name].call_async(Trigger.Request())
        wait_until(future.done, 30, f"an answer to {name}")
        return future.result()

    wait_until(lambda: call("start").success, 60, "a start")
    go.touch()
    wait_until(log.exists, 60, "everything published")
    published = defaultdict(list)
    for line in log.read_text().splitlines():
        topic, *rest = line.split()
        published[topic].append(rest)
    typed = sum(len(entries) for topic, entries in published.items() if topic != LATCHED_TOPIC)
    expected = {topic: len(entries) for topic, entries in published.items()} | {TYPED_TOPIC: typed}
    wait_until(lambda: witness.recorded() == witness.recorded() | expected, 30, "all of it recorded")
    wait_until(lambda: len(witness.raw) >= typed, 30, "all of it witnessed")
    stopped = call("stop")
    assert stopped.success, stopped.message
    episode = Path(stopped.message)

    files = episode_files(episode)
    assert (len(files) > 1) == (split_mb > 0), files
    for read in (by_mcap, by_rosbags):
        found = defaultdict(list)
        for topic, raw in read(episode):
            found[topic].append((len(raw), digest(raw)))
        assert set(found) == {*published, TYPED_TOPIC}, read.__name__
        for topic, entries in published.items():
            assert len(found[topic]) == len(entries), f"{read.__name__}: {topic}"
            for number, ((size, hashed), (length, exact, padded)) in enumerate(zip(found[topic], entries, strict=True)):
                wire = (int(length), exact) if size == int(length) else (int(length) + -int(length) % 4, padded)
                assert (size, hashed) == wire, f"{read.__name__}: {topic}: message {number} of {length} bytes"
        assert found[TYPED_TOPIC] == [(len(raw), digest(raw)) for raw in witness.raw], read.__name__
