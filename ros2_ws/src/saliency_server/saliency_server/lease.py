"""A lease: of all who want a name in a folder, on this machine and on others, one at a time has it.

On one machine, and where the file system carries locks between machines, a lock on the lease's file decides: the system
lets it go when its holder dies, however it dies. Where locks stay on each machine, the file says who holds it and is
written again every few seconds: a holder elsewhere that has not been heard of for a minute is taken for dead. Clocks of
different machines are never compared.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from autofocus_core.errors import AutofocusError

FOLDER = Path(".autofocus/leases")
BEAT_S = 5.0
STALE_S = 60.0  # more than network file systems remember a file's state for
POLL_S = 0.1
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Busy(Exception):
    """Somebody else has the lease; str() says who."""


class Leases:
    """Leases taken by one process. host: of the running system, equal in all of its containers; no_locks: as if the
    file system knew none."""

    def __init__(
        self, host: str | None = None, *, beat_s: float = BEAT_S, stale_s: float = STALE_S, no_locks: bool = False
    ) -> None:
        self._host = host or _boot_id()
        self._beat_s, self._stale_s, self._no_locks = beat_s, stale_s, no_locks
        self._heard: dict[Path, tuple[bytes, float]] = {}  # last word of a holder elsewhere, and when it was new

    @contextlib.contextmanager
    def held(self, path: Path, *, wait: bool = True) -> Iterator[None]:
        """Hold the lease on `path` meanwhile; it need not exist, its folder must.

        wait: until it is free; else Busy is raised at once. AutofocusError where the folder cannot be written to.
        """
        file = _file(path)
        try:
            for folder in (file.parent.parent, file.parent):  # and no more: a path that is wrong stays wrong
                folder.mkdir(exist_ok=True)
            handle = self._take(file, wait)
        except OSError as error:
            raise AutofocusError(
                f"lease {file}", error.strerror or str(error), "a folder that can be written to",
                "check its permissions and the space left; annotations go there, too",
            ) from error
        words = f"{self._host} {socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
        ended = threading.Event()
        beating = threading.Thread(target=self._beat, args=(handle, words, ended), name="lease", daemon=True)
        try:
            _say(handle, words, 0)
            beating.start()
            yield
        finally:
            ended.set()
            if beating.ident is not None:
                beating.join()
            if _same_file(handle, file):
                file.unlink(missing_ok=True)  # while it is locked: nobody can have got this file
            os.close(handle)

    def tidy(self, path: Path) -> None:
        """Take away the file of a lease on `path` whose holder was killed. One that is held, or that lies where nothing
        can be written, stays."""
        if _file(path).exists():
            with contextlib.suppress(Busy, AutofocusError), self.held(path, wait=False):
                pass

    def _take(self, file: Path, wait: bool) -> int:
        """A descriptor of the lease's file, locked, and said to be nobody's any more."""
        while True:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                locked, decides = self._lock(handle)
                if locked and _same_file(handle, file) and self._is_free(file, os.read(handle, 400), decides):
                    taken, handle = handle, -1
                    return taken
                holder = os.pread(handle, 400, 0)
            finally:
                if handle >= 0:
                    os.close(handle)
            if not wait:
                raise Busy(_holder(holder))
            time.sleep(POLL_S)

    def _lock(self, handle: int) -> tuple[bool, bool]:
        """Whether it is not locked by somebody else, and whether that decides anything here."""
        if self._no_locks:
            return True, False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True, True
        except BlockingIOError:
            return False, True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return True, False

    def _is_free(self, file: Path, words: bytes, decides: bool) -> bool:
        """Whether the last holder has ended: surely so where its lock would have shown; else it must be silent."""
        if not words or (decides and words.startswith(self._host.encode())):
            return True
        now_s = time.monotonic()
        last, since_s = self._heard.get(file, (b"", now_s))
        if words != last:
            self._heard[file] = (words, now_s)
            return False
        return now_s - since_s >= self._stale_s

    def _beat(self, handle: int, words: str, ended: threading.Event) -> None:
        count = 0
        while not ended.wait(self._beat_s):
            count += 1
            with contextlib.suppress(OSError):  # a disk that is full for a while: the lock is still there
                _say(handle, words, count)


def _file(path: Path) -> Path:
    return path.parent.resolve() / FOLDER / f"{path.name}.lease"


def _say(handle: int, words: str, count: int) -> None:
    text = f"{words} {count:010d}\n".encode()
    os.pwrite(handle, text, 0)
    os.ftruncate(handle, len(text))
    os.fsync(handle)  # on a network file system: only now others see it


def _same_file(handle: int, file: Path) -> bool:
    """Whether the name still means the open file: whoever had it before may have taken it away."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _holder(words: bytes) -> str:
    parts = words.decode(errors="replace").split()
    return f"process {parts[2]} on {parts[1]}" if len(parts) >= 3 else "another process"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


LEASES = Leases()
