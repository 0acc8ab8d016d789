"""What the app needs of the recorder; `console_node` has the real one, the tests a fake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from autofocus_core.errors import AutofocusError

from demo_recorder.screen.status import Status


@dataclass(frozen=True, slots=True)
class Answer:
    """What the recorder said to a request, in words."""

    ok: bool
    text: str


class Client(Protocol):
    """Requests to the recorder. Each waits for the answer, for seconds where it must: never called in the app's
    own thread. A recorder that is not there or does not answer is an Answer, too."""

    def start(self) -> Answer:
        """Begin an episode (or its countdown)."""

    def stop(self) -> Answer:
        """End the episode and keep it, or cancel the countdown."""

    def discard(self) -> Answer:
        """Put the running or the last episode aside."""

    def outcome(self, success: bool) -> Answer:
        """Say how the running or the last episode went."""

    def note(self, text: str) -> Answer:
        """Write the operator's note on the running or the last episode."""

    def watch(self, arrived: Callable[[Status | AutofocusError], None]) -> None:
        """Hand each status to `arrived`, in a thread of the client; an error where it is not understood."""


class Process(Protocol):
    """The recorder as our own child process; there is none when the screen is attached to one."""

    @property
    def log_path(self) -> str:
        """Where its output goes."""

    def exit_code(self) -> int | None:
        """Its status once it has ended."""

    def log_tail(self, lines: int) -> str:
        """The last lines of its output."""
