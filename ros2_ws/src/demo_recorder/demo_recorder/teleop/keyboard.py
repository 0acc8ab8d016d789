"""Keys to jog commands. A terminal tells of presses only: each moves for a moment, and holding a key repeats it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autofocus_core.schema import Robot

from demo_recorder.teleop import config
from demo_recorder.teleop.gamepad import SLOWEST, faster, slower
from demo_recorder.teleop.jog import JogCommand, JogSpeeds, Mode, read_speeds

#: Joint by joint: towards plus in the upper row, towards minus in the row below.
JOINT_KEYS = (("q", "a"), ("w", "s"), ("e", "d"), ("r", "f"), ("t", "g"), ("y", "h"), ("u", "j"))
#: x, y, z, roll, pitch, yaw: (plus, minus) each; the tool's forward is +x, its left is +y.
TWIST_KEYS = (("w", "s"), ("a", "d"), ("r", "f"), ("o", "u"), ("i", "k"), ("j", "l"))
ALIASES = {"up": "w", "down": "s", "left": "a", "right": "d", "page_up": "r", "page_down": "f"}
OPEN_KEY, CLOSE_KEY = "x", "z"


@dataclass(frozen=True, slots=True)
class KeyboardConfig:
    """press_s: how long one press moves; idle_s: after so long without a key nobody is taken to be there."""

    press_s: float = 0.15
    idle_s: float = 10.0
    scale: float = 0.5
    speeds: JogSpeeds = field(default_factory=JogSpeeds)


def load_keyboard(path: str | Path) -> KeyboardConfig:
    """Parse a keyboard.yaml; raises AutofocusError for whatever is unknown or out of range."""
    fields = config.load(path, "keyboard")
    default = KeyboardConfig()
    loaded = KeyboardConfig(
        press_s=config.number(fields, "press_s", default.press_s, minimum=0.02, maximum=0.5),
        idle_s=config.number(fields, "idle_s", default.idle_s, minimum=1.0, maximum=60.0),
        scale=config.number(fields, "scale", default.scale, minimum=SLOWEST, maximum=1.0),
        speeds=read_speeds(fields.sub("speeds")) if fields.has("speeds") else default.speeds,
    )
    fields.done()
    return loaded


class Keyboard:
    """What the keys of the last moment ask for. `now_s` is monotonic."""

    def __init__(self, config: KeyboardConfig, robot: Robot, modes: Sequence[Mode]) -> None:
        """`modes`: those that the robot can be jogged in, the first one first."""
        self.config = config
        self.mode = modes[0]
        self.scale = config.scale
        self._modes = tuple(modes)
        self._joints = min(len(robot.joints), len(JOINT_KEYS))
        self._arm = len(robot.joints)
        self._until_s: dict[str, float] = {}  # motion key -> when its press ends
        self._last_s = -math.inf
        self._stopped = "press Enter to arm the guard"

    def on_key(self, key: str, now_s: float) -> str | None:
        """Take a key; returns what the node must do for it: "arm", "hold" or "quit"."""
        self._last_s = now_s
        key = ALIASES.get(key, key) if self.mode is not Mode.JOINT else key
        if key in ("interrupt", "end"):
            return "quit"
        if key == "space":
            self._until_s.clear()
            self._stopped = "stopped: press Enter to go on"
            return "hold"
        if key == "enter":
            self._until_s.clear()
            self._stopped = ""
            return "arm"
        if key == "tab":
            self._until_s.clear()
            self.mode = self._modes[(self._modes.index(self.mode) + 1) % len(self._modes)]
        elif key in "+=":
            self.scale = faster(self.scale)
        elif key in "-_":
            self.scale = slower(self.scale)
        elif key in self._motion_keys():
            self._until_s[key] = now_s + self.config.press_s
        return None

    def problem(self, now_s: float) -> str | None:
        """Why nothing may move, or None."""
        if self._stopped:
            return self._stopped
        if now_s - self._last_s > self.config.idle_s:
            self._stopped = f"no key for {self.config.idle_s:g} s: press Enter to go on"
            self._until_s.clear()
            return self._stopped
        return None

    def command(self, now_s: float) -> JogCommand:
        """What the presses that have not ended yet ask for."""
        held = {key for key, until_s in self._until_s.items() if now_s < until_s}

        def value(plus: str, minus: str) -> float:
            return float(plus in held) - float(minus in held)

        if self.mode is Mode.JOINT:
            joints = [value(*pair) for pair in JOINT_KEYS[: self._joints]]
            twist = [0.0] * 6
        else:
            joints = []
            twist = [value(*pair) for pair in TWIST_KEYS]
        joints += [0.0] * (self._arm - len(joints))
        return JogCommand(self.mode, tuple(joints), tuple(twist), value(OPEN_KEY, CLOSE_KEY), self.scale)

    def _motion_keys(self) -> set[str]:
        pairs = JOINT_KEYS[: self._joints] if self.mode is Mode.JOINT else TWIST_KEYS
        return {key for pair in pairs for key in pair} | {OPEN_KEY, CLOSE_KEY}


def help_text(robot: Robot, modes: Sequence[Mode]) -> str:
    """What the keys do, for the terminal."""
    joints = "   ".join(f"{p}/{m} {joint.name}" for (p, m), joint in zip(JOINT_KEYS, robot.joints))
    lines = [f"joints (+/-): {joints}"]
    if len(modes) > 1:
        lines += [
            "tool (+/-):   w/s x   a/d y   r/f z   o/u roll   i/k pitch   j/l yaw   (arrows: x and y, page up/down: z)",
            "Tab: joints, tool along the base's axes, tool along its own axes",
        ]
    if robot.gripper is not None:
        lines.append(f"gripper:      {OPEN_KEY} open   {CLOSE_KEY} close")
    lines.append("Enter: arm the guard    Space: stop (the guard holds)    + and -: speed    Ctrl-C: quit")
    return "\n".join(lines)
