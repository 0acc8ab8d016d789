"""The recorder's state machine: what may be asked for when. No ROS, no files, no clock."""

from __future__ import annotations

from enum import Enum

from autofocus_core.errors import AutofocusError


class State(Enum):
    """idle -> recording -> stopped or discarded, from both of which recording starts anew."""

    IDLE = "idle"
    RECORDING = "recording"
    STOPPED = "stopped"
    DISCARDED = "discarded"


class Session:
    """Holds the state, the name of the present or last episode and its outcome.

    Each method either makes the transition or raises AutofocusError and changes nothing.
    """

    def __init__(self) -> None:
        self.state = State.IDLE
        self.episode = ""
        self.outcome = "unknown"

    def start(self, episode: str) -> None:
        """Begin an episode."""
        if self.state is State.RECORDING:
            raise self._refused("start", "idle, stopped or discarded", "stop or discard the running recording first")
        self.state = State.RECORDING
        self.episode = episode
        self.outcome = "unknown"

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
        if self.state not in (State.RECORDING, State.STOPPED):
            raise self._refused("outcome", "recording or stopped", "record an episode first")
        self.outcome = "success" if success else "failure"
        return self.outcome

    def require_recording(self, what: str) -> None:
        """Raise AutofocusError unless an episode is being recorded."""
        if self.state is not State.RECORDING:
            raise self._refused(what, "recording", "start a recording first")

    def _refused(self, what: str, allowed: str, fix: str) -> AutofocusError:
        return AutofocusError(f"recorder: {what}", self.state.value, allowed, fix)
