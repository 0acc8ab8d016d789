"""F04: a bag that ends too early gives every chunk that is whole, and says that it is not all."""

import random
import time

import core_samples as samples
import mcap_walk
import pytest
from autofocus_core import results
from autofocus_core.bags import BagWriter, open_bag
from autofocus_core.errors import AutofocusError

CUTS = 200
TOPICS = ("", "/count", "/image")  # by channel
COMMAND = "pytest tests/faults/test_f04_truncated_file.py"


def write(path, compression, files):
    """About 40 chunks over two topics; all but the last of several files are left whole."""
    rng = random.Random(compression)
    writer = BagWriter(path, compression, max_file_bytes=None if files == 1 else 100_000)
    writer.add_topic("/count", samples.INT32)
    writer.add_topic("/image", samples.IMAGE)
    for k in range(640):
        stamp = samples.T0_NS + k * samples.MS
        writer.write("/count", samples.int32(k), stamp, None)
        if k % 10 == 0:
            writer.write("/image", bytes(rng.randrange(2000)) + rng.randbytes(rng.randrange(2000)), stamp + 1, stamp)
        if k % 16 == 15:
            writer.flush()
    assert writer.files >= files
    return writer.close()


def whole(data):
    """Messages (channel, receive_ns, payload) of the chunks that lie in `data` entirely, by the tests' own parser."""
    return [m for record in mcap_walk.records(data) if record.name == "chunk" for m in mcap_walk.messages(record)]


@pytest.mark.parametrize(
    ("compression", "files", "metadata"), [("none", 1, True), ("zstd", 1, False), ("none", 2, False)]
)
def test_f04_truncated_file(tmp_path, compression, files, metadata):
    path = write(tmp_path / "bag", compression, files)
    if not metadata:
        (path / "metadata.yaml").unlink()
    storages = sorted(path.glob("*.mcap"))
    data = storages[-1].read_bytes()
    before = [m for storage in storages[:-1] for m in whole(storage.read_bytes())]
    layout = mcap_walk.records(data)
    chunks = [record for record in layout if record.name == "chunk"]
    assert len(chunks) >= (30 if files == 1 else 3)
    rng = random.Random(4)
    edges = [end + d for record in layout for end in (record.offset, record.end) for d in (-1, 0, 1)]
    cuts = rng.sample(edges, CUTS // 4) + [rng.randrange(len(data)) for _ in range(CUTS - CUTS // 4)]
    recovered = complete = invented = 0
    slowest_s = 0.0
    for number, cut in enumerate(cut % len(data) for cut in cuts):
        storages[-1].write_bytes(data[:cut])
        began = time.monotonic()
        try:
            with open_bag(path, allow_truncated=True) as bag:
                found = [(TOPICS.index(m.topic), m.receive_ns, m.raw) for m in bag.messages()]
                assert bag.lossy
                assert bag.losses
                assert sum(bag.counts.values()) == len(found)
        except AutofocusError as error:
            found = []
            assert "no whole message" in error.got
        slowest_s = max(slowest_s, time.monotonic() - began)
        assert [ns for _, ns, _ in found] == sorted(ns for _, ns, _ in found)
        there = set(found)
        invented += len(there - set(before + whole(data[:cut])))
        complete += sum(chunk.end <= cut for chunk in chunks)
        recovered += sum(chunk.end <= cut and there.issuperset(mcap_walk.messages(chunk)) for chunk in chunks)
        assert there.issuperset(before), "the files before the cut one"
        if number % 10 == 0:  # and nobody takes it for a whole one
            with pytest.raises(AutofocusError), open_bag(path) as bag:
                list(bag.messages())
    share = 100 * recovered / complete
    kind = f"{compression}, {files} file{'s' * (files > 1)}, {'with' if metadata else 'without'} metadata.yaml"
    name = f"F04 truncated file: complete chunks recovered at {CUTS} cuts ({kind})"
    results.record("faults", name, share, "%", "= 100", share == 100, COMMAND)
    assert share == 100
    assert invented == 0
    assert slowest_s < 20
