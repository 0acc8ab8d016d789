"""A new, complete bag out of one that was killed, cut or damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.bag_writer import BagWriter, is_being_written
from autofocus_core.bags import Bag, open_bag, storage_files
from autofocus_core.errors import AutofocusError
from autofocus_core.recovered_reader import RecoveredReader

#: Lies in a working directory that rebuild() makes: such a one may be removed and made again.
REBUILD_MARK = ".rebuild"
_SUFFIX = ".partial"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The bag at `path`, messages by topic, and what the original had lost, in words (empty: nothing)."""

    path: Path
    counts: dict[str, int]
    losses: tuple[str, ...]


def rebuild(
    working: str | Path, target: str | Path, sidecars: Callable[[Bag], Mapping[str, str]] = lambda bag: {}
) -> Rebuilt:
    """Write every whole chunk of the recording `working` into a new bag at `target`; `working` is not touched.

    `sidecars` is given the rebuilt bag, open, before it gets its final name, and returns {file name: text} for it.
    Raises AutofocusError if somebody is still writing it, if `target` exists, or if no message is whole.
    """
    working, target = Path(working), Path(target)
    if is_being_written(working):
        raise AutofocusError(
            f"recording {working}", "is being written", "a recording that ended", "stop the recorder first"
        )
    _remove_leftover(target.with_name(target.name + _SUFFIX), working)
    reader = RecoveredReader([file for file in storage_files(working) if file.suffix == ".mcap"])
    writer = BagWriter(target, working_suffix=_SUFFIX)
    try:
        writer.put_sidecar(REBUILD_MARK, f"made by rebuild from {working}\n")
        for connection in reader.connections:
            writer.add_topic(connection.topic, connection.msgtype)
        for connection, receive_ns, raw in reader.messages(reader.connections):
            writer.write(connection.topic, raw, receive_ns, None)
        writer.finish()
        with open_bag(writer.working) as bag:
            texts = dict(sidecars(bag))
        (writer.working / REBUILD_MARK).unlink()
        writer.close(texts)
    except BaseException:
        writer.abort()
        raise
    finally:
        reader.close()
    return Rebuilt(target, writer.counts, (reader.loss,) if reader.loss else ())


def _remove_leftover(partial: Path, working: Path) -> None:
    """Remove what a rebuild that was killed has left; nothing else."""
    if partial.exists() and partial.resolve() != working.resolve() and (partial / REBUILD_MARK).is_file():
        if is_being_written(partial):
            raise AutofocusError(
                f"bag {partial}", "is being rebuilt", "one rebuild at a time", "wait for the other one"
            )
        shutil.rmtree(partial)
