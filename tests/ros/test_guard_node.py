"""The guard over real DDS, between a fake robot and commanders that die, hang and misbehave.

Figures are taken at the robot's end. A trial that misses its figure on a machine that did not run a thread which only
sleeps on time either (`Canary`) says nothing about the guard, and is repeated.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from autofocus_core import results
from autofocus_core.errors import EXIT_CODE
from autofocus_core.names import GUARD_COMMAND_TOPIC, GUARD_HEARTBEAT_TOPIC, GUARD_REQUEST_TOPIC, GUARD_STATUS_TOPIC
from autofocus_core.schema import load_robot
from canary import BUSY_MS, Canary
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

HERE = Path(__file__).parent
ROBOT_FILE = HERE.parents[1] / "ros2_ws/src/autofocus_sim/config/sim_arm.yaml"
ROBOT = load_robot(ROBOT_FILE)
T = 0.01
#: 0.3 rad/s brakes in two periods at 20 rad/s^2: what is measured is the guard, not the arm's inertia.
SPEED_RAD_S = 0.3
HOLD_MS = 100.0
REPRODUCE = "pytest tests/ros/test_guard_node.py -k {}"


def offset(*by: float) -> np.ndarray:
    """The start pose, moved by so much per joint."""
    return np.array(ROBOT.start.pose) + np.array(by)


class Cell:
    """Guard and fake robot in processes of their own; this process watches, and commands where a test wants it to."""

    def __init__(self, node, spawn, wait_until, folder: Path, robot_file: Path, *parameters: str) -> None:
        self.node, self.spawn, self.wait_until, self.robot_file = node, spawn, wait_until, robot_file
        self.log = folder / "commands.txt"
        self._read, self._rows = 0, []
        self.status: dict[str, str] = {}
        node.create_subscription(DiagnosticArray, GUARD_STATUS_TOPIC, self._on_status, 10)
        services = ("arm", "disarm", "hold", "estop")
        self.clients = {name: node.create_client(Trigger, f"/command_guard/{name}") for name in services}
        self.robot = spawn(["python", HERE / "fake_robot.py", robot_file, self.log])
        argv = ["python", "-m", "command_guard.node", "--ros-args", "-p", f"robot:={robot_file}", *parameters]
        self.guard = spawn(argv)
        self.requests = self.heartbeats = None
        for client in self.clients.values():
            wait_until(client.service_is_ready, 20, f"service {client.srv_name}")
        wait_until(lambda: int(self.status.get("count.states", 0)) > 10, 20, "joint states at the guard")

    def _on_status(self, msg: DiagnosticArray) -> None:
        self.status = {pair.key: pair.value for pair in msg.status[0].values}

    def call(self, name: str) -> Trigger.Response:
        future = self.clients[name].call_async(Trigger.Request())
        self.wait_until(future.done, 10, f"an answer of {name}")
        return future.result()

    def arm(self) -> None:
        answer = self.call("arm")
        assert answer.success, answer.message

    def wait_for_state(self, state: str, timeout_s: float = 10) -> None:
        self.wait_until(lambda: self.status.get("state") == state, timeout_s, f"state {state}; now {self.status}")

    def commands(self, last: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(arrival in s on CLOCK_MONOTONIC (N,), positions (N, A)) of the last commands (0: of all)."""
        if self.log.exists():
            with self.log.open("rb") as log:
                log.seek(self._read)
                new = log.read().rpartition(b"\n")[0]
            self._read += len(new) + bool(new)
            for line in new.splitlines():
                arrival_ns, *positions = line.split()
                self._rows.append((int(arrival_ns) * 1e-9, [float(x) for x in positions]))
        rows = self._rows[-last:] if last else self._rows
        positions = np.array([row[1] for row in rows]).reshape(-1, len(ROBOT.joint_names))
        return np.array([row[0] for row in rows]), positions

    def speed(self) -> float:
        _, positions = self.commands(last=8)
        return float(np.abs(np.diff(positions, axis=0)).mean(axis=0).max() / T) if len(positions) == 8 else 0.0

    def sweep(self, speed_rad_s: float = SPEED_RAD_S):
        """A commander process, armed and under way."""
        commander = self.spawn(["python", HERE / "fake_commander.py", self.robot_file, str(speed_rad_s)])
        self.wait_until(lambda: int(self.status.get("count.heartbeats", 0)) > 5, 20, "heartbeats")

        def under_way() -> bool:
            if self.status["needs_arm"] == "True":
                self.call("arm")
            return self.status["state"] == "tracking" and self.speed() > 0.9 * speed_rad_s

        self.wait_until(under_way, 30, "motion")
        return commander

    def stop_time_s(self, since_s: float) -> float:
        """When, after `since_s`, the command came to rest, at the robot's end; waits for it."""
        self.wait_until(lambda: self.speed() == 0.0, 5, "rest")
        arrival, positions = self.commands()
        moving = np.flatnonzero(np.abs(np.diff(positions, axis=0)).max(axis=1) > 0)
        return float(arrival[moving[-1] + 2] - since_s)  # the first command that repeats the one before

    def assert_smooth(self, joints: slice = slice(None)) -> None:
        """Every command keeps the limits with respect to the two before; none is missing from the log."""
        positions = self.commands()[1][:, joints]
        velocity = np.diff(positions, axis=0) / T
        assert np.isfinite(positions).all()
        assert (positions >= ROBOT.lower[joints] - 1e-9).all() and (positions <= ROBOT.upper[joints] + 1e-9).all()
        assert (np.abs(velocity) <= ROBOT.velocity[joints] + 1e-6).all()
        assert (np.abs(np.diff(velocity, axis=0)) / T <= ROBOT.acceleration[joints] + 1e-6).all()

    # ---- this process as the commander

    def command_from_here(self) -> None:
        self.requests = self.node.create_publisher(JointTrajectory, GUARD_REQUEST_TOPIC, 1)
        self.heartbeats = self.node.create_publisher(Header, GUARD_HEARTBEAT_TOPIC, 1)
        self.node.create_timer(0.01, lambda: self.heartbeats.publish(Header()))
        self.wait_until(lambda: int(self.status.get("count.heartbeats", 0)) > 5, 20, "heartbeats")

    def ask(self, positions, names=ROBOT.joint_names, points: int = 5) -> None:
        msg = JointTrajectory(joint_names=list(names))
        msg.header.stamp = self.node.get_clock().now().to_msg()
        for k in range(1, points + 1):
            due = Duration(seconds=0.1 * k).to_msg()
            msg.points.append(JointTrajectoryPoint(positions=[float(p) for p in positions], time_from_start=due))
        self.requests.publish(msg)

    def count(self, name: str) -> int:
        return int(self.status.get(f"count.{name}", 0))

    def follow(self, positions, names=ROBOT.joint_names) -> None:
        """Ask until the robot is there; arm again where a busy machine let a watchdog's hold last."""

        def there() -> bool:
            if self.status["state"] == "holding" and self.status["needs_arm"] == "True":
                self.call("arm")
            self.ask(positions, names)
            time.sleep(0.1)
            arrived = self.commands()[1]
            order = [list(names).index(name) for name in ROBOT.joint_names]
            return len(arrived) > 0 and np.abs(arrived[-1] - np.asarray(positions)[order]).max() < 1e-3

        self.wait_until(there, 30, f"the robot at {positions}; status {self.status}")


