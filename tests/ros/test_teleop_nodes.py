"""Teleoperation over real ROS 2: sources in processes of their own, the real guard, a robot that does as it is told."""

import math
import os
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from autofocus_core import names
from autofocus_core.bags import open_bag
from autofocus_core.episode import load_episode
from autofocus_core.joints import read_joints
from autofocus_core.schema import load_robot, load_task
from teleop_robot import HOME, ROBOT, TELEOP_CONFIG, offset

HERE = Path(__file__).parent
SIM_CONFIG = HERE.parents[1] / "ros2_ws/src/autofocus_sim/config"
START, BACK, LB, X = 7, 6, 4, 2


@pytest.fixture
def robot_file(tmp_path) -> Path:
    """The simulated arm as a lab would describe it: the action is the command. With a small camera, and a driver and a
    commander that a busy machine may delay."""
    raw = yaml.safe_load((SIM_CONFIG / "sim_arm.yaml").read_text())
    raw["kinematics"]["model"] = str(SIM_CONFIG / "sim_arm.xml")
    raw["action"] = dict(raw["command"])
    raw["state"]["timeout_ms"] = raw["action"]["timeout_ms"] = 2000
    raw["heartbeat_timeout_ms"] = raw["command_timeout_ms"] = 400
    raw["cameras"][0] |= {"width_px": 32, "height_px": 24, "rate_hz": 10, "timeout_ms": 2000}
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def config_file(tmp_path: Path, name: str, **changes) -> Path:
    raw = yaml.safe_load((TELEOP_CONFIG / name).read_text()) | changes
    path = tmp_path / name
    path.write_text(yaml.safe_dump(raw))
    return path


def recorder_arguments(robot_file: Path, output: Path) -> list[str]:
    values = {"robot": robot_file, "task": SIM_CONFIG / "lift.yaml", "output": output, "reserve_mb": 1}
    return [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]


class Cell:
    """The guard and a fake robot, and what a person at the cell can see and do."""

    def __init__(self, node, spawn, wait_until, tmp_path, robot_file):
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Header
        from std_srvs.srv import Trigger
        from trajectory_msgs.msg import JointTrajectory

        self.node, self.wait_until, self.robot, self.trigger = node, wait_until, load_robot(robot_file), Trigger
        self.commands: list[tuple[float, np.ndarray]] = []
        self.requests: list[tuple[float, np.ndarray]] = []
        self.heartbeats: list[float] = []
        self.guard: dict[str, str] = {}
        self.source: dict[str, str] = {}
        self.arm_client = node.create_client(Trigger, "/command_guard/arm")
        spawn(["python", HERE / "fake_robot.py", robot_file, tmp_path / "robot.log"])
        spawn(["python", "-m", "command_guard.node", "--ros-args", "-p", f"robot:={robot_file}"])
        now = time.monotonic
        keep = [
            (JointState, self.robot.command.topic, lambda m: self.commands.append((now(), np.array(m.position)))),
            (JointTrajectory, names.GUARD_REQUEST_TOPIC,
             lambda m: self.requests.append((now(), np.array(m.points[0].positions)))),
            (Header, names.GUARD_HEARTBEAT_TOPIC, lambda m: self.heartbeats.append(now())),
            (DiagnosticArray, names.GUARD_STATUS_TOPIC, lambda m: self.guard.update(self.values(m))),
            (DiagnosticArray, "/leader/status", lambda m: self.source.update(self.values(m))),
            (DiagnosticArray, "/jog/status", lambda m: self.source.update(self.values(m))),
        ]  # fmt: skip
        for kind, topic, callback in keep:
            node.create_subscription(kind, topic, callback, 200)

    @staticmethod
    def values(message) -> dict[str, str]:
        return {pair.key: pair.value for pair in message.status[0].values}

    def call(self, client, request=None):
        self.wait_until(client.service_is_ready, 60, client.srv_name)
        future = client.call_async(request or self.trigger.Request())
        self.wait_until(future.done, 20, f"an answer of {client.srv_name}")
        return future.result()

    def arm(self) -> None:
        self.wait_until(lambda: self.call(self.arm_client).success, 30, f"an armed guard: {self.guard}")

    def says(self, text: str, timeout_s: float = 20) -> None:
        """Wait until the source gives a reason with this text."""
        self.wait_until(lambda: text in self.source.get("reason", ""), timeout_s, f"{text!r}: {self.source}")

    def silence(self) -> None:
        """No request and no heartbeat for half a second, and the guard holds."""
        self.wait_until(lambda: time.monotonic() - max(self.heartbeats[-1], self.requests[-1][0]) > 0.5, 10, "silence")
        self.wait_until(lambda: self.guard.get("state") == "holding", 10, f"a hold: {self.guard}")

    def at(self, pose: np.ndarray, tolerance: float = 2e-3) -> bool:
        return bool(self.commands) and np.abs(self.commands[-1][1] - pose).max() < tolerance

    def moves(self, joint: int, seconds: float = 0.3) -> float:
        """How far a joint's command goes in that time."""
        self.wait_until(lambda: self.commands, 10, "commands")
        before = self.commands[-1][1][joint]
        time.sleep(seconds)
        return self.commands[-1][1][joint] - before


