"""The executor in a thread of its own, and callbacks that cannot end it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node


class Guard:
    """What a callback meets is told once and counted: one bad moment must not end a session."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.counts: dict[str, int] = {}
        self._tell = tell

    def __call__(self, callback: Callable[[], None]) -> Callable[[], None]:
        """The callback, so that it never raises."""

        def guarded() -> None:
            try:
                callback()
            except Exception as error:
                self.told(f"{callback.__name__.strip('_')}: {error!r}; more of these are only counted")

        return guarded

    def told(self, text: str) -> None:
        """Tell it, unless it was told before."""
        self.counts[text] = self.counts.get(text, 0) + 1
        if self.counts[text] == 1:
            self._tell(text)


class Spinner:
    """Spins from the start, so that the main thread is free to hear signals at once."""

    def __init__(self, node: Node, ended: threading.Event) -> None:
        """`ended` is set if the executor ends by itself; `error` then says why."""
        self.error: Exception | None = None
        self._ended = ended
        self._stop = False
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the callback that runs come to its end, and no other begin."""
        self._stop = True
        self._executor.create_task(lambda: None)  # a wait that has begun ends only when there is something to do
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop:
                self._executor.spin_once()
        except Exception as error:
            self.error = error
        finally:
            self._ended.set()