@pytest.fixture
def patient_robot_file(tmp_path) -> Path:
    """The simulated arm, but a driver that a busy machine delays is not taken for dead."""
    text = ROBOT_FILE.read_text()
    state = "rate_hz: 100, timeout_ms: 100}\n# The demonstrator"
    assert state in text
    path = tmp_path / "robot.yaml"
    path.write_text(text.replace(state, state.replace("timeout_ms: 100", "timeout_ms: 2000")))
    return path


@pytest.fixture
def cell(ros_node, spawn, wait_until, tmp_path, patient_robot_file) -> Cell:
    return Cell(ros_node, spawn, wait_until, tmp_path, patient_robot_file)


def hold_times_ms(cell: Cell, how: signal.Signals, trials: int, most: int = 10) -> list[float]:
    """From the signal to a commander in motion to the first command at rest."""
    canary, hold_ms = Canary(), []
    for _ in range(most):
        commander = cell.sweep()
        struck_s = time.monotonic()
        os.kill(commander.pid, how)
        took_ms = cell.stop_time_s(struck_s) * 1e3
        late_ms = canary.worst_ms(struck_s, struck_s + took_ms / 1e3)
        print(f"{how.name}: at rest after {took_ms:.1f} ms; the machine was {late_ms:.1f} ms late")
        if took_ms <= HOLD_MS or late_ms < BUSY_MS:
            hold_ms.append(took_ms)
        commander.kill()
        commander.wait()
        cell.call("hold")
        if len(hold_ms) == trials:
            return hold_ms
    pytest.skip(f"the machine is too busy to time anything: {len(hold_ms)} of {most} trials ran on time")


