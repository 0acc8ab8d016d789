"""F21: joints permuted, missing, doubled or unknown: mapped by name, or refused."""

import numpy as np
from guard_cell import ROBOT, Cell, offset, record_fault


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
    record_fault("F21 joints permuted, missing, doubled: on a wrong joint", astray_rad, "rad", "0 (<= 1e-3)",
                 astray_rad <= 1e-3)
    assert astray_rad <= 1e-3


def test_f21_a_joint_state_is_mapped_by_name_too(ros_node, spawn, wait_until, tmp_path, patient_robot_file) -> None:
    """`robot_state_publisher`'s world sorts joints by name: a state read by position would anchor to a wrong pose."""
    cell = Cell(ros_node, spawn, wait_until, tmp_path, patient_robot_file, robot_arguments=("shuffled",))
    cell.arm()
    cell.wait_until(lambda: len(cell.commands()[0]) > 10, 5, "commands")
    assert np.abs(cell.commands()[1] - np.array(ROBOT.start.pose)).max() == 0.0
