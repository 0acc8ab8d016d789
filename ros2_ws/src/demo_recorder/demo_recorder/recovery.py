"""Making an episode of a recording that was killed or damaged. What is left of the original is kept, aside.

The original goes to `.interrupted/` first, and every whole chunk of it becomes a new bag under the episode's name: who
kills a recovery finds either the original there, or the original and a complete episode.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.bag_recovery import REBUILD_MARK, rebuild
from autofocus_core.bag_writer import is_being_written, write_atomic
from autofocus_core.bags import STORAGE_SUFFIXES, Bag, open_bag, storage_files
from autofocus_core.episode_meta import INTERRUPTED, EpisodeMeta, StreamQuality, Verdict, read_meta
from autofocus_core.errors import AutofocusError
from autofocus_core.files import sync_folder
from autofocus_core.names import ANNOTATION_SUFFIX, EPISODE_SIDECAR
from autofocus_core.schema import QualityRules, Robot, Task

from demo_recorder.quality import StreamMonitor, expected_rates, measure
from demo_recorder.verdict import judge

INTERRUPTED_FOLDER = ".interrupted"
WORKING_SUFFIXES = (".recording", ".partial")
METADATA_FILE = "metadata.yaml"


@dataclass(frozen=True, slots=True)
class Recovered:
    """The new episode at `path`; where the original lies (None: removed); what was lost, in words."""

    path: Path
    original: Path | None
    meta: EpisodeMeta
    losses: tuple[str, ...]


def find_interrupted(folder: Path) -> list[Path]:
    """Recordings in `folder` that did not end in order, by name: killed ones, foreign ones without metadata.yaml, and
    those whose recovery was killed. Some may still be running: see :func:`in_use`."""
    found = [entry for entry in folder.iterdir() if entry.is_dir() and _is_unfinished(entry)]
    aside = folder / INTERRUPTED_FOLDER
    if aside.is_dir():
        found += [entry for entry in aside.iterdir() if not episode_path(entry).exists()]
    return sorted(found)


def episode_path(working: Path) -> Path:
    """What the episode of an interrupted recording will be called."""
    folder = working.parent.parent if working.parent.name == INTERRUPTED_FOLDER else working.parent
    name = working.name
    for suffix in (*WORKING_SUFFIXES, *STORAGE_SUFFIXES):
        name = name.removesuffix(suffix)
    return folder / name


def in_use(working: Path) -> bool:
    """Whether a living process writes this recording: our recorder holds a lock, others have its files open."""
    return is_being_written(working) or (not working.name.endswith(WORKING_SUFFIXES) and _is_open_somewhere(working))


def recover(
    working: Path,
    *,
    robot: Robot | None = None,
    task: Task | None = None,
    delete_original: bool = False,
) -> Recovered:
    """An episode out of an interrupted, damaged or foreign killed recording; its verdict is bad, and says why.

    `robot` and `task` tell what the sidecar does not, where there is none: names and expected rates; `task` also the
    thresholds. `delete_original`: the original is removed once the episode is on the disk and was read again.
    Raises AutofocusError if it is being written, is whole, has no whole message, or its name is taken.
    """
    working = working.absolute()
    target = episode_path(working)
    if _only_sidecar_is_broken(working):
        return _mend_sidecar(working, robot, task)
    stop_reason = _check(working, target)
    before = _known(working)
    aside = _put_aside(working, target)

    def sidecars(bag: Bag) -> dict[str, str]:
        return {EPISODE_SIDECAR: describe(bag, target.name, before, robot, task, stop_reason).to_json()}

    try:
        rebuilt = rebuild(aside, target, sidecars)
    except BaseException:
        if aside != working and not target.exists():
            aside.rename(working)
        raise
    meta = read_meta(target / EPISODE_SIDECAR)
    grade, (first, *others) = meta.verdict.grade, meta.verdict.reasons
    verdict = Verdict(grade, (first, *(f"lost: {loss}" for loss in rebuilt.losses), *others))
    meta = dataclasses.replace(meta, verdict=verdict)
    write_atomic(target / EPISODE_SIDECAR, meta.to_json())
    if delete_original:
        _verify(target, rebuilt.counts)
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    return Recovered(target, None if delete_original else aside, meta, rebuilt.losses)


def describe(
    bag: Bag, name: str, before: EpisodeMeta | None, robot: Robot | None, task: Task | None, stop_reason: str
) -> EpisodeMeta:
    """The sidecar of a rebuilt bag: what was known `before`, and every figure from the messages that are left."""
    base = before or _unknown(name, robot, task, bag.start_ns)
    rates = {topic: stream.expected_rate_hz for topic, stream in base.streams.items()}
    rates = {**(expected_rates(robot) if robot is not None else {}), **rates}
    end_ns = max(base.start_ns, bag.end_ns)
    measured, silences = measure(bag, rates, base.start_ns, end_ns)
    streams: dict[str, StreamQuality] = {}
    for topic in sorted({*measured, *base.streams}):
        known = base.streams.get(topic)
        found = measured.get(topic)
        if found is None:  # announced, and nothing of it is left
            found = StreamMonitor(known.type, known.expected_rate_hz, base.start_ns, topic).finish(end_ns)
        told = {"lost": known.lost, "refused": known.refused} if known is not None else {}
        streams[topic] = dataclasses.replace(found, **told)
    events = [event for event in base.events if event.kind != "gap"]
    meta = dataclasses.replace(
        base,
        id=name,
        end_ns=end_ns,
        stop_reason=stop_reason,
        streams=streams,
        events=tuple(sorted([*events, *silences], key=lambda event: (event.start_ns, event.topic))),
    )
    required = [topic for topic, rate_hz in rates.items() if rate_hz is not None]
    return dataclasses.replace(meta, verdict=judge(meta, task.quality if task else QualityRules(), required))


def _check(working: Path, target: Path) -> str:
    """The stop reason that the episode will have; raises AutofocusError where there is nothing to recover."""
    files = storage_files(working, allow_empty=True)
    if in_use(working):
        raise AutofocusError(
            f"recording {working}", "is being written", "a recording that ended", "stop its recorder first"
        )
    if not any(file.suffix == ".mcap" for file in files):
        raise AutofocusError(
            f"recording {working}",
            f"{', '.join(file.name for file in files)}",
            ".mcap files",
            "only MCAP can be recovered here; `ros2 bag reindex` makes a metadata.yaml for SQLite",
        )
    if target.exists() and target != working:
        raise AutofocusError(
            f"recording {working}", f"{target} exists", "a name that is free", "rename one of the two"
        )
    if _is_unfinished(working) or working.parent.name == INTERRUPTED_FOLDER:
        return INTERRUPTED
    with open_bag(working, allow_truncated=True) as bag:
        if bag.lossy:
            return f"error: damaged files: {bag.loss}"
    raise AutofocusError(
        f"recording {working}", "is whole", "an interrupted or damaged recording", "it needs no recovery"
    )


def _put_aside(working: Path, target: Path) -> Path:
    """Move the original to `.interrupted/`, unless it is there already."""
    folder = target.parent / INTERRUPTED_FOLDER
    if working.parent == folder:
        return working
    aside = folder / working.name
    if aside.exists():
        raise AutofocusError(
            f"recording {working}", f"{aside} exists", "a name that is free", f"move {aside} away"
        )
    folder.mkdir(exist_ok=True)
    working.rename(aside)
    sync_folder(folder)
    sync_folder(working.parent)
    return aside


def _known(working: Path) -> EpisodeMeta | None:
    """What the sidecar says, None where there is none that can be read; raises AutofocusError for a newer version."""
    try:
        return read_meta(working / EPISODE_SIDECAR)
    except AutofocusError as error:
        if error.where.endswith(": schema"):
            raise
        return None


def _only_sidecar_is_broken(path: Path) -> bool:
    """Whether the recording is finished and whole, and its sidecar cannot be read."""
    if _is_unfinished(path) or not (path / EPISODE_SIDECAR).is_file() or _known(path) is not None:
        return False
    with open_bag(path, allow_truncated=True) as bag:
        return not bag.lossy


def _mend_sidecar(path: Path, robot: Robot | None, task: Task | None) -> Recovered:
    """Put a new sidecar beside the messages; the old one is kept."""
    with open_bag(path) as bag:
        meta = describe(bag, path.name, None, robot, task, "error: its sidecar was broken, and with it what was lost")
    broken = path / (EPISODE_SIDECAR + ".broken")
    (path / EPISODE_SIDECAR).rename(broken)
    write_atomic(path / EPISODE_SIDECAR, meta.to_json())
    return Recovered(path, broken, meta, ())


def _unknown(name: str, robot: Robot | None, task: Task | None, start_ns: int) -> EpisodeMeta:
    """A sidecar of which nobody knows more than what was given on the command line."""
    return EpisodeMeta(
        id=name,
        task=task.name if task else "",
        instruction=task.instruction if task else "",
        robot=robot.name if robot else "",
        robot_hash=robot.hash() if robot else "",
        outcome="unknown",
        note="",
        start_ns=start_ns,
        end_ns=start_ns,
        stop_reason=INTERRUPTED,
        streams={},
    )


def _verify(target: Path, counts: dict[str, int]) -> None:
    """Read the new episode to its end; raises AutofocusError where it is not what was written."""
    with open_bag(target) as bag:
        found = dict.fromkeys(bag.topics, 0)
        for message in bag.messages():
            found[message.topic] += 1
    if found != counts:
        raise AutofocusError(
            f"episode {target}", f"messages {found}", f"{counts}", "the original was kept: recover it again"
        )


def _is_unfinished(entry: Path) -> bool:
    if entry.name.startswith(".") or entry.name.endswith(ANNOTATION_SUFFIX + ".partial"):
        return False
    if entry.is_file() or (entry / REBUILD_MARK).exists():
        return False
    if entry.name.endswith(WORKING_SUFFIXES):
        return True
    return not (entry / METADATA_FILE).is_file() and any(file.suffix == ".mcap" for file in entry.iterdir())


def _is_open_somewhere(working: Path) -> bool:
    """Whether a process of ours has a file of the recording open (Linux): rosbag2 takes no lock."""
    prefix = str(working.resolve())
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            name = os.readlink(link)
        except OSError:  # somebody else's process, or it has gone
            continue
        if name == prefix or name.startswith(prefix + os.sep):
            return True
    return False
