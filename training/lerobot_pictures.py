"""The pictures of a LeRobot episode, in order: out of its table, or out of a video that other episodes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_training.lerobot_files import libraries

MEND = "download or export the dataset again"


def stills(column: Any, where: str) -> Iterator[np.ndarray]:
    """Pictures that lie in the table, as files' bytes."""
    for k, cell in enumerate(column):
        data = (cell.as_py() or {}).get("bytes")
        image = None if not data else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise AutofocusError(f"{where}: frame {k}", "no picture that can be decoded", "a PNG or JPEG", MEND)
        yield image


def video(path: Path, start_s: float, count: int, fps: float, where: str) -> Iterator[np.ndarray]:
    """The `count` frames of a video from `start_s` on; each must be where its number says, or all after it were
    learned with another frame's action."""
    _, av = libraries()
    try:
        yield from _decoded(av, path, start_s, count, fps, where)
    except av.FFmpegError as error:
        raise AutofocusError(where, str(error), "a video that can be decoded", MEND) from error


def _decoded(av: ModuleType, path: Path, start_s: float, count: int, fps: float, where: str) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # it may be one of many processes that read
        if start_s > 0.0:
            container.seek(int((start_s - 0.5 / fps) / stream.time_base), stream=stream)
        k = 0
        for frame in container.decode(stream):
            seconds = float(frame.pts * frame.time_base) - start_s
            if seconds < -0.5 / fps:
                continue  # of the episode before, or from a key frame on
            if abs(seconds - k / fps) > 0.25 / fps:
                raise AutofocusError(
                    f"{where}: frame {k}", f"at {seconds:.4f} s", f"{k / fps:.4f} s at {fps:g} fps",
                    "export or encode it again at a constant rate: another rate would pair images with wrong actions",
                )  # fmt: skip
            yield frame.to_ndarray(format="rgb24")
            k += 1
            if k == count:
                return
        raise AutofocusError(where, f"{k} frames", f"{count}, as meta/episodes says", MEND)
