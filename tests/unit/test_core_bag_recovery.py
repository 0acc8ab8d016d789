"""Reading and rebuilding bags that are not whole: order, memory, foreign files, and what must not be touched."""

import random
import shutil
import struct
import time
import tracemalloc

import core_samples as samples
import mcap_walk
import numpy as np
import pytest
import yaml
from autofocus_core.bag_metadata import dump, qos_profile
from autofocus_core.bag_recovery import rebuild
from autofocus_core.bag_writer import BagWriter
from autofocus_core.bags import open_bag
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import definition, serialize
from autofocus_core.recovered_reader import RecoveredReader
from mcap.writer import CompressionType, IndexType, Writer

MS = samples.MS


def killed(path, count=300, compression="none", **options):
    """The working directory of a recorder that was killed in mid-recording; the last 50 messages were not flushed."""
    writer = BagWriter(path, compression, working_suffix=".recording", **options)
    writer.add_topic("/count", samples.INT32, dump([qos_profile(durability="transient_local")]))
    writer.add_topic("/joints", samples.JOINT_STATE)
    raw = serialize(samples.joints([1, 2, 3]), samples.JOINT_STATE)
    for k in range(count):
        stamp = samples.T0_NS + k * MS
        writer.write("/count", samples.int32(k), stamp, None)
        if k % 3 == 0:
            writer.write("/joints", raw, stamp + 10, stamp - 5 * MS)
        if k % 50 == 49 and k < count - 1:
            writer.flush()
    copy = path.with_name(path.name + ".copy")
    shutil.copytree(writer.working, copy)
    writer.abort()
    shutil.rmtree(writer.working)
    copy.rename(writer.working)
    return writer.working


