"""Declares the parameters of the policy node from their table."""

from __future__ import annotations

from autofocus_core.errors import AutofocusError
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from autofocus_policy.settings import TABLE, Settings
from autofocus_policy.settings import Parameter as Row


def declare(node: Node) -> None:
    """Declare every parameter, read-only; raises AutofocusError where a given value has another type or range."""
    for name, row in TABLE.items():
        value = Parameter.Type.DOUBLE if row.default is None else row.default
        try:
            node.declare_parameter(name, value, _descriptor(row))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            allowed = "" if row.lowest is None else f", {row.lowest:g} to {row.highest:g} {row.unit}"
            kind = "float, with a decimal point" if row.default is None else type(row.default).__name__
            raise AutofocusError(f"parameter {name} of node {node.get_fully_qualified_name()}", str(error),
                                 f"{kind}{allowed}", f"correct it: {row.meaning}") from error


def read(node: Node) -> Settings:
    """Their values; raises AutofocusError where a required one is missing."""
    values = {name: node.get_parameter_or(name).value for name in TABLE}
    for name in ("robot", "policy"):
        if not values[name]:
            raise AutofocusError(f"parameter {name} of node {node.get_fully_qualified_name()}", "not set", "a path",
                                 f"add `{name}:=PATH` (ros2 launch) or `--ros-args -p {name}:=PATH`")
    return Settings(**values)


def _descriptor(row: Row) -> ParameterDescriptor:
    unit = f" [{row.unit}]" if row.unit else ""
    descriptor = ParameterDescriptor(description=row.meaning + unit, read_only=True)
    if row.lowest is not None and isinstance(row.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(row.lowest), to_value=int(row.highest), step=1)]
    elif row.lowest is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(row.lowest),
                                                              to_value=float(row.highest))]
    return descriptor
