"""What a camera publishes beside its pixels: the camera model, and device_info."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from demo_recorder.realsense.device import DeviceFacts
from demo_recorder.realsense.settings import Settings

DEVICE_INFO_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class CameraModel:
    """The fields of sensor_msgs/CameraInfo. `frame_id` too, and the image's `encoding` and shape in px."""

    frame_id: str
    encoding: str
    width_px: int
    height_px: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]


def camera_model(intrinsics: Any, frame_id: str, encoding: str) -> CameraModel:
    """Intrinsics of a stream as realsense-ros publishes them.

    "equidistant" with 4 coefficients for Kannala-Brandt lenses, "plumb_bob" with 5 for everything else, also for
    the inverse Brown-Conrady model of D400 color streams, whose coefficients are zero or small.
    """
    fisheye = intrinsics.model.name == "kannala_brandt4"
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy
    return CameraModel(
        frame_id=frame_id,
        encoding=encoding,
        width_px=intrinsics.width,
        height_px=intrinsics.height,
        distortion_model="equidistant" if fisheye else "plumb_bob",
        d=tuple(intrinsics.coeffs[: 4 if fisheye else 5]),
        k=(fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0),
        r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        p=(fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0),
    )


def device_info(
    rs: Any,
    device_facts: DeviceFacts,
    settings: Settings,
    options: dict[str, float],
    profiles: dict[str, Any],
    depth_unit_m: float | None,
    time: dict[str, object],
    connection: int,
) -> dict[str, object]:
    """The JSON object of the topic device_info. `profiles` {stream: the library's}, `time` of the frame clock."""
    info: dict[str, object] = {
        "schema": DEVICE_INFO_SCHEMA,
        "driver": "demo_recorder realsense",
        "library": f"librealsense {rs.__version__}",
        "serial": device_facts.serial,
        "name": device_facts.name,
        "firmware": device_facts.firmware,
        "usb_type": device_facts.usb_type,
        "physical_port": device_facts.physical_port,
        "product_line": device_facts.product_line,
        "connection": connection,
        "streams": {
            r.stream: {"profile": f"{r.width_px}x{r.height_px}x{r.rate_hz}", "format": r.format}
            for r in settings.streams
        },
        "options": options,
        "time": time,
    }
    if depth_unit_m is not None:
        info["depth_unit_m"] = round(depth_unit_m, 9)
    if settings.color and settings.depth:
        extrinsics = profiles["depth"].get_extrinsics_to(profiles["color"])
        info["depth_to_color"] = {  # as realsense-ros's extrinsics: the rotation by columns, metres
            "rotation": list(extrinsics.rotation),
            "translation_m": list(extrinsics.translation),
        }
    return info
