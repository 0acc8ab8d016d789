"""Jogging without ROS: bounded whatever the input, straight where it should be straight, still where it must be."""

from __future__ import annotations

import numpy as np
import pytest
from autofocus_core.kinematics import Kinematics
from demo_recorder.teleop.cartesian import joint_velocity
from demo_recorder.teleop.jog import JogCommand, Jogger, JogSpeeds, Mode
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from teleop_robot import HOME, PERIOD_S, ROBOT, FakeCell, assert_within_limits, offset

KINEMATICS = Kinematics(ROBOT)
SPEEDS = JogSpeeds()


def joints(*shares: float, gripper: float = 0.0, scale: float = 1.0) -> JogCommand:
    return JogCommand(Mode.JOINT, (*shares, *[0.0] * (5 - len(shares))), (0.0,) * 6, gripper, scale)


def tool(mode: Mode = Mode.BASE, scale: float = 1.0, **shares: float) -> JogCommand:
    twist = tuple(shares.get(name, 0.0) for name in ("x", "y", "z", "roll", "pitch", "yaw"))
    return JogCommand(mode, (0.0,) * 5, twist, 0.0, scale)


class Jogging:
    def __init__(
        self, pose: np.ndarray = HOME, kinematics: Kinematics | None = KINEMATICS, speeds: JogSpeeds = SPEEDS
    ) -> None:
        self.cell, self.jogger = FakeCell(pose), Jogger(ROBOT, speeds, kinematics)

    def step(self, command: JogCommand, seconds: float = PERIOD_S, problem: str | None = None) -> np.ndarray | None:
        for _ in range(round(seconds / PERIOD_S)):
            target = self.jogger.step(command, problem, self.cell.view, self.cell.now_s, PERIOD_S)
            self.cell.take(target)
        return target

    def tip(self) -> tuple[np.ndarray, np.ndarray]:
        return KINEMATICS.tip_pose(self.cell.pose)


def test_a_joint_moves_at_its_share_of_the_limit():
    jogging = Jogging()
    jogging.step(joints())
    jogging.step(joints(0.5, -1.0, gripper=-1.0, scale=0.5), 0.1)
    moved = jogging.cell.pose - HOME
    np.testing.assert_allclose(moved[:2], [0.5 * 0.5 * 0.3 * 3.0 * 0.1, -0.5 * 0.3 * 3.0 * 0.1])
    np.testing.assert_allclose(moved[5], -0.5 * 0.5 * 0.3 * 0.1)
    assert not moved[2:5].any()


def test_it_begins_where_the_guard_is_and_moves_only_once_it_is_followed():
    jogging = Jogging()
    for _ in range(30):  # a guard that holds: the target stays at its command
        target = jogging.jogger.step(joints(1.0), None, jogging.cell.view, jogging.cell.now_s, PERIOD_S)
        np.testing.assert_array_equal(target, HOME)
        jogging.cell.now_s += PERIOD_S
        jogging.cell.tell()


def test_a_problem_is_silence_in_the_same_period():
    jogging = Jogging()
    jogging.step(joints(1.0), 0.5)
    assert jogging.step(joints(1.0), problem="deadman is not held") is None
    assert jogging.jogger.reason == "deadman is not held"


@pytest.mark.parametrize("state", ["holding", "fault", "disarmed"])
def test_after_a_hold_or_fault_it_begins_at_the_guards_command(state):
    jogging = Jogging()
    jogging.step(joints(1.0), 0.3)
    cell = jogging.cell
    cell.state, cell.needs_arm = state, state != "holding"
    cell.pose = cell.pose + offset(waist=-0.05, elbow=0.1)  # it came to rest, or was moved
    cell.tell()
    assert (jogging.step(joints(1.0)) is None) == (state != "holding")
    cell.state, cell.needs_arm = "holding", False
    cell.tell()
    rested = cell.pose.copy()
    cell.requests.clear()
    jogging.step(joints(1.0), 0.05)
    np.testing.assert_array_equal(cell.moves()[0], rested)
    assert_within_limits(cell.moves(), scale=SPEEDS.joint_scale)


