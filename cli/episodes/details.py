"""`autofocus episodes show`: everything that is known about an episode."""

from __future__ import annotations

import json
from collections.abc import Sequence

from autofocus_cli.episodes.console import GRADE_COLOURS, say
from autofocus_cli.episodes.overview import NS_PER_S
from autofocus_core.episode import Episode
from autofocus_core.episode_meta import EpisodeMeta, Event, StreamQuality
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN_EVENTS = 40
#: A terminal with fewer columns gets two lines for each stream.
TABLE_WIDTH = 170


def print_episode(episode: Episode, console: Console) -> None:
    """Task, verdict with reasons, streams, events, devices; of a foreign bag its topics."""
    say(console, f"[bold]{escape(str(episode.path))}[/]")
    if episode.meta is None:
        with episode.open() as bag:
            seconds = (bag.end_ns - bag.start_ns) / NS_PER_S
            console.print(f"a foreign bag: {bag.message_count} messages, {seconds:.1f} s. "
                          "`autofocus episodes check` measures it.")
            for topic, type in sorted(bag.topics.items()):
                say(console, f"  {topic:<40} {type:<40} {bag.counts[topic]:>8}")
        return
    for line in summary(episode, episode.meta):
        say(console, line)
    if console.width >= TABLE_WIDTH:
        console.print(streams_table(episode.meta.streams))
    else:
        for line in stream_lines(episode.meta.streams):
            say(console, line)
    if episode.meta.events:
        console.print("[bold]events[/] (seconds since the start)")
        for line in event_lines(episode.meta.events, episode.meta.start_ns):
            say(console, "  " + escape(line))
        left_out = episode.meta.events_left_out + max(0, len(episode.meta.events) - SHOWN_EVENTS)
        if left_out:
            console.print(f"  and {left_out} more")
    for topic, device in episode.meta.devices.items():
        told = ", ".join(f"{key} {value}" for key, value in device.items()) if isinstance(device, dict) else device
        say(console, f"[bold]device[/] {escape(topic)}: {escape(str(told))}")


def summary(episode: Episode, meta: EpisodeMeta) -> list[str]:
    """The lines above the table, with rich's markup."""
    colour = GRADE_COLOURS[meta.verdict.grade]
    seconds = (meta.end_ns - meta.start_ns) / NS_PER_S
    lines = [
        f"task {escape(meta.task or '-')}: {escape(meta.instruction or '-')}; robot {escape(meta.robot or 'unknown')}; "
        f"outcome {meta.outcome}; {seconds:.1f} s; stopped: {escape(meta.stop_reason)}",
        f"verdict [{colour}]{meta.verdict.grade}[/]",
        *(f"  {escape(reason)}" for reason in meta.verdict.reasons),
    ]
    if meta.note:
        lines.append(f"note: {escape(meta.note)}")
    if meta.trim is not None:
        begin_s, end_s = ((ns - meta.start_ns) / NS_PER_S for ns in (meta.trim.start_ns, meta.trim.end_ns))
        lines.append(f"trimmed: {begin_s:.1f} to {end_s:.1f} s count ({escape(meta.trim.reason)})")
    lines.append(f"annotated: {'yes' if episode.annotation_path.is_dir() else 'no'}"
                 + (f"; recorded with {escape(meta.software)}" if meta.software else ""))
    return lines


def streams_table(streams: dict[str, StreamQuality]) -> Table:
    """One line for each topic."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("topic", no_wrap=True)
    table.add_column("type", no_wrap=True)
    for title in ("messages", "MB", "Hz", "expected", "jitter ms", "longest gap ms", "gaps", "missing", "lost",
                  "refused", "latency ms p50 / p99 / max"):  # fmt: skip
        table.add_column(title, justify="right", no_wrap=len(title) < 10)
    table.add_column("wrong stamps")
    for topic, s in streams.items():
        latency = "-"
        if s.latency is not None:
            latency = f"{s.latency.p50_ms:.1f} / {s.latency.p99_ms:.1f} / {s.latency.max_ms:.1f}"
        table.add_row(
            escape(topic), s.type.rsplit("/", 1)[-1], str(s.count), f"{s.bytes / 1e6:.1f}", f"{s.achieved_rate_hz:.1f}",
            "-" if s.expected_rate_hz is None else f"{s.expected_rate_hz:g}", f"{s.jitter_ms:.1f}",
            f"{s.longest_gap_ms:.1f}", str(s.gaps), str(s.missing), str(s.lost), str(s.refused), latency, _faults(s),
        )  # fmt: skip
    return table


def stream_lines(streams: dict[str, StreamQuality]) -> list[str]:
    """The same in words, two lines for each topic."""
    lines = []
    for topic, s in streams.items():
        expected = "" if s.expected_rate_hz is None else f" of {s.expected_rate_hz:g}"
        parts = [f"{s.count} messages, {s.bytes / 1e6:.1f} MB, {s.achieved_rate_hz:.1f}{expected} Hz",
                 f"jitter {s.jitter_ms:.1f} ms", f"longest gap {s.longest_gap_ms:.0f} ms"]  # fmt: skip
        parts += [f"{what} {count}" for what, count in (("gaps", s.gaps), ("missing", s.missing), ("lost", s.lost),
                                                       ("refused", s.refused)) if count]  # fmt: skip
        if s.latency is not None:
            parts.append(f"latency {s.latency.p50_ms:.1f} ms (99 %: {s.latency.p99_ms:.1f} ms)")
        if s.stamp_faults.total:
            parts.append(f"stamps: {_faults(s)}")
        lines += [f"[bold]{escape(topic)}[/] {s.type}", "  " + ", ".join(parts)]
    return lines


def event_lines(events: Sequence[Event], start_ns: int) -> list[str]:
    """The first events in words."""
    lines = []
    for event in events[:SHOWN_EVENTS]:
        begin_s, end_s = ((ns - start_ns) / NS_PER_S for ns in (event.start_ns, event.end_ns))
        when = f"{begin_s:.2f}" if event.start_ns == event.end_ns else f"{begin_s:.2f} to {end_s:.2f}"
        lines.append(" ".join(part for part in (f"{when}:", event.kind, event.topic, event.detail) if part))
    return lines


def as_json(episode: Episode) -> dict:
    """The sidecar with the path, for programs."""
    meta = None if episode.meta is None else json.loads(episode.meta.to_json())
    return {"path": str(episode.path), "annotated": episode.annotation_path.is_dir(), "meta": meta}


def _faults(stream: StreamQuality) -> str:
    faults = stream.stamp_faults
    kinds = {"zero": faults.zero, "repeated": faults.duplicate, "backwards": faults.backwards, "future": faults.future}
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "-"
