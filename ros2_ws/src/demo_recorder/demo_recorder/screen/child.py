"""The recorder as a child process: its output in a file, ended by SIGINT, never left behind recording."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: From <sys/prctl.h>: the signal that a process gets when the one that started it dies.
PR_SET_PDEATHSIG = 1
TAIL_BYTES = 65536


class RecorderProcess:
    """Started at once. It is in a session of its own: a terminal that goes away or a Ctrl-C reaches this process,
    which then ends the recorder in order. Should this process be killed, the recorder gets SIGINT from the system."""

    def __init__(self, argv: Sequence[str], log_path: Path) -> None:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self.log_path = str(log_path)
        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"},
                preexec_fn=_end_with_parent(),
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def exit_code(self) -> int | None:
        """Its status once it has ended, -N where signal N ended it; None while it runs."""
        return self._popen.poll()

    def log_tail(self, lines: int) -> str:
        """The last lines that it has written."""
        with open(self.log_path, "rb") as log:
            log.seek(max(os.fstat(log.fileno()).st_size - TAIL_BYTES, 0))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def interrupt(self) -> None:
        """Ask it to finish its recording and to end (SIGINT); safe in a signal handler."""
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._popen.pid, signal.SIGINT)

    def wait(self, timeout_s: float) -> int | None:
        """Its status, None if it still runs after `timeout_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._popen.wait(timeout_s)
        return None


def _end_with_parent():
    """What the child does between fork and exec; None where the system cannot (not Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: after a fork, as little as possible should happen
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGINT)