def test_the_target_is_never_far_ahead_of_an_arm_that_is_blocked():
    """It can do no more than press: when the arm comes free it has 0.2 rad to go, not what was asked for meanwhile."""
    jogging = Jogging()
    jogging.step(joints())
    jogging.cell.blocked = True
    target = jogging.step(joints(1.0, 0.0, -1.0), 5.0)
    np.testing.assert_allclose(target - HOME, offset(waist=SPEEDS.lead_rad, elbow=-SPEEDS.lead_rad), atol=1e-12)


def test_a_blocked_arm_stops_the_tool_instead_of_bending_its_way():
    jogging = Jogging()
    jogging.step(tool())
    jogging.cell.blocked = True
    jogging.step(tool(z=-1.0), 0.5)
    start, _ = KINEMATICS.tip_pose(HOME)
    there, _ = KINEMATICS.tip_pose(jogging.step(tool(z=-1.0), 10.0))
    np.testing.assert_allclose((there - start)[:2], 0.0, atol=1e-3)
    assert "does not follow" in jogging.jogger.reason


def test_an_arm_pushed_by_hand_takes_the_target_with_it_slowly():
    jogging = Jogging()
    jogging.step(joints())
    jogging.cell.blocked = True
    for k in range(200):
        jogging.cell.pose = HOME + offset(shoulder=0.004 * k)
        jogging.cell.tell()
        target = jogging.step(joints())
    assert abs(target[1] - jogging.cell.pose[1]) <= SPEEDS.lead_rad + 1e-9
    assert_within_limits(jogging.cell.moves())


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("mode", [Mode.BASE, Mode.TOOL])
def test_the_tool_goes_straight_at_its_speed(axis, mode):
    """Five joints cannot keep every orientation, but the way is straight: 8 cm with less than a millimetre aside."""
    jogging = Jogging()
    jogging.step(tool())
    start, rotation = jogging.tip()
    jogging.step(tool(mode, **{axis: -1.0}), 0.8)
    direction = {"x": [-1, 0, 0], "y": [0, -1, 0], "z": [0, 0, -1]}[axis]
    wanted = 0.08 * (rotation @ direction if mode is Mode.TOOL else np.array(direction))
    np.testing.assert_allclose(jogging.tip()[0] - start, wanted, atol=1e-3)
    assert_within_limits(jogging.cell.moves())


def test_the_tool_goes_straight_when_it_is_asked_for_more_than_the_joints_can_do():
    """All joints are slowed alike: one that is cut alone would bend the way."""
    jogging = Jogging(speeds=JogSpeeds(linear_m_s=1.0, lead_rad=1.0))
    jogging.step(tool())
    start, _ = jogging.tip()
    jogging.step(tool(y=1.0, z=-0.3), 0.1)
    moved = jogging.tip()[0] - start
    assert_within_limits(jogging.cell.moves())
    fastest = np.abs(np.diff(jogging.cell.moves(), axis=0)).max() / PERIOD_S
    assert fastest == pytest.approx(ROBOT.velocity[0], rel=1e-6), "not fast enough to test anything"
    assert moved[1] > 0.05
    np.testing.assert_allclose(moved, moved[1] * np.array([0.0, 1.0, -0.3]), atol=2e-3)


def test_out_of_the_stretched_arm_the_way_is_back():
    """Almost straight: outwards there is nothing left, sideways and back it goes on."""
    stretched = np.array([0.0, 1.27, -1.37, 0.1, 0.0, 0.03])

    def go(**shares) -> np.ndarray:
        jogging = Jogging(stretched)
        jogging.step(tool())
        jogging.step(tool(**shares), 1.0)
        return jogging.tip()[0] - KINEMATICS.tip_pose(stretched)[0]

    assert np.abs(go(x=1.0)[0]) < 0.005
    assert go(x=-1.0)[0] < -0.05
    assert go(y=1.0)[1] > 0.08


@pytest.mark.parametrize(("axis", "about"), [("pitch", [0, 1, 0]), ("yaw", [0, 0, 1])])
def test_the_tool_turns_about_its_tip(axis, about):
    jogging = Jogging()
    jogging.step(tool())
    start, rotation = jogging.tip()
    jogging.step(tool(**{axis: 1.0}), 0.5)
    there, turned = jogging.tip()
    np.testing.assert_allclose(there, start, atol=1e-3)
    wanted = np.array(about) * SPEEDS.angular_rad_s * 0.5
    np.testing.assert_allclose(Rotation.from_matrix(turned @ rotation.T).as_rotvec(), wanted, atol=0.02)