@pytest.fixture
def cell(ros_node, spawn, wait_until, tmp_path, robot_file) -> Cell:
    return Cell(ros_node, spawn, wait_until, tmp_path, robot_file)


class Leader:
    """A leader arm that publishes `pose(t)`, with t in s since it was set, at 100 Hz; None: nothing."""

    def __init__(self, node, spawn, tmp_path, robot_file, **changes):
        from sensor_msgs.msg import JointState

        changes = {"leader": {"topic": "/leader/joint_states", "timeout_ms": 500}, **changes}
        teleop = config_file(tmp_path, "leader.yaml", **changes)
        self._node, self._message, self._since_s = node, JointState, 0.0
        self._publisher = node.create_publisher(JointState, "/leader/joint_states", 10)
        self.lead(lambda t: HOME)
        self._timer = node.create_timer(0.01, self._publish)
        self.process = spawn(["python", "-m", "demo_recorder.leader_node", "--ros-args", "-p", f"robot:={robot_file}",
                              "-p", f"teleop:={teleop}"])

    def lead(self, pose) -> None:
        self._since_s, self._pose = time.monotonic(), pose

    def _publish(self) -> None:
        if self._pose is None:
            return
        leader = np.array(self._pose(time.monotonic() - self._since_s))
        leader[5] /= 0.037  # its gripper is a trigger from 0 to 1
        message = self._message(name=list(ROBOT.joint_names), position=leader.tolist())
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def test_a_leader_leads_stops_when_anything_is_wrong_and_starts_softly(cell, ros_node, spawn, tmp_path, robot_file):
    leader = Leader(ros_node, spawn, tmp_path, robot_file)
    cell.says("guard disarmed", 60)
    assert not cell.requests and not cell.heartbeats
    leader.lead(lambda t: HOME + offset(elbow=0.9))
    time.sleep(0.5)
    cell.arm()
    cell.says("0.90 rad apart at elbow")
    assert not cell.requests
    away = HOME + offset(waist=0.3, elbow=-0.4, gripper=-0.02)
    leader.lead(lambda t: away)
    cell.wait_until(lambda: cell.at(away), 20, "the leader's pose")
    cell.says("following")
    times = np.array([t for t, _ in cell.commands])
    moving = times[np.abs(np.array([p for _, p in cell.commands]) - HOME).max(axis=1) > 1e-3]
    assert moving[-1] - moving[0] > 0.4 / (3.0 * 0.2) * 0.8  # a fifth of the limit, not the 0.13 s of the limit
    # gone for longer than the guard waits for a commander: a person has to say that it may go on
    leader.lead(None)
    cell.says("leader: silent")
    cell.silence()
    cell.wait_until(lambda: cell.guard["needs_arm"] == "True", 10, "a hold that only a person ends")
    leader.lead(lambda t: away)
    cell.says("arm it")
    cell.arm()
    cell.says("following")
    # a jump, as of an encoder that wraps: only a person goes on
    there = cell.commands[-1][1]
    leader.lead(lambda t: away + offset(wrist_rotate=0.7))
    cell.says("wrist_rotate jumped")
    cell.silence()
    assert np.abs(cell.commands[-1][1] - there).max() < 0.02
    cell.requests.clear()
    cell.arm()
    cell.wait_until(lambda: cell.at(away + offset(wrist_rotate=0.7)), 20, "the new pose, slowly")
    np.testing.assert_allclose(cell.requests[0][1], there, atol=1e-6)  # it began at the guard's command
    # disengaged by a person
    client = ros_node.create_client(cell.trigger, "/leader/disengage")
    assert cell.call(client).success
    cell.says("disengaged")
    cell.silence()


