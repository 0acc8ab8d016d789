"""Jog the robot through the guard with a gamepad or the keyboard: single joints, or the tool.

    ros2 run demo_recorder jog --ros-args -p input:=gamepad -p robot:=robot.yaml -p teleop:=gamepad.yaml
    ros2 run demo_recorder jog --ros-args -p input:=keyboard -p robot:=robot.yaml          # in a terminal of its own
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from typing import Protocol

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.kinematics import Kinematics
from sensor_msgs.msg import Joy

from demo_recorder.commander_node import CommanderNode, run
from demo_recorder.teleop.gamepad import Gamepad, load_gamepad
from demo_recorder.teleop.jog import JogCommand, Jogger, JogSpeeds, Mode, no_kinematics
from demo_recorder.teleop.keyboard import Keyboard, KeyboardConfig, help_text, load_keyboard
from demo_recorder.teleop.keys import KeyParser
from demo_recorder.teleop.terminal import Terminal

#: A measured joint that moves more than this between two messages did not move.
JUMP_RAD, JUMP_M = 0.5, 0.05
#: The keyboard's line is drawn no more often: an ssh connection may be slow.
REDRAW_S = 0.05


class Input(Protocol):
    """Where jog commands come from."""

    speeds: JogSpeeds

    def read(self, now_s: float) -> tuple[JogCommand, str | None]:
        """(what is asked for, why nothing may move or None)."""

    def show(self, reason: str) -> bool:
        """Tell the operator; returns False where the node's log must."""

    def close(self) -> None:
        """Put back what was changed."""


class GamepadInput:
    """sensor_msgs/Joy, with a deadman button."""

    def __init__(self, node: CommanderNode, path: str, modes: tuple[Mode, ...]) -> None:
        if not path:
            fix = "add `-p teleop:=gamepad.yaml`; config/gamepad.yaml is an example"
            raise AutofocusError("node /jog: parameter teleop", "nothing", "path of the gamepad YAML", fix)
        config = load_gamepad(path, node.robot)
        self.speeds = config.speeds
        self._node, self._pad = node, Gamepad(config, modes)
        node.create_subscription(Joy, config.topic, self._on_joy, 10)

    def read(self, now_s: float) -> tuple[JogCommand, str | None]:
        return self._pad.command(), self._pad.problem(now_s)

    def show(self, reason: str) -> bool:
        return False

    def close(self) -> None:
        pass

    def _on_joy(self, message: Joy) -> None:
        before = (self._pad.mode, self._pad.scale)
        for name in self._pad.on_joy(message.axes, message.buttons, time.monotonic()):
            self._node.call_guard(name)
        if before != (self._pad.mode, self._pad.scale):
            self._node.get_logger().info(f"{self._pad.mode.value}, speed {self._pad.scale:.0%}")


class KeyboardInput:
    """The keys of the terminal that the node was started in."""

    def __init__(self, node: CommanderNode, path: str, modes: tuple[Mode, ...]) -> None:
        config = load_keyboard(path) if path else KeyboardConfig()
        self.speeds = config.speeds
        self._node, self._parser = node, KeyParser()
        self._keyboard = Keyboard(config, node.robot, modes)
        self._terminal = Terminal()
        self._line: str | None = None
        self._drawn_s = 0.0
        self._typed_s = time.monotonic()
        print(help_text(node.robot, modes), flush=True)

    def read(self, now_s: float) -> tuple[JogCommand, str | None]:
        if self._line is None:
            self._line = ""
            self._terminal.prepare()
            signal.signal(signal.SIGCONT, lambda *_: self._terminal.prepare())
        typed = self._terminal.read()
        if typed is None:
            self._node.finished = True  # the terminal has gone, and the operator with it
        elif typed:
            self._typed_s = now_s
        elif now_s - self._typed_s > 0.1:
            self._parser.timeout()
        for key in self._parser.feed(typed or b""):
            asked = self._keyboard.on_key(key, now_s)
            if asked == "quit":
                self._node.finished = True
            elif asked is not None:
                self._node.call_guard(asked)
        return self._keyboard.command(now_s), self._keyboard.problem(now_s)

    def show(self, reason: str) -> bool:
        """On one line, drawn anew where it has changed."""
        line = f"{self._keyboard.mode.value:>5}  speed {self._keyboard.scale:4.0%}  {reason}"
        line = line[: shutil.get_terminal_size().columns - 1]
        now_s = time.monotonic()
        if line != self._line and now_s - self._drawn_s > REDRAW_S:
            self._line, self._drawn_s = line, now_s
            print(f"\r\x1b[K{line}", end="", flush=True)
        return True

    def close(self) -> None:
        self._terminal.restore()
        print(flush=True)


INPUTS = {"gamepad": GamepadInput, "keyboard": KeyboardInput}


class JogNode(CommanderNode):
    """Node /jog."""

    def __init__(self) -> None:
        super().__init__("jog")
        name = self.text("input", f"where the commands come from: {' or '.join(INPUTS)} (required)", required=True)
        path = self.text("teleop", "path of the gamepad or keyboard YAML; the keyboard does without")
        if name not in INPUTS:
            raise AutofocusError("node /jog: parameter input", repr(name), " | ".join(INPUTS), "choose one")
        kinematics = None if self.robot.kinematics is None else Kinematics(self.robot)
        if kinematics is None:
            self.get_logger().warning(str(no_kinematics(self.robot)))
        modes = tuple(Mode) if kinematics is not None else (Mode.JOINT,)
        self._input: Input | None = INPUTS[name](self, path, modes)
        self._jogger = Jogger(self.robot, self._input.speeds, kinematics)
        arm = [JUMP_RAD if joint.unit == "rad" else JUMP_M for joint in self.robot.joints]
        self.begin(np.array(arm if self.robot.gripper is None else [*arm, np.inf]))

    def target(self, now_s: float, dt_s: float) -> tuple[np.ndarray | None, str, dict[str, str]]:
        command, problem = self._input.read(now_s)
        target = self._jogger.step(command, problem, self.view, now_s, dt_s)
        return target, self._jogger.reason, {"mode": command.mode.value, "speed": f"{command.scale:.2f}"}

    def say(self, reason: str) -> None:
        if not self._input.show(reason):
            super().say(reason)

    def close(self) -> None:
        self._input.close()


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted, or its operator quits."""
    return run(JogNode, args)


if __name__ == "__main__":
    sys.exit(main())