def test_it_slows_down_at_the_edge_of_its_reach_and_comes_back():
    jogging = Jogging()
    jogging.step(tool())
    jogging.step(tool(x=1.0), 8.0)
    reached = jogging.tip()[0][0]
    assert "singularity" in jogging.jogger.reason
    assert 0.35 < reached < 0.75
    assert_within_limits(jogging.cell.moves())
    jogging.step(tool(x=-1.0), 2.0)
    assert jogging.tip()[0][0] < reached - 0.12
    jogging.step(tool(x=-1.0), 4.0)  # until elbow and wrist are at their limits, which the operator is told
    assert "elbow" in jogging.jogger.reason and "wrist_angle" in jogging.jogger.reason
    jogging.step(joints(0.0, 0.0, 1.0), 1.0)
    jogging.step(tool(x=-1.0), 1.0)
    assert jogging.tip()[0][0] < reached - 0.2


def test_without_kinematics_the_tool_stays_and_says_why():
    jogging = Jogging(kinematics=None)
    jogging.step(tool(), 0.1)
    jogging.step(tool(x=1.0), 0.5)
    np.testing.assert_array_equal(jogging.cell.pose, HOME)
    assert "no kinematics" in jogging.jogger.reason


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_joint_velocities_are_finite_and_bounded_at_any_pose(seed):
    """Poses in and around singularities: the arm stretched, folded, upright."""
    rng = np.random.default_rng(seed)
    q = rng.uniform(ROBOT.lower, ROBOT.upper)
    q[rng.random(6) < 0.4] = 0.0
    q = np.clip(q, ROBOT.lower, ROBOT.upper)
    jacobian = KINEMATICS.jacobian(q)[:, :5]
    twist = np.concatenate([rng.normal(size=3), np.zeros(3)])
    velocity, _ = joint_velocity(jacobian, twist)
    gain = 1.2 * 15 / np.linalg.norm(jacobian[:3], 2)  # 1.2 / threshold, then the orientation corrects what that turned
    assert np.isfinite(velocity).all()
    assert np.linalg.norm(velocity) <= gain * (1 + 1.2 / 0.2 * np.sqrt(5)) * np.linalg.norm(twist)
    for broken in (np.zeros((6, 5)), np.full((6, 5), 1e-30), np.zeros((6, 1))):
        assert np.isfinite(joint_velocity(broken, twist)[0]).all()


SHARE = st.floats(-3, 3)
EVENTS = st.sampled_from(["jog", "problem", "hold", "fault", "arm", "block", "free", "stall", "push"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_requests_stay_within_limits(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    jogging = Jogging(rng.uniform(ROBOT.lower, ROBOT.upper))
    cell, silent = jogging.cell, True
    for event in data.draw(st.lists(EVENTS, min_size=5, max_size=30)):
        if event in ("hold", "fault"):
            cell.state, cell.needs_arm = {"hold": "holding", "fault": "fault"}[event], event == "fault"
        elif event == "arm":
            cell.state, cell.needs_arm = "holding", False
        elif event in ("block", "free"):
            cell.blocked = event == "block"
        elif event == "push":
            cell.pose = cell.pose + rng.normal(size=6) * 0.3
        cell.tell()
        mode = rng.choice([Mode.JOINT, Mode.BASE, Mode.TOOL])
        command = JogCommand(mode, tuple(rng.normal(size=5) * 2), tuple(rng.normal(size=6) * 2), rng.normal(), 1.5)
        for _ in range(10):
            anchor = cell.view.anchor(cell.now_s)
            dt_s = 5.0 if event == "stall" else PERIOD_S
            before = cell.requests[-1] if cell.requests else None
            tracking = cell.view.tracking
            problem = "test" if event == "problem" else None
            target = jogging.jogger.step(command, problem, cell.view, cell.now_s, dt_s)
            if target is not None:
                assert np.isfinite(target).all()
                assert (target >= ROBOT.lower).all() and (target <= ROBOT.upper).all()
                if silent or not tracking:
                    np.testing.assert_array_equal(target, anchor)
                else:
                    bound = ROBOT.velocity * min(dt_s, 0.05)
                    assert (np.abs(target - before) <= bound * (1 + 1e-9) + 1e-12).all()
            silent = target is None
            cell.take(target)