def test_request_and_command_are_recorded_and_the_command_is_learned(
    cell, ros_node, spawn, tmp_path, robot_file, wait_until
):
    """A leader that is shaken harder than the robot may go. The episode holds what was asked for and what was sent;
    the label of training is the second, which keeps every limit."""
    from autofocus_training.config import load_config
    from autofocus_training.data import load_dataset
    from sensor_msgs.msg import CameraInfo, Image

    camera = load_robot(robot_file).cameras[0]
    images = ros_node.create_publisher(Image, camera.topic, 10)
    infos = ros_node.create_publisher(CameraInfo, camera.info_topic, 10)

    def show() -> None:
        picture = Image(height=24, width=32, encoding="rgb8", step=96, data=bytes(24 * 96))
        picture.header.stamp = ros_node.get_clock().now().to_msg()
        images.publish(picture)
        infos.publish(CameraInfo(header=picture.header, width=32, height=24))

    ros_node.create_timer(0.1, show)
    leader = Leader(ros_node, spawn, tmp_path, robot_file)
    spawn(["python", "-m", "demo_recorder.node", "--ros-args", *recorder_arguments(robot_file, tmp_path / "out")])
    cell.wait_until(lambda: cell.source, 60, "the leader node")
    cell.arm()
    cell.says("following")
    start, stop = (ros_node.create_client(cell.trigger, f"/demo_recorder/{name}") for name in ("start", "stop"))
    wait_until(lambda: cell.call(start).success, 60, "a recording")
    leader.lead(lambda t: HOME + offset(waist=0.3 * math.sin(2 * math.pi * 1.5 * t)))
    time.sleep(3.0)
    episode = load_episode(cell.call(stop).message)
    robot = load_robot(robot_file)
    assert robot.action.topic == robot.command.topic
    with open_bag(episode.path) as bag:
        assert bag.counts[names.GUARD_REQUEST_TOPIC] > 50
        sent_ns, sent = read_joints(bag, robot.action.topic, robot)
        asked_ns, asked = read_joints(bag, names.GUARD_REQUEST_TOPIC, robot)
    lost = episode.meta.streams[robot.command.topic]
    accelerations = np.abs(np.diff(sent[:, 0], n=2)) / 0.01**2  # one command each 10 ms
    if lost.lost + lost.refused == 0:
        assert accelerations.max() <= robot.acceleration[0] + 1e-3
    wanted = np.abs(np.diff(asked[:, 0], n=2)) / 0.02**2  # one request each 20 ms
    assert np.quantile(wanted, 0.95) > robot.acceleration[0], "the leader was too gentle to test anything"
    config = load_config("tiny", ["method=none", "paste_shapes=0"])
    data = load_dataset([episode], robot, load_task(SIM_CONFIG / "lift.yaml"), config)
    labels = data.samples.actions[:, :, 0].numpy()
    steps_ns = np.round(np.arange(1, labels.shape[1] + 1) * config.dt_s * 1e9)
    due_ns = np.minimum(data.samples.stamps_ns.numpy()[:, None] + steps_ns, sent_ns[-1])
    np.testing.assert_allclose(labels, np.interp(due_ns, sent_ns, sent[:, 0]), atol=1e-5)
    assert np.abs(labels - np.interp(due_ns, asked_ns, asked[:, 0])).max() > 0.05, "asked and sent are the same"


# ---- jogging


