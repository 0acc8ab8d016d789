"""F04 for the annotator: a recording that was cut is annotated as far as it reads, and says so; no map is shifted."""

import random

import numpy as np
import pytest
from annotate_bags import PERIOD_NS, START_NS, write_bag
from autofocus_core import results
from autofocus_core.annotation import annotation_path, read_annotation, write_annotation
from autofocus_core.bags import open_bag
from autofocus_core.errors import AutofocusError
from damaged_bags import CONFIG, STORAGES, annotate, error_px, many_chunks, recording_of, storage_of
from rosbags.rosbag2 import StoragePlugin
from saliency_server.quality import judge

COMMAND = "pytest tests/faults/test_f04_truncated_annotated.py"
FRAMES, CUTS = 30, 6
assert CONFIG.is_dir()


@pytest.mark.parametrize("storage", STORAGES)
def test_f04_a_cut_recording_is_annotated_as_far_as_it_reads(tmp_path, storage):
    """Once one missing byte at the end of an hour failed the whole hour."""
    path = tmp_path / "theirs"
    many_chunks(path, storage, FRAMES)
    whole = annotate(path).camera("camera")
    file = storage_of(path)
    data = file.read_bytes()
    rng = random.Random(4)
    shifted = flagged = partly = 0
    for cut in sorted(rng.randrange(len(data) // 5, len(data)) for _ in range(CUTS)):
        file.write_bytes(data[:cut])
        annotation = annotate(path)
        recording, camera = recording_of(annotation), annotation.camera("camera")
        flagged += recording["lossy"] and any(file.name in loss for loss in recording["losses"])
        with open_bag(path, allow_truncated=True) as bag:
            stamps_ns = [bag.header_ns(message) for message in bag.messages(["/camera/camera/color/image_raw"])]
        assert camera.stamps_ns.tolist() == stamps_ns, "every frame that reads, and no other"
        partly += 0 < len(stamps_ns) < FRAMES
        frames = ((camera.stamps_ns - START_NS) // PERIOD_NS).astype(int)
        off_px = error_px(camera, whole, frames)
        shifted += int((off_px > 1.0).sum())
    name = f"F04 cut recording annotated ({storage.name.lower()})"
    results.record("faults", f"{name}: flagged lossy, of {CUTS} cuts", flagged, "cuts", f"= {CUTS}", flagged == CUTS,
                   COMMAND)
    results.record("faults", f"{name}: boxes that moved to another frame", shifted, "boxes", "0", shifted == 0, COMMAND)
    assert flagged == CUTS and shifted == 0 and partly >= CUTS // 2


def test_f04_the_cut_file_among_several_and_no_metadata(tmp_path):
    """A crash of the recorder leaves neither metadata.yaml nor the end of the last file."""
    path = tmp_path / "theirs"
    many_chunks(path, StoragePlugin.MCAP, FRAMES)
    (path / "metadata.yaml").unlink()
    file = storage_of(path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    annotation = annotate(path)
    recording = recording_of(annotation)
    assert recording["lossy"] and "no metadata.yaml" in recording["losses"][0]
    assert annotation.camera("camera").valid.all()
    write_annotation(annotation, path)
    read = read_annotation(path)
    assert read.provenance["recording"]["lossy"]
    assert any("damaged" in doubt for doubt in judge(None, read, "").doubts), "the report and the review page say so"
    assert annotation_path(path).is_dir()


def test_f04_a_recording_of_which_nothing_reads_says_what_to_do(tmp_path):
    for storage in STORAGES:
        path = tmp_path / storage.name
        write_bag(path, storage=storage, frames=3)
        file = storage_of(path)
        file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(AutofocusError) as caught:
            annotate(path)
        assert caught.value.fix and str(path) in caught.value.where


def test_f04_frames_that_read_and_cannot_be_decoded_keep_their_place(tmp_path):
    """The message is there and its picture is cut: the frame stays, not valid, with its reason."""
    path = tmp_path / "theirs"
    write_bag(path, "jpeg", frames=20, damaged=(5, 6, 12))
    camera = annotate(path).camera("camera")
    assert camera.stamps_ns.tolist() == [START_NS + i * PERIOD_NS for i in range(20)]
    assert np.flatnonzero(~camera.valid).tolist() == [5, 6, 12]
    assert {camera.reason[i] for i in (5, 6, 12)} == {"unreadable image"}
