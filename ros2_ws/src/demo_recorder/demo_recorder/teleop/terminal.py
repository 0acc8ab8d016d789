"""The terminal as a keyboard: keys one by one, without echo, and put back as it was."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty

from autofocus_core.errors import AutofocusError


class Terminal:
    """Standard input, key by key. Ctrl-C stays a signal; Ctrl-Z too, and the guard holds meanwhile."""

    def __init__(self) -> None:
        """Raises AutofocusError where standard input is no terminal."""
        if not sys.stdin.isatty():
            raise AutofocusError(
                "keyboard jog", "standard input is no terminal", "a terminal of its own, also over ssh (ssh -t)",
                "run it by hand there, not from a launch file",
            )  # fmt: skip
        self._fd = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._fd)

    def prepare(self) -> None:
        """Keys one by one, no echo; to be done again when the process comes back from Ctrl-Z."""
        tty.setcbreak(self._fd)

    def restore(self) -> None:
        """As it was."""
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def read(self) -> bytes | None:
        """What has been typed, b"" where nothing was, None where the terminal has gone."""
        if not select.select([self._fd], [], [], 0.0)[0]:
            return b""
        try:
            return os.read(self._fd, 1024) or None
        except OSError:
            return None
