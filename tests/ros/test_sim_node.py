"""The sim and demonstrator nodes over real ROS 2, with the real guard between them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from autofocus_core import dds

ROBOT = Path(__file__).parents[2] / "ros2_ws/src/autofocus_sim/config/sim_arm.yaml"
JOINTS = ["waist", "shoulder", "elbow", "wrist_angle", "wrist_rotate", "gripper"]


class Probe:
    """Collects what the nodes publish, and calls their services."""

    def __init__(self, node, wait_until):
        from sensor_msgs.msg import CameraInfo, Image, JointState
        from std_msgs.msg import Bool
        from visualization_msgs.msg import ImageMarker, MarkerArray

        self.node, self.wait_until = node, wait_until
        self.seen, self.clients = {}, {}
        for kind, topic in (
            (JointState, "/joint_states"), (Image, "/camera/camera/color/image_raw"), (Bool, "/sim/truth/success"),
            (CameraInfo, "/camera/camera/color/camera_info"), (MarkerArray, "/sim/truth/markers"),
            (ImageMarker, "/sim/truth/image_markers"),
        ):
            self.listen(kind, topic)

    def listen(self, kind, topic, qos=50):
        self.seen[topic] = []
        self.node.create_subscription(kind, topic, self.seen[topic].append, qos)

    def await_count(self, topic, count, timeout_s=20.0):
        self.wait_until(lambda: len(self.seen[topic]) >= count, timeout_s, f"{count} messages on {topic}")
        return self.seen[topic]

    def trigger(self, service):
        from std_srvs.srv import Trigger

        return self.call(Trigger, service, Trigger.Request())

    def set(self, node, **values):
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        request = SetParameters.Request(parameters=parameters)
        return self.call(SetParameters, f"{node}/set_parameters", request).results

    def call(self, kind, name, request):
        # Kept: to destroy a client under the thread that spins the node ends that thread.
        if name not in self.clients:
            self.clients[name] = self.node.create_client(kind, name)
        client = self.clients[name]
        assert client.wait_for_service(timeout_sec=20.0), f"no service {name}"
        future = client.call_async(request)
        self.wait_until(future.done, 20.0, f"an answer of {name}")
        return future.result()


@pytest.fixture
def probe(ros_node, wait_until):
    return Probe(ros_node, wait_until)


def stamp_s(message):
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def spawn_node(spawn, module, **parameters):
    arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    return spawn(["python", "-m", module, "--ros-args", *arguments])


@pytest.fixture
def patient_robot(tmp_path):
    """The robot with long timeouts: these tests are about the task, the watchdogs have their own."""
    text = ROBOT.read_text()
    for strict, patient in (("rate_hz: 100, timeout_ms: 100", "rate_hz: 100, timeout_ms: 2000"),
                            ("command_timeout_ms: 250", "command_timeout_ms: 2000"),
                            ("heartbeat_timeout_ms: 50", "heartbeat_timeout_ms: 2000")):
        assert strict in text
        text = text.replace(strict, patient)
    path = tmp_path / "patient.yaml"
    path.write_text(text)
    return path


def test_sim_speaks_the_robots_topics(spawn, probe):
    node = spawn_node(spawn, "autofocus_sim.node", robot=ROBOT, seed=3)
    image = probe.await_count("/camera/camera/color/image_raw", 30)[-1]
    assert (image.width, image.height, image.encoding, image.step, len(image.data)) == (320, 240, "rgb8", 960, 230400)
    info = probe.await_count("/camera/camera/color/camera_info", 1)[-1]
    assert (info.width, info.height) == (320, 240) and info.k[0] > 100
    joints = probe.await_count("/joint_states", 100)
    assert list(joints[-1].name) == JOINTS and len(joints[-1].velocity) == 6
    stamps = np.array([stamp_s(message) for message in joints])
    assert (np.diff(stamps) > 0).all()
    # Behind the clock on a busy machine, but never more than two steps per period of 10 ms.
    assert np.median(np.diff(stamps)) < 0.02

    names = {marker.ns for marker in probe.await_count("/sim/truth/markers", 1)[-1].markers}
    assert {"red cube", "orange gripper"} <= names
    boxes = [m for m in probe.await_count("/sim/truth/image_markers", 20) if m.ns == "red cube"]
    image_stamps = {stamp_s(message) for message in probe.seen["/camera/camera/color/image_raw"]}
    assert any(stamp_s(box) in image_stamps for box in boxes)
    box = boxes[-1]
    assert len(box.points) == 4 and box.points[0].x < box.position.x < box.points[2].x

    space = os.statvfs(dds.SHARED_MEMORY)
    if space.f_bavail * space.f_frsize >= dds.NEEDED_BYTES:
        assert largest_shared_memory_bytes(node.pid) >= 60 * 1024**2, "images larger than 512 KB would go by socket"


def largest_shared_memory_bytes(pid):
    """Of what a process has mapped from Fast DDS's shared memory."""
    mapped = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/dev/shm/fast" in line]
    spans = [[int(end, 16) for end in fields[0].split("-")] for fields in mapped]
    return max((end - begin for begin, end in spans), default=0)


