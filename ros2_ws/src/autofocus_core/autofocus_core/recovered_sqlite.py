"""Reading what is whole of damaged SQLite bags: row by row, since a query over all ends at the first bad page.

Has the part of the rosbags reader's face that Bag uses. SQLite has no checksums: a page that is cut off or makes no
sense is found, a flipped bit within a message is not.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import apsw
import numpy as np
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

from autofocus_core.bag_metadata import compresses_messages
from autofocus_core.bag_types import FORMATS
from autofocus_core.errors import AutofocusError
from autofocus_core.mcap_parse import DamagedError, plain_bytes

_LEAST_ROW_BYTES = 24
_HOPELESS_ROWS = 20_000  # one after the other: behind them nothing comes
_NAMED = 3  # stretches of lost rows that are named one by one


class RecoveredSqlite:
    """`losses`: what cannot be read (empty: nothing is missing), `start_time` and `end_time` (exclusive) receive stamps
    in ns, `ros_distro`."""

    def __init__(self, files: Sequence[Path], expected: int | None = None, ros_distro: str = "") -> None:
        """expected: how many messages there should be, where somebody knows. Reads every row once; raises
        AutofocusError where no message can be read."""
        self.ros_distro = ros_distro
        self.losses: list[str] = []
        self._files: list[_File] = []
        for file in files:
            try:
                self._files.append(_File(file, expected))
            except (apsw.Error, UnicodeDecodeError) as error:
                self.losses.append(f"{file.name}: it cannot be read at all: {error}")
        self._connections: dict[tuple[str, str], Connection] = {}
        for opened in self._files:
            self.losses += [f"{opened.path.name}: {loss}" for loss in opened.losses]
            for topic, (name, kind, definition, digest) in opened.topics.items():
                known = self._connections.get((name, kind))
                self._connections[name, kind] = Connection(
                    id=len(self._connections) + 1 if known is None else known.id,
                    topic=name,
                    msgtype=kind,
                    msgdef=definition,
                    digest=digest,
                    msgcount=opened.counts[topic] + (0 if known is None else known.msgcount),
                    ext=ConnectionExtRosbag2("cdr", []),
                    owner=self,
                )
        found = sum(len(opened.stamps_ns) for opened in self._files)
        if found == 0 and (self.losses or expected):
            raise AutofocusError(
                f"bag {files[0].parent if files else '(none)'}",
                f"no message in it can be read ({'; '.join(self.losses) or 'it has none'})",
                "a SQLite bag with readable pages",
                "delete it and record again",
            )
        if expected is not None and expected > found and not self.losses:
            self.losses.append(f"metadata.yaml counts {expected} messages, {found} are there")
        stamps_ns = [opened.stamps_ns for opened in self._files if len(opened.stamps_ns)]
        self.start_time = min((int(stamps.min()) for stamps in stamps_ns), default=0)
        self.end_time = max((int(stamps.max()) for stamps in stamps_ns), default=-1) + 1

    @property
    def connections(self) -> list[Connection]:
        """The topics of all files."""
        return list(self._connections.values())

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, receive_ns, raw) of the given connections, by receive stamp over all files."""
        wanted = {(c.topic, c.msgtype) for c in connections}
        stamps, places, rows = [], [], []
        for place, opened in enumerate(self._files):
            own = np.array([topic for topic, about in opened.topics.items() if about[:2] in wanted], dtype=np.int64)
            chosen = np.isin(opened.topic_ids, own)
            stamps.append(opened.stamps_ns[chosen])
            rows.append(opened.rows[chosen])
            places.append(np.full(int(chosen.sum()), place))
        stamps_ns, row, place = np.concatenate(stamps), np.concatenate(rows), np.concatenate(places)
        for k in np.lexsort((row, place, stamps_ns)):
            opened = self._files[place[k]]
            topic, raw = opened.message(int(row[k]))
            name, kind, _, _ = opened.topics[topic]
            yield self._connections[name, kind], int(stamps_ns[k]), raw

    def close(self) -> None:
        """Let go of the files."""
        for opened in self._files:
            opened.close()


