"""Kinematics: the model's joints by name, poses and Jacobians that agree with each other, errors with the remedy."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.kinematics import Kinematics
from autofocus_core.schema import Kinematics as Model
from autofocus_core.schema import load_robot
from autofocus_sim import arm, ik, mjcf
from scipy.spatial.transform import Rotation
from sim_config import CONFIG

ROBOT = load_robot(CONFIG / "sim_arm.yaml")
URDF = """<robot name="two_links">
  <link name="base"><visual><geometry><mesh filename="package://nowhere/base.dae"/></geometry></visual></link>
  <link name="upper">
    <inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <link name="lower"/><link name="tool0"/><link name="left"/><link name="right"/>
  <joint name="waist" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
    <limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="elbow" type="continuous"><parent link="upper"/><child link="lower"/><origin xyz="0.5 0 0"/>
    <axis xyz="0 0 1"/></joint>
  <joint name="flange" type="fixed"><parent link="lower"/><child link="tool0"/><origin xyz="0.3 0 0"/></joint>
  <joint name="gripper" type="prismatic"><parent link="tool0"/><child link="left"/><axis xyz="0 1 0"/>
    <limit lower="0" upper="0.1" effort="1" velocity="1"/></joint>
  <joint name="right_joint" type="prismatic"><parent link="tool0"/><child link="right"/><axis xyz="0 -1 0"/>
    <limit lower="0" upper="0.1" effort="1" velocity="1"/><mimic joint="gripper" multiplier="2" offset="0.01"/></joint>
  <gazebo reference="base"/>
</robot>"""


def two_links(path, tip="tool0", joints=("waist", "elbow"), unit="rad"):
    """A robot whose arm is the URDF's, at `path`."""
    arm_joints = tuple(dataclasses.replace(ROBOT.joints[0], name=name, unit=unit) for name in joints)
    return dataclasses.replace(ROBOT, joints=arm_joints, kinematics=Model(str(path), tip))


@pytest.fixture
def urdf(tmp_path):
    path = tmp_path / "arm.urdf"
    path.write_text(URDF)
    return path


def poses(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(ROBOT.lower, ROBOT.upper, (count, 6))


def test_the_shipped_model_is_the_simulated_arm():
    """Written by hand they would drift apart: the file is what the code makes, and its poses are those of the cell."""
    assert (CONFIG / "sim_arm.xml").read_text() == mjcf.build_arm_xml(), "python -m autofocus_sim.mjcf > sim_arm.xml"
    kinematics = Kinematics(ROBOT)
    cell = mujoco.MjModel.from_xml_string(mjcf.build_xml((24, 32)))
    data = mujoco.MjData(cell)
    for q in poses(20):
        for name, position in zip((*arm.ARM_JOINTS, "left_finger", "right_finger"), (*q, q[5])):
            data.joint(name).qpos = position
        mujoco.mj_kinematics(cell, data)
        for name, position in kinematics.body_positions(q).items():
            np.testing.assert_allclose(position, data.body(name).xpos, atol=1e-12, err_msg=name)


def test_the_tip_is_where_the_closed_form_says():
    kinematics = Kinematics(ROBOT)
    for q in poses(50):
        np.testing.assert_allclose(kinematics.tip_pose(q)[0], ik.forward(q).position_m, atol=1e-12)


def test_the_jacobian_is_the_derivative_of_the_pose():
    kinematics, step = Kinematics(ROBOT), 1e-6
    for q in poses(10):
        jacobian, (position, rotation) = kinematics.jacobian(q), kinematics.tip_pose(q)
        for i in range(6):
            moved, turned = kinematics.tip_pose(q + step * np.eye(6)[i])
            np.testing.assert_allclose(jacobian[:3, i], (moved - position) / step, atol=1e-5)
            np.testing.assert_allclose(jacobian[3:, i], Rotation.from_matrix(turned @ rotation.T).as_rotvec() / step,
                                       atol=1e-5)
    np.testing.assert_array_equal(jacobian[:, 5], 0.0)  # the gripper does not move the tip


def test_a_urdf_without_its_meshes(urdf):
    """Two links in a plane: 0.5 m and 0.3 m. Meshes that are not there, links without mass and a mimic do no harm."""
    kinematics = Kinematics(two_links(urdf))
    a, b, opening = 0.7, -1.9, 0.02
    position, rotation = kinematics.tip_pose(np.array([a, b, opening]))
    np.testing.assert_allclose(
        position, [0.5 * np.cos(a) + 0.3 * np.cos(a + b), 0.5 * np.sin(a) + 0.3 * np.sin(a + b), 0], atol=1e-12
    )
    np.testing.assert_allclose(rotation, Rotation.from_euler("z", a + b).as_matrix(), atol=1e-12)
    bodies = kinematics.body_positions(np.array([a, b, opening]))
    fingers = rotation.T @ (bodies["left"] - position), rotation.T @ (bodies["right"] - position)
    np.testing.assert_allclose(fingers, [[0, opening, 0], [0, -(2 * opening + 0.01), 0]], atol=1e-12)
    assert kinematics.jacobian(np.zeros(3)).shape == (6, 3)


def test_joints_are_mapped_by_name_not_by_place(urdf):
    q = np.array([0.4, 1.1, 0.0])
    there, _ = Kinematics(two_links(urdf)).tip_pose(q)
    swapped, _ = Kinematics(two_links(urdf, joints=("elbow", "waist"))).tip_pose(q[[1, 0, 2]])
    np.testing.assert_array_equal(there, swapped)


def test_a_gripper_that_the_model_does_not_have_moves_nothing(urdf):
    urdf.write_text(URDF.replace('"gripper"', '"finger"'))
    kinematics = Kinematics(two_links(urdf))
    np.testing.assert_array_equal(kinematics.jacobian(np.zeros(3))[:, 2], 0.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joints": ("waist", "knee")}, ["no joint knee", "waist, elbow"]),
        ({"tip": "tool1"}, ["'tool1'", "tool0"]),
        ({"unit": "m"}, ["joint waist", "hinge", "unit m"]),
    ],
)
def test_what_does_not_fit_is_named(urdf, change, said):
    with pytest.raises(AutofocusError) as caught:
        Kinematics(two_links(urdf, **change))
    assert all(text in str(caught.value) for text in said), caught.value


@pytest.mark.parametrize(
    ("text", "said"),
    [("<robot", "xacro"), ("<sdf/>", "URDF or MJCF"), (None, "relative path"), ("<mujoco><worldbody>", "mend")],
)
def test_a_model_that_cannot_be_read(tmp_path, text, said):
    path = tmp_path / "arm.urdf"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AutofocusError, match=said):
        Kinematics(two_links(path))


def test_without_a_model_the_remedy_is_said():
    with pytest.raises(AutofocusError, match="kinematics: "):
        Kinematics(dataclasses.replace(ROBOT, kinematics=None))


@pytest.mark.parametrize("q", [np.zeros(5), np.full(6, np.nan)])
def test_no_pose_of_a_broken_joint_vector(q):
    with pytest.raises(ValueError, match="joint vector"):
        Kinematics(ROBOT).tip_pose(q)


def test_mujoco_is_loaded_only_where_it_is_used():
    code = "import sys, autofocus_core.kinematics; assert 'mujoco' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
