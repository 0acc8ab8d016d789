"""Leader arm without ROS: mapping, soft start, and silence as soon as anything is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import yaml
from autofocus_core.errors import AutofocusError
from demo_recorder.teleop.deadman import Engagement
from demo_recorder.teleop.following import Following, Phase
from demo_recorder.teleop.intake import JointSource
from demo_recorder.teleop.leader_config import Deadman, GripperMap, load_leader
from hypothesis import given, settings
from hypothesis import strategies as st
from teleop_robot import HOME, PERIOD_S, ROBOT, TELEOP_CONFIG, FakeCell, assert_within_limits, offset

CONFIG = load_leader(TELEOP_CONFIG / "leader.yaml", ROBOT)
AT_HOME = np.append(HOME[:5], HOME[5] / 0.037)  # the leader's positions that mean the follower's start pose


def load(tmp_path, change):
    raw = yaml.safe_load((TELEOP_CONFIG / "leader.yaml").read_text())
    change(raw)
    path = tmp_path / "leader.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_leader(path, ROBOT)


class Leading:
    """A leader, the machine under test, and a cell that obeys."""

    def __init__(self, config=CONFIG, **cell) -> None:
        self.cell, self.following = FakeCell(**cell), Following(ROBOT, config)
        self.problem: str | None = None

    def step(self, leader: np.ndarray, periods: int = 1) -> np.ndarray | None:
        for _ in range(periods):
            target = self.following.step(leader, self.problem, self.cell.view, self.cell.now_s, PERIOD_S)
            self.cell.take(target)
        return target

    def lead(self, leader: np.ndarray, seconds: float = 10.0) -> None:
        """Until it follows."""
        for _ in range(round(seconds / PERIOD_S)):
            self.step(leader)
            if self.following.phase is Phase.FOLLOWING:
                return
        raise AssertionError(f"does not follow: {self.following.reason}")


# ---- mapping


def test_mapping_by_name_with_sign_scale_and_offset(tmp_path):
    def change(raw):
        raw["joints"].reverse()
        raw["joints"][-1] |= {"from": "j0", "sign": -1, "scale": 0.5, "offset": 0.1}

    config = load(tmp_path, change)
    assert config.leader_joints == ("j0", "shoulder", "elbow", "wrist_angle", "wrist_rotate", "gripper")
    pose = config.follower_pose(np.array([0.4, 0.1, 0.2, 0.3, 0.4, 0.5]), ROBOT)
    np.testing.assert_allclose(pose, [-0.5 * 0.4 + 0.1, 0.1, 0.2, 0.3, 0.4, 0.0185])


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6))
def test_the_followers_pose_is_always_within_its_limits(leader):
    pose = CONFIG.follower_pose(np.array(leader), ROBOT)
    assert (pose >= ROBOT.lower).all() and (pose <= ROBOT.upper).all()


@settings(deadline=None)
@given(st.floats(-5, 5))
def test_a_gripper_range_may_run_backwards(position):
    gripper = GripperMap("trigger", (0.9, -0.4), (0.0, 0.037))
    assert 0.0 <= gripper.apply(position) <= 0.037
    assert (gripper.apply(0.9), gripper.apply(-0.4)) == (0.0, 0.037)


def test_a_leader_without_a_gripper_leaves_it_as_it_is(tmp_path):
    config = load(tmp_path, lambda raw: raw.pop("gripper"))
    leading = Leading(config)
    leading.lead(HOME[:5])
    leading.step(HOME[:5] + 0.1, 100)
    assert leading.cell.pose[5] == HOME[5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw["joints"].pop(), "wrist_rotate"),
        (lambda raw: raw["joints"].append({"name": "waist"}), "waist twice"),
        (lambda raw: raw["joints"][0].update(sign=2), "1 or -1"),
        (lambda raw: raw["joints"][1].update({"from": "waist"}), "waist twice"),
        (lambda raw: raw["gripper"].update(follower=[0.0, 1.0]), "within the joint's limits"),
        (lambda raw: raw["gripper"].update(leader=[0.3, 0.3]), "different"),
        (lambda raw: raw["approach"].update(follow_within_rad=2.0), "refuse_rad"),
        (lambda raw: raw.update(deadman={"by": "pedal"}), "joy | service"),
        (lambda raw: raw.update(deadmen={"by": "joy"}), "unknown key"),
        (lambda raw: raw["leader"].update(topic="leader"), "slash"),
        (lambda raw: raw.update(schema=2), "version"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, change, said):
    with pytest.raises(AutofocusError) as caught:
        load(tmp_path, change)
    assert said in str(caught.value)


def test_a_deadman_is_read(tmp_path):
    config = load(tmp_path, lambda raw: raw.update(deadman={"by": "joy", "button": 5}))
    assert config.deadman == Deadman("joy", "/joy", 5, 300.0)


# ---- what arrives


def source(jumps=(0.5, 0.5)) -> JointSource:
    return JointSource("leader", ("a", "b"), 0.1, jumps)


def test_joints_are_taken_by_name_and_age():
    arm = source()
    assert "nothing received" in arm.problem(0.0)
    assert arm.message(["x", "b", "a"], [9.0, 2.0, 1.0], 0, 0.0, 10.0) is None
    np.testing.assert_array_equal(arm.positions, [1.0, 2.0])
    assert arm.problem(10.09) is None
    assert "silent for 110 ms" in arm.problem(10.11)


@pytest.mark.parametrize(
    ("names", "positions", "said"),
    [
        (["a"], [1.0], "joint missing: b"),
        (["a", "b", "b"], [1.0, 2.0, 2.0], "joint twice: b"),
        (["a", "b"], [1.0], "1 positions"),
        (["a", "b"], [1.0, float("nan")], "b is NaN"),
        (["a", "b"], [float("-inf"), 0.0], "a is NaN"),
        (["a", "b"], [1e30, 0.0], "absurd"),
    ],
)
def test_a_broken_message_is_refused_and_changes_nothing(names, positions, said):
    arm = source()
    arm.message(["a", "b"], [1.0, 2.0], 0, 0.0, 10.0)
    assert said in arm.message(names, positions, 0, 0.0, 10.05)
    np.testing.assert_array_equal(arm.positions, [1.0, 2.0])
    assert arm.problem(10.12) is not None


def test_a_driver_that_repeats_its_last_stamp_goes_stale():
    arm = source()
    for i in range(30):
        arm.message(["a", "b"], [1.0, 2.0], 555, 0.0, 10.0 + 0.01 * i)
    assert "silent" in arm.problem(10.3)
    arm.message(["a", "b"], [1.0, 2.0], 444, 0.0, 10.3)  # a driver started anew, with another clock
    assert arm.problem(10.3) is None


def test_messages_out_of_order_are_ignored():
    arm = source()
    arm.message(["a", "b"], [1.0, 2.0], 555, 0.0, 10.0)
    arm.message(["a", "b"], [5.0, 5.0], 554, 0.0, 10.01)
    np.testing.assert_array_equal(arm.positions, [1.0, 2.0])


def test_an_old_stamp_is_refused_and_stays_the_reason():
    arm = source()
    assert "clocks" in arm.message(["a", "b"], [1.0, 2.0], 555, 0.3, 10.0)
    assert "clocks" in arm.problem(10.0)  # "nothing received" would send one looking in the wrong place


def test_a_word_engages_and_disengages():
    word = Engagement(Deadman("service"))
    assert "~/engage" in word.problem(0.0)
    word.engage(True)
    assert word.problem(0.0) is None
    always = Engagement(None)
    assert always.problem(0.0) is None
    always.engage(False)
    assert "~/engage" in always.problem(0.0)


def test_a_button_engages_while_it_is_held():
    held = Engagement(Deadman("joy", "/joy", 1, 300.0))
    assert "nothing on /joy" in held.problem(0.0)
    pressed = [held.button.on_buttons(buttons, 1.0 + k / 20) for k, buttons in
               enumerate([[0, 1], [0, 0], [0, 1], [0, 1], [0], [0, 1]])]  # fmt: skip
    assert pressed == [False, False, True, False, False, False]  # held from the start, or lost meanwhile: not pressed
    assert "let it go" in held.problem(1.25)
    held.button.on_buttons([0, 0], 1.3)
    assert held.button.on_buttons([0, 1], 1.35)
    assert held.problem(1.35) is None
    held.engage(False)
    assert "~/engage" in held.problem(1.35)
    assert "silent" in held.button.problem(1.7)


def test_a_jump_is_told_once_and_only_between_fresh_messages():
    arm = source(jumps=(0.5, np.inf))
    arm.message(["a", "b"], [0.0, 0.0], 0, 0.0, 10.0)
    assert "a jumped by 0.6" in arm.message(["a", "b"], [0.6, 0.0], 0, 0.0, 10.01)
    assert arm.message(["a", "b"], [0.6, 9.0], 0, 0.0, 10.02) is None  # b may
    assert arm.message(["a", "b"], [-0.6, 9.0], 0, 0.0, 11.0) is None  # after a silence nothing is between


# ---- soft start


def test_it_approaches_slowly_then_follows_one_to_one():
    leading = Leading()
    away = AT_HOME + offset(waist=0.5, shoulder=-0.3, elbow=0.2, wrist_rotate=0.7, gripper=-0.5)
    leading.lead(away)
    approach = leading.cell.moves()
    assert_within_limits(approach, scale=CONFIG.approach.velocity_scale)
    np.testing.assert_array_equal(approach[0], HOME)  # it begins at the guard's command, so nothing steps
    assert len(approach) * PERIOD_S == pytest.approx(0.7 / (3.0 * 0.2), abs=0.15)
    leading.step(away, 100)
    for k in range(100):  # a leader within the limits is followed exactly
        leader = away + 0.2 * np.sin(0.02 * k)
        leading.step(leader)
    np.testing.assert_allclose(leading.cell.pose, CONFIG.follower_pose(leader, ROBOT), atol=1e-9)


def test_it_waits_at_the_guards_command_until_the_guard_follows():
    leading = Leading()
    for _ in range(50):
        target = leading.following.step(AT_HOME + 0.3, None, leading.cell.view, leading.cell.now_s, PERIOD_S)
        np.testing.assert_array_equal(target, HOME)
        leading.cell.now_s += PERIOD_S
        leading.cell.tell()
    assert leading.following.phase is Phase.JOINING


def test_a_stall_of_this_process_is_not_taken_for_another_commander():
    leading = Leading()
    leading.lead(AT_HOME)
    leading.cell.now_s += 0.4  # the machine did not run it; the guard has not noticed, or its word is on the way
    leading.cell.tell()
    assert leading.step(AT_HOME) is not None


def test_it_begins_at_the_command_not_where_the_arm_sags():
    """A servo under load is not where it is told to be: to begin at the measured pose would let go of the load."""
    cell = FakeCell()
    command = HOME + offset(shoulder=-0.03)
    cell.view.on_command(command, cell.now_s)
    np.testing.assert_array_equal(cell.view.anchor(cell.now_s), command)
    np.testing.assert_array_equal(cell.view.anchor(cell.now_s + 0.2), HOME)  # a guard that has fallen silent: as it is
    cell.view.on_command(command * np.nan, cell.now_s + 0.2)
    np.testing.assert_array_equal(cell.view.anchor(cell.now_s + 0.2), HOME)


def test_a_leader_too_far_away_is_refused_and_said():
    leading = Leading()
    far = AT_HOME + offset(elbow=0.9)
    assert leading.step(far, 20) is None
    assert "0.90 rad apart at elbow, allowed 0.8" in leading.following.reason
    leading.lead(AT_HOME + offset(elbow=0.7))  # brought nearer: no more to it


def test_a_leader_that_runs_away_stops_until_somebody_says_so():
    leading = Leading()
    leading.lead(AT_HOME)
    leading.cell.blocked = True
    for k in range(200):
        leading.step(AT_HOME + offset(waist=0.01 * k))
    assert leading.following.phase is Phase.SILENT and "blocked" in leading.following.reason
    leading.cell.blocked = False
    assert leading.step(AT_HOME, 100) is None  # coming back alone does not help
    leading.following.engage()
    leading.lead(AT_HOME)


def test_a_stop_is_said_with_its_first_reason():
    leading = Leading()
    leading.lead(AT_HOME)
    leading.following.stop("leader: elbow jumped")
    leading.following.stop("something later")
    assert leading.step(AT_HOME, 5) is None
    assert leading.following.reason == "leader: elbow jumped"


@pytest.mark.parametrize("what", ["leader", "follower", "guard fault", "guard disarmed", "guard gone"])
def test_it_falls_silent_within_a_period_and_approaches_anew(what):
    leading = Leading()
    leading.lead(AT_HOME)
    cell = leading.cell
    if what == "leader":
        leading.problem = "leader: silent for 120 ms"
    elif what == "follower":
        cell.measures = False
        cell.now_s += 0.2
    elif what == "guard gone":
        cell.now_s += 2.0
    else:
        cell.state, cell.needs_arm = what.split()[1], True
        cell.tell()
    assert leading.step(AT_HOME) is None
    assert what.split()[0] in leading.following.reason
    cell.measures, leading.problem, cell.state, cell.needs_arm = True, None, "holding", False
    cell.pose = HOME + offset(elbow=-0.2)  # it came to rest elsewhere
    cell.tell()
    cell.requests.clear()
    leading.step(AT_HOME, 20)
    np.testing.assert_allclose(cell.moves()[0], HOME + offset(elbow=-0.2))
    assert_within_limits(cell.moves(), scale=CONFIG.approach.velocity_scale)


def test_another_commander_is_noticed_before_two_are_a_fault():
    cell = FakeCell()
    cell.state = "tracking"
    cell.tell()
    following = Following(ROBOT, CONFIG)
    assert following.step(AT_HOME, None, cell.view, cell.now_s, PERIOD_S) is None
    assert "another commander" in following.reason


def test_smoothing_lags_and_arrives():
    leading = Leading(dataclasses.replace(CONFIG, smoothing_s=0.1))
    leading.lead(AT_HOME)
    there = AT_HOME + offset(waist=0.1)
    leading.step(there, 10)
    assert leading.cell.pose[0] == pytest.approx(HOME[0] + 0.1 * (1 - np.exp(-1)), abs=0.005)
    leading.step(there, 200)
    assert leading.cell.pose[0] == pytest.approx(HOME[0] + 0.1, abs=1e-6)


EVENTS = st.sampled_from(["lead", "problem", "hold", "fault", "arm", "block", "free", "stop", "engage", "stall"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_requests_stay_within_limits(data):
    """Any leader, any events: finite, within limits, never faster than the limits while it asks without a pause, and
    it always begins where the guard's command is."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    leading = Leading()
    cell, leader, silent = leading.cell, AT_HOME.copy(), True
    for event in data.draw(st.lists(EVENTS, min_size=5, max_size=30)):
        if event in ("hold", "fault"):
            cell.state, cell.needs_arm = {"hold": "holding", "fault": "fault"}[event], event == "fault"
        elif event == "arm":
            cell.state, cell.needs_arm = "holding", False
        elif event in ("block", "free"):
            cell.blocked = event == "block"
        elif event == "stop":
            leading.following.stop("test")
        elif event == "engage":
            leading.following.engage()
        leading.problem = "test" if event == "problem" else None
        cell.tell()
        speed = rng.choice([0.0, 0.5, 3.0, 50.0]) * rng.normal(size=6)
        for _ in range(10):
            leader = leader + speed * PERIOD_S
            if event == "lead" and rng.random() < 0.02:
                leader = AT_HOME + rng.normal(size=6)
            anchor = cell.view.anchor(cell.now_s) if cell.view.measured.positions.size else None
            dt_s = 5.0 if event == "stall" else PERIOD_S
            before = cell.requests[-1] if cell.requests else None
            target = leading.following.step(leader, leading.problem, cell.view, cell.now_s, dt_s)
            if target is not None:
                assert (target >= ROBOT.lower).all() and (target <= ROBOT.upper).all()
                if silent or leading.following.phase is Phase.JOINING:
                    np.testing.assert_array_equal(target, anchor)
                elif before is not None:
                    bound = ROBOT.velocity * min(dt_s, 0.05)
                    assert (np.abs(target - before) <= bound * (1 + 1e-9)).all()
            silent = target is None
            cell.take(target)
