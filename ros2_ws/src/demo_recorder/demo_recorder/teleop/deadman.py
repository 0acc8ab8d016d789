"""Whether a person wants the arm to move: a button that must be held, or a word that was given."""

from __future__ import annotations

import math
from collections.abc import Sequence

from demo_recorder.teleop.leader_config import Deadman


class DeadmanButton:
    """A button of a pad that must be held. `now_s` is monotonic.

    It counts from when it was seen released: one that is down when the pad appears may be stuck, or lie on the table.
    """

    def __init__(self, topic: str, button: int, timeout_s: float) -> None:
        self.topic, self.button, self.timeout_s = topic, button, timeout_s
        self._received_s = -math.inf
        self._held = False
        self._seen_released = False

    def on_buttons(self, buttons: Sequence[int], now_s: float) -> bool:
        """Take a message's buttons; returns whether the button was pressed just now, by a person."""
        before = self.problem(now_s) is None
        if now_s - self._received_s > self.timeout_s or self.button >= len(buttons):
            self._seen_released = False
        self._received_s = now_s
        self._held = self.button < len(buttons) and bool(buttons[self.button])
        self._seen_released |= self.button < len(buttons) and not self._held
        return not before and self.problem(now_s) is None

    def fresh(self, now_s: float) -> bool:
        """Whether the pad has spoken within the timeout."""
        return now_s - self._received_s <= self.timeout_s

    def problem(self, now_s: float) -> str | None:
        """Why nothing may move, or None."""
        age_s = now_s - self._received_s
        if age_s == math.inf:
            return f"gamepad: nothing on {self.topic} yet"
        if age_s > self.timeout_s:
            return f"gamepad: silent for {age_s * 1e3:.0f} ms, allowed {self.timeout_s * 1e3:g} ms"
        if not self._held:
            return f"deadman (button {self.button}) is not held"
        if not self._seen_released:
            return f"deadman (button {self.button}): let it go, then press it"
        return None


class Engagement:
    """Whether a leader may lead: always, while a button is held, or between ~/engage and ~/disengage."""

    def __init__(self, deadman: Deadman | None) -> None:
        self.button: DeadmanButton | None = None
        if deadman is not None and deadman.by == "joy":
            self.button = DeadmanButton(deadman.topic, deadman.button, deadman.timeout_ms / 1e3)
        self._engaged = deadman is None or deadman.by == "joy"

    def engage(self, engaged: bool) -> None:
        """A person says so. Without a button this is all there is; with one, disengaging goes before it."""
        self._engaged = engaged

    def problem(self, now_s: float) -> str | None:
        """Why nothing may move, or None."""
        if not self._engaged:
            return "disengaged: call ~/engage"
        return None if self.button is None else self.button.problem(now_s)
