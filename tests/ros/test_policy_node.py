"""The policy node in its own process: lifecycle, requests, heartbeat, holds, refusals. Over real DDS."""

import signal
import time

import numpy as np
import policy_files as files
import pytest

ROBOT = files.SIM_ROBOT
START = np.array(ROBOT.start.pose)


class FakeCell:
    """Publishes images at 30 Hz and joint states at 100 Hz from the probe node, and keeps what the policy sends."""

    def __init__(self, node):
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import Image, JointState
        from std_msgs.msg import Header
        from trajectory_msgs.msg import JointTrajectory

        self.node, self.image_class, self.state_class = node, Image, JointState
        self.image_on = self.state_on = True
        self.width_px, self.encoding, self.q = 320, "rgb8", START.copy()
        self.images = node.create_publisher(Image, ROBOT.cameras[0].topic, 2)
        self.states = node.create_publisher(JointState, ROBOT.state.topic, 10)
        self.requests, self.beats, self.status = [], [], []
        node.create_subscription(JointTrajectory, "/command_guard/request",
                                 lambda m: self.requests.append((time.monotonic(), m)), 50)
        node.create_subscription(Header, "/command_guard/heartbeat", lambda m: self.beats.append(time.monotonic()), 50)
        node.create_subscription(DiagnosticArray, "/policy/status", self.status.append, 50)
        node.create_timer(1 / 30, self.send_image)
        node.create_timer(1 / 100, self.send_state)

    def send_image(self):
        if self.image_on:
            msg = self.image_class(height=240, width=self.width_px, encoding=self.encoding, step=self.width_px * 3)
            pixels = np.zeros((240, self.width_px, 3), np.uint8)
            pixels[:, :100] = 200
            msg.data = pixels.tobytes()
            msg.header.stamp = self.node.get_clock().now().to_msg()
            self.images.publish(msg)

    def send_state(self):
        if self.state_on:
            msg = self.state_class(name=list(ROBOT.joint_names), position=self.q.tolist())
            msg.header.stamp = self.node.get_clock().now().to_msg()
            self.states.publish(msg)

    def last_status(self):
        return (self.status[-1].status[0].message, {v.key: v.value for v in self.status[-1].status[0].values})


@pytest.fixture
def cell(ros_node):
    return FakeCell(ros_node)


@pytest.fixture
def start(spawn, tmp_path):
    """start(policy=path, **parameters) -> Popen of a policy node."""
    def run(policy=None, robot=files.SIM_ROBOT_YAML, **parameters):
        policy = files.write_policy(tmp_path / "policy.pt") if policy is None else policy
        given = {"robot": robot, "policy": policy, "autostart": "true"} | parameters
        return spawn(["python", "-m", "autofocus_policy.node", "--ros-args",
                      *(a for key, value in given.items() for a in ("-p", f"{key}:={value}"))])
    return run


def stamp_s(stamp) -> float:
    return stamp.sec + stamp.nanosec * 1e-9


def test_requests_at_control_rate_stamped_with_the_observation(cell, start, wait_until):
    start()
    wait_until(lambda: len(cell.requests) > 20, 30, "twenty requests")
    wait_until(lambda: len(cell.status) > 1, 5, "a status")
    _, request = cell.requests[-1]
    assert list(request.joint_names) == list(ROBOT.joint_names) and len(request.points) == 8
    times_s = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in request.points]
    np.testing.assert_allclose(times_s, np.arange(1, 9) * 0.1, atol=1e-9)
    np.testing.assert_allclose(request.points[0].positions, START + 0.02, atol=1e-5)
    stamps_s = [stamp_s(m.header.stamp) for _, m in cell.requests]
    assert np.median(np.diff(stamps_s)) == pytest.approx(0.1, abs=0.02)
    beats_hz = len(cell.beats) / (cell.beats[-1] - cell.beats[0])
    assert 60 < beats_hz < 110
    message, values = cell.last_status()
    assert message == "running", message
    assert 0 < float(values["latency_ms_p50"]) <= float(values["latency_ms_p99"]) and values["bad_output"] == "0"


def change_state(node, wait_until, transition):
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    client = node.create_client(ChangeState, "/policy/change_state")
    wait_until(client.service_is_ready, 30, "the lifecycle service")
    request = ChangeState.Request(transition=Transition(id=getattr(Transition, f"TRANSITION_{transition.upper()}")))
    future = client.call_async(request)
    wait_until(future.done, 30, f"{transition} to be answered")
    node.destroy_client(client)
    return future.result().success


