"""The terminal that the screen has: whether there is one, and how to keep everybody else from writing on it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from autofocus_core.errors import AutofocusError

PLAIN_NODE = "python -m demo_recorder.node --ros-args -p robot:=ROBOT -p task:=TASK -p output:=DIR"


def require_terminal() -> None:
    """Raise AutofocusError where there is nothing to show a screen on."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        got = "standard input or output is no terminal"
    elif os.environ.get("TERM", "dumb") == "dumb":
        got = "TERM is dumb or not set"
    else:
        return
    raise AutofocusError(
        "autofocus record", got, "a terminal (over ssh: `ssh -t`)",
        f"without a screen, run the plain node: {PLAIN_NODE}, or `ros2 run demo_recorder recorder`",
    )  # fmt: skip


@contextlib.contextmanager
def screen_alone(log_path: Path) -> Iterator[None]:
    """What libraries write to file descriptor 2 (DDS does) goes to the log meanwhile, not across the screen.

    textual draws on sys.__stderr__, which is the terminal of standard output here, so that `2>FILE` works, too.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(2)
    names = sys.__stderr__, sys.stderr
    with open(os.dup(1), "w", encoding="utf-8", errors="replace") as terminal, log_path.open("ab") as log:
        sys.__stderr__ = sys.stderr = terminal
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            sys.__stderr__, sys.stderr = names
            # The terminal may be gone (ssh): what could not be written any more is nobody's loss.
            with contextlib.suppress(OSError):
                terminal.flush()
            with contextlib.suppress(OSError):
                terminal.close()
