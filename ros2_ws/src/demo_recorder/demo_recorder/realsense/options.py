"""Options of the sensors: which parameter sets which, checked against the device's range, read back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autofocus_core.errors import AutofocusError


@dataclass(frozen=True, slots=True)
class Option:
    """`parameter` sets the library's option `name` on the sensor of `stream`.

    `default`: set where nobody asks and the device has it. `off`: the automatic control that a value given by hand
    turns off, for it would change that value.
    """

    parameter: str
    stream: str
    name: str
    default: float | None = None
    off: str = ""


#: In the order in which they are set: what is automatic first, then values.
OPTIONS = (
    Option("rgb_camera.global_time_enabled", "color", "global_time_enabled", 1.0),
    Option("depth_module.global_time_enabled", "depth", "global_time_enabled", 1.0),
    # With priority, a long exposure lowers the rate: frames would be missing that nothing has lost.
    Option("rgb_camera.auto_exposure_priority", "color", "auto_exposure_priority", 0.0),
    Option("rgb_camera.enable_auto_exposure", "color", "enable_auto_exposure"),
    Option("rgb_camera.enable_auto_white_balance", "color", "enable_auto_white_balance"),
    Option("rgb_camera.power_line_frequency", "color", "power_line_frequency"),
    Option("rgb_camera.exposure", "color", "exposure", off="rgb_camera.enable_auto_exposure"),
    Option("rgb_camera.gain", "color", "gain", off="rgb_camera.enable_auto_exposure"),
    Option("rgb_camera.white_balance", "color", "white_balance", off="rgb_camera.enable_auto_white_balance"),
    Option("depth_module.visual_preset", "depth", "visual_preset"),
    Option("depth_module.enable_auto_exposure", "depth", "enable_auto_exposure"),
    Option("depth_module.exposure", "depth", "exposure", off="depth_module.enable_auto_exposure"),
    Option("depth_module.gain", "depth", "gain", off="depth_module.enable_auto_exposure"),
    Option("depth_module.emitter_enabled", "depth", "emitter_enabled"),
    Option("depth_module.laser_power", "depth", "laser_power"),
)
BY_PARAMETER = {option.parameter: option for option in OPTIONS}


def plan(asked: Mapping[str, float]) -> dict[str, float]:
    """`asked` {parameter: value} with the automatic controls turned off whose values are given by hand.

    Raises AutofocusError where one is asked to be on and off at once.
    """
    complete = dict(asked)
    for option in OPTIONS:
        if not option.off or option.parameter not in asked:
            continue
        if asked.get(option.off):
            raise AutofocusError(
                f"RealSense: {option.parameter} and {option.off}",
                f"a value, {asked[option.parameter]:g}, and automatic control, which would change it",
                "one of them",
                f"leave out {option.off}, or {option.parameter}",
            )
        complete[option.off] = 0.0
    return complete


def apply(rs: Any, sensors: Mapping[str, Any], asked: Mapping[str, float]) -> dict[str, float]:
    """Set what was `asked` and the defaults on the `sensors` {stream: sensor}; gives {parameter: value read back}.

    Raises AutofocusError for an option that the device does not have, a value out of its range (named), and a value
    that the device does not keep. Options of streams that are not used are left alone.
    """
    wanted = plan(asked)
    given: dict[str, float] = {}
    for option in OPTIONS:
        sensor = sensors.get(option.stream)
        value = wanted.get(option.parameter, option.default)
        if sensor is None or value is None:
            continue
        name = getattr(rs.option, option.name)
        if not sensor.supports(name):
            if asked.get(option.parameter):  # asked to be off, and not there: so be it
                raise _unsupported(sensor, option)
        elif option.parameter in wanted:
            _set(sensor, name, option, value)
            given[option.parameter] = value
        elif not sensor.is_option_read_only(name):
            with contextlib.suppress(RuntimeError):  # what nobody asked for need not succeed
                sensor.set_option(name, value)
            given[option.parameter] = float(sensor.get_option(name))
    # Read when all are set: one option may change another.
    return {parameter: _read_back(rs, sensors, BY_PARAMETER[parameter], value) for parameter, value in given.items()}


def _set(sensor: Any, name: Any, option: Option, value: float) -> None:
    range_ = sensor.get_option_range(name)
    steps = (value - range_.min) / range_.step if range_.step else 0.0
    if not range_.min <= value <= range_.max or abs(steps - round(steps)) > 1e-3:
        raise AutofocusError(
            f"RealSense: {option.parameter}",
            f"{value:g}",
            f"{range_.min:g} to {range_.max:g} in steps of {range_.step:g} (default {range_.default:g})",
            f"set {option.parameter} to a value in that range",
        )
    try:
        sensor.set_option(name, value)
    except RuntimeError as error:
        raise AutofocusError(
            f"RealSense: {option.parameter}",
            f"the device refuses {value:g}: {error}",
            f"{range_.min:g} to {range_.max:g}",
            "leave it out, or look at what realsense-viewer allows",
        ) from error


def _read_back(rs: Any, sensors: Mapping[str, Any], option: Option, value: float) -> float:
    name = getattr(rs.option, option.name)
    sensor = sensors[option.stream]
    kept = sensor.get_option(name)
    if abs(kept - value) > max(sensor.get_option_range(name).step, 1e-3 * abs(value)) / 2:
        raise AutofocusError(
            f"RealSense: {option.parameter}",
            f"{value:g} was set, the device has {kept:g}",
            "the value that was set",
            "another program may be setting it: close it; or leave the option out",
        )
    return float(kept)


def _unsupported(sensor: Any, option: Option) -> AutofocusError:
    has = sorted(str(name) for name in sensor.get_supported_options())
    return AutofocusError(
        f"RealSense: {option.parameter}",
        f"this camera's {option.stream} sensor has no option {option.name}",
        ", ".join(has) or "none",
        f"leave out {option.parameter}",
    )
