"""The recording screen: keys become requests to the recorder, its status becomes the picture."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

from autofocus_core.errors import AutofocusError
from autofocus_core.schema import QualityRules
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message

from demo_recorder.screen.client import Answer, Client, Process
from demo_recorder.screen.dialogs import Help, Log, Note, Question
from demo_recorder.screen.layout import STYLE, Block
from demo_recorder.screen.picture import EVENTS_ROOMY, picture
from demo_recorder.screen.snapshot import DataRate, Link, Snapshot
from demo_recorder.screen.status import Status

#: Looks at the age of the status and at the process; drawn is only what changed.
TICK_S = 0.5
#: A recorder that tells of many events in a row is not drawn more often than this.
DRAW_PERIOD_S = 0.2
BELL_GAP_S = 0.25
STARTED_BELLS, STOPPED_BELLS, ALARM_BELLS = 1, 2, 3


class RecordApp(App[None]):
    """The screen. `process` is None where it is attached to a recorder that somebody else has started."""

    ENABLE_COMMAND_PALETTE = False
    CSS = STYLE
    BINDINGS: ClassVar = [
        Binding("space", "toggle"),
        Binding("s", "judge(True)"),
        Binding("f", "judge(False)"),
        Binding("d", "discard"),
        Binding("n", "note"),
        Binding("m", "sound"),
        Binding("l", "log"),
        Binding("question_mark,h", "help_keys"),
        Binding("q,ctrl+c", "leave"),
        Binding("ctrl+q", "leave", priority=True),
        Binding("up", "scroll(-1)"),
        Binding("down", "scroll(1)"),
    ]

    class Arrived(Message):
        """A status, or why there is none to show."""

        def __init__(self, status: Status | AutofocusError) -> None:
            super().__init__()
            self.status = status

    class Answered(Message):
        """What the recorder said to the requests of a key."""

        def __init__(self, number: int, answers: Sequence[Answer]) -> None:
            super().__init__()
            self.number = number
            self.answers = answers

    def __init__(
        self, client: Client, process: Process | None, rules: QualityRules | None = None, *, sound: bool = False
    ) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"  # default colours of the terminal; "-light" differs in a text cursor only
        self.animation_level = "none"
        self._client = client
        self._process = process
        self._rules = rules or QualityRules()
        self._sound = sound
        self._status: Status | None = None
        self._garbled = ""
        self._heard_s = time.monotonic()
        self._rate = DataRate()
        self._events: deque[str] = deque(maxlen=EVENTS_ROOMY)
        self._answer = ""
        self._notice = ""
        self._pending = ""
        self._requests = 0
        self._drawn_s = 0.0
        self._draw_planned = False
        self._last_link = Link.STARTING
        self._loop_of_app: asyncio.AbstractEventLoop | None = None

    def compose(self) -> ComposeResult:
        """From the top: what, state, session, streams, messages, keys."""
        yield Block("title")
        yield Block("banner")
        yield Block("session")
        yield Block("streams")
        with VerticalScroll(id="messages", can_focus=False):
            yield Block("message")
        yield Block("footer")

    def on_mount(self) -> None:
        """Listen to the recorder."""
        self._loop_of_app = asyncio.get_running_loop()
        self._client.watch(lambda status: self.post_message(self.Arrived(status)))
        self.set_interval(TICK_S, self._tick)

    def on_resize(self) -> None:
        """Everything is laid out for the size."""
        self._draw()

    def end(self) -> None:
        """Leave, without a question; from any thread and from signal handlers."""
        if self._loop_of_app is not None:
            self._loop_of_app.call_soon_threadsafe(self.exit)

    # What comes from the recorder

    def on_record_app_arrived(self, event: Arrived) -> None:
        """Take a status; draw it now where the state has changed, soon where it has not."""
        self._heard_s = time.monotonic()
        if isinstance(event.status, AutofocusError):
            self._garbled = str(event.status)
            return self._draw()
        before, self._status, self._garbled = self._status, event.status, ""
        self._rate.take(event.status)
        self._hear(before, event.status)
        if event.status.last_event and (before is None or (before.events, before.last_event) != (
                event.status.events, event.status.last_event)):
            self._events.appendleft(f"{time.strftime('%H:%M:%S')} {event.status.last_event}")
        if before is None or before.state != event.status.state:
            # Done, though the answer may be lost: DDS drops it now and then where the other side was just discovered.
            self._pending = ""
            self._draw()
        elif not self._draw_planned:
            self._draw_planned = True
            self.set_timer(max(DRAW_PERIOD_S - (time.monotonic() - self._drawn_s), 0.001), self._draw)

    def _hear(self, before: Status | None, now: Status) -> None:
        if before is None or before.state == now.state:
            return
        if now.state == "recording":
            self._ring(STARTED_BELLS)
        elif before.state == "recording":
            self._ring(ALARM_BELLS if now.state == "stopped" and now.last_grade == "bad" else STOPPED_BELLS)

    def _tick(self) -> None:
        """Notice what no status tells: its absence, and the end of the process."""
        link = self.snapshot().link
        if link is Link.ENDED and self._status is None:
            return self.exit()  # it never ran: who started this says why
        if link is not Link.LIVE or link is not self._last_link:
            self._draw()
        if link is not self._last_link and link in (Link.SILENT, Link.ENDED):
            self._ring(ALARM_BELLS)
        self._last_link = link

    def snapshot(self) -> Snapshot:
        """What is to be shown now."""
        return Snapshot(
            status=self._status,
            age_s=time.monotonic() - self._heard_s,
            exit_code=None if self._process is None else self._process.exit_code(),
            garbled=self._garbled,
            attached=self._process is None,
            log_path="" if self._process is None else self._process.log_path,
            answer=self._answer,
            notice=self._notice,
            pending=self._pending,
            data_rate_bps=self._rate.bytes_per_s,
            events=tuple(self._events),
            sound=self._sound,
            rules=self._rules,
        )

    def _draw(self) -> None:
        self._draw_planned = False
        self._drawn_s = time.monotonic()
        if not self.is_mounted or not self.screen_stack:
            return
        made = picture(self.snapshot(), self.size.width, self.size.height)
        main = self.screen_stack[0]
        for block in main.query(Block):
            block.show(made.parts[block.id])
        pane = main.query_one("#messages")
        if pane.styles.height is None or pane.styles.height.value != made.message_rows:
            pane.styles.height = made.message_rows

    # Keys

    def action_toggle(self) -> None:
        """Space."""
        busy = self._status is not None and self._status.busy
        self._ask(*(("stop", self._client.stop) if busy else ("start", self._client.start)))

    def action_judge(self, success: bool) -> None:
        """s and f: while recording the outcome and the end, afterwards the outcome of the last."""
        name = "success" if success else "failure"
        if self._status is not None and self._status.state == "recording":
            self._ask(name, lambda: self._client.outcome(success), self._client.stop)
        else:
            self._ask(name, lambda: self._client.outcome(success))

    def action_discard(self) -> None:
        """d: at once while recording, after a question when the episode is on disk already."""
        status = self._status
        if status is None or status.state != "stopped":
            return self._ask("discard", self._client.discard)

        def answered(yes: bool | None) -> None:
            now = self._status
            if yes and now is not None and (now.state, now.last_episode) == (status.state, status.last_episode):
                self._ask("discard", self._client.discard)
            elif yes:  # started from a gamepad meanwhile: that one was not meant
                self._tell(f"{status.last_episode} is not the last episode any more: not discarded")

        self.push_screen(Question(f"Discard {status.last_episode}?"), answered)

    def action_note(self) -> None:
        """n."""
        status = self._status
        episode = "" if status is None else status.episode if status.busy else status.last_episode
        if status is None or not episode:
            return self._tell("No episode to write a note on yet.")

        def written(text: str | None) -> None:
            if text is not None:
                self._ask("note", lambda: self._client.note(text))

        self.push_screen(Note(episode, status.note), written)

    def action_sound(self) -> None:
        """m."""
        self._sound = not self._sound
        self._ring(1)
        self._tell(f"Sound {'on' if self._sound else 'off'}.")

    def action_log(self) -> None:
        """l."""
        if self._process is None:
            return self._tell("This screen is attached to a recorder that somebody else started: its log is there.")
        self.push_screen(Log(self._process.log_path, self._process.log_tail))

    def action_help_keys(self) -> None:
        """?"""
        self.push_screen(Help())

    def action_scroll(self, lines: int) -> None:
        """Up and down, for messages that are more than fit."""
        self.query_one("#messages").scroll_relative(y=lines, animate=False)

    def action_leave(self) -> None:
        """q: with a question while an episode is being recorded."""
        status = self.snapshot().live
        if isinstance(self.screen, Question):
            return
        if status is None or not status.busy:
            return self.exit()
        recording = status.state == "recording"
        what = f"{status.episode} is being recorded." if recording else "A recording is about to start."
        if self._process is None:
            what += "\nThe recorder is not this screen's: it goes on recording without it.\nLeave?"
        else:
            what += "\nQuit? It is then finished and kept."
        self.push_screen(Question(what), lambda yes: self.exit() if yes else None)

    # Requests

    def _ask(self, name: str, *calls: Callable[[], Answer]) -> None:
        """Make the requests, one after the other, in a thread; a refusal stays on the screen until the next key."""
        if self._pending:
            return self._tell(f"{name}: not asked, the recorder has not answered to {self._pending} yet.")
        self._pending, self._answer, self._notice = name, "", ""
        self._requests += 1
        number = self._requests
        self._draw()

        def ask() -> None:
            # All of them: a refused outcome does not keep the episode from being stopped.
            self.post_message(self.Answered(number, [call() for call in calls]))

        # A daemon: the screen can be left while the recorder thinks.
        threading.Thread(target=ask, name=f"ask {name}", daemon=True).start()

    def on_record_app_answered(self, event: Answered) -> None:
        """Show what was refused; what was done shows in the status."""
        if event.number == self._requests:
            self._pending = ""
        self._answer = "\n".join(answer.text for answer in event.answers if not answer.ok)
        if self._answer:
            self._ring(STARTED_BELLS)
        self._draw()

    def _tell(self, text: str) -> None:
        self._notice = text
        self._draw()

    def _ring(self, times: int) -> None:
        if self._sound:
            for number in range(times):
                self.set_timer(0.001 + number * BELL_GAP_S, self.bell)
