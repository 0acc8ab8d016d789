"""`autofocus episodes check`: every message is read and decoded, every figure measured again and judged."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.bags import Bag, open_bag
from autofocus_core.episode import load_episode
from autofocus_core.episode_meta import EpisodeMeta, Event, StreamQuality, Verdict
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import QualityRules, Robot
from demo_recorder.quality import Measurement, expected_rates
from demo_recorder.verdict import judge

#: Figures that the bag can tell. Version 1 of the sidecar (no verdict) counted gaps and faults in another way; a
#: recording that a full disk ended knows what it wrote, and its other figures are of what it took.
DERIVED = ("type", "count", "bytes", "achieved_rate_hz", "longest_gap_ms", "gaps", "jitter_ms", "missing", "latency",
           "stamp_faults")  # fmt: skip
COUNTED = ("type", "count")
#: What rounding to three digits may change.
TOLERANCE = 2e-3
PROGRESS_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found. `problems`: damage, and figures that are not those in the sidecar; each of them makes it bad.

    `verdict`: of what the bag has, by the rules given. `streams` and `events`: measured again.
    """

    path: Path
    problems: tuple[str, ...]
    verdict: Verdict
    recorded: Verdict
    messages: int
    streams: dict[str, StreamQuality]
    events: tuple[Event, ...]

    @property
    def grade(self) -> str:
        """ "ok", "usable" or "BAD"."""
        if self.problems or self.verdict.grade == "bad":
            return "BAD"
        return "usable" if self.verdict.grade == "usable" else "ok"


def check_episode(
    path: Path, rules: QualityRules, robot: Robot | None = None, on_bytes: Callable[[int], object] = lambda count: None
) -> Checked:
    """Read one episode (or foreign bag) to its end. `robot` gives a foreign bag its expected rates.

    `on_bytes` hears how much was read, in bytes of messages.
    """
    try:
        meta = load_episode(path).meta
    except AutofocusError as error:
        return _unreadable(path, f"{error.where}: {error.got}")
    try:
        with open_bag(path, allow_truncated=True) as bag:
            return _check_bag(bag, path, meta, rules, robot, on_bytes)
    except AutofocusError as error:
        return _unreadable(path, f"{error.where}: {error.got}")


def check_all(
    paths: Sequence[Path], rules: QualityRules, robot: Robot | None, workers: int, on_bytes: Callable[[int], object]
) -> Iterator[Checked]:
    """The same for many, in `workers` processes, in the order given."""
    if workers <= 1 or len(paths) <= 1:
        for path in paths:
            yield check_episode(path, rules, robot, on_bytes)
        return
    with ProcessPoolExecutor(min(workers, len(paths))) as pool:
        for checked in pool.map(check_episode, paths, [rules] * len(paths), [robot] * len(paths)):
            on_bytes(sum(stream.bytes for stream in checked.streams.values()))
            yield checked


def compare(recorded: dict[str, StreamQuality], measured: dict[str, StreamQuality], names: Sequence[str]) -> list[str]:
    """Where the sidecar says something else than the bag, in words."""
    found = []
    for topic in sorted({*recorded, *measured}):
        if topic not in measured:
            if recorded[topic].count:
                found.append(f"{topic}: {recorded[topic].count} messages in the sidecar, none in the bag")
            continue
        if topic not in recorded:
            found.append(f"{topic}: in the bag, not in the sidecar")
            continue
        for name in names:
            told, is_so = getattr(recorded[topic], name), getattr(measured[topic], name)
            if not _same(told, is_so):
                found.append(f"{topic}: {name} is {_show(is_so)} in the bag, {_show(told)} in the sidecar")
    return found


def as_json(checked: Checked) -> dict:
    """For programs."""
    return {**dataclasses.asdict(checked), "path": str(checked.path), "grade": checked.grade}


def _check_bag(
    bag: Bag, path: Path, meta: EpisodeMeta | None, rules: QualityRules, robot: Robot | None,
    on_bytes: Callable[[int], object],
) -> Checked:  # fmt: skip
    rates = expected_rates(robot) if robot is not None else {}
    if meta is not None:
        rates = {topic: stream.expected_rate_hz for topic, stream in meta.streams.items()}
    start_ns, end_ns = (bag.start_ns, bag.end_ns) if meta is None else (meta.start_ns, meta.end_ns)
    problems = [f"damaged: {bag.loss}; autofocus episodes recover {path}"] if bag.lossy else []
    measurement = Measurement(bag, rates, start_ns)
    undecoded: Counter[str] = Counter()
    first: dict[str, str] = {}
    unread = 0
    try:
        for message in bag.messages():
            measurement.add(message)
            unread += len(message.raw)
            if unread > PROGRESS_BYTES:
                on_bytes(unread)
                unread = 0
            try:
                bag.decode(message.type, message.raw)
            except AutofocusError as error:
                undecoded[message.topic] += 1
                first.setdefault(message.topic, error.got)
    except AutofocusError as error:
        problems.append(f"{error.where}: {error.got}")
    on_bytes(unread)
    streams, events = measurement.finish(end_ns)
    for topic, count in undecoded.items():
        problems.append(f"{topic}: {count} messages cannot be decoded, the first: {first[topic]}")
    for topic, count in bag.counts.items():
        if streams[topic].count != count:
            problems.append(f"{topic}: {streams[topic].count} messages, {count} by the bag's own index")
    if meta is not None:
        whole = meta.verdict.grade != "unknown" and not meta.stop_reason.startswith("error")
        problems += compare(meta.streams, streams, DERIVED if whole else COUNTED)
    verdict = judge(_merged(path, meta, streams, events, start_ns, end_ns), rules, _required(rates))
    recorded = meta.verdict if meta is not None else Verdict()
    messages = sum(stream.count for stream in streams.values())
    return Checked(path, tuple(problems), verdict, recorded, messages, streams, events)


def _merged(
    path: Path, meta: EpisodeMeta | None, streams: dict[str, StreamQuality], events: tuple[Event, ...], start_ns: int,
    end_ns: int,
) -> EpisodeMeta:  # fmt: skip
    """What is to be judged: the figures of the bag, and what only the recorder could know."""
    if meta is None:
        return EpisodeMeta(path.name, "", "", "", "", "unknown", "", start_ns, end_ns, "requested", streams,
                           events=events)  # fmt: skip
    told = {
        topic: dataclasses.replace(stream, lost=meta.streams[topic].lost, refused=meta.streams[topic].refused)
        for topic, stream in streams.items() if topic in meta.streams
    }  # fmt: skip
    return dataclasses.replace(meta, streams={**meta.streams, **streams, **told})


def _required(rates: dict[str, float | None]) -> list[str]:
    return [topic for topic, rate_hz in rates.items() if rate_hz is not None]


def _same(told: object, is_so: object) -> bool:
    if dataclasses.is_dataclass(told) and dataclasses.is_dataclass(is_so):
        pairs = [(getattr(told, f.name), getattr(is_so, f.name)) for f in dataclasses.fields(told)]
        return all(_same(*pair) for pair in pairs)
    if isinstance(told, float) and isinstance(is_so, float):
        return abs(told - is_so) <= TOLERANCE
    return told == is_so


def _show(value: object) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ", ".join(f"{name} {_show(field)}" for name, field in dataclasses.asdict(value).items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unreadable(path: Path, why: str) -> Checked:
    return Checked(path, (why,), Verdict("bad", ()), Verdict(), 0, {}, ())