def numbers(path, **options):
    with open_bag(path, **options) as bag:
        return [msg.data for _, msg in bag.decoded(["/count"])]


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("limit", [None, 4000])
def test_a_killed_recording_is_rebuilt(tmp_path, compression, limit):
    working = killed(tmp_path / "ep", compression=compression, max_file_bytes=limit)
    (working / "episode.json").write_text("{}")
    before = {file.name: file.read_bytes() for file in working.iterdir()}
    seen = {}

    def sidecars(bag):
        seen.update(bag.counts)
        assert not bag.lossy
        assert not (tmp_path / "ep").exists()
        return {"episode.json": f"{bag.message_count} messages"}

    rebuilt = rebuild(working, tmp_path / "ep", sidecars)
    assert {file.name: file.read_bytes() for file in working.iterdir()} == before
    assert rebuilt.path == tmp_path / "ep"
    assert rebuilt.counts == seen
    assert (tmp_path / "ep" / "episode.json").read_text() == f"{sum(seen.values())} messages"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ep", "ep.recording"]
    assert not (tmp_path / "ep" / ".rebuild").exists()
    assert (len(list((tmp_path / "ep").glob("*.mcap"))) > 1) == (limit is not None)
    (loss,) = rebuilt.losses
    assert "it was not closed" in loss
    with open_bag(working, allow_truncated=True) as lossy, open_bag(tmp_path / "ep") as bag:
        assert list(lossy.messages()) == list(bag.messages())
        assert 250 <= bag.counts["/count"] < 300
        assert numbers(tmp_path / "ep") == list(range(bag.counts["/count"]))
    # What the messages say of themselves: types, QoS, hashes and both stamps are as they were.
    topics = yaml.safe_load((tmp_path / "ep" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    (count, joints) = (topic["topic_metadata"] for topic in topics["topics_with_message_count"])
    assert count["offered_qos_profiles"] == [qos_profile(durability="transient_local")]
    assert joints["type_description_hash"].startswith("RIHS01_")
    assert topics["ros_distro"] == "kilted"
    reader = RecoveredReader(sorted((tmp_path / "ep").glob("*.mcap")))
    assert {m.receive_ns - m.publish_ns for m in reader.raw_messages() if m.topic.name == "/joints"} == {5 * MS + 10}
    reader.close()


def test_a_rebuild_that_was_killed_is_made_again(tmp_path, monkeypatch):
    working = killed(tmp_path / "ep")

    def die(*args, **options):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(working, tmp_path / "ep", die)
    assert (tmp_path / "ep.partial").exists()
    assert not (tmp_path / "ep").exists()
    assert numbers(rebuild(working, tmp_path / "ep").path) == list(range(250))
    assert not (tmp_path / "ep.partial").exists()


def test_what_is_not_from_a_rebuild_is_left_alone(tmp_path):
    working = killed(tmp_path / "ep")
    (tmp_path / "ep.partial").mkdir()
    (tmp_path / "ep.partial" / "precious").write_text("x")
    with pytest.raises(AutofocusError, match=r"ep\.partial exists"):
        rebuild(working, tmp_path / "ep")
    (tmp_path / "other").mkdir()
    with pytest.raises(AutofocusError, match="other exists"):
        rebuild(working, tmp_path / "other")
    assert (tmp_path / "ep.partial" / "precious").exists()


def test_a_working_directory_may_be_called_like_the_partial_one(tmp_path):
    working = killed(tmp_path / "ep").rename(tmp_path / "ep.partial")
    with pytest.raises(AutofocusError, match="exists"):
        rebuild(working, tmp_path / "ep")
    assert numbers(rebuild(working, tmp_path / "again").path) == list(range(250))


def test_a_recording_without_one_whole_chunk_says_so(tmp_path):
    working = killed(tmp_path / "ep", count=20)
    with pytest.raises(AutofocusError, match="no whole message"):
        rebuild(working, tmp_path / "ep")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ep.recording"]


def test_a_damaged_bag_is_rebuilt_too(tmp_path):
    path = samples.write_bag(tmp_path / "bag", samples.small_recording(3000, np.zeros((6, 8, 3), np.uint8)))
    data = bytearray((path / "bag_0.mcap").read_bytes())
    chunks = [record for record in mcap_walk.records(data) if record.name == "chunk"]
    assert len(chunks) == 1
    data[chunks[0].end + 30] ^= 1  # in the message index
    (path / "bag_0.mcap").write_bytes(data)
    rebuilt = rebuild(path, tmp_path / "rebuilt")
    assert rebuilt.counts == {"/joint_states": 3000, "/front/image": 1000}
    assert "messages are whole" in rebuilt.losses[0]


def test_one_topic_with_two_types_is_not_mixed(tmp_path):
    for number, msgtype in enumerate((samples.INT32, samples.JOINT_STATE)):
        writer = BagWriter(tmp_path / f"bag{number}")
        writer.add_topic("/x", msgtype)
        writer.write("/x", samples.int32(number), samples.T0_NS + number, None)
        writer.close()
    (tmp_path / "bag1" / "bag1_0.mcap").rename(tmp_path / "bag0" / "bag0_1.mcap")
    with pytest.raises(AutofocusError, match="types"):
        rebuild(tmp_path / "bag0", tmp_path / "rebuilt")
    (tmp_path / "bag0" / "metadata.yaml").unlink()
    with pytest.raises(AutofocusError, match="types"):
        open_bag(tmp_path / "bag0", allow_truncated=True)


def test_files_that_are_empty_or_gone_are_named(tmp_path):
    working = killed(tmp_path / "ep", max_file_bytes=4000)
    files = sorted(working.glob("*.mcap"))
    assert len(files) >= 4
    files[1].unlink()
    files[-1].write_bytes(b"")
    with open_bag(working, allow_truncated=True) as bag:
        assert f"{files[1].name} is missing" in bag.losses
        assert f"{files[-1].name}: it is empty" in bag.losses
        found = [msg.data for _, msg in bag.decoded(["/count"])]
    assert found == sorted(found)
    assert found[0] == 0


def test_damaged_files_that_overlap_are_put_in_order(tmp_path):
    writer = BagWriter(tmp_path / "bag", working_suffix=".recording", max_file_bytes=4000)
    writer.add_topic("/count", samples.INT32)
    stamps = [samples.T0_NS + (k + (25 if k % 10 == 0 else 0)) * MS for k in range(600)]
    for k, stamp in enumerate(stamps):
        writer.write("/count", samples.int32(k), stamp, None)
        if k % 20 == 0:
            writer.flush()
    writer.abort()
    assert writer.files > 4
    with open_bag(writer.working, allow_truncated=True) as bag:
        assert [m.receive_ns for m in bag.messages()] == sorted(stamps)


@pytest.mark.parametrize("damaged", [False, True])
def test_memory_stays_flat(tmp_path, damaged):
    """All messages of a killed recording were held at once: 150 MB here, the memory of the machine for a real one."""
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/image", samples.IMAGE)
    for k in range(75):
        writer.write("/image", bytes(8) + k.to_bytes(4, "little") * 500_000, samples.T0_NS + k * MS, None)
    if damaged:
        writer.abort()
    path = writer.working if damaged else writer.close()
    tracemalloc.start()
    try:
        with open_bag(path, allow_truncated=True) as bag:
            assert sum(len(m.raw) for m in bag.messages()) > 150_000_000
        if damaged:
            rebuild(path, tmp_path / "rebuilt")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


def foreign(path, **options):
    """A file as other writers make it: chunks without checksums, other compressions, or no chunks at all."""
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=2000, **options)
        writer.start(profile="ros2", library="somebody else")
        text, type_hash = definition(samples.INT32)
        schema = writer.register_schema(samples.INT32, "ros2msg", text.encode())
        channel = writer.register_channel(
            "/count", "cdr", schema, {"offered_qos_profiles": "", "topic_type_hash": type_hash}
        )
        for k in range(500):
            writer.add_message(channel, samples.T0_NS + k, samples.int32(k), samples.T0_NS + k)
        writer.finish()
    return path


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": CompressionType.NONE, "enable_crcs": False},
        {"compression": CompressionType.LZ4},
        {"compression": CompressionType.ZSTD, "enable_data_crcs": True},
        {"use_chunking": False},
        {"use_chunking": False, "enable_data_crcs": True},
        {"index_types": IndexType.NONE, "compression": CompressionType.ZSTD},
    ],
    ids=str,
)
def test_files_of_other_writers(tmp_path, options, whole):
    path = foreign(tmp_path / "x.mcap", **options)
    if not whole:
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with open_bag(path, allow_truncated=True) as bag:
        assert bag.lossy != whole, bag.losses
        found = [msg.data for _, msg in bag.decoded()]
    assert found == list(range(len(found)))
    assert len(found) == 500 if whole else 200 < len(found) < 500


