"""BagWriter: files that follow each other, syncing beside writing, locks, sidecars, and disks that fail."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import core_samples as samples
import numpy as np
import pytest
import yaml
from autofocus_core.bag_recovery import rebuild
from autofocus_core.bag_writer import BagWriter, is_being_written, qos_profile
from autofocus_core.bags import open_bag
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import serialize
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

MS = samples.MS


def counted(path, **options):
    writer = BagWriter(path, **options)
    writer.add_topic("/count", samples.INT32)
    return writer


def numbers(path, **options):
    with open_bag(path, **options) as bag:
        return [msg.data for _, msg in bag.decoded(["/count"])]


def test_a_bag_of_fifty_files_has_every_message_once(tmp_path):
    """rosbag2's minutes that were missing at splits (ros2/rosbag2#2108): by bytes, with a topic that comes later."""
    writer = counted(tmp_path / "bag", max_file_bytes=200_000)
    pixels = np.arange(60_000, dtype=np.uint16).astype(np.uint8).reshape(100, 200, 3)
    written = []
    for k in range(2600):
        stamp = samples.T0_NS + k * MS
        writer.write("/count", samples.int32(k), stamp, None)
        written.append(("/count", stamp, samples.int32(k)))
        if k == 1000:
            writer.add_topic("/image", samples.IMAGE)
        if k >= 1000 and k % 7 == 0:
            written.append(("/image", stamp, serialize(samples.image(pixels, stamp), samples.IMAGE)))
            writer.write(*(written[-1][i] for i in (0, 2, 1)), header_ns=stamp)
        assert writer.counts["/count"] == k + 1
    assert writer.files >= 50
    begun, size = writer.files, writer.bytes_written
    path = writer.close()
    storages = sorted(path.glob("*.mcap"), key=lambda file: int(file.stem.rsplit("_", 1)[1]))
    assert [file.name for file in storages] == [f"bag_{k}.mcap" for k in range(begun)]
    assert all(200_000 < file.stat().st_size < 280_000 for file in storages[:-1])
    assert sum(file.stat().st_size for file in storages) == pytest.approx(size, rel=0.01)

    with open_bag(path) as bag:
        assert [(m.topic, m.receive_ns, m.raw) for m in bag.messages()] == written
    with AnyReader([path]) as reader:  # rosbags, which checks the type hashes
        assert [(c.topic, stamp, bytes(raw)) for c, stamp, raw in reader.messages()] == written
        assert reader.message_count == len(written)

    # Each file alone, by the mcap package and by rosbags, and what metadata.yaml says of it.
    document = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert document["relative_file_paths"] == [file.name for file in storages]
    assert document["message_count"] == len(written)
    position = 0
    for number, (file, told) in enumerate(zip(storages, document["files"], strict=True)):
        with file.open("rb") as stream:
            reader = make_reader(stream, validate_crcs=True)
            own = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()]
            summary, metadata = reader.get_summary(), list(reader.iter_metadata())
        assert own == written[position : position + len(own)]
        position += len(own)
        assert told == {
            "path": file.name,
            "starting_time": {"nanoseconds_since_epoch": own[0][1]},
            "duration": {"nanoseconds": own[-1][1] - own[0][1]},
            "message_count": len(own),
        }
        record = yaml.safe_load(metadata[-1].metadata["serialized_metadata"])
        assert (metadata[-1].name, record["message_count"], record["files"]) == ("rosbag2", len(own), [told])
        known = {"/count", "/image"} if own[-1][1] >= samples.T0_NS + 1000 * MS else {"/count"}
        assert {channel.topic for channel in summary.channels.values()} == known
        if number in (0, 30, 49):
            with open_bag(file) as bag:
                assert [(m.topic, m.receive_ns, m.raw) for m in bag.messages()] == own


def test_files_split_by_time(tmp_path):
    writer = counted(tmp_path / "bag", max_file_s=1.0)
    for k in range(100):
        writer.write("/count", samples.int32(k), samples.T0_NS + k * 50 * MS, None)
    path = writer.close()
    assert writer.files == 5
    assert numbers(path) == list(range(100))
    assert [len(numbers(path / f"bag_{k}.mcap")) for k in range(5)] == [20] * 5


