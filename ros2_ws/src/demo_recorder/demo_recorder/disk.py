"""Free space of the disk that is recorded to, looked at by a thread of its own: a writer that hangs cannot hide it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from autofocus_core.errors import AutofocusError

LOOK_PERIOD_S = 0.2


class DiskWatch:
    """`free_bytes` and `problem` ("" while there is room) of the disk that holds `folder`, which need not exist yet."""

    def __init__(self, folder: Path, reserve_bytes: int) -> None:
        self.folder = folder
        self.reserve_bytes = reserve_bytes
        self.free_bytes = 0
        self.problem = ""
        self._end = threading.Event()
        self.look()
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Ask the system now."""
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        try:
            status = os.statvfs(folder)
        except OSError as error:
            self.problem = f"{folder}: {error.strerror or error}"
            return
        self.free_bytes = status.f_bavail * status.f_frsize
        low = self.free_bytes < self.reserve_bytes
        self.problem = (
            f"{_size(self.free_bytes)} free, less than the reserve of {_size(self.reserve_bytes)}" if low else ""
        )

    def require_room(self) -> None:
        """Raise AutofocusError where there is too little room for a recording."""
        self.look()
        if self.problem:
            raise AutofocusError(
                f"recording into {self.folder}",
                self.problem,
                f"at least {_size(self.reserve_bytes)} free",
                "free some space, or record to another disk",
            )

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(LOOK_PERIOD_S):
            self.look()


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
