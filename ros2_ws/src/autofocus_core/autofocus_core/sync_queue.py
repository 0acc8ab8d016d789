"""What of a bag was written and may not be on the disk yet: files, and folders with new names in them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from autofocus_core.files import sync_folder
from autofocus_core.mcap_file import McapFile


class SyncQueue:
    """One thread begins and writes files, any thread may call :meth:`sync`: it works on descriptors of its own, so
    that a file may be finished, and the next one begun, meanwhile."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """`folders`: those that got new names."""
        self.error: OSError | None = None
        self._folders = set(folders)
        self._current: McapFile | None = None
        self._finished: list[McapFile] = []
        self._lock = threading.Lock()  # held while files change hands
        self._syncing = threading.Lock()

    def begin(self, file: McapFile) -> int:
        """From now on `file` is written, and the one before is finished; gives how many finished ones wait."""
        with self._lock:
            if self._current is not None:
                self._finished.append(self._current)
            self._current = file
            self._folders.add(file.path.parent)
            return len(self._finished)

    def sync(self) -> None:
        """Wait until all that was given to the system is on the disk; finished files are closed.

        Raises OSError where the disk fails, and keeps it in `error`: the system reports a failed write once, and a
        later fsync that succeeds proves nothing.
        """
        with self._syncing:
            with self._lock:
                if self._current is None:
                    return
                finished, self._finished = self._finished, []
                folders, self._folders = self._folders, set()
                current = os.dup(self._current.fileno())
            try:
                for file in finished:
                    os.fsync(file.fileno())
                os.fsync(current)
                for folder in folders:
                    sync_folder(folder)
            except OSError as error:
                self.error = error
                raise
            finally:
                os.close(current)
                for file in finished:
                    file.close()

    def close(self) -> None:
        """Let go of all files; a sync that goes on in another thread is not disturbed."""
        with self._lock:
            if self._current is not None:
                self._finished.append(self._current)
            self._current = None
            for file in self._finished:
                file.close()
            self._finished.clear()
