"""Reading what is whole of a damaged MCAP: chunks before the cut, chunks whose checksum holds."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path

from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

from autofocus_core.errors import AutofocusError


class RecoveredReader:
    """Has the part of the rosbags reader's face that Bag uses. Holds all recovered messages in memory."""

    def __init__(self, files: list[Path]) -> None:
        self.ros_distro = ""
        self._messages: list[tuple[int, int, str, bytes]] = []  # receive_ns, order, topic, raw
        types: dict[str, tuple[str, str]] = {}
        losses: list[str] = []
        for file in files:
            losses += [f"{file.name}: {loss}" for loss in self._scan(file, types)]
        self._messages.sort(key=lambda entry: entry[:2])
        if not self._messages:
            raise AutofocusError(
                f"bag {files[0].parent if files else '(none)'}",
                "no whole message in it" + (f" ({'; '.join(losses)})" if losses else ""),
                "an MCAP with at least one whole chunk",
                "delete it and record again",
            )
        self.loss = "; ".join(losses) or "no index or metadata.yaml: messages after the last whole chunk are missing"
        counts: dict[str, int] = {}
        for _, _, topic, _ in self._messages:
            counts[topic] = counts.get(topic, 0) + 1
        self.connections = [
            Connection(
                id=number,
                topic=topic,
                msgtype=msgtype,
                msgdef=MessageDefinition(MessageDefinitionFormat.MSG, text),
                digest="",
                msgcount=counts.get(topic, 0),
                ext=ConnectionExtRosbag2("cdr", []),
                owner=self,
            )
            for number, (topic, (msgtype, text)) in enumerate(types.items(), start=1)
        ]
        self.start_time = self._messages[0][0]
        self.end_time = self._messages[-1][0] + 1

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, receive_ns, raw) of the given connections, by receive stamp."""
        wanted = {connection.topic: connection for connection in connections}
        for receive_ns, _, topic, raw in self._messages:
            if topic in wanted:
                yield wanted[topic], receive_ns, raw

    def close(self) -> None:
        """Forget the messages."""
        self._messages.clear()

    def _scan(self, file: Path, types: dict[str, tuple[str, str]]) -> list[str]:
        """Add the whole messages of one file; give what was lost, in words."""
        losses: list[str] = []
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}

        def take(record: object) -> None:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
                schema = schemas.get(record.schema_id)
                if schema is not None:
                    types[record.topic] = (schema.name, schema.data.decode())
            elif isinstance(record, Message) and record.channel_id in channels:
                topic = channels[record.channel_id].topic
                if topic in types:
                    self._messages.append((record.log_time, len(self._messages), topic, record.data))

        with file.open("rb") as stream:
            # A damaged length must not make us ask for more memory than there is file.
            reader = StreamReader(stream, emit_chunks=True, record_size_limit=file.stat().st_size)
            try:
                for record in reader.records:
                    if not isinstance(record, Chunk):
                        take(record)
                        continue
                    try:
                        inside = breakup_chunk(record, validate_crc=True)
                    except Exception as error:  # decompressors and parsers each raise their own
                        losses.append(
                            f"chunk from {record.message_start_time} to {record.message_end_time} ns: {error!r}"
                        )
                        continue
                    for inner in inside:
                        take(inner)
            except (McapError, EOFError, ValueError, OSError, MemoryError, struct.error) as error:
                losses.append(f"cut or damaged at byte {stream.tell()}: {error!r}")
        return losses
