"""SIGINT and SIGTERM, from the beginning of a process's work to its very end.

Without a handler SIGINT ends Python midway, with status -2. Handlers go in before anything that takes time, and at the
end the signals are ignored: Python takes its handlers away while it tears itself down, and a second SIGINT, as that of
`ros2 launch` beside the terminal's, comes just then.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def on_stop(call: Callable[[int], object]) -> None:
    """From now on `call(number)` for each of them, in the main thread."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda received, frame: call(received))


def ignore_stop() -> None:
    """The process ends by itself from here on, in a moment."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