def test_the_lifecycle_decides_who_commands(cell, ros_node, start, wait_until):
    """Configured: silent. Active: requests and heartbeat. Deactivated: nothing after the answer. And again."""
    process = start(autostart="false")
    assert change_state(ros_node, wait_until, "configure")
    time.sleep(0.5)
    assert not cell.requests and not cell.beats
    for _ in range(2):
        assert change_state(ros_node, wait_until, "activate")
        before = len(cell.requests)
        wait_until(lambda n=before: len(cell.requests) > n + 5, 10, "requests while active")
        assert change_state(ros_node, wait_until, "deactivate")
        time.sleep(0.05)  # what was published before is still delivered
        counts = len(cell.requests), len(cell.beats)
        time.sleep(0.5)
        assert (len(cell.requests), len(cell.beats)) == counts
    assert change_state(ros_node, wait_until, "cleanup") and change_state(ros_node, wait_until, "configure")
    assert process.poll() is None


def test_f15_f16_f17_it_holds_and_says_so_and_goes_on(cell, start, wait_until):
    """One node, one fault after the other: no request within two periods, the reason in the status, then it resumes."""
    start()
    wait_until(lambda: len(cell.requests) > 3, 30, "requests")
    for attribute, value, words in (("image_on", False, "image_raw"), ("state_on", False, "/joint_states"),
                                    ("width_px", 160, "160x240"), ("encoding", "bgr8", "'bgr8'")):
        wait_until(lambda: cell.status and cell.last_status()[0] == "running", 10, "running")
        good, at_s = getattr(cell, attribute), time.monotonic()
        setattr(cell, attribute, value)
        wait_until(lambda: "holding" in cell.last_status()[0], 5, f"a hold in the status for {words}")
        assert words in cell.last_status()[0]
        assert cell.requests[-1][0] - at_s < 0.2
        count, beats = len(cell.requests), len(cell.beats)
        time.sleep(0.3)
        assert len(cell.requests) == count and len(cell.beats) > beats  # alive, but asking for nothing
        setattr(cell, attribute, good)
        wait_until(lambda n=count: len(cell.requests) > n + 3, 10, f"requests after {words}")
    values = cell.last_status()[1]
    assert int(values["refused_frames"]) > 5 and int(values["holds"]) == 4


def test_f19_bad_output_is_not_published(cell, start, tmp_path, wait_until):
    start(policy=files.write_policy(tmp_path / "bad.pt", files.NotANumberLater()))
    wait_until(lambda: len(cell.requests) > 3, 30, "requests")
    cell.q[0] = 1.0
    wait_until(lambda: "refused" in cell.last_status()[0], 5, "an error in the status")
    time.sleep(0.1)
    count = len(cell.requests)
    time.sleep(0.5)
    assert len(cell.requests) == count and int(cell.last_status()[1]["bad_output"]) > 2
    assert np.isfinite([p.positions for _, m in cell.requests for p in m.points]).all()


def ended(process, timeout_s=30):
    process.wait(timeout_s)
    return process.returncode, process.output_path.read_text()


def test_f29_a_bad_policy_file_ends_autostart_with_the_remedy(start, tmp_path):
    """Missing, foreign, other joints: exit status 2, and the message says what to do."""
    foreign, other = tmp_path / "foreign.pt", tmp_path / "other.pt"
    foreign.write_bytes(b"PK\x03\x04 not ours")
    joints = tuple(reversed(ROBOT.joint_names))
    files.write_policy(other, manifest=files.manifest_for(ROBOT, joints=joints))
    processes = [start(policy=tmp_path / "none.pt"), start(policy=foreign), start(policy=other)]
    for process, words in zip(processes, ("nothing there", "not a readable zip", "joints in order"), strict=True):
        code, output = ended(process)
        assert code == 2 and words in output and "fix:" in output, output


def test_a_bad_robot_file_or_none_ends_autostart(start, spawn, tmp_path):
    robot = tmp_path / "robot.yaml"
    robot.write_text(files.SIM_ROBOT_YAML.read_text() + "\nsurprise: 1\n")
    code, output = ended(start(robot=robot))
    assert code == 2 and "surprise" in output and "fix:" in output
    code, output = ended(spawn(["python", "-m", "autofocus_policy.node", "--ros-args", "-p", "autostart:=true"]))
    assert code == 2 and "parameter robot" in output and "robot:=PATH" in output


def test_configuring_with_a_bad_file_fails_and_the_node_stays(ros_node, start, tmp_path, wait_until):
    """A lifecycle manager gets a refusal, may put the file there and ask again."""
    policy = tmp_path / "later.pt"
    process = start(policy=policy, autostart="false")
    assert not change_state(ros_node, wait_until, "configure")
    assert "autofocus export" in process.output_path.read_text()
    files.write_policy(policy)
    assert change_state(ros_node, wait_until, "configure")


def test_it_ends_cleanly_on_a_signal(cell, start, wait_until):
    processes = {signal.SIGINT: start(), signal.SIGTERM: start()}
    outputs = [p.output_path for p in processes.values()]
    wait_until(lambda: all("warm after" in output.read_text() for output in outputs), 30, "both to be loaded")
    wait_until(lambda: cell.requests, 10, "a request")
    for signum, process in processes.items():
        process.send_signal(signum)
        code, output = ended(process, 5)
        assert code == 0 and "Traceback" not in output, output
