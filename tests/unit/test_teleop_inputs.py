"""Gamepads, keys, joystick events and session buttons, without ROS and without devices."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import yaml
from autofocus_core.errors import AutofocusError
from demo_recorder.teleop.buttons import Buttons, calls, load_buttons
from demo_recorder.teleop.gamepad import Gamepad, load_gamepad
from demo_recorder.teleop.jog import Mode
from demo_recorder.teleop.joystick import Device, JoystickState
from demo_recorder.teleop.keyboard import Keyboard, KeyboardConfig, help_text, load_keyboard
from demo_recorder.teleop.keys import KeyParser
from hypothesis import given, settings
from hypothesis import strategies as st
from teleop_robot import ROBOT, TELEOP_CONFIG

MODES = (Mode.JOINT, Mode.BASE, Mode.TOOL)
PAD = load_gamepad(TELEOP_CONFIG / "gamepad.yaml", ROBOT)
LB, A, B, X, Y, RB = PAD.deadman, 0, 1, 2, 3, 5
BUTTONS = load_buttons(TELEOP_CONFIG / "buttons.yaml")


def changed(tmp_path, name, change):
    raw = yaml.safe_load((TELEOP_CONFIG / name).read_text())
    change(raw)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(raw))
    return path


# ---- gamepad


class Pad:
    """A pad that repeats itself every 50 ms."""

    def __init__(self, modes=MODES):
        self.gamepad, self.now_s = Gamepad(PAD, modes), 10.0

    def send(self, *pressed: int, axes: dict[int, float] | None = None) -> list[str]:
        self.now_s += 0.05
        values = [(axes or {}).get(i, 0.0) for i in range(8)]
        return self.gamepad.on_joy(values, [int(i in pressed) for i in range(11)], self.now_s)

    @property
    def problem(self):
        return self.gamepad.problem(self.now_s)


def test_nothing_moves_without_the_deadman():
    pad = Pad()
    assert "nothing on /joy" in pad.problem
    pad.send(axes={0: 1.0})
    assert "deadman" in pad.problem
    pad.send(LB, axes={0: 1.0})
    assert pad.problem is None
    assert pad.gamepad.command().joints[0] == 1.0
    pad.send(axes={0: 1.0})
    assert "deadman" in pad.problem


def test_a_pad_that_falls_silent_stops_and_must_let_go_of_the_deadman():
    pad = Pad()
    pad.send()
    pad.send(LB)
    pad.now_s += 0.31
    assert "silent for 310 ms" in pad.problem
    pad.send(LB)
    assert "let it go" in pad.problem
    pad.send()
    pad.send(LB)
    assert pad.problem is None


def test_a_deadman_held_from_the_start_counts_for_nothing():
    pad = Pad()
    for _ in range(5):
        pad.send(LB)
    assert "let it go" in pad.problem


def test_buttons_act_once_at_the_press():
    pad = Pad()
    pad.send()
    assert [pad.send(X), pad.send(X), pad.send(), pad.send(B), pad.send(X, B)] == [["arm"], [], [], ["hold"], ["arm"]]
    pad.now_s += 1.0
    assert pad.send(X) == []  # down when it came back


def test_modes_and_speeds_go_round_and_stay_in_range():
    pad = Pad()
    seen = []
    for _ in range(4):
        pad.send()
        pad.send(Y)
        seen.append(pad.gamepad.mode)
    assert seen == [Mode.BASE, Mode.TOOL, Mode.JOINT, Mode.BASE]
    for button, limit in ((9, 0.05), (10, 1.0)):
        for _ in range(20):
            pad.send()
            pad.send(button)
        assert pad.gamepad.scale == limit


@pytest.mark.parametrize(
    ("axes", "buttons", "said"),
    [([0.0] * 4, [0] * 11, "4 axes"), ([0.0] * 8, [0] * 3, "3 buttons"), ([float("nan")] * 8, [0] * 11, "NaN")],
)
def test_another_pad_or_a_broken_one_moves_nothing(axes, buttons, said):
    pad = Pad()
    pad.send()
    pad.send(LB)
    assert pad.gamepad.on_joy(axes, buttons, pad.now_s) == []
    assert said in pad.problem
    pad.send(LB)
    assert "let it go" in pad.problem


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=0, max_size=10), st.lists(st.integers(-1, 2), min_size=0, max_size=12))
def test_whatever_the_pad_says_commands_are_shares(axes, buttons):
    pad = Pad()
    pad.send()
    pad.gamepad.on_joy(axes, buttons, pad.now_s)
    if pad.problem is None:
        command = pad.gamepad.command()
        assert all(-1.0 <= value <= 1.0 for value in (*command.joints, *command.twist, command.gripper))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.pop("deadman"), "deadman"),
        (lambda raw: raw.update(arm=4), "deadman has it"),
        (lambda raw: raw.update(arm=1, hold=1), "arm has it"),
        (lambda raw: raw["joints"].update(knee={"axis": 1}), "'knee'"),
        (lambda raw: raw["joints"]["waist"].update(scale=2.0), "at most 1"),
        (lambda raw: raw["gripper"].update(buttons=[3, 3]), "different"),
        (lambda raw: raw["gripper"].update(buttons=[True, 3]), "minus, plus"),
        (lambda raw: raw["tool"]["x"].update(axle=1), "unknown key"),
        (lambda raw: raw["speeds"].update(linear_m_s=50), "at most 1"),
        (lambda raw: [raw.pop(key) for key in ("joints", "tool", "gripper")], "nothing to move"),
    ],
)
def test_what_is_wrong_in_the_gamepad_file_is_named(tmp_path, change, said):
    with pytest.raises(AutofocusError) as caught:
        load_gamepad(changed(tmp_path, "gamepad.yaml", change), ROBOT)
    assert said in str(caught.value)


# ---- keyboard


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"wW \t\r\n", ["w", "W", "space", "tab", "enter", "enter"]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[5~\x1b[6~", ["page_up", "page_down"]),
        (b"\x1b[15~\x1b[1;5C\x1b[200~q", ["q"]),  # F5, Ctrl-Right, a paste: no letters of theirs
        (b"\x1bw", ["w"]),
        (b"\x03\x04", ["interrupt", "end"]),
        ("ä".encode(), []),
        (b"\x00\x07\x7f", []),
    ],
)
def test_bytes_become_keys(data, keys):
    assert KeyParser().feed(data) == keys


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(1, 40))
def test_keys_do_not_depend_on_how_the_bytes_were_cut(data, cut):
    whole, parts = KeyParser(), KeyParser()
    assert whole.feed(data) == parts.feed(data[:cut]) + parts.feed(data[cut:])


def test_an_escape_alone_is_forgotten_after_a_while():
    parser = KeyParser()
    assert parser.feed(b"\x1b") == []
    parser.timeout()
    assert parser.feed(b"[") == ["["]


def keyboard(**changes) -> Keyboard:
    keys = Keyboard(KeyboardConfig(**changes), ROBOT, MODES)
    keys.on_key("enter", 10.0)
    return keys


def test_a_press_moves_for_a_moment_and_holding_goes_on():
    keys = keyboard()
    keys.on_key("q", 10.0)
    assert keys.command(10.14).joints == (1.0, 0, 0, 0, 0)
    assert keys.command(10.15).still
    for k in range(30):  # held: the terminal repeats it 30 times a second
        keys.on_key("a", 11.0 + k / 30)
        assert keys.command(11.0 + k / 30 + 0.03).joints[0] == -1.0
    assert keys.command(12.2).still


def test_two_keys_go_together_and_opposite_ones_stand_still():
    keys = keyboard()
    for key in "qsx":
        keys.on_key(key, 10.0)
    command = keys.command(10.1)
    assert (command.joints[:2], command.gripper) == ((1.0, -1.0), 1.0)
    keys.on_key("a", 10.1)
    assert keys.command(10.1).joints[0] == 0.0


def test_tab_changes_the_mode_and_arrows_move_the_tool():
    keys = keyboard()
    keys.on_key("up", 10.0)
    assert keys.command(10.0).still  # joints have no arrows
    keys.on_key("tab", 10.0)
    keys.on_key("up", 10.0)
    keys.on_key("left", 10.0)
    command = keys.command(10.1)
    assert (command.mode, command.twist) == (Mode.BASE, (1.0, 1.0, 0, 0, 0, 0))
    keys.on_key("tab", 10.1)
    assert keys.command(10.1).still  # a key of the mode before means something else now


def test_space_stops_enter_goes_on_and_nobody_there_stops():
    keys = Keyboard(KeyboardConfig(), ROBOT, MODES)
    assert "Enter" in keys.problem(0.0)
    assert keys.on_key("enter", 10.0) == "arm"
    assert keys.problem(10.0) is None
    keys.on_key("q", 10.1)
    assert keys.on_key("space", 10.1) == "hold"
    assert "stopped" in keys.problem(10.1) and keys.command(10.1).still
    keys.on_key("q", 10.2)
    assert "stopped" in keys.problem(10.2)  # only Enter goes on
    keys.on_key("enter", 11.0)
    assert keys.problem(20.9) is None
    assert "no key for 10 s" in keys.problem(21.1)
    keys.on_key("q", 21.2)
    assert "Enter" in keys.problem(21.2)
    assert keys.on_key("interrupt", 21.3) == "quit"


def test_speed_keys_and_the_shipped_file():
    keys = Keyboard(load_keyboard(TELEOP_CONFIG / "keyboard.yaml"), ROBOT, MODES)
    assert keys.command(0.0).scale == 0.5
    for _ in range(10):
        keys.on_key("+", 1.0)
    assert keys.command(1.0).scale == 1.0
    keys.on_key("-", 1.0)
    assert keys.command(1.0).scale == pytest.approx(1 / 1.5)
    assert all(joint.name in help_text(ROBOT, MODES) for joint in ROBOT.joints)
    assert "Tab" not in help_text(ROBOT, (Mode.JOINT,))


# ---- joystick

BUTTON, AXIS, INIT = 1, 2, 0x80


def event(value: int, kind: int, number: int) -> bytes:
    return struct.pack("=IhBB", 0, value, kind, number)


def test_axes_have_joy_nodes_sign_and_a_deadzone():
    state = JoystickState(deadzone=0.1, sticky_buttons=False)
    for value, wanted in ((32767, -1.0), (-32768, 1.0), (3000, 0.0), (-3000, 0.0), (18022, -0.5)):
        state.apply(value, AXIS, 2)
        assert state.axes == pytest.approx([0.0, 0.0, wanted], abs=1e-3)


@settings(deadline=None)
@given(st.integers(-32768, 32767), st.floats(0, 0.9))
def test_axes_stay_within_one(value, deadzone):
    state = JoystickState(deadzone, False)
    state.apply(value, AXIS, 0)
    assert -1.0 <= state.axes[0] <= 1.0


def test_sticky_buttons_toggle_and_a_device_is_complete_when_all_have_spoken():
    state = JoystickState(0.0, True, axes=1, buttons=1)
    assert not state.apply(0, BUTTON | INIT, 0) and not state.complete
    state.apply(0, AXIS | INIT, 0)
    assert state.complete
    seen = []
    for value in (1, 0, 1, 0):
        assert state.apply(value, BUTTON, 0)
        seen.append(state.buttons[0])
    assert seen == [1, 1, 0, 0]


def test_a_device_that_ends_in_mid_event_is_gone(tmp_path):
    path = tmp_path / "js0"
    os.mkfifo(path)
    device = Device(str(path))
    assert device.open() == (0, 0)
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, event(1, BUTTON, 3) + event(5, AXIS, 1)[:3])
    assert list(device.events(1.0)) == [(1, BUTTON, 3)]
    os.write(writer, event(5, AXIS, 1)[3:])
    assert list(device.events(1.0)) == [(5, AXIS, 1)]
    assert list(device.events(0.0)) == []
    os.close(writer)
    with pytest.raises(OSError, match="ended"):
        list(device.events(1.0))
    device.close()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        device.open()


# ---- session buttons

START, BACK = 7, 6


class Session:
    """Joy messages at 20 Hz, and the timer of the node."""

    def __init__(self, config=BUTTONS):
        self.buttons, self.now_s, self.down = Buttons(config), 10.0, set()

    def run(self, seconds: float, *down: int) -> list[str]:
        actions = []
        for _ in range(round(seconds / 0.05)):
            self.now_s += 0.05
            actions += self.buttons.on_joy([int(i in down) for i in range(11)], self.now_s)
            actions += self.buttons.on_time(self.now_s + 0.025)
        return actions


def test_a_tap_acts_when_it_is_let_go_and_a_hold_when_its_time_is_up():
    session = Session()
    assert session.run(0.2) == []
    assert session.run(0.2, START) + session.run(0.2) == ["start"]
    assert session.run(2.0, START) == ["success"]
    assert session.run(0.2) == []  # letting go after a hold is nothing
    assert session.run(0.5, BACK) + session.run(0.2) == ["failure"]
    assert session.run(1.1, BACK) + session.run(0.2) == ["discard"]


def test_a_button_with_one_meaning_acts_at_the_press(tmp_path):
    def change(raw):
        raw["buttons"] = {"start": {"button": 0}}

    session = Session(load_buttons(changed(tmp_path, "buttons.yaml", change)))
    session.run(0.1)
    assert session.run(0.05, 0) == ["start"]
    assert session.run(3.0, 0) == []


def test_what_is_down_when_the_pad_comes_counts_for_nothing():
    session = Session()
    assert session.run(2.0, START) + session.run(0.2) == []
    session.run(0.1, START)
    session.now_s += 2.0  # the pad was away
    assert session.run(2.0, START) + session.run(0.2) == []
    assert session.run(0.1, START) + session.run(0.1) == ["start"]


def test_bounces_are_one_press(tmp_path):
    def change(raw):
        raw["buttons"] = {"start": {"button": 0}, "discard": {"button": 0, "hold_s": 1.0}}

    for taps in ([0.0, 0.004, 0.006], [0.0, 0.01, 0.02, 0.03, 0.04]):
        buttons = Buttons(load_buttons(changed(tmp_path, "buttons.yaml", change)))
        actions = buttons.on_joy([0], 9.9)
        for k, at in enumerate(taps):
            actions += buttons.on_joy([1 - k % 2], 10.0 + at)
        actions += buttons.on_joy([1], 10.06) + buttons.on_joy([0], 10.3)
        actions += buttons.on_time(10.35)
        assert actions == ["start"]


def test_a_short_tap_is_not_lost_in_the_debounce():
    """The release comes within the debounce and nothing is repeated: it counts a moment later."""
    buttons = Buttons(BUTTONS)
    buttons.on_joy([0] * 11, 9.9)
    assert buttons.on_joy([int(i == START) for i in range(11)], 10.0) == []
    assert buttons.on_joy([0] * 11, 10.02) == []
    assert buttons.on_time(10.06) == ["start"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.01, 0.05, 0.3, 1.0]), st.sets(st.integers(0, 12))), max_size=60))
def test_no_button_asks_twice_without_being_let_go(steps):
    """However the buttons go, an action needs an edge of its own."""
    buttons, now_s, edges, actions = Buttons(BUTTONS), 10.0, 0, []
    before: set[int] = set()
    for dt_s, down in steps:
        now_s += dt_s
        edges += len({START, BACK} & (down - before))
        actions += buttons.on_joy([int(i in down) for i in range(11)], now_s) + buttons.on_time(now_s)
        before = down
    actions += buttons.on_time(now_s + 0.1)
    assert len(actions) <= edges


@pytest.mark.parametrize(
    ("action", "state", "wanted"),
    [
        ("start", "idle", [("start", None)]),
        ("discard", "stopped", [("discard", None)]),
        ("success", "recording", [("outcome", True), ("stop", None)]),
        ("failure", None, [("outcome", False), ("stop", None)]),
        ("failure", "stopped", [("outcome", False)]),
    ],
)
def test_an_outcome_ends_a_recording_that_is_on(action, state, wanted):
    assert calls(action, state) == wanted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.update(buttons={"stop": {"button": 7}, "start": {"button": 7}}), "start and stop"),
        (lambda raw: raw["buttons"].update(pause={"button": 9}), "'pause'"),
        (lambda raw: raw.update(buttons={}), "no action"),
        (lambda raw: raw["buttons"]["discard"].update(hold_s=60), "at most 5"),
        (lambda raw: raw["buttons"]["start"].update(button=-1), ">= 0"),
    ],
)
def test_what_is_wrong_in_the_buttons_file_is_named(tmp_path, change, said):
    with pytest.raises(AutofocusError) as caught:
        load_buttons(changed(tmp_path, "buttons.yaml", change))
    assert said in str(caught.value)


def test_the_shipped_pad_files_do_not_quarrel():
    """One pad, two nodes: no button of the session is one that jogs."""
    jog = {PAD.deadman, *PAD.presses, *(b for c in PAD.controls if c.buttons for b in c.buttons)}
    assert not jog & {binding.button for binding in BUTTONS.bindings}
    assert np.all(np.array([PAD.axes, PAD.buttons]) <= [8, 11])
