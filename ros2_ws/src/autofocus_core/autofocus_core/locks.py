"""Who is writing a folder: a lock on the folder itself, which the system lets go when its process ends, however."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autofocus_core.errors import AutofocusError


def lock_folder(folder: Path) -> int:
    """Lock a folder that was made just now; gives the descriptor, which is closed to unlock it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(handle, fcntl.LOCK_EX)  # may wait for somebody's is_locked, for microseconds
    return handle


def is_locked(folder: str | Path) -> bool:
    """Whether a living process holds the lock of a folder; False where there is no such folder."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a folder or file meanwhile; raises AutofocusError where somebody else does."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise AutofocusError(
            f"recording {path}", "is being written", "a recording that ended", "stop the recorder first"
        ) from error
    finally:
        os.close(handle)
