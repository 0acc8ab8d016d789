"""What holds for this process and those that are forked off to read and to make batches."""

from __future__ import annotations

import ctypes
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


def keep_freed_memory() -> None:
    """What this process frees stays with it, where the C library is glibc.

    Otherwise every array above 32 MiB goes back to the system when it is freed, and each page of the next one is
    fetched and cleared anew: at 224 px that was four fifths of the time that turning a batch into floats takes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold, never = -1, -3, 1 << 30
        mallopt(trim_threshold, never)
        mallopt(mmap_threshold, never)