class Joystick:
    """Writes js_events into a pipe, which joystick_node takes for /dev/input/js0."""

    def __init__(self, spawn, tmp_path):
        self.path = tmp_path / "js0"
        os.mkfifo(self.path)
        self.fd: int | None = None
        spawn(["python", "-m", "demo_recorder.joystick_node", "--ros-args", "-p", f"dev:={self.path}"])

    def plug_in(self) -> None:
        """As the kernel does: the state of every axis and button first."""
        self.fd = os.open(self.path, os.O_WRONLY)
        for number in range(8):
            self.send(0, 0x82, number)
        for number in range(11):
            self.send(0, 0x81, number)

    def unplug(self) -> None:
        os.close(self.fd)

    def axis(self, number: int, value: float) -> None:
        self.send(round(-value * 32767), 0x02, number)  # the kernel's sign

    def press(self, *numbers: int, up: bool = False) -> None:
        for number in numbers:
            self.send(int(not up), 0x01, number)

    def send(self, value: int, kind: int, number: int) -> None:
        os.write(self.fd, struct.pack("=IhBB", 0, value, kind, number))


def test_a_gamepad_jogs_while_its_deadman_is_held(cell, ros_node, spawn, tmp_path, robot_file):
    joystick = Joystick(spawn, tmp_path)
    teleop = config_file(tmp_path, "gamepad.yaml", timeout_ms=500)
    spawn(["python", "-m", "demo_recorder.jog_node", "--ros-args", "-p", "input:=gamepad", "-p", f"robot:={robot_file}",
           "-p", f"teleop:={teleop}"])  # fmt: skip
    cell.says("nothing on /joy", 60)
    joystick.plug_in()
    cell.says("deadman")
    joystick.axis(0, 1.0)

    def armed() -> bool:  # once the guard's service is discovered
        joystick.press(X)
        joystick.press(X, up=True)
        time.sleep(0.5)
        return cell.guard.get("state") == "holding"

    cell.wait_until(armed, 30, f"X to arm the guard: {cell.guard}")
    assert abs(cell.moves(0)) < 1e-9 and not cell.heartbeats
    joystick.press(LB)
    cell.says("moving")
    assert cell.moves(0) > 0.05
    joystick.press(LB, up=True)
    cell.says("deadman")
    cell.silence()
    assert abs(cell.moves(0)) < 1e-9
    # the tool goes up, straight
    joystick.axis(0, 0.0)
    joystick.press(3)
    joystick.press(3, up=True)
    cell.wait_until(lambda: cell.source.get("mode") == "base", 10, "the other mode")
    cell.arm()
    from autofocus_core.kinematics import Kinematics

    kinematics = Kinematics(cell.robot)
    before, _ = kinematics.tip_pose(cell.commands[-1][1])
    joystick.press(LB)
    joystick.axis(4, 1.0)
    cell.wait_until(lambda: kinematics.tip_pose(cell.commands[-1][1])[0][2] > before[2] + 0.05, 20, "5 cm up")
    # unplugged with the deadman held: it stops, and what is held when it comes back counts for nothing
    joystick.unplug()
    cell.says("silent")
    cell.silence()
    after, _ = kinematics.tip_pose(cell.commands[-1][1])
    np.testing.assert_allclose(after[:2], before[:2], atol=2e-3)
    joystick.plug_in()
    joystick.press(LB)
    cell.says("deadman")


