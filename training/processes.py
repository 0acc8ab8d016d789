"""Processes that are forked off to read and to make batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def without_opencv_threads() -> Iterator[None]:
    """OpenCV does without its threads meanwhile, here and in every process that is forked off.

    A forked process has OpenCV's pool and not its threads: it waits for them for ever when it changes their number, as
    a worker of ours did. So the number is one before it begins.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
