"""`autofocus episodes list`: one line for each episode, from the sidecars alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from autofocus_cli.episodes.console import GRADE_COLOURS, say
from autofocus_core.bags import storage_files
from autofocus_core.episode import annotation_path, episode_paths, load_episode
from autofocus_core.episode_meta import GRADES, EpisodeMeta
from autofocus_core.errors import AutofocusError
from demo_recorder.recovery import find_interrupted, in_use
from rich.console import Console
from rich.markup import escape
from rich.table import Table

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """An episode as the list shows it. None: nobody knows (a foreign bag has no sidecar).

    `slowest`: the stream whose rate falls shortest of what is expected; `kept_s`: length of the part within the trim;
    `problem`: why it could not be read, "" otherwise.
    """

    path: Path
    foreign: bool
    outcome: str
    grade: str
    duration_s: float | None
    megabytes: float
    slowest: str = ""
    slowest_rate_hz: float | None = None
    slowest_expected_hz: float | None = None
    gaps: int | None = None
    drops: int | None = None
    kept_s: float | None = None
    annotated: bool = False
    note: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A recording that did not end in order, or that still runs."""

    path: Path
    running: bool
    megabytes: float


def read_rows(folder: Path) -> list[Row]:
    """A row for each episode in `folder`, broken ones too. Raises AutofocusError where there are none."""
    return [_row(path) for path in episode_paths(folder)]


def read_unfinished(folder: Path) -> list[Unfinished]:
    """What lies in `folder` and did not end in order."""
    if not folder.is_dir() or (folder / "metadata.yaml").is_file():
        return []
    return [Unfinished(path, in_use(path), _megabytes(path)) for path in find_interrupted(folder)]


def totals(rows: Sequence[Row]) -> str:
    """One line about all of them."""
    grades = Counter(row.grade for row in rows)
    outcomes = Counter(row.outcome for row in rows)
    counted = ", ".join(f"{grades[grade]} {grade}" for grade in GRADES if grades[grade])
    ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    seconds = sum(row.duration_s or 0.0 for row in rows)
    many = "episode" if len(rows) == 1 else "episodes"
    return (f"{len(rows)} {many}, {_length(seconds)}, {sum(row.megabytes for row in rows):.1f} MB. "
            f"Verdicts: {counted}. Outcomes: {ended}.")


def print_rows(rows: Sequence[Row], unfinished: Sequence[Unfinished], console: Console) -> None:
    """The table, what is unfinished with the command that recovers it, and the totals."""
    if rows:
        console.print(_table(rows, console.width))
    for row in rows:
        if row.problem:
            say(console, f"[red]unreadable[/]: {escape(row.path.name)}: {escape(row.problem)}; mend it: "
                         f"autofocus episodes recover {escape(str(row.path))}")
    for left in unfinished:
        name, size = escape(left.path.name), f"{left.megabytes:.1f} MB"
        if left.running:
            say(console, f"[cyan]still being recorded[/]: {name} ({size})")
        else:
            say(console, f"[red]interrupted[/]: {name} ({size}); make an episode of it: "
                          f"autofocus episodes recover {escape(str(left.path))}")
    say(console, totals(rows))


def as_json(rows: Sequence[Row], unfinished: Sequence[Unfinished]) -> dict:
    """The same for programs."""
    def plain(item: Row | Unfinished) -> dict:
        return {**dataclasses.asdict(item), "path": str(item.path)}

    return {"episodes": [plain(row) for row in rows], "unfinished": [plain(left) for left in unfinished]}


def _row(path: Path) -> Row:
    annotated = annotation_path(path).is_dir()
    try:
        episode = load_episode(path)
    except AutofocusError as error:
        return Row(path, False, "unknown", "unknown", None, _megabytes(path), annotated=annotated, problem=error.got)
    meta = episode.meta
    if meta is None:
        return Row(path, True, "unknown", "unknown", _foreign_duration_s(path), _megabytes(path), annotated=annotated)
    topic, rate_hz, expected_hz = _slowest(meta)
    trim = meta.trim
    return Row(
        path=path, foreign=False, outcome=meta.outcome, grade=meta.verdict.grade,
        duration_s=(meta.end_ns - meta.start_ns) / NS_PER_S, megabytes=_megabytes(path),
        slowest=topic, slowest_rate_hz=rate_hz, slowest_expected_hz=expected_hz,
        gaps=sum(stream.gaps for stream in meta.streams.values()),
        drops=sum(stream.drops for stream in meta.streams.values()),
        kept_s=None if trim is None else (trim.end_ns - trim.start_ns) / NS_PER_S,
        annotated=annotated, note=meta.note,
    )  # fmt: skip


def _slowest(meta: EpisodeMeta) -> tuple[str, float | None, float | None]:
    expected = [(topic, s.achieved_rate_hz, s.expected_rate_hz) for topic, s in meta.streams.items()
                if s.expected_rate_hz is not None]
    return min(expected, key=lambda entry: entry[1] / entry[2], default=("", None, None))


def _foreign_duration_s(path: Path) -> float | None:
    """What metadata.yaml says, None where there is none that can be read."""
    try:
        text = (path / "metadata.yaml").read_text(encoding="utf-8")
        information = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return information["rosbag2_bagfile_information"]["duration"]["nanoseconds"] / NS_PER_S
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None


def _megabytes(path: Path) -> float:
    try:
        return sum(file.stat().st_size for file in storage_files(path)) / 1e6
    except AutofocusError:
        return 0.0


def _table(rows: Sequence[Row], width: int) -> Table:
    """As many columns as the terminal has room for; a name that is cut off is worth nothing."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    columns = [column for column in _COLUMNS if width >= column.least_width]
    for column in columns:
        table.add_column(column.title, justify=column.justify, no_wrap=column.title != "note")
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    return table


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, what it shows (in rich's markup), and the terminal that it needs."""

    title: str
    cell: Callable[[Row], str]
    justify: Literal["left", "right"] = "right"
    least_width: int = 0


def _rate(row: Row) -> str:
    if row.slowest_rate_hz is None or row.slowest_expected_hz is None:
        return "-"
    return f"{100 * row.slowest_rate_hz / row.slowest_expected_hz:.0f} %"


def _slowest_words(row: Row) -> str:
    if row.slowest_rate_hz is None:
        return "-"
    return f"{row.slowest_rate_hz:.1f} of {row.slowest_expected_hz:g} Hz {escape(row.slowest)}"


def _note(row: Row) -> str:
    if row.problem:
        return "[red]unreadable[/]"
    return "[dim]foreign bag[/]" if row.foreign else escape(row.note)


_COLUMNS = (
    _Column("episode", lambda row: escape(row.path.name), "left"),
    _Column("outcome", lambda row: row.outcome, "left"),
    _Column("verdict", lambda row: f"[{GRADE_COLOURS[row.grade]}]{row.grade}[/]", "left"),
    _Column("s", lambda row: _figure(row.duration_s, 1)),
    _Column("MB", lambda row: f"{row.megabytes:.1f}"),
    _Column("rate", _rate),
    _Column("gaps", lambda row: _figure(row.gaps)),
    _Column("drops", lambda row: _figure(row.drops)),
    _Column("kept s", lambda row: _figure(row.kept_s, 1), least_width=95),
    _Column("annotated", lambda row: "yes" if row.annotated else "no", "left", least_width=95),
    _Column("note", _note, "left", least_width=95),
    _Column("slowest stream", _slowest_words, "left", least_width=160),
)


def _figure(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
