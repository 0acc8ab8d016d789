"""The recorder's state machine: what may be asked for when. No ROS, no files, no clock: times are handed in."""

from __future__ import annotations

from enum import Enum

from autofocus_core.errors import AutofocusError
from autofocus_core.schema import RecordingRules


class State(Enum):
    """idle -> (countdown ->) recording -> stopped or discarded, from both of which recording starts anew."""

    IDLE = "idle"
    COUNTDOWN = "countdown"
    RECORDING = "recording"
    STOPPED = "stopped"
    DISCARDED = "discarded"


class Due(Enum):
    """What the time has come for."""

    NOTHING = "nothing"
    START = "start"
    STOP = "stop"


class Session:
    """Holds the state, the name of the present or last episode, its outcome and note. Times in s, on a steady clock.

    Each method either makes the transition or raises AutofocusError and changes nothing.
    """

    def __init__(self, rules: RecordingRules | None = None) -> None:
        self.rules = rules or RecordingRules()
        self.state = State.IDLE
        self.episode = ""
        self.outcome = "unknown"
        self.note = ""
        self._before = State.IDLE  # the countdown, which may be cancelled
        self._since_s = 0.0

    def ask_start(self, now_s: float) -> float:
        """Somebody wants to record: begins the countdown; gives its length, 0 where :meth:`start` may come at once."""
        self.require_startable()
        if self.rules.countdown_s > 0:
            self._before = self.state
            self.state = State.COUNTDOWN
            self._since_s = now_s
        return self.rules.countdown_s

    def start(self, episode: str, now_s: float) -> None:
        """Begin an episode."""
        if self.state is not State.COUNTDOWN:
            self.require_startable()
        self.state = State.RECORDING
        self.episode = episode
        self.outcome = "unknown"
        self.note = ""
        self._since_s = now_s

    def cancel(self) -> None:
        """End the countdown without an episode; what was before it, is again."""
        if self.state is not State.COUNTDOWN:
            raise self._refused("cancel", "countdown", "there is no countdown to be cancelled")
        self.state = self._before

    def stop(self) -> None:
        """End the episode and keep it."""
        self.require_recording("stop")
        self.state = State.STOPPED

    def discard(self) -> bool:
        """Put the running episode aside, or the one stopped last; True if it was still running."""
        if self.state not in (State.RECORDING, State.STOPPED):
            raise self._refused(
                "discard", "recording or stopped", "there is nothing to discard: start a recording first"
            )
        running = self.state is State.RECORDING
        self.state = State.DISCARDED
        return running

    def set_outcome(self, success: bool) -> str:
        """Note how the running (or last stopped) episode went; gives the outcome's name."""
        self._require_episode("outcome")
        self.outcome = "success" if success else "failure"
        return self.outcome

    def set_note(self, note: str) -> None:
        """Keep what the operator has to say about the running (or last stopped) episode."""
        self._require_episode("note")
        self.note = note

    def require_recording(self, what: str) -> None:
        """Raise AutofocusError unless an episode is being recorded."""
        if self.state is not State.RECORDING:
            raise self._refused(what, "recording", "start a recording first")

    def require_startable(self) -> None:
        """Raise AutofocusError while an episode is being recorded or about to be."""
        if self.state in (State.RECORDING, State.COUNTDOWN):
            raise self._refused("start", "idle, stopped or discarded", "stop or discard the running recording first")

    def due(self, now_s: float) -> Due:
        """Whether the countdown or the time for an episode is over."""
        if self.state is State.COUNTDOWN and now_s >= self._since_s + self.rules.countdown_s:
            return Due.START
        limit_s = self.rules.max_duration_s
        if self.state is State.RECORDING and limit_s is not None and now_s >= self._since_s + limit_s:
            return Due.STOP
        return Due.NOTHING

    def elapsed_s(self, now_s: float) -> float:
        """Length of the running episode so far, 0 without one."""
        return now_s - self._since_s if self.state is State.RECORDING else 0.0

    def countdown_s(self, now_s: float) -> float:
        """What remains of the countdown, 0 without one."""
        if self.state is not State.COUNTDOWN:
            return 0.0
        return max(0.0, self._since_s + self.rules.countdown_s - now_s)

    def _require_episode(self, what: str) -> None:
        if self.state not in (State.RECORDING, State.STOPPED):
            raise self._refused(what, "recording or stopped", "record an episode first")

    def _refused(self, what: str, allowed: str, fix: str) -> AutofocusError:
        return AutofocusError(f"recorder: {what}", self.state.value, allowed, fix)