def test_messages_that_are_compressed_one_by_one_are_given_plain(tmp_path):
    """`ros2 bag record --compression-mode message`: what is whole of a damaged one must not come out as zstd frames."""
    entries = samples.small_recording()
    path = samples.foreign_bag(tmp_path / "bag", entries, "mcap", compress=True)
    with open_bag(path) as bag:
        expected = [(m.topic, m.receive_ns, m.raw) for m in bag.messages()]
    (storage,) = path.glob("*.mcap")
    storage.write_bytes(storage.read_bytes()[:-20])
    with open_bag(path, allow_truncated=True) as bag:
        assert bag.lossy
        assert [(m.topic, m.receive_ns, m.raw) for m in bag.messages()] == expected
    with open_bag(rebuild(path, tmp_path / "rebuilt").path) as bag:
        assert [(m.topic, m.receive_ns, m.raw) for m in bag.messages()] == expected


def test_unindexed_messages_that_are_out_of_order_are_read(tmp_path):
    """`ros2 bag record --storage-preset-profile fastwrite` makes such files; rosbags refuses them."""
    with (tmp_path / "x.mcap").open("wb") as stream:
        writer = Writer(stream, use_chunking=False)
        writer.start(profile="ros2", library="somebody else")
        schema = writer.register_schema(samples.INT32, "ros2msg", definition(samples.INT32)[0].encode())
        channel = writer.register_channel("/count", "cdr", schema)
        for k in (3, 1, 2, 0, 4):
            writer.add_message(channel, samples.T0_NS + k, samples.int32(k), 0)
        writer.finish()
    with open_bag(tmp_path / "x.mcap", allow_truncated=True) as bag:
        assert not bag.lossy
        assert [msg.data for _, msg in bag.decoded()] == [0, 1, 2, 3, 4]


