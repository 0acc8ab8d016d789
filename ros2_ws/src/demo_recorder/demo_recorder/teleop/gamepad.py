"""gamepad.yaml and what sensor_msgs/Joy means by it. Nothing moves unless the deadman button is held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields
from autofocus_core.schema import Robot

from demo_recorder.teleop import config
from demo_recorder.teleop.deadman import DeadmanButton
from demo_recorder.teleop.jog import JogCommand, JogSpeeds, Mode, read_speeds

TWIST = ("x", "y", "z", "roll", "pitch", "yaw")
#: Buttons that ask for something once: what they are called in the YAML.
PRESSES = ("mode", "faster", "slower", "arm", "hold")
SPEED_FACTOR, SLOWEST = 1.5, 0.05


@dataclass(frozen=True, slots=True)
class Control:
    """An axis (with a factor from -1 to 1), or a pair of buttons (minus, plus)."""

    axis: int | None
    scale: float
    buttons: tuple[int, int] | None

    def read(self, axes: Sequence[float], buttons: Sequence[int]) -> float:
        """From -1 to 1."""
        if self.axis is not None:
            return min(max(axes[self.axis] * self.scale, -1.0), 1.0)
        assert self.buttons is not None
        minus, plus = self.buttons
        return float(bool(buttons[plus])) - float(bool(buttons[minus]))

    @property
    def highest_axis(self) -> int:
        return -1 if self.axis is None else self.axis

    @property
    def highest_button(self) -> int:
        return -1 if self.buttons is None else max(self.buttons)


@dataclass(frozen=True, slots=True)
class GamepadConfig:
    """Everything in a gamepad.yaml; `joints` has one control or None for each joint of the arm, `twist` for each of
    x y z roll pitch yaw."""

    topic: str
    timeout_s: float
    deadman: int
    presses: dict[int, str]  # button -> one of PRESSES
    joints: tuple[Control | None, ...]
    twist: tuple[Control | None, ...]
    gripper: Control | None
    speeds: JogSpeeds
    scale: float

    @property
    def axes(self) -> int:
        """How many axes the pad must have."""
        return 1 + max(control.highest_axis for control in self.controls)

    @property
    def buttons(self) -> int:
        """How many buttons the pad must have."""
        return 1 + max(self.deadman, *self.presses, *(control.highest_button for control in self.controls))

    @property
    def controls(self) -> list[Control]:
        return [c for c in (*self.joints, *self.twist, self.gripper) if c is not None]


def load_gamepad(path: str | Path, robot: Robot) -> GamepadConfig:
    """Parse a gamepad.yaml for `robot`; raises AutofocusError for whatever is missing, unknown or out of range."""
    fields = config.load(path, "gamepad")
    presses: dict[int, str] = {}
    deadman = fields.integer("deadman", minimum=0)
    for name in PRESSES:
        if fields.has(name):
            button = fields.integer(name, minimum=0)
            taken = "deadman" if button == deadman else presses.get(button)
            if taken:
                raise AutofocusError(f"{fields.where}: {name}", f"button {button}", "a free button", f"{taken} has it")
            presses[button] = name
    loaded = GamepadConfig(
        topic=config.topic(fields, "topic", "/joy"),
        timeout_s=config.number(fields, "timeout_ms", 300.0, above=0.0) / 1e3,
        deadman=deadman,
        presses=presses,
        joints=_controls(fields, "joints", tuple(joint.name for joint in robot.joints)),
        twist=_controls(fields, "tool", TWIST),
        gripper=_control(fields.sub("gripper")) if fields.has("gripper") else None,
        speeds=read_speeds(fields.sub("speeds")) if fields.has("speeds") else JogSpeeds(),
        scale=config.number(fields, "scale", 1.0, minimum=SLOWEST, maximum=1.0),
    )
    fields.done()
    if not loaded.controls:
        raise AutofocusError(fields.where, "nothing to move", "joints:, tool: or gripper:", "map an axis to a joint")
    return loaded


def _controls(fields: Fields, key: str, names: tuple[str, ...]) -> tuple[Control | None, ...]:
    if not fields.has(key):
        return (None,) * len(names)
    sub = fields.sub(key)
    found = tuple(_control(sub.sub(name)) if sub.has(name) else None for name in names)
    sub.done()
    return found


def _control(fields: Fields) -> Control:
    if fields.has("axis"):
        scale = config.number(fields, "scale", 1.0, minimum=-1.0, maximum=1.0)
        control = Control(fields.integer("axis", minimum=0), scale, None)
    else:
        pair = fields.take("buttons", "[minus, plus]")
        good = isinstance(pair, list) and len(pair) == 2 and all(type(b) is int and b >= 0 for b in pair)
        if not good or pair[0] == pair[1]:
            expected = "two different button numbers: [minus, plus]"
            raise AutofocusError(f"{fields.where}: buttons", repr(pair), expected, "or give an `axis:`")
        control = Control(None, 1.0, (pair[0], pair[1]))
    fields.done()
    return control


class Gamepad:
    """The newest Joy message as a jog command. `now_s` is monotonic."""

    def __init__(self, config: GamepadConfig, modes: Sequence[Mode]) -> None:
        """`modes`: those that the robot can be jogged in, the first one first."""
        self.config = config
        self.mode = modes[0]
        self.scale = config.scale
        self._modes = tuple(modes)
        self._deadman = DeadmanButton(config.topic, config.deadman, config.timeout_s)
        self._fault: str | None = None
        self._axes: tuple[float, ...] = ()
        self._buttons: tuple[int, ...] = ()

    def on_joy(self, axes: Sequence[float], buttons: Sequence[int], now_s: float) -> list[str]:
        """Take a message; returns what buttons were pressed just now, "arm" or "hold" (others are done here)."""
        before = self._buttons if self._deadman.fresh(now_s) else ()
        self._fault = self._unusable(axes, buttons)
        self._axes, self._buttons = ((), ()) if self._fault else (tuple(map(float, axes)), tuple(buttons))
        self._deadman.on_buttons(self._buttons, now_s)  # a message that cannot be used is one without a deadman
        if self._fault:
            return []
        pressed = [n for i, n in self.config.presses.items() if before and self._buttons[i] and not before[i]]
        return [name for name in pressed if not self._change(name)]

    def problem(self, now_s: float) -> str | None:
        """Why nothing may move, or None."""
        return self._fault if self._fault and self._deadman.fresh(now_s) else self._deadman.problem(now_s)

    def command(self) -> JogCommand:
        """What the sticks say; to be followed only while `problem` is None."""

        def read(controls: Sequence[Control | None]) -> tuple[float, ...]:
            usable = bool(self._axes)
            return tuple(c.read(self._axes, self._buttons) if c is not None and usable else 0.0 for c in controls)

        config = self.config
        (gripper,) = read((config.gripper,))
        return JogCommand(self.mode, read(config.joints), read(config.twist), gripper, self.scale)

    def _unusable(self, axes: Sequence[float], buttons: Sequence[int]) -> str | None:
        if len(axes) < self.config.axes or len(buttons) < self.config.buttons:
            have, want = f"{len(axes)} axes and {len(buttons)} buttons", f"{self.config.axes} and {self.config.buttons}"
            return f"gamepad: {have}, the YAML asks for {want}: is it another pad?"
        if not all(math.isfinite(value) for value in axes):
            return "gamepad: an axis is NaN or infinite"
        return None

    def _change(self, name: str) -> bool:
        """Mode and speed are changed here; True if `name` was one of these."""
        if name == "mode":
            self.mode = self._modes[(self._modes.index(self.mode) + 1) % len(self._modes)]
        elif name == "faster":
            self.scale = faster(self.scale)
        elif name == "slower":
            self.scale = slower(self.scale)
        else:
            return False
        return True


def faster(scale: float) -> float:
    """The next speed scale up."""
    return min(scale * SPEED_FACTOR, 1.0)


def slower(scale: float) -> float:
    """The next speed scale down."""
    return max(scale / SPEED_FACTOR, SLOWEST)
