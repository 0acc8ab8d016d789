"""Our MCAP files: what the format's own library makes of them, and what a failing disk leaves."""

import errno
import itertools
import os
import random
import struct
import zlib
from collections import Counter

import mcap_walk
import pytest
from autofocus_core import crc
from autofocus_core.mcap_chunk import BIG_BYTES, ChunkInHand
from autofocus_core.mcap_file import CHUNK_BYTES, REPEAT_BYTES, McapFile
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader

SIZES = (0, 1, BIG_BYTES - 1, BIG_BYTES, BIG_BYTES + 1, CHUNK_BYTES, CHUNK_BYTES + 1)


def begin(path, compression="none"):
    file = McapFile(path, compression, {"serialized_metadata": "early"})
    schema = file.add_schema("std_msgs/msg/Int32", "ros2msg", "int32 data\n")
    assert file.add_schema("std_msgs/msg/Int32", "ros2msg", "int32 data\n") == schema
    for topic in ("/a", "/b"):
        file.add_channel(topic, schema, {"offered_qos_profiles": "", "topic_type_hash": "RIHS01_x"})
    return file


def end(file):
    file.finish({"serialized_metadata": "late"})
    file.close()


def read(path):
    """(topic, log_time, publish_time, bytes) in the order of the file, by the mcap package, checksums checked."""
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        every = list(reader.iter_messages(log_time_order=False))
        found = [(channel.topic, m.log_time, m.publish_time, m.data) for _, channel, m in every]
        summary = reader.get_summary()
        assert [record.metadata["serialized_metadata"] for record in reader.iter_metadata()] == ["early", "late"]
    with path.open("rb") as stream:  # from front to back, with the checksum over all of it
        kinds = Counter(type(record).__name__ for record in StreamReader(stream, validate_crcs=True).records)
    assert kinds["Message"] == len(found) == summary.statistics.message_count
    assert summary.statistics.chunk_count == len(summary.chunk_indexes)
    assert {summary.channels[c].topic: n for c, n in summary.statistics.channel_message_counts.items()} == Counter(
        topic for topic, *_ in found
    )
    if found:
        times = [log_ns for _, log_ns, *_ in found]
        assert (summary.statistics.message_start_time, summary.statistics.message_end_time) == (min(times), max(times))
    return found


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_formats_own_library_reads_every_message(tmp_path, compression):
    rng = random.Random(0)
    file = begin(tmp_path / "x.mcap", compression)
    written = []
    for k in range(400):
        size = SIZES[k % len(SIZES)] if k % 25 == 0 else rng.randrange(3000)
        entry = (rng.choice(("/a", "/b")), 10**18 + rng.randrange(10**9), rng.randrange(2**63), rng.randbytes(size))
        written.append(entry)
        file.write({"/a": 1, "/b": 2}[entry[0]], entry[3], entry[1], entry[2])
        if k % 90 == 0:
            file.flush()
    size = file.size
    end(file)
    assert read(tmp_path / "x.mcap") == written
    assert file.size == (tmp_path / "x.mcap").stat().st_size > size > 1_000_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 2**63), st.sampled_from(SIZES[:5])), max_size=30))
def test_message_indexes_point_at_their_messages(tmp_path_factory, messages):
    path = tmp_path_factory.mktemp("index") / "x.mcap"
    file = begin(path)
    for channel, log_ns, size in messages:
        file.write(channel, bytes(size), log_ns, 0)
    end(file)
    assert [log_ns for _, log_ns, *_ in read(path)] == [log_ns for _, log_ns, _ in messages]
    data = path.read_bytes()
    body_at = None
    for record in mcap_walk.records(data):
        if record.name == "chunk":
            body_at = record.end - struct.unpack_from("<Q", record.data, 32)[0]
            times = [log_ns for _, log_ns, _ in mcap_walk.messages(record)]
            assert struct.unpack_from("<QQ", record.data) == (min(times), max(times))
        elif record.name == "message index":
            (channel,) = struct.unpack_from("<H", record.data)
            for log_ns, offset in struct.iter_unpack("<QQ", record.data[6:]):
                assert struct.unpack_from("<BQHIQ", data, body_at + offset)[::2] == (5, channel, log_ns)