def test_a_keyboard_jogs_a_moment_for_each_press(cell, ros_node, spawn, tmp_path, robot_file, wait_until):
    keys = tmp_path / "keys"
    os.mkfifo(keys)
    process = spawn(["python", HERE / "in_terminal.py", keys, sys.executable, "-m", "demo_recorder.jog_node",
                     "--ros-args", "-p", "input:=keyboard", "-p", f"robot:={robot_file}"])  # fmt: skip
    typed = os.open(keys, os.O_RDWR)
    cell.says("press Enter", 60)
    wait_until(lambda: int(cell.guard.get("count.states", 0)) > 10, 30, "joint states at the guard")

    def armed() -> bool:
        os.write(typed, b"\n")
        time.sleep(0.5)
        return cell.guard.get("state") in ("holding", "tracking")

    wait_until(armed, 30, f"Enter to arm the guard: {cell.guard}")
    cell.says("still")
    os.write(typed, b"q")
    time.sleep(1.0)
    once = cell.commands[-1][1][0] - HOME[0]
    assert 0.02 < once < 0.3  # 0.15 s at half of 0.9 rad/s, and what a busy machine makes of it
    assert cell.guard["state"] == "tracking" and cell.source["reason"] == "still"
    for _ in range(30):
        os.write(typed, b"q")
        time.sleep(0.033)
    assert cell.commands[-1][1][0] - HOME[0] > once + 0.2
    os.write(typed, b" ")
    cell.says("stopped")
    wait_until(lambda: cell.guard["needs_arm"] == "True", 10, "a hold that only a person ends")
    os.write(typed, b"q\x03")
    assert process.wait(20) == 0
    shown = process.output_path.read_text()
    assert "q/a waist" in shown and "speed  50%" in shown


def test_a_keyboard_needs_a_terminal(spawn, robot_file):
    process = spawn(["python", "-m", "demo_recorder.jog_node", "--ros-args", "-p", "input:=keyboard", "-p",
                     f"robot:={robot_file}"])  # fmt: skip
    assert process.wait(60) == 2
    assert "ssh -t" in process.output_path.read_text()


# ---- session buttons


def test_buttons_drive_a_session(ros_node, spawn, tmp_path, wait_until):
    """Start, then success held: one episode, judged and stopped. What is pressed before the recorder answers is not
    queued up."""
    from sensor_msgs.msg import Joy

    spawn(["python", HERE / "recorder_publisher.py", SIM_CONFIG / "sim_arm.yaml"])
    wait_until(lambda: ros_node.count_publishers("/latched"), 60, "the fake cell")
    arguments = recorder_arguments(SIM_CONFIG / "sim_arm.yaml", tmp_path / "out")
    recorder = spawn(["python", "-m", "demo_recorder.node", "--ros-args", *arguments])
    node = spawn(["python", "-m", "demo_recorder.session_buttons_node", "--ros-args", "-p",
                  f"buttons:={TELEOP_CONFIG / 'buttons.yaml'}"])  # fmt: skip
    down: set[int] = set()
    joy = ros_node.create_publisher(Joy, "/joy", 10)
    ros_node.create_timer(0.05, lambda: joy.publish(Joy(buttons=[int(i in down) for i in range(11)])))
    said = node.output_path.read_text
    wait_until(lambda: joy.get_subscription_count() and "buttons on /joy" in said(), 60, "the buttons node")
    time.sleep(1.5)  # publishers and services are discovered

    def hold(button: int, seconds: float, until: str) -> None:
        before = said()
        down.add(button)
        time.sleep(seconds)
        down.clear()
        wait_until(lambda: until in said()[len(before):], 30, f"{until!r} after {before!r} + {said()!r}")
        time.sleep(0.2)  # let go, for the pad, too

    hold(START, 0.2, "start: ")
    time.sleep(1.0)
    hold(START, 1.5, "stop: ")
    (path,) = (tmp_path / "out").glob("lift_*")
    meta = load_episode(path).meta
    assert (meta.outcome, meta.stop_reason) == ("success", "requested")
    hold(BACK, 1.8, "discard: ")
    assert not path.exists()
    hold(BACK, 0.2, "outcome refused")  # there is nothing to judge, and it says so
    recorder.send_signal(signal.SIGSTOP)  # it does not answer
    hold(START, 0.2, "")
    time.sleep(0.3)
    hold(START, 0.2, "ignored: the recorder has not answered yet")
    recorder.send_signal(signal.SIGCONT)
    wait_until(lambda: said().count("start: ") == 2, 30, said())


def test_a_missing_file_is_named(spawn):
    process = spawn(["python", "-m", "demo_recorder.session_buttons_node"])
    assert process.wait(60) == 2
    assert "buttons:=buttons.yaml" in process.output_path.read_text()
