"""`autofocus teleop`: options become the parameters of the node that `ros2 run` would start."""

from __future__ import annotations

from pathlib import Path

import pytest
from autofocus_cli.teleop import parser, ros_arguments


def arguments(*words: str) -> list[str]:
    return ros_arguments(parser().parse_args(list(words)))


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        (("leader", "--robot", "/r.yaml", "--config", "/l.yaml"), ["robot:=/r.yaml", "teleop:=/l.yaml"]),
        (("gamepad", "--robot", "/r.yaml", "--config", "/g.yaml"),
         ["input:=gamepad", "robot:=/r.yaml", "teleop:=/g.yaml"]),
        (("keyboard", "--robot", "/r.yaml"), ["input:=keyboard", "robot:=/r.yaml"]),
        (("joystick",), []),
        (("joystick", "--dev", "/dev/input/js1"), ["dev:=/dev/input/js1"]),
        (("buttons", "--config", "/b.yaml"), ["buttons:=/b.yaml"]),
    ],
)  # fmt: skip
def test_options_become_parameters(words, parameters):
    assert arguments(*words) == ["--ros-args", *(word for p in parameters for word in ("-p", p))]


def test_paths_are_made_absolute_and_ros_arguments_are_passed_on():
    found = arguments("keyboard", "--robot", "r.yaml", "--", "-r", "__ns:=/left")
    assert f"robot:={Path('r.yaml').absolute()}" in found and found[-2:] == ["-r", "__ns:=/left"]


@pytest.mark.parametrize("words", [(), ("pedal",), ("leader", "--robot", "r.yaml"), ("gamepad", "--config", "g.yaml")])
def test_what_is_missing_is_named(words, capsys):
    with pytest.raises(SystemExit) as ended:
        arguments(*words)
    assert ended.value.code == 2
    assert "SOURCE" in capsys.readouterr().err or words[0] != "pedal"
