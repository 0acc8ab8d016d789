"""The bag of an annotation: standard messages, so that Foxglove and rviz show maps and boxes over the images."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import yaml

from autofocus_core.bag_writer import BagWriter, qos_profile
from autofocus_core.errors import AutofocusError
from autofocus_core.masks import mask_map
from autofocus_core.messages import message_class, serialize
from autofocus_core.saliency import minmax, object_maps

if TYPE_CHECKING:
    from autofocus_core.annotation import Annotation, CameraAnnotation, MapStyle, ObjectTrack

COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE_MARKER = "visualization_msgs/msg/ImageMarker"
POLYGON, ADD, REMOVE = 3, 0, 1
#: Width of the Gaussians where nobody says it, as a share of the frame's height: 20 px at 480.
SIGMA_SHARE = 20.0 / 480.0
#: Maps are this much smaller than the frame: Gaussians lose nothing by it, and encoding costs a tenth.
MAP_SHRINK = 4
#: Trying all filters takes four times as long, for maps that are no smaller.
_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def map_topic(camera: str) -> str:
    """Topic of the union maps."""
    return f"/saliency/{camera}/map/compressed"


def boxes_topic(camera: str) -> str:
    """Topic of the boxes."""
    return f"/saliency/{camera}/boxes"


def write_bag(annotation: Annotation, path: Path, sidecars: dict[str, str], sigma_px: float | None) -> Path:
    """Write the bag with its sidecars to `path`, replacing an older one; gives the path."""
    profile = yaml.safe_dump([qos_profile(durability="transient_local", depth=1)], sort_keys=False)
    writer = BagWriter(
        path, replace=True, custom_data={"episode": annotation.episode, "episode_hash": annotation.episode_hash}
    )
    with writer:
        for camera in annotation.cameras:
            writer.add_topic(map_topic(camera.camera), COMPRESSED_IMAGE, profile)
            writer.add_topic(boxes_topic(camera.camera), IMAGE_MARKER, profile)
        for camera in annotation.cameras:
            _write_camera(writer, camera, annotation.maps, sigma_px)
        return writer.close(sidecars)


def _write_camera(writer: BagWriter, camera: CameraAnnotation, style: MapStyle, sigma_px: float | None) -> None:
    frame = (camera.height_px, camera.width_px)
    size = (max(1, frame[0] // MAP_SHRINK), max(1, frame[1] // MAP_SHRINK))
    sigma_px = SIGMA_SHARE * camera.height_px if sigma_px is None else sigma_px
    running = np.zeros(size, np.float32)
    for i, stamp in enumerate(camera.stamps_ns.tolist()):
        header = _header(stamp, camera.camera)
        shown = [track for track in camera.objects if track.valid[i]]
        if camera.valid[i] and shown:
            # As `saliency.aggregate`, frame by frame: what was looked at before fades by alpha with each frame.
            now = _maps(style.kind, shown, i, size, frame, sigma_px).sum(axis=0)
            running = now if style.alpha == 0.0 else style.alpha * running + now
            raw = serialize(_png(header, np.rint(minmax(running) * 255).astype(np.uint8)), COMPRESSED_IMAGE)
            writer.write(map_topic(camera.camera), raw, stamp, stamp)
        else:
            running *= style.alpha
        for number, track in enumerate(camera.objects):
            raw = serialize(_marker(header, number, track, i), IMAGE_MARKER)
            writer.write(boxes_topic(camera.camera), raw, stamp, stamp)


def _maps(
    kind: str, tracks: list[ObjectTrack], i: int, size: tuple[int, int], frame: tuple[int, int], sigma_px: float
) -> np.ndarray:
    """Maps (K, h, w) of the tracks in frame i; a mask that was made goes before the box filled."""
    maps = object_maps(kind, np.stack([track.boxes_px[i] for track in tracks]), size, frame, sigma_px)
    if kind == "mask":
        for k, track in enumerate(tracks):
            if track.masks is not None and track.masks[i].any():
                maps[k] = mask_map(track.masks[i], size)
    return maps


def _header(stamp_ns: int, frame_id: str) -> object:
    stamp = message_class("builtin_interfaces/msg/Time")(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return message_class("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)


def _png(header: object, image: np.ndarray) -> object:
    done, data = cv2.imencode(".png", image, _PNG_OPTIONS)
    if not done:
        raise AutofocusError(
            "saliency map", f"{image.dtype} {image.shape}", "a PNG", "report this: OpenCV refused to encode it"
        )
    return message_class(COMPRESSED_IMAGE)(header=header, format="mono8; png compressed mono8", data=data.reshape(-1))


def _marker(header: object, number: int, track: ObjectTrack, i: int) -> object:
    point, colour = message_class("geometry_msgs/msg/Point"), message_class("std_msgs/msg/ColorRGBA")
    shown = not np.isnan(track.boxes_px[i]).any()
    x0, y0, x1, y1 = (float(v) for v in track.boxes_px[i]) if shown else (0.0,) * 4
    red, green, blue = colorsys.hsv_to_rgb((number * 0.381966) % 1.0, 1.0, 1.0)
    line = colour(r=red, g=green, b=blue, a=1.0 if track.valid[i] else 0.3)
    return message_class(IMAGE_MARKER)(
        header=header,
        ns=track.name,
        id=number,
        type=POLYGON,
        action=ADD if shown else REMOVE,
        position=point(x=(x0 + x1) / 2, y=(y0 + y1) / 2, z=0.0),
        scale=2.0,
        outline_color=line,
        filled=0,
        fill_color=colour(r=0.0, g=0.0, b=0.0, a=0.0),
        lifetime=message_class("builtin_interfaces/msg/Duration")(sec=0, nanosec=0),
        points=[point(x=x, y=y, z=0.0) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))] if shown else [],
        outline_colors=[],
    )
