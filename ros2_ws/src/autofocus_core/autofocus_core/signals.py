"""SIGINT and SIGTERM, from the beginning of a process's work to its very end.

Without a handler SIGINT ends Python midway, with status -2. Handlers go in before anything that takes time, and at the
end the signals are ignored: Python takes its handlers away while it tears itself down, and a second SIGINT, as that of
`ros2 launch` beside the terminal's, comes just then.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def on_stop(call: Callable[[int], object]) -> None:
    """From now on `call(number)` for each of them, in a thread of its own.

    Not in the handler: that one interrupts the main thread anywhere, in another handler, too, so whatever takes a lock
    there, as `threading.Event.set` does, may wait for itself for ever. What it may use is a SimpleQueue.
    """
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def tell() -> None:
        while True:
            call(arrived.get())

    threading.Thread(target=tell, name="signals", daemon=True).start()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda received, frame: arrived.put(received))


def ignore_stop() -> None:
    """The process ends by itself from here on, in a moment."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