class _File:
    """One storage file: `topics` {id: (name, type, definition, hash)}, and of each row that can be read its number,
    topic and receive stamp."""

    def __init__(self, path: Path, most: int | None) -> None:
        """most: rows there can be, where somebody knows. Raises apsw.Error where not even the topics can be read."""
        self.path = path
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        self._database = apsw.Connection(f"file:{path}?immutable=1", flags=flags)
        try:
            # Only so does SQLite open a file that is shorter than its head says.
            self._database.execute("PRAGMA writable_schema = ON")
            self.topics = self._topics()
            self._zipped = _messages_are_compressed(path.parent)
            self._scan(most)
            self._rules()
        except BaseException:
            self._database.close()
            raise

    def message(self, row: int) -> tuple[int, bytes]:
        """(topic, bytes) of a row; raises DamagedError for one that has changed since, or cannot be unpacked."""
        found = self._database.execute("SELECT topic_id, data FROM messages WHERE id = ?", (row,)).fetchone()
        if found is None:
            raise DamagedError(f"{self.path.name}: row {row}: changed while it was read")
        return found[0], plain_bytes(found[1], "zstd", 0, 0) if self._zipped else found[1]

    def close(self) -> None:
        self._database.close()

    def _topics(self) -> dict[int, tuple[str, str, MessageDefinition, str]]:
        columns = {row[1] for row in self._database.execute("PRAGMA table_info(topics)")}
        digest = "type_description_hash" if "type_description_hash" in columns else "''"
        definitions: dict[str, MessageDefinition] = {}
        try:
            for kind, encoding, text in self._database.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ):
                definitions[kind] = MessageDefinition(FORMATS.get(encoding, MessageDefinitionFormat.NONE), text)
        except apsw.Error:
            pass  # bags of before Iron have none, and a damaged one has at least the standard types
        nothing = MessageDefinition(MessageDefinitionFormat.NONE, "")
        return {
            row[0]: (row[1], row[2], definitions.get(row[2], nothing), row[3] or "")
            for row in self._database.execute(f"SELECT id, name, type, {digest} FROM topics ORDER BY id")
            if isinstance(row[1], str) and isinstance(row[2], str)
        }

    def _scan(self, most: int | None) -> None:
        rows, topics, stamps = array("q"), array("q"), array("q")
        lost: list[tuple[int, int, str]] = []  # first row, last row, why
        last = self._last_row(most)
        for row in range(1, last + 1):
            why = ""
            try:
                found = self._database.execute(
                    "SELECT topic_id, timestamp, data FROM messages WHERE id = ?", (row,)
                ).fetchone()
                if found is None:
                    continue
                topic, stamp_ns, data = found
                good = topic in self.topics and isinstance(stamp_ns, int) and isinstance(data, bytes)
                why = "" if good else "it makes no sense"
            except (apsw.Error, UnicodeDecodeError) as error:
                why = str(error)
            if not why:
                rows.append(row)
                topics.append(topic)
                stamps.append(stamp_ns)
            elif lost and lost[-1][1] == row - 1 and lost[-1][2] == why:
                lost[-1] = (lost[-1][0], row, why)
            else:
                lost.append((row, row, why))
            if why and row - lost[-1][0] >= _HOPELESS_ROWS:
                break
        self.rows, self.topic_ids, self.stamps_ns = (np.array(each, dtype=np.int64) for each in (rows, topics, stamps))
        self.counts = Counter(self.topic_ids.tolist())
        self.losses = [f"rows {first} to {final} ({final - first + 1}): {why}" for first, final, why in lost[:_NAMED]]
        if len(lost) > _NAMED:
            more = sum(final - first + 1 for first, final, _ in lost[_NAMED:])
            self.losses.append(f"{more} rows more in {len(lost) - _NAMED} other places")

    def _last_row(self, expected: int | None) -> int:
        """The last row there can be: with its end cut off, only the size of the file and the index limit it."""
        limits = [self.path.stat().st_size // _LEAST_ROW_BYTES, *([] if expected is None else [expected])]
        for query in ("SELECT max(id) FROM messages", "SELECT max(rowid) FROM messages INDEXED BY timestamp_idx"):
            try:
                (most,) = self._database.execute(query).fetchone()
            except apsw.Error:
                continue
            if isinstance(most, int):
                limits.append(most)
                break
        return min(limits)

    def _rules(self) -> None:
        """What SQLite itself finds wrong, where no row is: a damaged index, a page that is used twice."""
        if self.losses:
            return
        try:
            said = [row[0] for row in self._database.execute("PRAGMA integrity_check(3)")]
        except apsw.Error as error:
            said = [str(error)]
        if said != ["ok"]:
            self.losses.append("every row can be read, but: " + "; ".join(" ".join(text.split()) for text in said))


def _messages_are_compressed(folder: Path) -> bool:
    try:
        text = (folder / "metadata.yaml").read_text(errors="replace")
    except OSError:
        return False
    return compresses_messages(text)
