"""A new, complete bag out of one that was killed, cut or damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.bag_writer import MIN_FILE_BYTES, BagWriter
from autofocus_core.bags import Bag, open_bag, storage_files
from autofocus_core.errors import AutofocusError
from autofocus_core.locks import locked
from autofocus_core.mcap_parse import DamagedError
from autofocus_core.messages import DISTROS
from autofocus_core.recovered_reader import RecoveredReader, RecoveredTopic

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
    """Write every whole chunk of the MCAP recording `working` into a new bag at `target`, by receive stamp.

    `working` is not touched, memory stays flat. `sidecars` is given the new bag, open, before it gets its final
    name, and returns {file name: text} to lie in it. Raises AutofocusError if somebody is still writing `working`, if
    `target` exists, or if no message is whole. What a rebuild that was killed left behind is made again.
    """
    working, target = Path(working), Path(target)
    files = [file for file in storage_files(working, allow_empty=True) if file.suffix == ".mcap"]
    with locked(working):
        reader = RecoveredReader(files)
        try:
            return Rebuilt(target, _write(reader, files, working, target, sidecars), tuple(reader.losses))
        except DamagedError as error:
            raise AutofocusError(
                f"recording {working}",
                str(error),
                "files that nobody changes",
                "stop what writes them, look at the disk",
            ) from error
        finally:
            reader.close()


def _write(
    reader: RecoveredReader,
    files: list[Path],
    working: Path,
    target: Path,
    sidecars: Callable[[Bag], Mapping[str, str]],
) -> dict[str, int]:
    _remove_leftover(target.with_name(target.name + _SUFFIX), working)
    limit = max(MIN_FILE_BYTES, *(file.stat().st_size for file in files)) if len(files) > 1 else None
    distro = reader.ros_distro if reader.ros_distro in DISTROS else None
    writer = BagWriter(target, reader.compression, distro, working_suffix=_SUFFIX, max_file_bytes=limit)
    try:
        writer.put_sidecar(REBUILD_MARK, f"made by rebuild from {working}\n")
        _declare(writer, reader.topics, working)
        for message in reader.raw_messages():
            writer.write(message.topic.name, message.raw, message.receive_ns, message.publish_ns)
        writer.finish()
        with open_bag(writer.working) as bag:
            texts = dict(sidecars(bag))
        (writer.working / REBUILD_MARK).unlink()
        writer.close(texts)
    except BaseException:
        writer.abort()
        raise
    return writer.counts


def _declare(writer: BagWriter, topics: Sequence[RecoveredTopic], working: Path) -> None:
    types: dict[str, str] = {}
    for topic in topics:
        if types.setdefault(topic.name, topic.type) != topic.type:
            raise AutofocusError(
                f"recording {working}: topic {topic.name}",
                f"types {types[topic.name]} and {topic.type}",
                "one type for each topic",
                "filter it with `ros2 bag convert`",
            )
        if topic.name not in writer.counts:
            writer.add_topic(
                topic.name,
                topic.type,
                topic.qos_yaml,
                msgdef=topic.msgdef,
                type_hash=topic.type_hash,
                msgdef_encoding=topic.msgdef_encoding,
            )


def _remove_leftover(partial: Path, working: Path) -> None:
    """Remove what a rebuild that was killed has left; nothing else."""
    if (partial / REBUILD_MARK).is_file() and partial.resolve() != working.resolve():
        with locked(partial):
            shutil.rmtree(partial)
