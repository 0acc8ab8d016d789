"""What `autofocus annotate` shows while it works: bars in a terminal, a line for each episode elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text

from saliency_server import course
from saliency_server.item import Outcome

MOST_SHOWN = 8  # episodes in hand that get a line of their own
COLOURS = {"annotated": "green", "up to date": "dim", "incomplete": "yellow", "failed": "red"}


class Screen:
    """Names, reasons and paths are printed as they are: nothing in them is markup."""

    def __init__(self, total: int, quiet: bool, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._quiet, self._total, self._count = quiet, total, 0
        self._shows_bars = not quiet and self._console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(),
            TextColumn("{task.fields[what]}", markup=False), TimeElapsedColumn(), Remaining(compact=True),
            console=self._console, transient=True, disable=not self._shows_bars, redirect_stdout=False,
            refresh_per_second=5,
        )
        self._all = self._bars.add_task("annotate", total=total, what="episodes")
        self._lines: dict[Path, TaskID] = {}

    def __enter__(self) -> Screen:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._bars.stop()

    def told(self, path: Path, progress: course.Progress) -> None:
        """An episode has got so far."""
        if not self._shows_bars:
            if progress.stage == course.WAIT and not self._quiet:
                self._console.print(Text(f"{path.name}: left for last, another annotator has it"), soft_wrap=True)
            return
        if path not in self._lines:
            if len(self._lines) >= MOST_SHOWN:
                return
            self._lines[path] = self._bars.add_task(f"  {_short(path.name)}", total=None, what="")
        self._bars.update(
            self._lines[path], completed=progress.done, total=progress.total or None,
            what=progress.stage if not progress.total else f"frames: {progress.stage}",
        )

    def done(self, outcome: Outcome) -> None:
        """An episode is done: problems are always told, the others where there is no bar that shows them."""
        self._count += 1
        line = self._lines.pop(outcome.path, None)
        if line is not None:
            self._bars.remove_task(line)
        self._bars.update(self._all, advance=1)
        if outcome.error or not (self._quiet or self._shows_bars):
            text = Text.assemble(
                (f"{self._count}/{self._total} ", "dim"), outcome.path.name, ": ",
                (outcome.status, COLOURS.get(outcome.status, "")),
            )
            if not outcome.error:
                text.append(f", {outcome.seconds:.1f} s", "dim")
            self._console.print(text, soft_wrap=True)
        if outcome.error:
            self._console.print(Text(outcome.error), soft_wrap=True)


def _short(name: str, most: int = 36) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
