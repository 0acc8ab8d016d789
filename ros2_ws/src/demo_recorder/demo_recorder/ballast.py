"""Some room on the disk that is kept until the end, so that a file can be closed on a disk that others have filled."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: Enough for the chunk in hand with an image of 1280x720, the index of 10 GB, and the sidecar.
BALLAST_BYTES = 8 << 20
_NAME = ".ballast"


class Ballast:
    """A file without content in the working directory of a recording; there may be none, where the disk has no room."""

    def __init__(self, folder: Path, size_bytes: int = BALLAST_BYTES) -> None:
        self._path = folder / _NAME
        with contextlib.suppress(OSError):  # a file system that cannot, or no room: then there is none to give up later
            handle = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, size_bytes)
            finally:
                os.close(handle)

    def drop(self) -> None:
        """Give the room back."""
        with contextlib.suppress(OSError):
            self._path.unlink()
