"""One connection to a device: found, checked and set, ready to stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from demo_recorder.realsense import options
from demo_recorder.realsense.counters import StreamCount
from demo_recorder.realsense.device import DeviceFacts, check_usb, choose_profile
from demo_recorder.realsense.info import CameraModel, camera_model, device_info
from demo_recorder.realsense.settings import COLOR_FORMATS, Settings
from demo_recorder.realsense.streams import FrameQueue, Streams

DEPTH_ENCODING = "16UC1"


@dataclass(frozen=True, slots=True)
class Connection:
    """A device with its streams chosen and its options set. `warning` is for people, "" if there is none."""

    device_facts: DeviceFacts
    warning: str
    models: dict[str, CameraModel]
    depth_unit_m: float
    _rs: Any
    _settings: Settings
    _chosen: dict[str, tuple[Any, Any]]
    _options: dict[str, float]

    def start(
        self, queue: FrameQueue, counts: Mapping[str, StreamCount], ros_now_ns: Callable[[], int]
    ) -> Streams:
        """Begin to stream; raises RuntimeError (the library's) where the device does not."""
        return Streams(self._chosen, queue, counts, ros_now_ns)

    def info(self, time: dict[str, object], connections: int) -> dict[str, object]:
        """The JSON object for device_info, with what the clock says of `time`."""
        profiles = {stream: profile for stream, (_, profile) in self._chosen.items()}
        unit_m = self.depth_unit_m if self._settings.depth else None
        return device_info(
            self._rs, self.device_facts, self._settings, self._options, profiles, unit_m, time, connections
        )


def connect(rs: Any, device: Any, device_facts: DeviceFacts, settings: Settings) -> Connection:
    """Check the device against what is asked, and set it.

    Raises AutofocusError where it cannot do what is asked, RuntimeError (the library's) where it is busy or gone.
    """
    warning = check_usb(device_facts, settings)
    chosen = {request.stream: choose_profile(device, rs, request) for request in settings.streams}
    kept = options.apply(rs, {stream: sensor for stream, (sensor, _) in chosen.items()}, settings.options)
    unit_m = chosen["depth"][0].as_depth_sensor().get_depth_scale() if settings.depth else 0.001
    models = _models(settings, {name: profile.as_video_stream_profile() for name, (_, profile) in chosen.items()})
    return Connection(device_facts, warning, models, unit_m, rs, settings, chosen, kept)


def _models(settings: Settings, profiles: Mapping[str, Any]) -> dict[str, CameraModel]:
    models = {}
    if settings.color:
        frame_id = f"{settings.frame_prefix}_color_optical_frame"
        intrinsics = profiles["color"].get_intrinsics()
        models["color"] = camera_model(intrinsics, frame_id, COLOR_FORMATS[settings.color.format])
        models["aligned_depth_to_color"] = camera_model(intrinsics, frame_id, DEPTH_ENCODING)
    if settings.depth:
        frame_id = f"{settings.frame_prefix}_depth_optical_frame"
        models["depth"] = camera_model(profiles["depth"].get_intrinsics(), frame_id, DEPTH_ENCODING)
    return models