def record_hold(name: str, hold_ms: list[float], keyword: str) -> None:
    worst = max(hold_ms)
    target = f"<= {HOLD_MS:g}, worst of {len(hold_ms)}"
    results.record("guard", name, round(worst, 1), "ms", target, worst <= HOLD_MS, REPRODUCE.format(keyword))
    # Figures are the rows above; the test itself leaves room for one stall of a machine that the canary did not see.
    assert np.median(hold_ms) <= HOLD_MS and worst <= 2 * HOLD_MS, hold_ms


def test_f18_a_killed_commander_is_held_within_100_ms(cell: Cell) -> None:
    hold_ms = hold_times_ms(cell, signal.SIGKILL, trials=5)
    assert cell.count("holds_heartbeat") >= 5
    cell.assert_smooth()
    record_hold("F18_dead_commander_hold_ms", hold_ms, "f18_a_killed")


def test_f18_a_stopped_commander_is_held_within_100_ms(cell: Cell) -> None:
    hold_ms = hold_times_ms(cell, signal.SIGSTOP, trials=3)
    cell.assert_smooth()
    record_hold("F18_stopped_commander_hold_ms", hold_ms, "f18_a_stopped")


def test_f18_a_commander_that_wakes_up_later_does_not_go_on_by_itself(cell: Cell) -> None:
    commander = cell.sweep()
    os.kill(commander.pid, signal.SIGSTOP)
    cell.wait_until(lambda: cell.status["needs_arm"] == "True", 5, "the end of the time to resume")
    where = cell.commands()[1][-1]
    refused = cell.count("request_refused_needs_arm")
    os.kill(commander.pid, signal.SIGCONT)
    cell.wait_until(lambda: cell.count("request_refused_needs_arm") > refused + 3, 5, "requests of the woken commander")
    assert (cell.commands()[1][-1] == where).all()
    cell.assert_smooth()


def test_f18_a_late_commander_is_held_and_resumes_by_itself(cell: Cell) -> None:
    cell.command_from_here()
    goal = offset(0.2, 0, 0, 0, 0, 0)
    cell.arm()
    cell.follow(goal)
    for _ in range(5):  # on a busy machine the heartbeats may be late too
        cell.wait_for_state("holding")
        cell.follow(goal + np.array([0.1, 0, 0, 0, 0, 0]))
        cell.follow(goal)
        if cell.count("holds_request"):
            break
    assert cell.count("holds_request") >= 1
    assert cell.count("armed") == 1 or cell.count("holds_heartbeat") >= 1, "it resumed by itself"
    cell.assert_smooth()


def test_f19_nothing_broken_reaches_the_wire(cell: Cell) -> None:
    cell.command_from_here()
    start = np.array(ROBOT.start.pose)
    for bad in (float("nan"), float("inf"), 1e30):
        cell.arm()
        cell.follow(start)
        cell.ask([0.5, bad, *start[2:]])
        cell.wait_for_state("fault")
        refused = cell.count("request_refused_fault")
        cell.ask(start + 0.1 * np.array([1, 1, 1, 1, 1, 0]))
        cell.wait_until(lambda before=refused: cell.count("request_refused_fault") > before, 2, "a latched fault")
    positions = cell.commands()[1]
    assert np.abs(positions - start).max() < 1e-9, "nothing of a broken request is used"


def test_f21_joints_are_mapped_by_name_or_refused(cell: Cell) -> None:
    cell.command_from_here()
    cell.arm()
    goal = offset(0.05, 0.1, -0.05, 0.02, 0.2, -0.01)
    order = [5, 2, 0, 4, 1, 3]
    cell.follow(goal[order], [ROBOT.joint_names[i] for i in order])
    wrong = goal + np.array([1, 1, 1, 1, 1, 0])
    doubled = (*ROBOT.joint_names[:5], ROBOT.joint_names[0])
    cases = [(wrong, doubled), (wrong[:5], ROBOT.joint_names[:5]), (wrong, (*ROBOT.joint_names[:5], "finger"))]
    for k, (positions, names) in enumerate(cases, start=1):
        cell.ask(positions, names)
        cell.wait_until(lambda wanted=k: cell.count("request_refused_names") == wanted, 2, "the refusal")
    astray_rad = float(np.abs(cell.commands()[1][-1] - goal).max())
    results.record(
        "guard", "F21_wrong_joint_rad", astray_rad, "rad", "0 (<= 1e-3)", astray_rad <= 1e-3, REPRODUCE.format("f21")
    )
    assert astray_rad <= 1e-3


