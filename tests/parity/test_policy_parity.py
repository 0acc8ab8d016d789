"""The same observations give the same chunks: running node over DDS, runner in this process, and a bag offline."""

import array

import numpy as np
import policy_files as files
import pytest
from autofocus_core import messages
from autofocus_core.bag_writer import BagWriter
from autofocus_core.bags import open_bag
from autofocus_core.resample import Observation, observations
from autofocus_policy.runner import PolicyRunner

ROBOT = files.SIM_ROBOT
CAMERA = ROBOT.cameras[0]


def nanoseconds(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


class Recorder:
    """Publishes images of noise at 30 Hz and wandering joint states at 100 Hz, and keeps all it sends, in order."""

    def __init__(self, node):
        from sensor_msgs.msg import Image, JointState

        self.node, self.rng, self.sent = node, np.random.default_rng(0), []
        self.image_class, self.state_class = Image, JointState
        self.images = node.create_publisher(Image, CAMERA.topic, 10)
        self.states = node.create_publisher(JointState, ROBOT.state.topic, 50)
        self.timers = [node.create_timer(1 / 30, self.image), node.create_timer(1 / 100, self.state)]

    def image(self):
        msg = self.image_class(height=240, width=320, encoding="rgb8", step=960)
        pixels = self.rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
        pixels[:, :160] //= self.rng.integers(1, 3, dtype=np.uint8)
        msg.data = pixels.tobytes()
        self.send(self.images, CAMERA.topic, msg)

    def state(self):
        q = np.array(ROBOT.start.pose) + self.rng.normal(0, 0.01, 6)
        self.send(self.states, ROBOT.state.topic, self.state_class(name=list(ROBOT.joint_names), position=q.tolist()))

    def send(self, publisher, topic, msg):
        msg.header.stamp = self.node.get_clock().now().to_msg()
        publisher.publish(msg)
        self.sent.append((topic, nanoseconds(msg.header.stamp), msg))

    def write_bag(self, path):
        """What a recorder that heard everything would have written."""
        with BagWriter(path) as writer:
            for stream in (CAMERA, ROBOT.state):
                writer.add_topic(stream.topic, stream.type)
            for topic, stamp_ns, msg in self.sent:
                stream = CAMERA if topic == CAMERA.topic else ROBOT.state
                writer.write(topic, messages.serialize(as_rosbags(msg, stream.type), stream.type), stamp_ns, stamp_ns)


def as_rosbags(msg, msgtype):
    """The message in rosbags' classes, whose serialisation has no padding behind it."""
    stamp = messages.message_class("builtin_interfaces/msg/Time")(sec=msg.header.stamp.sec,
                                                                  nanosec=msg.header.stamp.nanosec)
    header = messages.message_class("std_msgs/msg/Header")(stamp=stamp, frame_id=msg.header.frame_id)
    fields = {name: np.asarray(value) if isinstance(value, array.array) else value
              for name in msg.get_fields_and_field_types() for value in (getattr(msg, name),)}
    return messages.message_class(msgtype)(**(fields | {"header": header}))


@pytest.mark.timeout(120)
def test_node_runner_and_bag_agree(ros_node, spawn, tmp_path, wait_until):
    from trajectory_msgs.msg import JointTrajectory

    policy, requests = files.write_policy(tmp_path / "policy.pt"), {}

    def keep(m):
        if m.points:  # without any it asks to hold
            requests[nanoseconds(m.header.stamp)] = np.array([p.positions for p in m.points])

    ros_node.create_subscription(JointTrajectory, "/command_guard/request", keep, 50)
    recorder = Recorder(ros_node)
    spawn(["python", "-m", "autofocus_policy.node", "--ros-args", "-p", f"robot:={files.SIM_ROBOT_YAML}",
           "-p", f"policy:={policy}", "-p", "autostart:=true"])
    wait_until(lambda: len(requests) >= 30, 60, "thirty requests")
    for timer in recorder.timers:
        timer.cancel()
    recorder.write_bag(tmp_path / "bag")

    runner = PolicyRunner(policy, ROBOT)
    with open_bag(tmp_path / "bag") as bag:  # at every image: which of them the node takes is not the question here
        found = observations(bag, ROBOT, (CAMERA.name,))
        offline = {o.stamp_ns: runner.act(o).positions for o in found if isinstance(o, Observation)}
    assert set(requests) <= set(offline)
    differences = [np.abs(requests[t] - offline[t]).max() for t in requests]
    assert max(differences) == 0.0, differences
    spacing_ns = np.diff(sorted(requests))
    assert np.median(spacing_ns) == pytest.approx(1e8, rel=0.3)
