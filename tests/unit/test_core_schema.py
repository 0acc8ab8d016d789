"""Robot and task files: what is accepted, and that each mistake names its remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import QualityRules, RecordingRules, Threshold, load_robot, load_task

CONFIG = Path(__file__).parents[2] / "ros2_ws/src/autofocus_sim/config"


@pytest.fixture
def robot_yaml() -> dict:
    return yaml.safe_load((CONFIG / "sim_arm.yaml").read_text())


def load(tmp_path: Path, raw: object):
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_robot(path)


def test_shipped_robot_parses_in_order() -> None:
    robot = load_robot(CONFIG / "sim_arm.yaml")
    assert robot.joint_names[-1] == "gripper"
    assert robot.lower.shape == robot.acceleration.shape == (6,)
    assert np.all(robot.lower < robot.upper)
    assert robot.hash() == load_robot(CONFIG / "sim_arm.yaml").hash()


@pytest.mark.parametrize("name", ["lift", "place"])
def test_shipped_tasks_parse(name: str) -> None:
    assert load_task(CONFIG / f"{name}.yaml").name == name


def test_robot_without_gripper(tmp_path: Path, robot_yaml: dict) -> None:
    del robot_yaml["gripper"]
    robot_yaml["start"]["pose"] = robot_yaml["start"]["pose"][:5]
    assert len(load(tmp_path, robot_yaml).all_joints) == 5


def broken(change) -> pytest.param:
    return pytest.param(change, id=change.__name__)


def unknown_key(raw: dict) -> str:
    raw["control_rate"] = 10
    return "control_rate_hz"  # the allowed keys are listed


def unknown_joint_key(raw: dict) -> str:
    raw["joints"][1]["limits"] = 3
    return "joints[1]"


def missing_velocity_limit(raw: dict) -> str:
    del raw["joints"][2]["velocity"]
    return "no 'velocity'"


def missing_position_limit(raw: dict) -> str:
    del raw["gripper"]["position"]
    return "no 'position'"


def zero_acceleration_limit(raw: dict) -> str:
    raw["joints"][0]["acceleration"] = 0
    return "> 0"


def infinite_limit(raw: dict) -> str:
    raw["joints"][0]["velocity"] = float("inf")
    return "finite"


def jerk_too_low(raw: dict) -> str:
    raw["joints"][0]["jerk"] = 100
    return ">= 160"


def duplicate_joint(raw: dict) -> str:
    raw["joints"][1]["name"] = "waist"
    return "waist twice"


def swapped_limits(raw: dict) -> str:
    raw["joints"][0]["position"] = [1.0, -1.0]
    return "lower < upper"


def start_outside_limits(raw: dict) -> str:
    raw["start"]["pose"][0] = 9.0
    return "waist at 9 rad"


def start_pose_too_short(raw: dict) -> str:
    raw["start"]["pose"] = [0.0]
    return "list of 6"


def refuses_before_it_ramps(raw: dict) -> str:
    raw["start"]["refuse_distance_rad"] = 0.1
    return "ramp_distance_rad"


def relative_topic(raw: dict) -> str:
    raw["state"]["topic"] = "joint_states"
    return "slash"


def unsupported_type(raw: dict) -> str:
    raw["command"]["type"] = "std_msgs/msg/String"
    return "sensor_msgs/msg/JointState"


def number_as_text(raw: dict) -> str:
    raw["control_rate_hz"] = "10"
    return "finite number"


def truth_value_as_number(raw: dict) -> str:
    raw["joints"][0]["velocity"] = True
    return "finite number"


def newer_version(raw: dict) -> str:
    raw["schema"] = 2
    return "update AutoFocus-IL"


def no_cameras(raw: dict) -> str:
    raw["cameras"] = []
    return "non-empty list"


@pytest.mark.parametrize(
    "change",
    [
        broken(change)
        for change in (
            unknown_key, unknown_joint_key, missing_velocity_limit, missing_position_limit, jerk_too_low,
            zero_acceleration_limit,
            infinite_limit, duplicate_joint, swapped_limits, start_outside_limits, start_pose_too_short,
            refuses_before_it_ramps, relative_topic, unsupported_type, number_as_text, truth_value_as_number,
            newer_version, no_cameras,
        )
    ],
)  # fmt: skip
def test_bad_robot_says_where_and_what_to_do(tmp_path: Path, robot_yaml: dict, change) -> None:
    expected = change(robot_yaml)
    with pytest.raises(AutofocusError) as caught:
        load(tmp_path, robot_yaml)
    assert expected in str(caught.value)
    assert "robot.yaml" in caught.value.where
    assert caught.value.fix


def test_missing_file_and_broken_yaml(tmp_path: Path) -> None:
    with pytest.raises(AutofocusError, match="path of a robot YAML"):
        load_robot(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(AutofocusError, match="correct the syntax"):
        load_robot(tmp_path / "bad.yaml")
    with pytest.raises(AutofocusError, match="a mapping"):
        load(tmp_path, ["a list"])


def test_unknown_camera_names_the_known_ones() -> None:
    with pytest.raises(AutofocusError, match="camera"):
        load_robot(CONFIG / "sim_arm.yaml").camera("wrist")


def load_a_task(tmp_path: Path, **more: object):
    raw = yaml.safe_load((CONFIG / "lift.yaml").read_text()) | more
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_task(path)


def test_a_task_says_how_it_is_recorded_and_judged(tmp_path: Path) -> None:
    assert load_a_task(tmp_path).recording == RecordingRules(0.0, None, None)
    task = load_a_task(
        tmp_path,
        recording={"countdown_s": 3, "max_duration_s": 20, "target_episodes": 30},
        quality={"latency_ms": {"good": 50, "usable": 80}, "min_duration_s": 2},
    )
    assert task.recording == RecordingRules(3.0, 20.0, 30)
    assert task.quality == QualityRules(latency_ms=Threshold(50.0, 80.0), min_duration_s=2.0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"quality": {"latency": {"good": 1, "usable": 2}}}, "latency_ms"),
        ({"quality": {"latency_ms": {"good": 3, "usable": 2}}}, "usable"),
        ({"recording": {"countdown_s": -1}}, "countdown_s"),
        ({"recording": {"target_episodes": 0}}, "target_episodes"),
    ],
)
def test_wrong_recording_rules_are_named(tmp_path: Path, more: dict, said: str) -> None:
    with pytest.raises(AutofocusError, match=said):
        load_a_task(tmp_path, **more)


def test_kinematics_lie_beside_the_robot_and_change_no_hash(tmp_path: Path, robot_yaml: dict) -> None:
    del robot_yaml["kinematics"]
    plain = load(tmp_path, robot_yaml)
    robot_yaml["kinematics"] = {"model": "arm.xml", "tip": "tool"}
    robot = load(tmp_path, robot_yaml)
    assert robot.kinematics.model == str(tmp_path / "arm.xml")
    assert robot.hash() == plain.hash()


#: of sim_arm.yaml as it was first published
HASH = "f9cee6a98d345b9be8a91c4f7470c0260a13e683a7234721d4cfff3f01d0e0c8"
CALIBRATED = {
    "extrinsics": {"parent": "base", "position_m": [0.9, 0.0, 0.6], "quaternion_xyzw": [0.0, 0.0, 0.6, 0.8]},
    "intrinsics": {"fx_px": 400.0, "fy_px": 401.0, "cx_px": 159.5, "cy_px": 119.5},
}


def test_a_cameras_calibration_is_optional_and_changes_no_hash(tmp_path: Path, robot_yaml: dict) -> None:
    """The hash of the simulated arm is that of before there were such keys: recordings and policies keep it."""
    del robot_yaml["cameras"][0]["extrinsics"]
    plain = load(tmp_path, robot_yaml)
    robot_yaml["cameras"][0] |= CALIBRATED
    robot = load(tmp_path, robot_yaml)
    assert robot.cameras[0].extrinsics.quaternion_xyzw == (0.0, 0.0, 0.6, 0.8)
    assert robot.cameras[0].intrinsics.cx_px == 159.5
    assert plain.cameras[0].extrinsics is None
    assert robot.hash() == plain.hash() == HASH
    robot_yaml["cameras"][0]["extrinsics"]["quaternion_xyzw"] = [0.0, 0.0, 60.0, 80.0]
    with pytest.raises(AutofocusError, match="length 1"):
        load(tmp_path, robot_yaml)


def test_a_jerk_limit_is_optional_and_without_one_the_hash_stays(tmp_path: Path, robot_yaml: dict) -> None:
    robot_yaml["joints"][0]["jerk"] = 800
    robot = load(tmp_path, robot_yaml)
    assert [joint.jerk for joint in robot.all_joints] == [800.0, None, None, None, None, None]
    assert robot.hash() != HASH
