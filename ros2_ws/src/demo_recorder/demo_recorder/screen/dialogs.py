"""What is laid over the screen: a question, a line to write, the log, the help. One key closes each."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

LOG_PERIOD_S = 1.0
LOG_LINES = 400

HELP = """\
space    start an episode, stop the running one, cancel a countdown
s  f     success, failure: ends the running episode, or changes the last
d        discard: the running episode at once, the last after a question
         (moved to .discarded/, never deleted)
n        a note on the running or the last episode
m        sound: one bell at the start, two at the stop, three for a bad
         episode and for a recorder that is lost
l        log of the recorder        up, down  scroll what does not fit
q        quit: a running recording is finished and kept

Hz       messages per second of late, and what the robot YAML expects
drops    messages not in the episode: lost and refused, or missing by
         their stamps where that is more
gap max  longest time between two stamps      jitter  their deviation
latency  stamp to receipt, median/99 %        silent  since the last one

Yellow, red: the task's quality rules, of which the verdict will say
usable, bad. A wider terminal shows more columns.       esc: back"""


class Question(ModalScreen[bool]):
    """Yes or no."""

    BINDINGS: ClassVar = [
        Binding("y", "dismiss(True)"), Binding("n,escape", "dismiss(False)"), Binding("ctrl+c", "dismiss(False)"),
    ]  # fmt: skip

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The question in a box."""
        with Vertical(classes="box warn"):
            yield Static(Content(f"{self._text}\n\ny: yes    n: no"))


class Note(ModalScreen[str | None]):
    """One line of text; None where it was cancelled."""

    BINDINGS: ClassVar = [Binding("escape,ctrl+c", "dismiss(None)", priority=True)]

    def __init__(self, episode: str, text: str) -> None:
        super().__init__()
        self._episode = episode
        self._text = text

    def compose(self) -> ComposeResult:
        """The line to write on."""
        with Vertical(classes="box"):
            yield Static(Content(f"Note on {self._episode}    enter: write    esc: leave it"))
            line = Input(self._text, select_on_focus=False, compact=True)
            line.cursor_blink = False
            yield line

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        self.dismiss(event.value.strip())


class Help(ModalScreen[None]):
    """The keys and the columns."""

    BINDINGS: ClassVar = [Binding("escape,question_mark,q,space,enter,ctrl+c", "dismiss(None)")]

    def compose(self) -> ComposeResult:
        """The text, which scrolls on a small terminal."""
        with VerticalScroll(classes="box wide"):
            yield Static(Content(HELP))


class Log(ModalScreen[None]):
    """The end of the recorder's output, which goes on while it is looked at."""

    BINDINGS: ClassVar = [Binding("escape,l,q,enter,ctrl+c", "dismiss(None)")]

    def __init__(self, path: str, tail: Callable[[int], str]) -> None:
        super().__init__()
        self._path = path
        self._tail = tail
        self._shown = ""

    def compose(self) -> ComposeResult:
        """The log's end, and where all of it is."""
        with Vertical(classes="box full"):
            yield Static(Content(f"{self._path}    esc: back"), classes="head")
            with VerticalScroll():
                yield Static("", id="log")

    def on_mount(self) -> None:
        """Read it now and then."""
        self._read()
        self.set_interval(LOG_PERIOD_S, self._read)

    def _read(self) -> None:
        text = self._tail(LOG_LINES)
        if text == self._shown:
            return
        self._shown = text
        pane = self.query_one(VerticalScroll)
        at_end = pane.is_vertical_scroll_end
        self.query_one("#log", Static).update(Content(text or "(nothing yet)"))
        if at_end:
            pane.scroll_end(animate=False)
