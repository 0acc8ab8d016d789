"""buttons.yaml: which gamepad button starts, stops, judges or discards an episode; and when one counts as pressed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.errors import AutofocusError

from demo_recorder.teleop import config

#: What a button can ask the recorder for.
ACTIONS = ("start", "stop", "discard", "success", "failure")


@dataclass(frozen=True, slots=True)
class Binding:
    """`action` when the button is pressed; with `hold_s` above 0, when it has been held for so long."""

    button: int
    action: str
    hold_s: float


@dataclass(frozen=True, slots=True)
class ButtonsConfig:
    """Everything in a buttons.yaml."""

    topic: str
    timeout_s: float
    debounce_s: float
    bindings: tuple[Binding, ...]


def load_buttons(path: str | Path) -> ButtonsConfig:
    """Parse a buttons.yaml; raises AutofocusError for whatever is missing, unknown, doubled or out of range."""
    fields = config.load(path, "buttons")
    sub = fields.sub("buttons")
    bindings: list[Binding] = []
    for action in ACTIONS:
        if not sub.has(action):
            continue
        item = sub.sub(action)
        hold_s = config.number(item, "hold_s", 0.0, minimum=0.0, maximum=5.0)
        bindings.append(Binding(item.integer("button", minimum=0), action, hold_s))
        item.done()
    sub.done()
    loaded = ButtonsConfig(
        topic=config.topic(fields, "topic", "/joy"),
        timeout_s=config.number(fields, "timeout_ms", 500.0, above=0.0) / 1e3,
        debounce_s=config.number(fields, "debounce_ms", 50.0, minimum=0.0, maximum=500.0) / 1e3,
        bindings=tuple(bindings),
    )
    fields.done()
    if not bindings:
        raise AutofocusError(sub.where, "no action", " | ".join(ACTIONS), "bind at least one: start: {button: 7}")
    for kind, same in (("pressed", [b for b in bindings if not b.hold_s]), ("held", [b for b in bindings if b.hold_s])):
        taken: dict[int, str] = {}
        for binding in same:
            if binding.button in taken:
                got = f"button {binding.button} {kind} is {taken[binding.button]} and {binding.action}"
                fix = "use another button, or `hold_s` for one of them"
                raise AutofocusError(sub.where, got, "one action each", fix)
            taken[binding.button] = binding.action
    return loaded


class Buttons:
    """From Joy messages to actions: rising edges only, debounced, long presses. `now_s` is monotonic.

    A button counts from when it was seen released: what is down when the pad appears, or comes back, means nothing.
    A button with a press and a hold acts when it is let go (press) or when the time is up (hold), never both.
    """

    def __init__(self, config: ButtonsConfig) -> None:
        self.config = config
        self._press = {b.button: b.action for b in config.bindings if not b.hold_s}
        self._hold = {b.button: b for b in config.bindings if b.hold_s}
        self._raw: tuple[bool, ...] = ()
        self._ready: set[int] = set()  # buttons seen released
        self._down_s: dict[int, float] = {}  # buttons held now -> since when; inf: its hold has acted
        self._changed_s: dict[int, float] = {}
        self._received_s = -math.inf

    def on_joy(self, buttons: Sequence[int], now_s: float) -> list[str]:
        """Take a message; returns the actions that were asked for, mostly none."""
        if now_s - self._received_s > self.config.timeout_s:
            self._ready.clear()
            self._down_s.clear()
        self._received_s = now_s
        self._raw = tuple(map(bool, buttons))
        return self._scan(now_s)

    def on_time(self, now_s: float) -> list[str]:
        """Actions of buttons held long enough by now; to be called several times a second."""
        return self._scan(now_s) if now_s - self._received_s <= self.config.timeout_s else []

    def _scan(self, now_s: float) -> list[str]:
        actions: list[str] = []
        for button in sorted(self._press.keys() | self._hold.keys()):
            if button < len(self._raw):
                actions += self._edge(button, now_s)
        for button, since_s in self._down_s.items():
            binding = self._hold.get(button)
            if binding is not None and now_s - since_s >= binding.hold_s:
                self._down_s[button] = math.inf
                actions.append(binding.action)
        return actions

    def _edge(self, button: int, now_s: float) -> list[str]:
        down, was_down = self._raw[button], button in self._down_s
        if not down and not was_down:
            self._ready.add(button)
        bounce = now_s - self._changed_s.get(button, -math.inf) < self.config.debounce_s
        if down == was_down or bounce or button not in self._ready:
            return []
        self._changed_s[button] = now_s
        if down:
            self._down_s[button] = now_s
            return [self._press[button]] if button not in self._hold else []
        since_s = self._down_s.pop(button)
        return [self._press[button]] if button in self._hold and button in self._press and since_s < math.inf else []


def calls(action: str, recorder_state: str | None) -> list[tuple[str, bool | None]]:
    """The recorder's services to call for an action, in order, with the data of a SetBool (None: a Trigger).

    An outcome ends the recording; one that has ended already is only judged. `recorder_state` None: not known.
    """
    if action in ("success", "failure"):
        judged: list[tuple[str, bool | None]] = [("outcome", action == "success")]
        return judged if recorder_state in ("stopped", "idle", "discarded") else [*judged, ("stop", None)]
    return [(action, None)]