def test_messages_of_files_that_overlap_are_put_in_order(tmp_path):
    """rosbags reads file after file: a message that was queued late came after those of its file."""
    writer = counted(tmp_path / "bag", max_file_bytes=4000)
    stamps = [samples.T0_NS + (k + (15 if k % 10 == 0 else 0)) * MS for k in range(600)]
    for k, stamp in enumerate(stamps):
        writer.write("/count", samples.int32(k), stamp, None)
    path = writer.close()
    assert writer.files > 4
    with open_bag(path) as bag:
        assert [m.receive_ns for m in bag.messages()] == sorted(stamps)
        assert (bag.start_ns, bag.counts) == (min(stamps), {"/count": 600})


def test_a_topic_that_metadata_yaml_spells_differently_is_not_left_out(tmp_path):
    """rosbags leaves out topics whose QoS differs between metadata.yaml and file, without a word."""
    writer = counted(tmp_path / "bag")
    writer.write("/count", samples.int32(7), samples.T0_NS, None)
    path = writer.close()
    document = yaml.safe_load((path / "metadata.yaml").read_text())
    (topic,) = document["rosbag2_bagfile_information"]["topics_with_message_count"]
    topic["topic_metadata"]["offered_qos_profiles"] = [qos_profile(depth=3)]
    (path / "metadata.yaml").write_text(yaml.safe_dump(document))
    assert numbers(path) == [7]


def test_syncing_beside_writing_never_meets_a_closed_file(tmp_path):
    """Another thread syncs all the time while a file ends at every few messages."""
    writer = counted(tmp_path / "bag", max_file_bytes=3000)
    done, failures, synced = threading.Event(), [], 0

    def sync():
        nonlocal synced
        try:
            while not done.is_set():
                writer.sync()
                synced += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=sync) for _ in range(2)]
    for thread in threads:
        thread.start()
    for k in range(3000):
        writer.write("/count", samples.int32(k), samples.T0_NS + k, None)
        if k % 100 == 0:
            writer.flush()
            assert writer.counts == {"/count": k + 1}
    path = writer.close()
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert synced > 2
    assert writer.files > 50
    assert numbers(path) == list(range(3000))


def test_without_syncs_descriptors_stay_few(tmp_path):
    writer = counted(tmp_path / "bag", max_file_bytes=3000)
    before = len(os.listdir("/proc/self/fd"))
    for k in range(4000):
        writer.write("/count", samples.int32(k), samples.T0_NS + k, None)
    assert writer.files > 60
    assert len(os.listdir("/proc/self/fd")) < before + 20
    writer.close()
    assert len(os.listdir("/proc/self/fd")) < before


def test_a_disk_that_failed_once_makes_no_complete_bag(tmp_path, monkeypatch):
    """The system tells of a write that failed in one fsync; the next one succeeds and the data is gone."""
    writer = counted(tmp_path / "bag")
    writer.write("/count", samples.int32(1), samples.T0_NS, None)
    writer.flush()
    fsync = os.fsync

    def fail(handle):
        monkeypatch.setattr(os, "fsync", fsync)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        writer.sync()
    writer.write("/count", samples.int32(2), samples.T0_NS + 1, None)
    with pytest.raises(OSError, match="Input/output"):
        writer.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag.partial"]
    assert not is_being_written(writer.working)
    assert numbers(writer.working, allow_truncated=True) == [1, 2]


def test_a_full_disk_leaves_what_can_be_rebuilt(tmp_path):
    """A real limit of the system, in the middle of a chunk of the third file."""
    writer = counted(tmp_path / "bag", max_file_bytes=2_000_000)
    writer.add_topic("/image", samples.IMAGE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    written = 0
    try:
        for k in range(40):
            if writer.files == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1_300_000, hard))
            writer.write("/count", samples.int32(k), samples.T0_NS + k * MS, None)
            written += 1
            writer.write("/image", bytes(400_000), samples.T0_NS + k * MS, None)
            writer.flush()
    except OSError as error:
        assert error.errno == errno.EFBIG
    finally:
        writer.abort()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 12 < written < 40
    rebuilt = rebuild(writer.working, tmp_path / "rebuilt")
    assert numbers(rebuilt.path) == list(range(written - 1))
    assert (rebuilt.path / "rebuilt_1.mcap").exists()


