"""The command line of `autofocus record`, and the recorder's command line that it makes."""

from __future__ import annotations

import argparse
import json
import sys

from autofocus_core.errors import AutofocusError
from autofocus_core.schema import QualityRules, load_robot, load_task

#: Options that are parameters of the recorder under the same name.
PARAMETERS = (
    "robot", "task", "output", "compression", "qos_overrides", "max_file_mb", "max_file_s", "sync_period_s",
    "reserve_mb", "queue_mb",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="autofocus record",
        description="Record demonstrations with a screen in the terminal. ? on the screen tells the keys.",
        epilog="Without a screen: python -m demo_recorder.node --ros-args -p robot:=... -p task:=... -p output:=...",
    )
    made.add_argument("--robot", metavar="YAML", help="robot to record")
    made.add_argument("--task", metavar="YAML", help="task that is demonstrated")
    made.add_argument("--output", metavar="DIR", help="folder for the episodes")
    made.add_argument("--attach", action="store_true", help="show a recorder that runs already; quitting leaves it "
                      "running. --task then only tells the quality rules")
    made.add_argument("--sound", action="store_true", help="ring the terminal's bell: start, stop, bad episode (key m)")
    node = made.add_argument_group("recorder", "parameters of the node, which explains them")
    node.add_argument("--extra-topic", action="append", default=[], metavar="TOPIC", help="record it, too; repeatable")
    node.add_argument("--compression", choices=("none", "zstd"), help="of the MCAP chunks (none)")
    node.add_argument("--qos-overrides", metavar="YAML", help="as `ros2 bag record --qos-profile-overrides-path`")
    node.add_argument("--max-file-mb", type=int, metavar="MB", help="split files at this size (2048; 0: never)")
    node.add_argument("--max-file-s", type=float, metavar="S", help="split files at this length (0: never)")
    node.add_argument("--sync-period-s", type=float, metavar="S", help="what a power failure may cost (2)")
    node.add_argument("--reserve-mb", type=int, metavar="MB", help="stop when less is free on the disk (1024)")
    node.add_argument("--queue-mb", type=int, metavar="MB", help="memory for a disk that is slow for a while (256)")
    return made


def recorder_command(options: argparse.Namespace) -> list[str]:
    """The command line of the recorder node for these options."""
    command = [sys.executable, "-m", "demo_recorder.node", "--ros-args"]
    for name in PARAMETERS:
        value = getattr(options, name)
        if value is not None:  # JSON is YAML: a folder called 2026 stays a text
            command += ["-p", f"{name}:={json.dumps(value)}"]
    if options.extra_topic:
        command += ["-p", f"extra_topics:={json.dumps(options.extra_topic)}"]
    return command


def check(options: argparse.Namespace) -> QualityRules:
    """The task's quality rules; raises AutofocusError for what the recorder would refuse, before there is a screen."""
    if not options.attach:
        missing = [f"--{name}" for name in ("robot", "task", "output") if not getattr(options, name)]
        if missing:
            raise AutofocusError(
                "autofocus record", f"no {', '.join(missing)}", "--robot YAML --task YAML --output DIR",
                "give them, or --attach to show a recorder that is running",
            )  # fmt: skip
        load_robot(options.robot)
    elif options.robot or options.output:
        raise AutofocusError("autofocus record", "--attach with --robot or --output", "one or the other",
                             "leave them out: the recorder that runs has its own")
    return load_task(options.task).quality if options.task else QualityRules()
