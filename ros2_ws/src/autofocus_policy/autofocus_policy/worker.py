"""A thread that works on the newest item only: an older one still waiting is dropped and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestWins(Generic[T]):
    """Calls `work(item)` in its own thread, one at a time, always with the newest item submitted.

    superseded: items dropped because a newer one came before their turn.
    failure: the exception that ended the thread, None while it lives. The owner must look at it.
    """

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        self._work = work
        self._wake = threading.Condition()
        self._item: T | None = None
        self._busy = False
        self._closing = False
        self.superseded = 0
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: T) -> None:
        """Hand over an item and return at once."""
        with self._wake:
            if self._item is not None:
                self.superseded += 1
            self._item = item
            self._wake.notify()

    def submit_if_idle(self, item: T) -> bool:
        """Hand over an item that nothing must wait for; False where there is other work."""
        with self._wake:
            if self._busy or self._item is not None:
                return False
            self._item = item
            self._wake.notify()
            return True

    def clear(self) -> None:
        """Forget the waiting item; the one being worked on, if any, goes on."""
        with self._wake:
            self._item = None

    def close(self, timeout_s: float = 2.0) -> bool:
        """End the thread after the item it works on; False if it still works after `timeout_s`."""
        with self._wake:
            self._closing = True
            self._item = None
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.wait_for(lambda: self._item is not None or self._closing)
                if self._closing:
                    return
                item, self._item, self._busy = self._item, None, True
            try:
                self._work(item)
            except BaseException as e:  # kept for the owner, who raises it in its own thread
                self.failure = e
                return
