"""Bags written by us open in rosbags' reader; bags written by others open in ours; broken ones say so."""

import shutil

import core_samples as samples
import numpy as np
import pytest
import yaml
from autofocus_core.bag_message import Kept
from autofocus_core.bags import BagWriter, open_bag, qos_profile
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import message_class, serialize
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

INFINITE = QosTime(9223372036, 854775807)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_message_comes_back_from_rosbags_byte_for_byte(tmp_path, compression):
    rng = np.random.default_rng(0)
    written = []
    writer = BagWriter(tmp_path / "bag", compression)
    writer.add_topic("/image", samples.IMAGE)
    writer.add_topic("/count", samples.INT32)
    for k in range(300):
        stamp = samples.T0_NS + k * samples.MS
        if k % 10 == 0:
            picture = samples.image(rng.integers(0, 256, (120, 160, 3), np.uint8), stamp)
            written.append(("/image", stamp + 5 * samples.MS, serialize(picture, samples.IMAGE)))
            writer.write(*(written[-1][i] for i in (0, 2, 1)), header_ns=stamp)
        written.append(("/count", stamp, samples.int32(k)))
        writer.write("/count", written[-1][2], stamp, None)
    path = writer.close()
    with AnyReader([path]) as reader:  # checks the type hashes against the definitions, too
        read = [(c.topic, stamp, bytes(raw)) for c, stamp, raw in reader.messages()]
        assert reader.message_count == len(written)
    assert sorted(read) == sorted(written)
    assert [stamp for _, stamp, _ in read] == sorted(stamp for _, stamp, _ in written)
    with open_bag(path) as bag:
        assert sorted((m.topic, m.receive_ns, m.raw) for m in bag.messages()) == sorted(written)
        assert bag.counts == {"/image": 30, "/count": 300}


