"""`autofocus evaluate` on bags written here: figures known beforehand, and inputs that do not fit."""

import json

import numpy as np
import policy_files as files
import pytest
from autofocus_core import messages
from autofocus_core.bag_writer import BagWriter
from autofocus_core.errors import AutofocusError
from autofocus_policy.offline import interpolate, main

ROBOT = files.SIM_ROBOT
T0 = 1_700_000_000 * 10**9
MS = 1_000_000


def write_bag(path, seconds=3.0, error_rad=0.0, action_s=None):
    """An arm that follows what policy_files.Sees answers to a picture bright on its left, but for `error_rad`.

    Sees asks for 0.02 more a step from the state on: an action that rises by 0.2 a second, as the state does.
    """
    header, time, image, state = (messages.message_class(t) for t in (
        "std_msgs/msg/Header", "builtin_interfaces/msg/Time", "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"))
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[:, :160] = 200
    start = np.array(ROBOT.start.pose)

    def stamped(stamp):
        return header(stamp=time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id="")

    def joints(stamp, offset=0.0):
        return state(header=stamped(stamp), name=list(ROBOT.joint_names), effort=np.zeros(0), velocity=np.zeros(0),
                     position=start + 0.2 * (stamp - T0) / 1e9 + offset)

    events = [(T0 + k * 10 * MS, ROBOT.state) for k in range(int(seconds * 100))]
    events += [(T0 + k * 100 * MS, ROBOT.action) for k in range(int((seconds if action_s is None else action_s) * 10))]
    events += [(T0 + k * 33_333_333 // 10**7 * 10**7, ROBOT.cameras[0]) for k in range(int(seconds * 30))]
    with BagWriter(path) as writer:
        for stream in (ROBOT.state, ROBOT.action, ROBOT.cameras[0]):
            writer.add_topic(stream.topic, stream.type)
        for stamp, stream in sorted(events, key=lambda e: e[0]):
            msg = (image(header=stamped(stamp), height=240, width=320, encoding="rgb8", is_bigendian=0, step=960,
                         data=pixels.reshape(-1)) if stream is ROBOT.cameras[0]
                   else joints(stamp, error_rad if stream is ROBOT.action else 0.0))
            writer.write(stream.topic, messages.serialize(msg, stream.type), stamp, stamp)
    return path


def evaluate(tmp_path, *episodes, policy=None):
    policy = files.write_policy(tmp_path / "p.pt") if policy is None else policy
    out = tmp_path / "out.json"
    code = main([str(policy), *map(str, episodes), "--robot", str(files.SIM_ROBOT_YAML), "--json", str(out)])
    return code, json.loads(out.read_text())


@pytest.mark.parametrize("error_rad", [0.0, 0.05])
def test_known_errors(error_rad, tmp_path, capsys):
    code, summary = evaluate(tmp_path, write_bag(tmp_path / "bag", error_rad=error_rad))
    assert code == 0 and summary["observations"] in (29, 30)
    np.testing.assert_allclose(summary["mean_error"], [error_rad] * 6, atol=1e-6)
    np.testing.assert_allclose(summary["mean_error_by_step"], np.full((8, 6), error_rad), atol=1e-6)
    assert np.mean(summary["mean_error_standing_still"]) > 0.05
    assert "waist [rad]" in capsys.readouterr().out


def test_it_is_deterministic_and_takes_folders(tmp_path):
    episodes = tmp_path / "episodes"
    write_bag(episodes / "a"), write_bag(episodes / "b", error_rad=0.02)
    first, second = evaluate(tmp_path, episodes)[1], evaluate(tmp_path, episodes)[1]
    assert first == second and len(first["episodes"]) == 2
    np.testing.assert_allclose(first["mean_error"], [0.01] * 6, atol=1e-6)


def test_what_has_no_action_is_not_compared(tmp_path):
    _, summary = evaluate(tmp_path, write_bag(tmp_path / "bag", action_s=0.3))
    assert summary["compared"] < 6 and summary["mean_error_by_step"][7] == [None] * 6


def test_bad_inputs(tmp_path):
    bag = write_bag(tmp_path / "bag", seconds=0.5)
    (tmp_path / "empty").mkdir()
    for episode, policy, words in ((tmp_path / "empty", None, "empty"), (tmp_path / "none", None, "none"),
                                   (bag, tmp_path / "none.pt", "none.pt"),
                                   (write_bag(tmp_path / "no_action", action_s=0.0), None, "/teleop/intent")):
        with pytest.raises(AutofocusError) as e:
            evaluate(tmp_path, episode, policy=policy)
        assert words in str(e.value) and e.value.fix


def test_interpolation_does_not_cross_gaps_nor_ends():
    stamps = T0 + np.array([0, 100, 200, 900]) * MS
    values = np.array([[0.0], [1.0], [2.0], [9.0]])
    at = T0 + np.array([-1, 0, 50, 200, 500, 900, 901]) * MS
    expected = [np.nan, 0.0, 0.5, 2.0, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(interpolate(stamps, values, at, 300.0)[:, 0], expected)
