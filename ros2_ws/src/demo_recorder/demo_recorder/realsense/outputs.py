"""Images made of frames: color, depth in mm, depth aligned to color."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from demo_recorder.realsense.counters import StreamCount
from demo_recorder.realsense.info import CameraModel
from demo_recorder.realsense.pixels import Aligner, Millimetres, view

COLOR, DEPTH, ALIGNED = "color", "depth", "aligned_depth_to_color"


class Sink(Protocol):
    """What takes a camera's images; called in the camera's thread."""

    def wants(self, output: str) -> bool:
        """Whether anybody looks at that output: COLOR, DEPTH or ALIGNED."""
        ...

    def image(self, stamp_ns: int, output: str, pixels: np.ndarray, model: CameraModel) -> None:
        """An image: the array is the library's memory and must not be kept."""
        ...

    def info(self, info: dict[str, object]) -> None:
        """device_info, whenever it has changed."""
        ...

    def say(self, text: str, warn: bool) -> None:
        """What a person should know."""
        ...


class Outputs:
    """The images of one connection. Each frame makes its image at once; none waits for the other stream."""

    def __init__(
        self,
        rs: Any,
        models: Mapping[str, CameraModel],
        depth_unit_m: float,
        sink: Sink,
        counts: Mapping[str, StreamCount],
    ) -> None:
        """`models` and `counts` by output; what has no count is not made."""
        self._models, self._sink, self._counts = models, sink, counts
        self._millimetres = Millimetres(depth_unit_m)
        self._aligner = Aligner(rs) if ALIGNED in counts else None
        self._color: Any = None

    def give_on(self, stream: str, frame: Any, stamp_ns: int, now_ns: int) -> None:
        """What is made of a frame goes to the sink; raises RuntimeError (the library's)."""
        if stream == COLOR:
            self._color = frame
            self._image(COLOR, stamp_ns, now_ns, lambda: view(frame))
            return
        self._image(DEPTH, stamp_ns, now_ns, lambda: self._millimetres(view(frame)))
        if self._aligner is not None and self._color is not None:
            self._image(ALIGNED, stamp_ns, now_ns, lambda: self._aligned(frame))

    def _aligned(self, frame: Any) -> np.ndarray:
        assert self._aligner is not None
        return self._millimetres(view(self._aligner.align(frame, self._color)))

    def _image(self, output: str, stamp_ns: int, now_ns: int, pixels: Callable[[], np.ndarray]) -> None:
        self._counts[output].stamped(stamp_ns, now_ns)
        if self._sink.wants(output):
            self._sink.image(stamp_ns, output, pixels(), self._models[output])
            self._counts[output].published += 1
