"""The recorder's parameters: types, ranges, meanings, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofocus_core.errors import AutofocusError
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

COMPRESSIONS = ("none", "zstd")
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """Default (its type is the parameter's), allowed range (inclusive), unit and meaning of one parameter."""

    default: str | int | float
    meaning: str
    lowest: float = 0
    highest: float = 0
    unit: str = ""
    changeable: bool = False


TABLE = {
    "robot": Row("", "path of the robot YAML"),
    "task": Row("", "path of the task YAML"),
    "output": Row("", "folder for the episodes"),
    "compression": Row("none", f"of the chunks of the MCAP: {' or '.join(COMPRESSIONS)}"),
    "qos_overrides": Row("", "path of a YAML as for `ros2 bag record --qos-profile-overrides-path`; empty: none"),
    "max_file_mb": Row(2048, "a new storage file is begun beyond this size; 0: never", 0, 1 << 20, "MiB"),
    "max_file_s": Row(0.0, "a new storage file is begun after this time; 0: never", 0.0, 86400.0, "s"),
    "sync_period_s": Row(2.0, "what a power cut may cost at most", 0.1, 3600.0, "s"),
    "reserve_mb": Row(1024, "with less free space nothing is recorded", 0, 1 << 30, "MiB"),
    "queue_mb": Row(256, "memory that may wait for a slow disk", 1, 1 << 20, "MiB"),
    "note": Row("", "the operator's note on the running or last stopped episode", changeable=True),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters as they were given. `max_file_bytes` and `max_file_s` are None for never."""

    robot: Path
    task: Path
    output: Path
    extra_topics: tuple[str, ...]
    compression: str
    qos_overrides: str
    max_file_bytes: int | None
    max_file_s: float | None
    sync_period_s: float
    reserve_bytes: int
    queue_bytes: int


def declare(node: Node) -> Settings:
    """Declare all parameters; raises AutofocusError for one that is missing or out of its range."""
    values = {name: _declare(node, name, row) for name, row in TABLE.items()}
    for name in ("robot", "task", "output"):
        if not values[name]:
            raise AutofocusError(
                f"recorder: parameter {name}", "nothing", TABLE[name].meaning, f"--ros-args -p {name}:=PATH"
            )
    if values["compression"] not in COMPRESSIONS:
        raise AutofocusError(
            "recorder: parameter compression", repr(values["compression"]), " | ".join(COMPRESSIONS), "choose one"
        )
    return Settings(
        robot=Path(values["robot"]).expanduser(),
        task=Path(values["task"]).expanduser(),
        output=Path(values["output"]).expanduser().absolute(),
        extra_topics=_extra_topics(node),
        compression=values["compression"],
        qos_overrides=values["qos_overrides"],
        max_file_bytes=values["max_file_mb"] * MIB or None,
        max_file_s=values["max_file_s"] or None,
        sync_period_s=values["sync_period_s"],
        reserve_bytes=values["reserve_mb"] * MIB,
        queue_bytes=values["queue_mb"] * MIB,
    )


def _declare(node: Node, name: str, row: Row) -> Any:
    descriptor = ParameterDescriptor(
        description=f"{row.meaning} [{row.unit}]" if row.unit else row.meaning, read_only=not row.changeable
    )
    allowed = "a text"
    if isinstance(row.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=row.lowest, to_value=row.highest)]
        allowed = f"{row.lowest:g} to {row.highest:g} {row.unit}, with a decimal point"
    elif isinstance(row.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(row.lowest), to_value=int(row.highest), step=1)]
        allowed = f"{row.lowest} to {row.highest} {row.unit}, a whole number"
    try:
        return node.declare_parameter(name, row.default, descriptor).value
    except (InvalidParameterValueException, InvalidParameterTypeException) as error:
        raise AutofocusError(f"recorder: parameter {name}", str(error), allowed, "correct it") from error


def _extra_topics(node: Node) -> tuple[str, ...]:
    descriptor = ParameterDescriptor(
        type=ParameterType.PARAMETER_STRING_ARRAY,
        description="more topics to record; each must be there",
        read_only=True,
    )
    try:
        topics = node.declare_parameter("extra_topics", Parameter.Type.STRING_ARRAY, descriptor).value
    except InvalidParameterTypeException as error:
        raise AutofocusError(
            "recorder: parameter extra_topics", str(error), "a list of topic names", "-p extra_topics:=[/one,/two]"
        ) from error
    return tuple(topic for topic in topics or () if topic)
