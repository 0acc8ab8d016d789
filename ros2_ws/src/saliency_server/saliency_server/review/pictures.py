"""Images for the page: an episode's frames by number, thumbnails, maps."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from autofocus_core.annotation import CameraAnnotation, MapStyle
from autofocus_core.annotation_bag import MAP_SHRINK, SIGMA_SHARE
from autofocus_core.bags import Bag, DamagedBagError, open_bag
from autofocus_core.errors import AutofocusError
from autofocus_core.images import decode_image, encode_jpeg
from autofocus_core.saliency import minmax, object_maps
from autofocus_core.schema import IMAGE_TYPES, Robot

from saliency_server.looker import small_grey
from saliency_server.recording import read_recording
from saliency_server.values import UNREADABLE

SIDE_PX = 1280  # longest side that the page gets
THUMB_PX = 360
PROBED = 40  # messages of a topic whose stamps are compared with the annotation's
FADED = 0.01  # share of an older map below which it is not computed
COLOURS_RGB = ((66, 135, 245), (240, 140, 30), (60, 180, 75), (200, 80, 200), (230, 190, 40), (20, 190, 190))


class Frames:
    """JPEGs of one camera's frames by their number in the annotation, read from the bag as far as they are asked for.

    They are kept in a file without a name, so a long recording costs disk and no memory.
    """

    def __init__(self, path: Path, topic: str, camera: CameraAnnotation) -> None:
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._places: dict[int, tuple[int, int]] = {}
        self._size = camera.width_px, camera.height_px
        self._source = self._read(path, topic, camera)
        self._done = False

    def jpeg(self, number: int) -> bytes | None:
        """None where the image cannot be read. Raises AutofocusError for a bag of which nothing can be read."""
        with self._lock:
            while number not in self._places and not self._done:
                try:
                    index, data = next(self._source)
                except StopIteration:
                    self._done = True
                    break
                self._places[index] = self._file.seek(0, 2), len(data)
                self._file.write(data)
            if number not in self._places:
                return None
            start, length = self._places[number]
            self._file.seek(start)
            return self._file.read(length)

    def grey(self, number: int) -> np.ndarray | None:
        """uint8 (h, w), its longest side at most looker.GREY_SIDE_PX; None where the image cannot be read."""
        data = self.jpeg(number)
        if data is None:
            return None
        return small_grey(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])

    def _read(self, path: Path, topic: str, camera: CameraAnnotation) -> Iterator[tuple[int, bytes]]:
        """Of a damaged bag what is whole: where damage is met, from its beginning, but for those that are kept."""
        number = {stamp: i for i, stamp in enumerate(camera.stamps_ns.tolist())}
        for lenient in (False, True):
            try:
                with open_bag(path, allow_truncated=lenient) as bag:
                    for index, image in _images(bag, topic, number):
                        if image.shape[1::-1] == self._size and index not in self._places:
                            yield index, encode_jpeg(_shrunk(image, SIDE_PX), 88)
                return
            except DamagedBagError:
                if lenient:
                    raise


def topic_of(bag: Bag, camera: CameraAnnotation, robot: Robot | None) -> str:
    """The topic of an annotated camera: the robot YAML's, else the image topic whose stamps are the annotation's.

    Raises AutofocusError where none or more than one fits.
    """
    if robot is not None:
        topic = robot.camera(camera.camera).topic
        bag.require([topic])
        return topic
    topics = sorted(topic for topic, kind in bag.topics.items() if kind in IMAGE_TYPES and bag.counts[topic])
    fitting = topics if len(topics) == 1 else [t for t in topics if _fits(bag, t, set(camera.stamps_ns.tolist()))]
    if len(fitting) > 1:
        fitting = [topic for topic in fitting if camera.camera in topic.split("/")] or fitting
    if len(fitting) != 1:
        raise AutofocusError(
            f"bag {bag.path}: camera {camera.camera}", f"{len(fitting)} topics have its stamps",
            f"one of {', '.join(topics) or 'no image topic'}", "say which by `autofocus review FOLDER --robot YAML`",
        )
    return fitting[0]


def thumbnail(path: Path, camera: CameraAnnotation | None, robot: Robot | None) -> bytes | None:
    """A small JPEG with the valid boxes of the frame a third into the recording; without an annotation the first image
    there is. None where there is no image. Raises AutofocusError for a bag of which nothing can be read."""
    return read_recording(path, lambda bag: _thumbnail(bag, camera, robot))


def _thumbnail(bag: Bag, camera: CameraAnnotation | None, robot: Robot | None) -> bytes | None:
    if camera is None or not len(camera.stamps_ns):
        topics = sorted(topic for topic, kind in bag.topics.items() if kind in IMAGE_TYPES and bag.counts[topic])
        image = next((image for _, image in _images(bag, topics[0], None)), None) if topics else None
        return None if image is None else encode_jpeg(_shrunk(image, THUMB_PX), 85)
    topic = topic_of(bag, camera, robot)
    usable = np.flatnonzero([why != UNREADABLE for why in camera.reason])
    chosen = int(usable[len(usable) // 3]) if len(usable) else 0
    found = next(_images(bag, topic, {int(camera.stamps_ns[chosen]): chosen}), None)
    if found is None:
        return None
    image = _shrunk(found[1], THUMB_PX)
    scale = image.shape[1] / found[1].shape[1]
    for k, track in enumerate(camera.objects):
        if track.valid[chosen]:
            x0, y0, x1, y1 = np.rint(track.boxes_px[chosen] * scale).astype(int).tolist()
            cv2.rectangle(image, (x0, y0), (x1, y1), COLOURS_RGB[k % len(COLOURS_RGB)], 2, cv2.LINE_AA)
    return encode_jpeg(image, 85)


def map_png(camera: CameraAnnotation, style: MapStyle, number: int) -> bytes | None:
    """The map of a frame as the annotation's bag has it, as a transparent PNG; None for a frame that has none."""
    boxes = {i: [t.boxes_px[i] for t in camera.objects if t.valid[i]] for i in _window(style.alpha, number)}
    if not camera.valid[number] or not boxes[number]:
        return None
    frame = camera.height_px, camera.width_px
    size = max(1, frame[0] // MAP_SHRINK), max(1, frame[1] // MAP_SHRINK)
    total = np.zeros(size, np.float32)
    for i, found in boxes.items():
        total *= style.alpha
        if camera.valid[i] and found:
            total += object_maps(style.kind, np.stack(found), size, frame, SIGMA_SHARE * frame[0]).sum(axis=0)
    level = np.rint(minmax(total) * 255).astype(np.uint8)
    pixels = np.dstack([cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), (level * 0.75).astype(np.uint8)])
    return bytes(cv2.imencode(".png", pixels)[1])