def test_chunks_close_at_one_mebibyte(tmp_path):
    file = begin(tmp_path / "x.mcap")
    for k in range(5000):
        file.write(1, bytes(1000), k, k)
    end(file)
    sizes = [r.end - r.offset for r in mcap_walk.records((tmp_path / "x.mcap").read_bytes()) if r.name == "chunk"]
    assert len(sizes) == 5
    assert all(CHUNK_BYTES < size < CHUNK_BYTES + 3000 for size in sizes[:-1])


def test_large_messages_are_not_copied():
    """They made three copies each in the library's writer, most of what recording cost."""
    chunk = ChunkInHand()
    small, large = bytes(100), bytes(BIG_BYTES)
    for raw in (small, large, small, large):
        chunk.add_message(1, raw, 5, 5)
    body = chunk.seal("", 0).body
    assert [part is large for part in body] == [False, True, False, True]


def test_schemas_and_channels_are_repeated(tmp_path):
    """A recorder was killed, its file has no index, and its first chunk is damaged: the others must be readable."""
    file = begin(tmp_path / "x.mcap")
    for k in range(100):
        file.write(1, bytes(1 << 20), k, k)
    file.close()
    data = (tmp_path / "x.mcap").read_bytes()
    positions = [
        record.offset for record in mcap_walk.records(data) if record.name == "chunk" and b"int32 data" in record.data
    ]
    assert len(positions) > 5
    for before, after in itertools.pairwise(positions[1:]):
        assert after <= min(2 * before, before + REPEAT_BYTES) + 2 * CHUNK_BYTES


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path, monkeypatch, compression):
    """A real limit, in the middle of a chunk: what was written of it is taken back, and written again later."""
    file = begin(tmp_path / "x.mcap", compression)
    rng = random.Random(1)
    written, write = [], os.pwritev
    room = [2_500_000]

    def limited(handle, buffers, offset):
        left = room[0] - offset
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, [memoryview(b"".join(buffers))[:left]], offset)

    monkeypatch.setattr(os, "pwritev", limited)
    failures = 0
    for k in range(12):
        raw = rng.randbytes(400_000)
        written.append(("/a", k, k, raw))
        try:
            file.write(1, raw, k, k)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            failures += 1
            data = (tmp_path / "x.mcap").read_bytes()
            assert len(data) <= room[0]
            assert mcap_walk.records(data)[-1].end == len(data), "half a record"
        if k == 8:
            assert failures
            room[0] = 1 << 40
    end(file)
    assert read(tmp_path / "x.mcap") == written


def test_an_impossible_stamp_changes_nothing(tmp_path):
    file = begin(tmp_path / "x.mcap")
    file.write(1, b"abc", 5, 5)
    with pytest.raises(struct.error):
        file.write(1, b"abc", -5, 5)
    file.write(1, b"abc", 6, 6)
    end(file)
    assert [log_ns for _, log_ns, *_ in read(tmp_path / "x.mcap")] == [5, 6]


def test_what_exists_is_not_opened(tmp_path):
    (tmp_path / "x.mcap").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        begin(tmp_path / "x.mcap")
    assert (tmp_path / "x.mcap").read_bytes() == b"precious"


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_of_pieces_make_that_of_the_whole(a, b):
    assert crc.concat(zlib.crc32(a), zlib.crc32(b), len(b)) == zlib.crc32(a + b)


def test_checksums_of_large_pieces():
    a, b = random.Random(0).randbytes(5), random.Random(1).randbytes(3_000_001)
    assert crc.concat(zlib.crc32(a), zlib.crc32(b), len(b)) == zlib.crc32(a + b)


def test_the_fast_crc_is_the_crc():
    """Whichever library computes it: of memoryviews, in pieces, and of nothing."""
    data = random.Random(1).randbytes(3_000_000)
    for size in (0, 1, 7, 64, 4096, 3_000_000):
        piece = memoryview(data)[:size]
        assert crc.crc32(piece) == zlib.crc32(piece)
        assert crc.crc32(piece[size // 3 :], crc.crc32(piece[: size // 3])) == zlib.crc32(piece)
