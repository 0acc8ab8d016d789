"""Joints are found by name; what cannot be told is an error, never a shifted vector."""

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.bags import open_bag
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import FLOAT64_MULTI_ARRAY, JOINT_TRAJECTORY, decode_joints, read_joints
from autofocus_core.messages import message_class

ROBOT = samples.robot()


def test_joint_state_by_name_in_any_order_with_strangers():
    msg = samples.joints([9.0, 0.01, 2.0, 1.0], names=["other", "g", "b", "a"])
    stamp, q = decode_joints(msg, samples.JOINT_STATE, ROBOT)
    assert stamp == samples.T0_NS
    np.testing.assert_array_equal(q, [1.0, 2.0, 0.01])
    assert q.dtype == np.float64


@pytest.mark.parametrize(
    ("positions", "names", "said"),
    [
        ([1, 2], ["a", "b"], "without g"),
        ([1, 2, 3, 4], ["a", "b", "g", "a"], "a twice"),
        ([1, 2], ["a", "b", "g"], "3 names, 2 values"),
        ([1, np.nan, 3], ["a", "b", "g"], "b is NaN"),
        ([], [], "without a, b, g"),
    ],
)
def test_bad_joint_states(positions, names, said):
    with pytest.raises(AutofocusError, match=said):
        decode_joints(samples.joints(positions, names=names), samples.JOINT_STATE, ROBOT)


def trajectory(points):
    point, duration = (
        message_class("trajectory_msgs/msg/JointTrajectoryPoint"),
        message_class("builtin_interfaces/msg/Duration"),
    )
    none = np.zeros(0)
    return message_class(JOINT_TRAJECTORY)(
        header=samples.header(samples.T0_NS),
        joint_names=["g", "a", "b"],
        points=[
            point(
                positions=np.array(positions, float), velocities=none, accelerations=none, effort=none,
                time_from_start=duration(sec=0, nanosec=nanosec),
            )
            for nanosec, positions in points
        ],
    )  # fmt: skip


def test_trajectory_gives_its_first_point_at_the_time_it_applies():
    stamp, q = decode_joints(trajectory([(100, [3, 1, 2]), (200, [0, 0, 0])]), JOINT_TRAJECTORY, ROBOT)
    assert stamp == samples.T0_NS + 100
    np.testing.assert_array_equal(q, [1, 2, 3])
    with pytest.raises(AutofocusError, match="without points"):
        decode_joints(trajectory([]), JOINT_TRAJECTORY, ROBOT)


def array(values):
    layout = message_class("std_msgs/msg/MultiArrayLayout")(dim=[], data_offset=0)
    return message_class(FLOAT64_MULTI_ARRAY)(layout=layout, data=np.array(values, float))


def test_arrays_are_in_order_and_complete():
    stamp, q = decode_joints(array([1, 2, 3]), FLOAT64_MULTI_ARRAY, ROBOT)
    assert stamp is None
    np.testing.assert_array_equal(q, [1, 2, 3])
    with pytest.raises(AutofocusError, match="2 values"):
        decode_joints(array([1, 2]), FLOAT64_MULTI_ARRAY, ROBOT)


def test_a_stream_is_sorted_and_unique(tmp_path):
    stamps = [30, 10, 20, 20, 40]
    path = samples.write_bag(
        tmp_path / "bag",
        [
            (
                "/joint_states",
                samples.JOINT_STATE,
                samples.joints([k, 0, 0], samples.T0_NS + s),
                samples.T0_NS + k,
                None,
            )
            for k, s in enumerate(stamps)
        ],
    )
    with open_bag(path) as bag:
        read, q = read_joints(bag, "/joint_states", ROBOT)
    np.testing.assert_array_equal(read - samples.T0_NS, [10, 20, 30, 40])
    np.testing.assert_array_equal(q[:, 0], [1, 2, 0, 4])


def test_errors_in_a_bag_name_bag_topic_and_stamp(tmp_path):
    bad = samples.joints([1, 2], names=["a", "b"])
    path = samples.write_bag(tmp_path / "bag", [("/joint_states", samples.JOINT_STATE, bad, 777, None)])
    with open_bag(path) as bag, pytest.raises(AutofocusError) as error:
        read_joints(bag, "/joint_states", ROBOT)
    for part in (str(path), "/joint_states", "777"):
        assert part in error.value.where
