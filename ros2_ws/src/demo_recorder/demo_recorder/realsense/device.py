"""Finding the camera that was asked for, and whether it can do what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autofocus_core.errors import AutofocusError

from demo_recorder.realsense.settings import Settings, StreamRequest

#: What of USB 2's 60 MB/s arrives in practice, after its protocol and the camera's other traffic.
USB2_BYTES_PER_S = 35e6
#: On the cable both are 16 bits per pixel: depth, and color as YUYV whatever the host makes of it.
WIRE_BYTES_PER_PX = 2


class DeviceAbsent(AutofocusError):
    """The camera is not there (yet): worth waiting for."""


class Source(Protocol):
    """Where devices come from. `recorded`: they play back what was, and their times are those of then."""

    recorded: bool

    def devices(self) -> Sequence[Any]:
        """The library's devices that are there now."""
        ...

    def watch(self, changed: Callable[[Callable[[Any], bool]], None]) -> None:
        """Call `changed(was_removed)` whenever devices come or go; ``was_removed(device)``: this one went."""
        ...


class Bus:
    """The devices that the library finds: :class:`Source`."""

    recorded = False

    def __init__(self, rs: Any, context: Any = None) -> None:
        self._context = context or rs.context()

    def devices(self) -> list[Any]:
        """See :class:`Source`. Every call looks at the bus."""
        return list(self._context.query_devices())

    def watch(self, changed: Callable[[Callable[[Any], bool]], None]) -> None:
        """See :class:`Source`; `changed` is called from a thread of the library's."""
        self._context.set_devices_changed_callback(lambda event: changed(event.was_removed))


class Recording:
    """A file of the library's recorder in the place of a camera: :class:`Source`. It is played over and over."""

    recorded = True

    def __init__(self, rs: Any, path: Path) -> None:
        """Raises AutofocusError where the library cannot play the file."""
        try:
            self._device = rs.context().load_device(str(path))
        except RuntimeError as error:
            raise AutofocusError(
                f"RealSense: rosbag_filename {path}",
                str(error),
                "a file that this version of librealsense has recorded (.db3; .bag of older ones)",
                "record one with realsense-viewer, or leave out rosbag_filename",
            ) from error

    def devices(self) -> list[Any]:
        """See :class:`Source`."""
        return [self._device]

    def watch(self, changed: Callable[[Callable[[Any], bool]], None]) -> None:
        """See :class:`Source`: a file is not unplugged."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a device says of itself; "" where it says nothing."""

    serial: str
    name: str
    firmware: str
    usb_type: str
    physical_port: str
    product_line: str

    def __str__(self) -> str:
        return f"{self.serial} ({self.name}, {f'USB {self.usb_type}' if self.usb_type else 'not on USB'})"


def facts(rs: Any, device: Any) -> DeviceFacts:
    """Read :class:`DeviceFacts` from the library's device."""

    def read(key: Any) -> str:
        return device.get_info(key) if device.supports(key) else ""

    info = rs.camera_info
    return DeviceFacts(
        serial=read(info.serial_number),
        name=read(info.name),
        firmware=read(info.firmware_version),
        usb_type=read(info.usb_type_descriptor),
        physical_port=read(info.physical_port),
        product_line=read(info.product_line),
    )


def find(rs: Any, devices: Iterable[Any], serial_no: str) -> tuple[Any, DeviceFacts]:
    """The device with that serial number, or the only one where `serial_no` is "".

    Raises DeviceAbsent, naming those that are there, and AutofocusError where several are and none was named.
    """
    known: list[tuple[Any, DeviceFacts]] = []
    for device in devices:
        try:
            known.append((device, facts(rs, device)))
        except RuntimeError:  # just now being unplugged, or being reset
            continue
    there = ", ".join(str(device_facts) for _, device_facts in known) or "no RealSense device"
    if serial_no:
        for device, device_facts in known:
            if device_facts.serial == serial_no:
                return device, device_facts
        raise DeviceAbsent(
            f"RealSense {serial_no}",
            f"not there; there is: {there}",
            "a connected camera of that serial number",
            "plug it in (USB 3), correct serial_no, or see whether another program holds it",
        )
    if not known:
        raise DeviceAbsent(
            "RealSense", there, "a connected camera", "plug it in (USB 3); on Linux install librealsense's udev rules"
        )
    if len(known) > 1:
        raise AutofocusError(
            "RealSense", f"several cameras: {there}", "one, named", f"pass serial_no:=_{known[0][1].serial}"
        )
    return known[0]


def check_usb(device_facts: DeviceFacts, settings: Settings) -> str:
    """A warning about USB 2, or ""; raises AutofocusError where the streams do not fit and `usb2` says refuse."""
    if not device_facts.usb_type.startswith("2"):
        return ""
    need = sum(r.width_px * r.height_px * r.rate_hz * WIRE_BYTES_PER_PX for r in settings.streams)
    asked = " + ".join(f"{r.stream} {r}" for r in settings.streams)
    found = f"on USB {device_facts.usb_type}: {asked} need {need / 1e6:.0f} MB/s of about {USB2_BYTES_PER_S / 1e6:.0f}"
    if need > USB2_BYTES_PER_S and settings.usb2 == "refuse":
        raise AutofocusError(
            f"RealSense {device_facts.serial}",
            found,
            "USB 3 (usb_type 3.x), or streams that fit",
            "use a USB 3 port and the cable that came with it, ask for less, or set usb2:=warn",
        )
    return found


def choose_profile(device: Any, rs: Any, request: StreamRequest) -> tuple[Any, Any]:
    """(sensor, profile) that gives exactly what was asked; raises AutofocusError listing what the device offers."""
    offered: list[StreamRequest] = []
    for sensor in device.query_sensors():
        for profile in sensor.get_stream_profiles():
            if not profile.is_video_stream_profile() or profile.stream_type() != getattr(rs.stream, request.stream):
                continue
            video = profile.as_video_stream_profile()
            has = StreamRequest(
                request.stream, video.width(), video.height(), video.fps(), video.format().name.upper()
            )
            if has == request:
                return sensor, profile
            offered.append(has)
    raise AutofocusError(
        f"RealSense: {request.stream} stream",
        str(request),
        _summary([has for has in offered if has.format == request.format]) or f"nothing in {request.format}",
        "ask for one of these (on USB 2 a camera offers less)",
    )


def _summary(offered: list[StreamRequest]) -> str:
    rates: dict[tuple[int, int], set[int]] = {}
    for has in offered:
        rates.setdefault((has.width_px, has.height_px), set()).add(has.rate_hz)
    return ", ".join(
        f"{width}x{height}x{'/'.join(map(str, sorted(rates[width, height])))}" for width, height in sorted(rates)
    )