def test_f17_a_stopped_driver_is_a_fault_until_a_person_arms(ros_node, spawn, wait_until, tmp_path) -> None:
    cell = Cell(ros_node, spawn, wait_until, tmp_path, ROBOT_FILE)
    heard: list[float] = []
    cell.node.create_subscription(JointState, ROBOT.command.topic, lambda _: heard.append(time.monotonic()), 50)
    cell.sweep()
    cell.wait_until(lambda: len(heard) > 20, 5, "commands")
    stopped_s = time.monotonic()
    os.kill(cell.robot.pid, signal.SIGSTOP)
    cell.wait_for_state("fault", 2)
    assert "joint state" in cell.status["reason"]
    cell.wait_until(lambda: time.monotonic() - heard[-1] > 0.3, 5, "silence")
    silent_ms = (heard[-1] - stopped_s) * 1e3
    os.kill(cell.robot.pid, signal.SIGCONT)
    states = cell.count("states")
    cell.wait_until(lambda: cell.count("states") > states + 20, 5, "joint states again")
    assert cell.status["state"] == "fault"
    assert time.monotonic() - heard[-1] > 0.3, "it went on by itself"
    cell.wait_until(lambda: cell.call("arm").success, 10, "arming")
    cell.wait_for_state("tracking")
    # 100 ms until stale, one period, then braking from 0.3 rad/s: two periods
    ok = silent_ms <= 100 + T * 1e3 * 3
    results.record(
        "guard", "F17_stale_state_silent_ms", round(silent_ms, 1), "ms", "<= 130", ok, REPRODUCE.format("f17")
    )
    assert silent_ms < 300


def test_f24_estop_brakes_smoothly_and_is_latched(cell: Cell) -> None:
    cell.sweep(1.0)
    assert cell.call("estop").success
    cell.wait_for_state("fault")
    asked_s = time.monotonic()
    cell.stop_time_s(asked_s)
    where = cell.commands()[1][-1]
    cell.wait_until(lambda: cell.count("request_refused_fault") > 3, 5, "requests refused")
    assert (cell.commands()[1][-1] == where).all()
    cell.assert_smooth()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_f24_a_guard_told_to_end_brakes_first(cell: Cell, number: signal.Signals) -> None:
    cell.sweep(1.0)
    cell.guard.send_signal(number)
    assert cell.guard.wait(5) == 0
    assert cell.speed() < 1.0
    last = cell.commands()[1][-3:]
    assert np.abs(np.diff(last, axis=0)[-1]).max() == 0.0, "the last command is at rest"
    cell.assert_smooth()


def test_f26_a_second_publisher_of_commands_is_a_fault(cell: Cell) -> None:
    cell.sweep()
    begin_s = time.monotonic()
    stranger = cell.node.create_publisher(JointState, ROBOT.command.topic, 1)
    cell.wait_for_state("fault", 5)
    noticed_ms = (time.monotonic() - begin_s) * 1e3
    assert "/test_probe" in cell.status["reason"]
    cell.stop_time_s(begin_s)
    assert not cell.call("arm").success
    cell.node.destroy_publisher(stranger)
    cell.wait_until(lambda: cell.call("arm").success, 10, "arming after the stranger left")
    ok = noticed_ms <= 500
    results.record(
        "guard", "F26_foreign_publisher_noticed_ms", round(noticed_ms, 1), "ms", "<= 500", ok, REPRODUCE.format("f26_a")
    )
    assert noticed_ms < 2000


def test_f26_a_second_commander_is_a_fault(cell: Cell) -> None:
    cell.sweep()
    cell.requests = cell.node.create_publisher(JointTrajectory, GUARD_REQUEST_TOPIC, 1)
    cell.wait_until(lambda: cell.requests.get_subscription_count() > 0, 5, "the guard")

    def noticed() -> bool:
        cell.ask(offset(1, 0, 0, 0, 0, 0))
        time.sleep(0.05)
        return cell.status["state"] == "fault"

    cell.wait_until(noticed, 10, "the fault")
    assert "second commander" in cell.status["reason"]
    cell.assert_smooth()


