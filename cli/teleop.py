"""`autofocus teleop SOURCE`: the teleoperation nodes under one name, as `ros2 run demo_recorder ...` starts them."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """`module`: whose `main` is the node; `options`: parameter that each option becomes; `fixed`: more parameters."""

    module: str
    help: str
    options: dict[str, str]
    optional: tuple[str, ...] = ()
    fixed: tuple[str, ...] = field(default=())


_ARM = {"robot": "robot", "config": "teleop"}
SOURCES = {
    "leader": Source("demo_recorder.leader_node", "a leader arm leads the robot", _ARM),
    "gamepad": Source(
        "demo_recorder.jog_node", "jog joints or the tool with a gamepad (sensor_msgs/Joy)", _ARM,
        fixed=("input:=gamepad",),
    ),
    "keyboard": Source(
        "demo_recorder.jog_node", "jog joints or the tool with the keys of this terminal, also over ssh", _ARM,
        optional=("config",), fixed=("input:=keyboard",),
    ),
    "joystick": Source(
        "demo_recorder.joystick_node", "publish a Linux joystick as /joy, where joy_node is absent", {"dev": "dev"},
        optional=("dev",),
    ),
    "buttons": Source(
        "demo_recorder.session_buttons_node", "start, judge and discard episodes with a gamepad", {"config": "buttons"}
    ),
}  # fmt: skip
HELP = {
    "robot": "path of the robot YAML",
    "config": "path of the source's YAML; examples are in demo_recorder/config",
    "dev": "path of the device (default: /dev/input/js0)",
}


def parser() -> argparse.ArgumentParser:
    """The verb's options."""
    top = argparse.ArgumentParser(
        prog="autofocus teleop", description="Teleoperate the robot through the command guard, which must be running."
    )
    sources = top.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for name, source in SOURCES.items():
        sub = sources.add_parser(name, help=source.help, description=source.help)
        for option in source.options:
            required = option not in source.optional
            sub.add_argument(f"--{option}", required=required, type=Path, metavar="PATH", help=HELP[option])
        sub.add_argument("ros", nargs="*", metavar="-- ROS ARGUMENTS", help="e.g. -- -p deadzone:=0.1 -r joy:=/pad")
    return top


def ros_arguments(options: argparse.Namespace) -> list[str]:
    """The arguments of the node's `main`."""
    source = SOURCES[options.source]
    parameters = list(source.fixed)
    for option, parameter in source.options.items():
        path = getattr(options, option)
        if path is not None:
            parameters.append(f"{parameter}:={path.expanduser().absolute()}")
    return ["--ros-args", *(word for parameter in parameters for word in ("-p", parameter)), *options.ros]


def main(argv: list[str]) -> int:
    """Run one source until it is interrupted; its exit status."""
    options = parser().parse_args(argv)
    return importlib.import_module(SOURCES[options.source].module).main(ros_arguments(options))
