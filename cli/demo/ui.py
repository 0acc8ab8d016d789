"""Stages and progress on the terminal: live bars where there is one, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

#: Without a terminal a bar prints a line at most this often.
PLAIN_INTERVAL_S = 10.0


@dataclass(slots=True)
class Bar:
    """One line of progress; safe to move from any thread (rich locks, and a plain line is one write)."""

    name: str
    total: float
    bars: Bars
    task_id: object = None
    done: float = 0.0
    note: str = ""
    printed_s: float = field(default_factory=time.monotonic)

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        """Move on by `amount`."""
        self.set(self.done + amount, note)

    def set(self, done: float, note: str | None = None) -> None:
        """Move to `done` (in units of `total`) and change the note, when one is given."""
        if done == self.done and note in (None, self.note):
            return
        self.done = done
        if note is not None:
            self.note = note
        self.bars.show(self)


class Bars:
    """The bars of one stage."""

    def __init__(self, ui: Ui, progress: Progress | None) -> None:
        self._ui = ui
        self._progress = progress

    def add(self, name: str, total: float) -> Bar:
        """A new bar of `total` units."""
        bar = Bar(name, total, self)
        if self._progress is not None:
            bar.task_id = self._progress.add_task(name, total=total, note="")
        return bar

    def show(self, bar: Bar) -> None:
        """Draw a bar's present state."""
        if self._progress is not None:
            self._progress.update(bar.task_id, completed=bar.done, note=bar.note)
            return
        now_s = time.monotonic()
        if bar.done >= bar.total or now_s - bar.printed_s >= PLAIN_INTERVAL_S:
            bar.printed_s = now_s
            self._ui.line(f"  {bar.name}: {bar.done:.0f}/{bar.total:.0f}  {bar.note}".rstrip())


class Ui:
    """Prints stages, keeps their wall time (`wall_s`, seconds by stage name)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.console = Console(file=self.stream, highlight=False)
        self.wall_s: dict[str, float] = {}

    def line(self, text: str = "") -> None:
        """One plain line, at once."""
        if self.console.is_terminal:
            self.console.print(text, markup=False)
        else:
            print(text, file=self.stream, flush=True)

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[Bars]:
        """A stage: says what it does, shows its bars, and prints how long it took, also when it fails."""
        start_s = time.monotonic()
        self.line(f"\n== {name}: {title}")
        word = "failed after"
        try:
            if self.console.is_terminal:
                columns = (TextColumn("  {task.description:<24}"), BarColumn(bar_width=30), MofNCompleteColumn(),
                           TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
                with Progress(*columns, console=self.console) as progress:
                    yield Bars(self, progress)
            else:
                yield Bars(self, None)
            word = "took"
        finally:
            self.wall_s[name] = time.monotonic() - start_s
            self.line(f"== {name} {word} {self.wall_s[name]:.1f} s")
