"""The robot's motion in words, and its gripper by projection, against what the simulator knows."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from autofocus_core.results import record
from autofocus_core.schema import Intrinsics, load_robot
from autofocus_sim.cell import Cell
from autofocus_sim.demos import collect
from autofocus_sim.truth import GRIPPER
from saliency_server.answers import PHASES
from saliency_server.gripper import Lens, finger_bodies, gripper_boxes, gripper_track
from saliency_server.motion import UNKNOWN, read_motion

CONFIG = Path(__file__).parents[2] / "ros2_ws/src/autofocus_sim/config"
WORDS = ("reaching", "reaching", "closing", "lifting", "carrying", "placing", "opening", "retreating")


@pytest.fixture(scope="module")
def robot():
    return load_robot(CONFIG / "sim_arm.yaml")


@pytest.fixture(scope="module")
def cell():
    return Cell()


@pytest.fixture(scope="module")
def placed(cell):
    demonstration = collect("place", "nominal", 9_200, cell, render=False)
    return demonstration, np.arange(len(demonstration.states)) * 0.1


def test_words_are_those_of_the_expert(robot, placed):
    demonstration, t_s = placed
    motion = read_motion(t_s, t_s, demonstration.states, robot)
    said = [motion.at(i) for i in range(len(t_s))]
    assert np.mean([a == WORDS[b] for a, b in zip(said, demonstration.phases, strict=True)]) > 0.85
    assert [phase.name for phase in motion.phases] == [
        "reaching", "closing", "lifting", "carrying", "placing", "opening", "retreating"
    ]
    assert motion.source == "tip"
    first, last = (next(e.frame for e in motion.events if e.what == what) for what in ("closes", "opens"))
    assert abs(first - list(demonstration.phases).index(2)) <= 1
    assert abs(last - list(demonstration.phases).index(6)) <= 1
    words = motion.words(t_s)
    assert words[0]["phase"] == "reaching" and words[-1]["to_s"] == pytest.approx(t_s[-1], abs=0.01)
    assert {word["phase"] for word in words} <= set(PHASES)


def test_without_kinematics_the_joints_still_tell_grasp_and_release(robot, placed):
    demonstration, t_s = placed
    motion = read_motion(t_s, t_s, demonstration.states, dataclasses.replace(robot, kinematics=None))
    assert motion.source == "joints" and "no kinematics" in motion.note
    assert [phase.name for phase in motion.phases] == ["reaching", "closing", "carrying", "opening", "retreating"]


def test_a_model_file_that_is_gone_is_no_reason_to_fail(robot, placed):
    demonstration, t_s = placed
    lost = dataclasses.replace(robot, kinematics=dataclasses.replace(robot.kinematics, model="/nowhere/arm.xml"))
    motion = read_motion(t_s, t_s, demonstration.states, lost)
    assert motion.source == "joints" and "/nowhere/arm.xml" in motion.note


def test_no_joint_states_no_words(robot):
    motion = read_motion(np.arange(5) / 30, np.empty(0), np.empty((0, 6)), robot)
    assert [(p.first, p.last, p.name) for p in motion.phases] == [(0, 4, UNKNOWN)]
    assert motion.words(np.arange(5) / 30) == [] and motion.events == ()


def test_frames_far_from_any_joint_state_are_unknown_and_a_still_robot_waits(robot):
    joints_s = np.arange(100) / 25
    joints = np.tile(np.array(robot.start.pose), (100, 1))
    frame_s = np.arange(0, 8, 0.1)
    motion = read_motion(frame_s, joints_s, joints, robot)
    assert motion.at(0) == "waiting" and motion.at(len(frame_s) - 1) == UNKNOWN
    assert not motion.events


def test_a_robot_that_starts_with_something_in_its_gripper_carries_it(robot, placed):
    demonstration, t_s = placed
    half = list(demonstration.phases).index(4)
    motion = read_motion(t_s[half:] - t_s[half], t_s[half:] - t_s[half], demonstration.states[half:], robot)
    assert motion.phases[0].name == "carrying"


def test_a_stop_is_an_event(robot):
    t_s = np.arange(100) / 25
    joints = np.tile(np.array(robot.start.pose), (100, 1))
    joints[:, 0] = np.interp(t_s, [0, 1.5, 2.5, 4], [0, 0.6, 0.6, 1.2])
    motion = read_motion(t_s, t_s, joints, robot)
    assert [p.name for p in motion.phases] == ["reaching", "waiting", "reaching"]
    (stop,) = [e for e in motion.events if e.what == "stops"]
    assert abs(t_s[stop.frame] - 1.5) < 0.25


def test_the_projected_gripper_is_where_the_simulator_says(robot, cell, placed):
    """The camera's extrinsics in sim_arm.yaml are the scene's own."""
    demonstration, _ = placed
    camera = robot.cameras[0]
    lens = Lens(cell.camera_matrix(), np.zeros(5))
    errors, overlaps = [], []
    cell.reset(3, "nominal", "place")
    for q in demonstration.states[::6]:
        for _ in range(30):
            cell.step(q, 0.01)
        truth = cell.truth(boxes=True).objects[GRIPPER]
        box = gripper_boxes(robot, camera, lens, cell.joint_positions()[None])[0]
        errors.append(np.hypot(*((box[:2] + box[2:]) / 2 - truth.pixel_xy)))
        both = np.minimum(box[2:], truth.box_px[2:]) - np.maximum(box[:2], truth.box_px[:2])
        areas = [np.prod(b[2:] - b[:2]) for b in (box, truth.box_px)]
        overlaps.append(np.prod(both) / (sum(areas) - np.prod(both)))
    p95_px = float(np.percentile(errors, 95))
    record(
        "saliency", "gripper by projection alone: centre error p95", round(p95_px, 2), "px", "<= 4", p95_px <= 4.0,
        "pytest tests/unit/test_saliency_motion.py",
    )
    assert p95_px <= 4.0
    assert min(overlaps) > 0.3


def test_fingers_are_found_by_what_moves_them(robot):
    from autofocus_core.kinematics import Kinematics

    assert finger_bodies(Kinematics(robot), robot) == ("left_finger", "right_finger")


def test_a_camera_on_the_wrist_sees_the_gripper_at_one_place(robot, placed):
    demonstration, _ = placed
    mount = dataclasses.replace(
        robot.cameras[0].extrinsics, parent="wrist_rotate", position_m=(0.0, 0.0, 0.06),
        quaternion_xyzw=(0.5, 0.5, 0.5, 0.5),  # looks along the hand: its z is the link's x
    )
    camera = dataclasses.replace(robot.cameras[0], extrinsics=mount, intrinsics=Intrinsics(200, 200, 159.5, 119.5))
    lens = Lens(np.array([[200, 0, 159.5], [0, 200, 119.5], [0, 0, 1.0]]), np.zeros(5))
    closed = demonstration.states.copy()
    closed[:, -1] = 0.01
    boxes = gripper_boxes(robot, camera, lens, closed)
    np.testing.assert_allclose(boxes, np.tile(boxes[0], (len(boxes), 1)), atol=1e-6)


def test_frames_without_joint_states_and_out_of_the_image_are_not_valid(robot, cell, placed):
    demonstration, t_s = placed
    lens = Lens(cell.camera_matrix(), np.zeros(5))
    late = np.r_[t_s, t_s[-1] + 1.0]
    joints = demonstration.states.copy()
    joints[0, 0] = 2.0  # turned far to the side
    track = gripper_track(robot, robot.cameras[0], lens, late, t_s, joints)
    assert track.reason[-1] == "no joint state" and track.reason[0] == "left the image"
    assert track.valid[2:-1].all() and np.isnan(track.boxes_px[[0, -1]]).all()