def test_a_split_that_fails_loses_nothing(tmp_path, monkeypatch):
    """No room for the next file, or for the end of this one: the same file goes on when there is room again."""
    writer = counted(tmp_path / "bag", max_file_bytes=20_000)
    write, failing = os.pwritev, []

    def limited(handle, buffers, offset):
        if failing and offset >= failing[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, buffers, offset)

    monkeypatch.setattr(os, "pwritev", limited)
    failures = kept = 0
    for k in range(3000):
        failing[:] = [[0], [500], []][k // 100 % 3]
        try:
            writer.write("/count", samples.int32(k), samples.T0_NS + k, None)
            kept += 1
        except OSError:
            failures += 1
            assert len(list(writer.working.iterdir())) == writer.files
    failing.clear()
    path = writer.close()
    assert failures > 10
    assert writer.files > 3
    found = numbers(path)
    assert len(found) == kept == writer.counts["/count"]
    assert found == sorted(set(found))


def test_the_lock_is_let_go_by_a_kill(tmp_path):
    """A recording that is being written must not be "recovered", one that was killed must be."""
    code = f"""
import sys, time
from autofocus_core.bag_writer import BagWriter
writer = BagWriter({str(tmp_path / "bag")!r}, working_suffix=".recording")
writer.add_topic("/count", "std_msgs/msg/Int32")
for k in range(10):
    writer.write("/count", bytes([0, 1, 0, 0, k, 0, 0, 0]), 5 + k, None)
writer.flush()
print("ready", flush=True)
time.sleep(600)
"""
    working = tmp_path / "bag.recording"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        assert is_being_written(working)
        with pytest.raises(AutofocusError, match="being written"):
            rebuild(working, tmp_path / "bag")
        assert is_being_written(working)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not is_being_written(working)
    assert numbers(rebuild(working, tmp_path / "bag").path) == list(range(10))
    assert not is_being_written(tmp_path / "nowhere")


def test_closing_lets_the_lock_go(tmp_path):
    writer = counted(tmp_path / "a")
    assert is_being_written(writer.working)
    assert not is_being_written(writer.close())
    writer = counted(tmp_path / "b")
    writer.abort()
    assert not is_being_written(writer.working)


def test_sidecars_are_there_from_the_start_and_replaced_at_the_end(tmp_path):
    writer = counted(tmp_path / "bag")
    writer.put_sidecar("episode.json", "early")
    writer.put_sidecar("note.txt", "kept")
    assert (writer.working / "episode.json").read_text() == "early"
    path = writer.close({"episode.json": "late"})
    assert (path / "episode.json").read_text() == "late"
    assert (path / "note.txt").read_text() == "kept"
    assert sorted(entry.name for entry in path.iterdir()) == ["bag_0.mcap", "episode.json", "metadata.yaml", "note.txt"]
    with pytest.raises(AutofocusError, match="closed"):
        writer.put_sidecar("episode.json", "too late")


@pytest.mark.parametrize("name", ["../x.txt", "a/b.txt", "metadata.yaml", "bag_0.mcap", "", ".."])
def test_sidecars_cannot_replace_the_bag(tmp_path, name):
    writer = counted(tmp_path / "bag")
    with pytest.raises(AutofocusError, match="sidecar"):
        writer.put_sidecar(name, "x")
    writer.abort()


@pytest.mark.parametrize("options", [{"max_file_bytes": 10}, {"max_file_s": 0.0}, {"compression": "lz4"}])
def test_wrong_settings_are_refused_before_anything_is_made(tmp_path, options):
    with pytest.raises(AutofocusError):
        BagWriter(tmp_path / "bag", **options)
    assert not list(tmp_path.iterdir())


def test_nothing_that_exists_is_overwritten_at_the_end_either(tmp_path):
    writer = counted(tmp_path / "bag")
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "precious").write_text("x")
    with pytest.raises(AutofocusError, match="rename it by hand"):
        writer.close()
    assert (tmp_path / "bag" / "precious").read_text() == "x"
    with open_bag(writer.working) as bag:
        assert bag.counts == {"/count": 0}


def test_a_bag_that_somebody_replaces_now_is_not_taken_away(tmp_path):
    first = counted(tmp_path / "bag", replace=True)
    with pytest.raises(AutofocusError, match="exists"):
        BagWriter(tmp_path / "bag", replace=True)
    first.close()


def test_writing_waits_for_no_sync(tmp_path, monkeypatch):
    """A disk that takes half a second for each sync: splits go on meanwhile."""
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (time.sleep(0.5), fsync(handle)))
    writer = counted(tmp_path / "bag", max_file_bytes=3000)
    thread = threading.Thread(target=writer.sync)
    thread.start()
    for k in range(500):
        writer.write("/count", samples.int32(k), samples.T0_NS + k, None)
    assert thread.is_alive(), "all splits were done before the first sync was"
    thread.join()
    monkeypatch.setattr(os, "fsync", fsync)
    assert writer.files > 5
    assert numbers(writer.close()) == list(range(500))
