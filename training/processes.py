"""Processes that are forked off to read and to make batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def without_opencv_threads() -> Iterator[None]:
    """OpenCV does without its threads meanwhile, here and in every process that is forked off.

    A forked process has OpenCV's pool and not its threads: it would wait for them for ever as soon as it gave them
    work, or changed their number. So they are ended before.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