def test_sim_follows_commands_by_name_and_refuses_others(spawn, probe, ros_node, wait_until):
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import JointState

    spawn_node(spawn, "autofocus_sim.node", robot=ROBOT)
    probe.listen(DiagnosticArray, "/sim/status")
    start = np.array(probe.await_count("/joint_states", 1)[0].position)
    target = start + np.array([0.2, 0.1, 0.1, -0.1, 0.3, -0.01])
    order = [5, 2, 0, 1, 4, 3]
    publisher = ros_node.create_publisher(JointState, "/arm/command", 1)
    wait_until(lambda: publisher.get_subscription_count() == 1, 20.0, "the sim to listen to commands")
    good = JointState(name=[JOINTS[i] for i in order], position=[float(target[i]) for i in order])

    def there():
        # Again and again: best effort, so what is sent before the sim has matched this publisher is lost.
        publisher.publish(good)
        return np.abs(np.array(probe.seen["/joint_states"][-1].position) - target).max() < 0.005

    def refusals():
        values = {value.key: value.value for m in probe.seen["/sim/status"] for value in m.status[0].values}
        return int(values.get("command_refused", 0))

    wait_until(there, 10.0, "the arm at the commanded pose")
    for bad in (
        JointState(name=JOINTS[:5], position=[0.0] * 5), JointState(name=JOINTS, position=[float("nan")] * 6),
        JointState(name=[*JOINTS[:5], "finger"], position=[0.0] * 6),
    ):
        before = refusals()
        publisher.publish(bad)
        wait_until(lambda before=before: refusals() > before, 5.0, f"{bad} to be counted as refused")
    assert np.abs(np.array(probe.seen["/joint_states"][-1].position) - target).max() < 0.005


def test_sim_reset_gives_the_scene_of_the_seed(spawn, probe):
    spawn_node(spawn, "autofocus_sim.node", robot=ROBOT)

    def cube_after(seed, condition):
        assert all(result.successful for result in probe.set("/sim", seed=seed, condition=condition))
        answer = probe.trigger("/sim/reset")
        assert answer.success and f"seed {seed}" in answer.message
        last = probe.seen["/sim/truth/markers"][-1]
        cube = next(marker for marker in last.markers if marker.ns == "red cube").pose.position
        return (cube.x, cube.y), {marker.ns for marker in last.markers}

    probe.await_count("/sim/truth/markers", 1)
    first, names = cube_after(5, "mate")
    assert "blue box" in names
    other, names = cube_after(6, "nominal")
    assert "blue box" not in names
    again, _ = cube_after(5, "mate_broken")
    assert np.allclose(first, again, atol=1e-4) and not np.allclose(first, other, atol=1e-3)
    refused = probe.set("/sim", condition="moonlight")[0]
    assert not refused.successful and "mate_broken" in refused.reason


@pytest.mark.parametrize("task", ["lift", "place"])
def test_demonstrator_does_the_task_through_the_guard(spawn, probe, patient_robot, task):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from sensor_msgs.msg import JointState
    from std_msgs.msg import String

    spawn_node(spawn, "autofocus_sim.node", robot=patient_robot, task=task, seed=4)
    spawn_node(spawn, "command_guard.node", robot=patient_robot)
    spawn_node(spawn, "autofocus_sim.demonstrator_node", robot=patient_robot, task=task, seed=4,
               timeout_s=60.0)
    probe.listen(String, "/demonstrator/done", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    probe.listen(JointState, "/teleop/intent")
    probe.await_count("/sim/truth/markers", 1)
    assert probe.trigger("/sim/reset").success
    probe.wait_until(lambda: probe.trigger("/command_guard/arm").success, 10.0, "the guard to arm")
    probe.wait_until(lambda: probe.trigger("/demonstrator/run").success, 10.0, "the demonstrator to begin")
    refused = probe.trigger("/demonstrator/run")
    assert not refused.success and "still on" in refused.message
    done = json.loads(probe.await_count("/demonstrator/done", 1, timeout_s=70.0)[0].data)
    assert done["success"] and done["reason"] == "done" and done["run"] == 1
    assert probe.seen["/sim/truth/success"][-1].data
    stamps = np.array([stamp_s(message) for message in probe.seen["/teleop/intent"]])
    assert len(stamps) == done["ticks"]
    assert (np.diff(stamps) > 0.0).all()


def test_nodes_say_what_is_missing(spawn):
    for module in ("autofocus_sim.node", "autofocus_sim.demonstrator_node"):
        process = spawn_node(spawn, module)
        assert process.wait(20) == 2
        assert "robot:=PATH" in process.output_path.read_text()
