"""F05 for the annotator: with a wrong bit, what is whole is annotated and the bad chunk named; no map is shifted."""

import random

import pytest
from annotate_bags import PERIOD_NS, START_NS
from autofocus_core import results
from autofocus_core.bags import open_bag
from autofocus_core.errors import AutofocusError
from damaged_bags import annotate, checksummed, error_px, many_chunks, recording_of, storage_of
from rosbags.rosbag2 import StoragePlugin

COMMAND = "pytest tests/faults/test_f05_flipped_annotated.py"
FRAMES, FLIPS = 30, 10


def test_f05_a_flipped_bit_in_an_mcap(tmp_path):
    """Each chunk has a checksum, so every bit is found; the frames of the other chunks have the boxes that they had."""
    path = tmp_path / "ours"
    checksummed(path, FRAMES)
    whole = annotate(path).camera("camera")
    file = storage_of(path)
    data = file.read_bytes()
    rng = random.Random(5)
    named = shifted = 0
    for _ in range(FLIPS):
        position = rng.randrange(len(data) // 20, len(data) * 19 // 20)
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        annotation = annotate(path)
        camera = annotation.camera("camera")
        recording = recording_of(annotation)
        with open_bag(path, allow_truncated=True) as bag:
            assert list(bag.losses) == recording["losses"]
        named += recording["lossy"] and all(loss.startswith(f"{file.name}: byte ") for loss in recording["losses"])
        assert FRAMES - 10 <= len(camera.stamps_ns) < FRAMES
        frames = ((camera.stamps_ns - START_NS) // PERIOD_NS).astype(int)
        shifted += int((error_px(camera, whole, frames) > 1.0).sum())
    results.record("faults", f"F05 flipped bit annotated: the bad chunk named, of {FLIPS} (mcap)", named, "flips",
                   f"= {FLIPS}", named == FLIPS, COMMAND)
    results.record("faults", "F05 flipped bit annotated: boxes that moved to another frame (mcap)", shifted, "boxes",
                   "0", shifted == 0, COMMAND)
    assert named == FLIPS and shifted == 0


def test_f05_broken_pages_of_a_sqlite_bag(tmp_path):
    """SQLite has no checksums: a bit within a picture is not found. A page whose structure is broken is: its rows are
    named, the others are annotated."""
    path = tmp_path / "theirs"
    many_chunks(path, StoragePlugin.SQLITE3, FRAMES)
    whole = annotate(path).camera("camera")
    file = storage_of(path)
    data = file.read_bytes()
    page = int.from_bytes(data[16:18], "big") % 65535 or 65536
    leaves = [at for at in range(page, len(data), page) if data[at] == 13]  # table leaves: where rows begin
    rng = random.Random(6)
    flagged = shifted = 0
    for at in rng.sample(leaves[2:], 5):
        damaged = bytearray(data)
        damaged[at : at + 200] = rng.randbytes(200)
        file.write_bytes(damaged)
        try:
            annotation = annotate(path)
        except AutofocusError as error:  # the page of the topics' names: nothing can be said of the rest
            assert error.fix
            flagged += 1
            continue
        recording, camera = recording_of(annotation), annotation.camera("camera")
        flagged += recording["lossy"]
        frames = ((camera.stamps_ns - START_NS) // PERIOD_NS).astype(int)
        shifted += int((error_px(camera, whole, frames) > 1.0).sum())
    assert flagged == 5 and shifted == 0


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_f05_a_sound_recording_is_not_called_lossy(tmp_path, storage):
    path = tmp_path / "theirs"
    many_chunks(path, storage, 8)
    assert recording_of(annotate(path)) == {"lossy": False, "losses": [], "dropped": {}, "dropped_first": []}
    with open_bag(path, allow_truncated=True) as bag:
        assert not bag.lossy and sum(1 for _ in bag.messages()) == 16