def test_metadata_is_what_rosbag2_writes(tmp_path):
    """The same bag by rosbags' writer, version 9: equal but for the writer's name and file names."""
    store = get_typestore(Stores.ROS2_KILTED)
    qos = Qos(
        QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, INFINITE, INFINITE,
        QosLiveliness.AUTOMATIC, INFINITE, False,
    )  # fmt: skip
    stamps = [samples.T0_NS + k * samples.MS for k in range(5)]
    with Writer(tmp_path / "theirs", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/count", samples.INT32, typestore=store, offered_qos_profiles=[qos])
        for stamp in stamps:
            writer.write(connection, stamp, samples.int32(1))
    ours = BagWriter(tmp_path / "ours", ros_distro="kilted")
    ours.add_topic("/count", samples.INT32, yaml.safe_dump([qos_profile(durability="transient_local")]))
    for stamp in stamps:
        ours.write("/count", samples.int32(1), stamp, None)
    ours.close()
    documents = {name: yaml.safe_load((tmp_path / name / "metadata.yaml").read_text()) for name in ("ours", "theirs")}
    left, right = (documents[name]["rosbag2_bagfile_information"] for name in ("ours", "theirs"))
    for document in (left, right):
        assert document["relative_file_paths"] == [document["files"][0].pop("path")]
        document.pop("relative_file_paths")
    assert (left.pop("ros_distro"), right.pop("ros_distro")) == ("kilted", "rosbags")
    assert left == right
    assert (tmp_path / "ours" / "ours_0.mcap").is_file()  # rosbag2's name for it
    with Reader(tmp_path / "ours") as one, Reader(tmp_path / "theirs") as other:
        assert one.connections[0].ext == other.connections[0].ext
        assert one.connections[0].msgdef == other.connections[0].msgdef


def test_metadata_keys_are_in_rosbag2s_order(tmp_path):
    path = samples.write_bag(tmp_path / "bag", samples.small_recording())
    text = (path / "metadata.yaml").read_text()
    keys = [line.split(":")[0].strip() for line in text.splitlines() if line.startswith("  ") and line[2].isalpha()]
    assert keys == [
        "version", "storage_identifier", "duration", "starting_time", "message_count", "topics_with_message_count",
        "compression_format", "compression_mode", "relative_file_paths", "files", "custom_data", "ros_distro",
    ]  # fmt: skip
    hashes = [line for line in text.splitlines() if "type_description_hash" in line]
    assert len(hashes) == 2
    assert all("RIHS01_" in line for line in hashes), "folded lines"


@pytest.mark.parametrize(("storage", "version"), [("sqlite3", 8), ("sqlite3", 9), ("mcap", 8), ("mcap", 9)])
@pytest.mark.parametrize("single_file", [False, True])
def test_foreign_bags_open(tmp_path, storage, version, single_file):
    entries = samples.small_recording()
    path = samples.foreign_bag(tmp_path / "bag", entries, storage, version)
    if single_file:
        (path,) = (file for file in path.iterdir() if file.name != "metadata.yaml")
    with open_bag(path) as bag:
        assert bag.topics == {"/joint_states": samples.JOINT_STATE, "/front/image": samples.IMAGE}
        read = [(m.topic, m.receive_ns, bag.header_ns(m)) for m in bag.messages()]
        first = next(msg for _, msg in bag.decoded(["/joint_states"]))
    assert read == [(topic, receive_ns, header_ns) for topic, _, _, receive_ns, header_ns in entries]
    assert first.name == ["a", "b", "g"]


def test_message_compressed_sqlite_opens(tmp_path):
    path = samples.foreign_bag(tmp_path / "bag", samples.small_recording(), "sqlite3", compress=True)
    with open_bag(path) as bag:
        assert sum(1 for _ in bag.decoded()) == bag.message_count == 16


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/count", samples.INT32)
    writer.write("/count", samples.int32(1), 5, None)
    writer.flush()
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag.partial"]
    with open_bag(tmp_path / "bag.partial", allow_truncated=True) as bag:
        assert bag.lossy
        assert bag.counts == {"/count": 1}


def test_nothing_is_overwritten(tmp_path):
    path = samples.write_bag(tmp_path / "bag", samples.small_recording())
    with pytest.raises(AutofocusError, match="exists"):
        BagWriter(path)


def test_replace_swaps_the_whole_bag(tmp_path):
    path = samples.write_bag(tmp_path / "bag", samples.small_recording())
    writer = BagWriter(path, replace=True)
    writer.add_topic("/count", samples.INT32)
    writer.write("/count", samples.int32(1), 5, None)
    with open_bag(path) as bag:
        assert "/front/image" in bag.topics  # the old one stays until the new one is whole
    writer.close({"note.txt": "hello"})
    with open_bag(path) as bag:
        assert list(bag.topics) == ["/count"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]
    assert (path / "note.txt").read_text() == "hello"


def broken(tmp_path, how):
    path = samples.foreign_bag(tmp_path / "bag", samples.small_recording(), "sqlite3" if "sqlite" in how else "mcap")
    (storage,) = (file for file in path.iterdir() if file.name != "metadata.yaml")
    size = storage.stat().st_size
    if how == "missing":
        return tmp_path / "nowhere"
    if how == "empty directory":
        shutil.rmtree(path)
        path.mkdir()
    elif how == "no metadata.yaml":
        (path / "metadata.yaml").unlink()
    elif how == "storage gone":
        storage.unlink()
    elif how == "empty file":
        storage.write_bytes(b"")
    elif how in ("truncated mcap", "truncated sqlite"):
        storage.write_bytes(storage.read_bytes()[: size * 3 // 5])
    elif how == "not yaml":
        (path / "metadata.yaml").write_text("{[")
    elif how == "no bag":
        (tmp_path / "x.txt").write_text("hello")
        return tmp_path / "x.txt"
    return path


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "does not exist"),
        ("empty directory", "empty directory"),
        ("no metadata.yaml", "reindex"),
        ("storage gone", "no .mcap or .db3"),
        ("empty file", "0 bytes"),
        ("truncated mcap", "allow_truncated"),
        ("truncated sqlite", "truncated or damaged"),
        ("not yaml", "damaged"),
        ("no bag", ".txt"),
    ],
)
def test_broken_bags_say_what_to_do(tmp_path, how, said):
    with pytest.raises(AutofocusError) as error, open_bag(broken(tmp_path, how)) as bag:
        list(bag.messages())
    assert said in str(error.value)
    assert error.value.fix