def test_a_bag_inside_a_message_is_not_taken_for_the_bag(tmp_path):
    """A message whose bytes are an MCAP: the search for the next chunk must not find the chunks in it."""
    inner = foreign(tmp_path / "inner.mcap", compression=CompressionType.NONE).read_bytes()
    writer = BagWriter(tmp_path / "bag", working_suffix=".recording")
    writer.add_topic("/count", samples.INT32)
    for k in range(6):
        writer.write("/count", samples.int32(1000 + k), samples.T0_NS + k, None)
        writer.write("/count", inner, samples.T0_NS + k, None)
        writer.flush()
    writer.abort()
    (storage,) = writer.working.glob("*.mcap")
    data = bytearray(storage.read_bytes())
    chunk = [record for record in mcap_walk.records(data) if record.name == "chunk"][2]
    data[chunk.end - 5] ^= 1
    storage.write_bytes(data)
    with open_bag(writer.working, allow_truncated=True) as bag:
        assert [m.receive_ns - samples.T0_NS for m in bag.messages()] == [0, 0, 1, 1, 3, 3, 4, 4, 5, 5]


def test_rubbish_ends(tmp_path):
    """Whatever a file holds, reading it ends, soon, with an error for people or with messages that were written."""
    rng = random.Random(0)
    whole = foreign(tmp_path / "x.mcap").read_bytes()
    head = struct.pack("<BQQQQII", 6, 1 << 35, 0, 0, 1 << 35, 0, 0) + struct.pack("<Q", 1 << 35)
    for data in (
        rng.randbytes(300_000),
        bytes(300_000),
        mcap_walk.MAGIC + rng.randbytes(300_000),
        mcap_walk.MAGIC + bytes(300_000),
        mcap_walk.MAGIC + head * 5000,
        whole[:3000] + rng.randbytes(200_000) + whole[3000:],
        whole[:3000] + bytes(200_000) + whole[3000:],
        whole[:3000] + whole[3500:],
        whole + whole,
    ):
        (tmp_path / "x.mcap").write_bytes(data)
        began = time.monotonic()
        try:
            with open_bag(tmp_path / "x.mcap", allow_truncated=True) as bag:
                assert bag.lossy
                assert {m.raw for m in bag.messages()} <= {samples.int32(k) for k in range(500)}
        except AutofocusError as error:
            assert "no whole message" in error.got
        assert time.monotonic() - began < 20


def test_the_search_finds_the_next_chunk_behind_a_wrong_length(tmp_path):
    working = killed(tmp_path / "ep")
    (storage,) = working.glob("*.mcap")
    data = bytearray(storage.read_bytes())
    chunks = [record for record in mcap_walk.records(data) if record.name == "chunk"]
    data[chunks[1].offset + 3] ^= 0xFF
    data[chunks[1].offset + 43] ^= 0xFF  # and the other length
    storage.write_bytes(data)
    with open_bag(working, allow_truncated=True) as bag:
        found = [msg.data for _, msg in bag.decoded(["/count"])]
        assert any(f"byte {chunks[1].offset}" in loss for loss in bag.losses)
    assert found == [*range(50), *range(100, 250)]