def _window(alpha: float, number: int) -> range:
    """Frames that still show in a map over time."""
    back = 0 if alpha == 0.0 else int(np.ceil(np.log(FADED) / np.log(alpha)))
    return range(max(0, number - back), number + 1)


def _images(bag: Bag, topic: str, number: dict[int, int] | None) -> Iterator[tuple[int, np.ndarray]]:
    """(frame, rgb) of the messages whose stamps are in `number` (None: all), without those that cannot be read."""
    left = None if number is None else dict(number)
    for count, message in enumerate(bag.messages([topic])):
        stamp_ns = bag.header_ns(message)
        if left is not None and stamp_ns not in left:
            continue
        index = count if left is None else left.pop(stamp_ns)
        try:
            yield index, decode_image(bag.decode(message.type, message.raw), message.type)
        except AutofocusError:
            continue
        if left is not None and not left:
            return


def _fits(bag: Bag, topic: str, stamps_ns: set[int]) -> bool:
    for count, message in enumerate(bag.messages([topic])):
        stamp_ns = bag.header_ns(message)
        if stamp_ns and stamp_ns not in stamps_ns:
            return False
        if count >= PROBED:
            break
    return True


def _shrunk(image: np.ndarray, side_px: int) -> np.ndarray:
    scale = side_px / max(image.shape[:2])
    if scale >= 1.0:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
