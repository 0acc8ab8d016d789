"""One camera of one bag, looked at as a tracker asks: detections and grey images by frame number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Camera

from saliency_server.frames import ASTRAY, astray, read_frames
from saliency_server.phrases import ObjectPhrase
from saliency_server.values import UNREADABLE, FrameDetections

if TYPE_CHECKING:
    from saliency_server.backends import Detector

GREY_SIDE_PX = 160  # longest side of a grey image
KEEP_BYTES = 256 * 2**20  # images kept in memory where not every one is looked at; beyond it the bag is read again


@dataclass(frozen=True, slots=True)
class FrameList:
    """A camera's N frames by rising stamp. unusable: per frame why, "" where it can be used; dropped: messages left
    out because their stamp was zero, another frame's, or far from those around it."""

    stamps_ns: np.ndarray
    unusable: tuple[str, ...]
    dropped: int


class BagLooker:
    """What `follow` asks of a bag. Detections are cached; images are not kept, or but few (KEEP_BYTES).

    every: the detector looks at every frame while the bag is read the first time; on_frame: told meanwhile how many
    are done. Raises AutofocusError where no image can be used.
    """

    def __init__(
        self, bag: Bag, camera: Camera, detector: Detector, objects: Sequence[ObjectPhrase], batch: int, every: bool,
        on_frame: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._bag, self._camera, self._detector, self._batch = bag, camera, detector, batch
        self._objects = tuple(objects)
        self._greys: dict[int, np.ndarray] | None = None
        self._kept: dict[int, np.ndarray] = {}
        self._found: dict[int, FrameDetections] = {}
        self.size_px = (camera.height_px, camera.width_px)
        self.frames = self._read(every, on_frame)
        self.stamps_s = (self.frames.stamps_ns - self.frames.stamps_ns[0]) * 1e-9

    def detect(self, frames: Sequence[int]) -> list[FrameDetections]:
        """Per frame one tuple of candidates for each object; none in a frame that cannot be used."""
        missing = {i for i in frames if i not in self._found and not self.frames.unusable[i]}
        for numbers, images in self._batches(self.images(missing)):
            self._found.update(zip(numbers, self._detector.detect(images, self._objects), strict=True))
        nothing: FrameDetections = tuple(() for _ in self._objects)
        return [self._found.get(i, nothing) for i in frames]

    def grey(self, frame: int) -> np.ndarray | None:
        """uint8 (h, w), its longest side GREY_SIDE_PX or that of the image if it is smaller; None where unusable."""
        if self._greys is None:
            usable = {i for i, why in enumerate(self.frames.unusable) if not why}
            self._greys = {i: small_grey(image) for i, image in self.images(usable)}
        return self._greys.get(frame)

    def images(self, frames: Iterable[int]) -> Iterable[tuple[int, np.ndarray]]:
        """(frame, rgb uint8 (H, W, 3)) of those of the frames that can be used: kept ones first, then as recorded."""
        wanted = {i for i in frames if not self.frames.unusable[i]}
        kept = sorted(wanted & self._kept.keys())
        yield from ((i, self._kept[i]) for i in kept)
        rest = {int(self.frames.stamps_ns[i]): i for i in wanted - self._kept.keys()}
        if not rest:
            return
        for frame in read_frames(self._bag, self._camera, lambda _, stamp_ns: stamp_ns in rest):
            number = rest.pop(frame.stamp_ns, None)
            if number is not None and frame.image is not None:
                yield number, frame.image
            if not rest:
                return

    def looking_for(self, objects: Sequence[ObjectPhrase]) -> BagLooker:
        """The same frames, for other objects: nothing is found yet, and the bag's frames are known already."""
        other = object.__new__(BagLooker)
        other.__dict__.update(self.__dict__)
        other._objects, other._found = tuple(objects), {}
        return other

    def _read(self, every: bool, on_frame: Callable[[int], None]) -> FrameList:
        """The first time through the bag."""
        seen: dict[int, str] = {}
        received: dict[int, int] = {}
        found: dict[int, FrameDetections] = {}
        kept: dict[int, np.ndarray] = {}
        greys: dict[int, np.ndarray] = {}
        dropped, room = 0, KEEP_BYTES

        def usable() -> Iterable[tuple[int, np.ndarray]]:
            nonlocal dropped, room
            for done, frame in enumerate(read_frames(self._bag, self._camera), 1):
                on_frame(done)
                if frame.stamp_ns <= 0 or frame.stamp_ns in seen:
                    dropped += 1
                    continue
                seen[frame.stamp_ns], received[frame.stamp_ns] = frame.reason, frame.receive_ns
                if frame.image is None:
                    continue
                if not every:
                    greys[frame.stamp_ns] = small_grey(frame.image)
                    if frame.image.nbytes <= room:
                        kept[frame.stamp_ns] = frame.image
                        room -= frame.image.nbytes
                yield frame.stamp_ns, frame.image

        if every and self._objects:
            for stamps, images in self._batches(usable()):
                found.update(zip(stamps, self._detector.detect(images, self._objects), strict=True))
        else:
            for _ in usable():
                pass
        lost = astray(np.array(list(seen), dtype=np.int64), np.array(list(received.values()), dtype=np.int64))
        for stamp_ns in [stamp_ns for stamp_ns, away in zip(seen, lost, strict=True) if away]:
            self._bag.dropped.add(self._camera.topic, received[stamp_ns], stamp_ns, ASTRAY)
            dropped += 1
            for each in (seen, found, kept, greys):
                each.pop(stamp_ns, None)
        if all(seen.values()):
            raise self._nothing(next(iter(seen.values()), ""))
        number = {stamp_ns: i for i, stamp_ns in enumerate(sorted(seen))}
        self._found = {number[stamp_ns]: each for stamp_ns, each in found.items()}
        self._kept = {number[stamp_ns]: image for stamp_ns, image in kept.items()}
        self._greys = None if every else {number[stamp_ns]: grey for stamp_ns, grey in greys.items()}
        stamps_ns = np.array(sorted(seen), dtype=np.int64)
        return FrameList(stamps_ns, tuple(seen[stamp_ns] for stamp_ns in stamps_ns.tolist()), dropped)

    def _nothing(self, why: str) -> AutofocusError:
        """That no image can be used; why: what is wrong with the first that has a stamp, "" where none has one."""
        camera = self._camera
        mend = f"correct the size of camera {camera.name} in the robot YAML, or leave this bag out"
        if not why:
            why = "every header stamp is zero"
            mend = "have the camera driver stamp its images, and record again: joints are matched by these stamps"
        elif why == UNREADABLE:
            mend = "record raw, JPEG or PNG colour images"
            if self._bag.dropped:
                why = f"{why}: {self._bag.dropped.first[0].reason}"
        return AutofocusError(
            f"bag {self._bag.path}: topic {camera.topic}",
            f"no usable image in {self._bag.counts[camera.topic]} messages ({why})",
            f"readable images of {camera.width_px}x{camera.height_px} px with header stamps",
            mend,
        )

    def _batches(
        self, images: Iterable[tuple[int, np.ndarray]]
    ) -> Iterable[tuple[list[int], list[np.ndarray]]]:
        """Numbers and images, `batch` at a time."""
        numbers: list[int] = []
        batch: list[np.ndarray] = []
        for number, image in images:
            numbers.append(number)
            batch.append(image)
            if len(batch) == self._batch:
                yield numbers, batch
                numbers, batch = [], []
        if batch:
            yield numbers, batch


def small_grey(image: np.ndarray) -> np.ndarray:
    """Grey uint8 of an rgb image, its longest side at most GREY_SIDE_PX."""
    height, width = image.shape[:2]
    scale = min(1.0, GREY_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