@pytest.mark.parametrize(
    ("command_type", "gripper"),
    [
        ("std_msgs/msg/Float64MultiArray", ""),
        ("trajectory_msgs/msg/JointTrajectory", ""),
        ("trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float64MultiArray"),
    ],
    ids=["forward", "trajectory", "gripper_apart"],
)
def test_commands_of_each_type_and_all_joints_for_those_who_learn(
    ros_node, spawn, wait_until, tmp_path, patient_robot_file, command_type, gripper
) -> None:
    text = patient_robot_file.read_text()
    command = "command: {topic: /arm/command, type: sensor_msgs/msg/JointState"
    assert command in text
    text = text.replace(command, command.replace("sensor_msgs/msg/JointState", command_type))
    if gripper:
        text += f"gripper_command: {{topic: /gripper/command, type: {gripper}, rate_hz: 100, timeout_ms: 100}}\n"
    robot_file = tmp_path / "other_robot.yaml"
    robot_file.write_text(text)
    sent: list[JointState] = []
    ros_node.create_subscription(JointState, GUARD_COMMAND_TOPIC, sent.append, 10)
    cell = Cell(ros_node, spawn, wait_until, tmp_path, robot_file)
    cell.command_from_here()
    cell.arm()
    goal = offset(0.05, 0.1, -0.05, 0.02, 0.2, -0.01)
    cell.follow(goal)
    # The log has a row for each command of the arm; a gripper's own topic comes a moment before or after.
    cell.assert_smooth(slice(0, len(ROBOT.joints)) if gripper else slice(None))
    wait_until(lambda: sent and np.abs(np.array(sent[-1].position) - goal).max() < 1e-6, 5, "the whole command")
    assert tuple(sent[-1].name) == ROBOT.joint_names


def test_deadman_and_estop_button(ros_node, spawn, wait_until, tmp_path, patient_robot_file) -> None:
    from std_msgs.msg import Bool

    cell = Cell(ros_node, spawn, wait_until, tmp_path, patient_robot_file, "-p", "deadman_topic:=/deadman")
    deadman = ros_node.create_publisher(Bool, "/deadman", 10)
    estop = ros_node.create_publisher(Bool, "/command_guard/estop_signal", 10)
    held: list[bool] = []
    goal = offset(0.01, 0, 0, 0, 0, 0)
    cell.command_from_here()
    cell.arm()
    ros_node.create_timer(0.02, lambda: held and deadman.publish(Bool(data=True)))
    ros_node.create_timer(0.05, lambda: cell.ask(goal))
    cell.wait_until(lambda: cell.count("requests") > 3, 5, "requests taken")
    assert cell.status["state"] == "holding"
    held.append(True)
    cell.follow(goal)
    held.clear()
    cell.wait_until(lambda: cell.count("holds_deadman") > 0, 5, "a hold")
    estop.publish(Bool(data=True))
    cell.wait_for_state("fault")
    assert "release" in cell.call("arm").message
    estop.publish(Bool(data=False))
    cell.wait_until(lambda: cell.call("arm").success, 5, "an armed guard")
    cell.assert_smooth()


def test_disarm_answers_when_the_guard_is_silent(cell: Cell) -> None:
    """The demonstration resets its cell right after: a late command would drag the arm back."""
    cell.sweep(1.0)
    assert cell.call("disarm").success
    answered = len(cell.commands()[0])
    cell.wait_until(lambda: cell.count("request_refused_disarmed") > 3, 5, "requests refused")
    assert len(cell.commands()[0]) <= answered + 1  # one may have been on its way
    cell.assert_smooth()


def test_period_of_the_commands_at_the_robots_end(cell: Cell) -> None:
    canary = Canary()
    cell.sweep()
    begin_s = time.monotonic()
    cell.wait_until(lambda: len(cell.commands()[0]) > 500, 30, "500 commands")
    late_ms = canary.worst_ms(begin_s, time.monotonic())
    period_ms = np.diff(cell.commands()[0][100:]) * 1e3
    for name, value, target in (
        ("command_period_p50_ms", np.percentile(period_ms, 50), 10.5),
        ("command_period_p99_ms", np.percentile(period_ms, 99), 12.0),
        ("command_period_max_ms", period_ms.max(), 20.0),
    ):
        ok = bool(value <= target)
        results.record(
            "guard", name, round(float(value), 2), "ms", f"<= {target:g}", ok, REPRODUCE.format("period")
        )  # fmt: skip
    if late_ms > BUSY_MS:
        pytest.skip(f"the machine was {late_ms:.0f} ms late by itself: recorded, not judged")
    assert np.percentile(period_ms, 50) == pytest.approx(10.0, abs=1.0)
    assert float(cell.status["period_ms_p50"]) == pytest.approx(10.0, abs=1.0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "parameter robot"),
        (["-p", "robot:=/nowhere.yaml"], "/nowhere.yaml"),
        (["-p", f"robot:={ROBOT_FILE}", "-p", "ramp_velocity_scale:=2.0"], "ramp_velocity_scale"),
    ],
)
def test_a_wrong_robot_file_or_parameter_ends_with_the_remedy(spawn, arguments, says) -> None:
    process = spawn(["python", "-m", "command_guard.node", "--ros-args", *arguments])
    assert process.wait(20) == EXIT_CODE
    output = process.output_path.read_text()
    assert says in output
    assert "fix:" in output
    assert "Traceback" not in output