def test_unknown_topics_name_those_there_are(tmp_path):
    path = samples.write_bag(tmp_path / "bag", samples.small_recording())
    with open_bag(path) as bag, pytest.raises(AutofocusError) as error:
        list(bag.messages(["/joint_state"]))
    assert "/joint_states" in error.value.allowed


def test_undecodable_bytes_name_topic_and_stamp(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/joint_states", samples.JOINT_STATE)
    writer.write("/joint_states", serialize(samples.joints([1, 2, 3]), samples.JOINT_STATE)[:40], 123456, None)
    with open_bag(writer.close()) as bag, pytest.raises(AutofocusError) as error:
        list(bag.decoded())
    assert "/joint_states" in error.value.where
    assert "123456" in error.value.where


def test_bytes_of_serialize_message_are_read(tmp_path):
    """rclpy.serialization.serialize_message leaves 8 bytes behind a JointState without effort, and scripts write bags
    with it: such bags were refused as damaged."""
    raw = serialize(samples.joints([1, 2, 3]), samples.JOINT_STATE)
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/joint_states", samples.JOINT_STATE)
    writer.write("/joint_states", raw + b"\x00\x00\x79\x7f\x00\x00\x30\x6e", samples.T0_NS, None)
    writer.write("/joint_states", raw + bytes(16), samples.T0_NS, None)
    with open_bag(writer.close()) as bag:
        padded, damaged = bag.messages()
        assert list(bag.decode(padded.type, padded.raw).position) == [1, 2, 3]
        with pytest.raises(AutofocusError, match="no sensor_msgs/msg/JointState"):
            bag.decode(damaged.type, damaged.raw)


def test_types_without_a_header_have_no_stamp(tmp_path):
    array = message_class("std_msgs/msg/Float64MultiArray")
    layout = message_class("std_msgs/msg/MultiArrayLayout")(dim=[], data_offset=0)
    path = samples.write_bag(
        tmp_path / "bag",
        [("/command", "std_msgs/msg/Float64MultiArray", array(layout=layout, data=np.arange(3.0)), 7, None)],
    )
    with open_bag(path) as bag:
        (message,) = bag.messages()
        assert bag.header_ns(message) is None


def test_unknown_message_types_are_refused(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    with pytest.raises(AutofocusError, match="definition"):
        writer.add_topic("/x", "my_msgs/msg/Thing")


def test_a_bag_without_messages_opens(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/count", samples.INT32)
    with open_bag(writer.close()) as bag:
        assert (bag.counts, bag.start_ns, bag.end_ns, list(bag.messages())) == ({"/count": 0}, 0, 0, [])


class Passes:
    """Counts how often the files are read."""

    def __init__(self, read):
        self.read, self.count = read, 0

    def __call__(self, wanted):
        self.count += 1
        return self.read(wanted)


def test_a_kept_topic_is_read_with_another(tmp_path, monkeypatch):
    """Joints beside images: the second reading comes from memory, is what a second pass gives, and ends where it would
    be too much to keep."""
    path = samples.write_bag(tmp_path / "bag", samples.small_recording())
    with open_bag(path) as bag:
        expected = {topic: list(bag.messages([topic])) for topic in bag.topics}
        everything = list(bag.messages())
    for most in (Kept.MOST_BYTES, 100):
        monkeypatch.setattr(Kept, "MOST_BYTES", most)
        with open_bag(path) as bag:
            passes = Passes(bag._reader.messages)
            monkeypatch.setattr(bag._reader, "messages", passes)
            bag.keep("/joint_states")
            next(iter(bag.messages(["/front/image"])))  # broken off: not all are known
            assert list(bag.messages(["/front/image"])) == expected["/front/image"]
            assert list(bag.messages(["/joint_states"])) == expected["/joint_states"]
            assert list(bag.messages(["/joint_states"])) == expected["/joint_states"]
            assert passes.count == (2 if most > 100 else 4)
            assert list(bag.messages()) == everything
            bag.keep("/not there")
