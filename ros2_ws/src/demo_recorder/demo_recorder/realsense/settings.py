"""What a camera is asked to do: plain values, from parameters named as realsense-ros names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from autofocus_core.errors import AutofocusError

#: Formats of the library that are published as they are -> encoding of the image.
COLOR_FORMATS = {"RGB8": "rgb8", "BGR8": "bgr8"}
DEPTH_FORMAT = "Z16"
USB2_POLICIES = ("refuse", "warn")
_PROFILE = re.compile(r"(\d+)[xX,](\d+)[xX,](\d+)")


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A video stream as asked for: `stream` is "color" or "depth", `format` as the library spells it."""

    stream: str
    width_px: int
    height_px: int
    rate_hz: int
    format: str

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}x{self.rate_hz} {self.format}"

    @property
    def period_ns(self) -> int:
        """Time from frame to frame."""
        return round(1e9 / self.rate_hz)


@dataclass(frozen=True, slots=True)
class Settings:
    """One camera. `options` {parameter: value} are those that were asked for; None in a stream: not wanted.

    `stall_periods`: so many periods without a frame mean that the camera hangs. `reconnect_timeout_s`: the longest
    pause between two attempts to connect. `wait_for_device_timeout_s` < 0: wait for the device for ever.
    """

    serial_no: str = ""
    color: StreamRequest | None = None
    depth: StreamRequest | None = None
    align_depth: bool = True
    options: Mapping[str, float] = field(default_factory=dict)
    frame_prefix: str = "camera"
    initial_reset: bool = False
    reconnect_timeout_s: float = 6.0
    wait_for_device_timeout_s: float = -1.0
    usb2: str = "refuse"
    stall_periods: int = 30

    def __post_init__(self) -> None:
        if self.color is None and self.depth is None:
            raise AutofocusError(
                "RealSense: streams", "neither color nor depth", "at least one", "set enable_color or enable_depth"
            )
        if self.usb2 not in USB2_POLICIES:
            raise AutofocusError(
                "RealSense: usb2", repr(self.usb2), " | ".join(USB2_POLICIES), "set the parameter usb2 to one of these"
            )
        if self.reconnect_timeout_s <= 0 or self.stall_periods < 2:
            raise AutofocusError(
                "RealSense: reconnect_timeout, stall_periods",
                f"{self.reconnect_timeout_s:g} s, {self.stall_periods}",
                "> 0 s, at least 2",
                "leave them at their defaults (6 s, 30)",
            )

    @property
    def streams(self) -> tuple[StreamRequest, ...]:
        """What was asked for, color first."""
        return tuple(request for request in (self.color, self.depth) if request is not None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the images that come out, as realsense-ros names their topics."""
        aligned = ("aligned_depth_to_color",) if self.align_depth and self.color and self.depth else ()
        return (*(request.stream for request in self.streams), *aligned)


def stream_request(stream: str, profile: str, format_: str, parameter: str) -> StreamRequest:
    """Parse a profile such as "640x480x30" ("640,480,30" as well); raises AutofocusError naming the `parameter`."""
    match = _PROFILE.fullmatch(profile.replace(" ", ""))
    numbers = tuple(map(int, match.groups())) if match else (0, 0, 0)
    if not all(numbers):
        raise AutofocusError(
            f"RealSense: {parameter}", repr(profile), "WIDTHxHEIGHTxRATE, e.g. 640x480x30", f"set {parameter} like that"
        )
    allowed = tuple(COLOR_FORMATS) if stream == "color" else (DEPTH_FORMAT,)
    if format_.upper() not in allowed:
        name = parameter.replace("profile", "format")
        raise AutofocusError(f"RealSense: {name}", repr(format_), " | ".join(allowed), f"set {name} to one of these")
    return StreamRequest(stream, *numbers, format_.upper())


def serial_number(value: object) -> str:
    """A serial number as text, "" for None; without the "_" of realsense-ros, which keeps ROS from reading a number."""
    return "" if value is None else str(value).removeprefix("_")
