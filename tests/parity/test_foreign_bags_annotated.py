"""Whatever wrote a recording: the same pictures get the same annotation, or an error that says what to do."""

import dataclasses
from pathlib import Path

import foreign_bags as foreign
import numpy as np
import pytest
from annotate_bags import PERIOD_NS, TOPIC
from autofocus_core.annotation import annotation_path
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import load_robot, load_task
from foreign_bags import FRAMES, Kind
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from saliency_server.annotate import annotate_file
from saliency_server.options import Options
from saliency_server.pipeline import annotate_episode

CONFIG = Path(__file__).parents[2] / "ros2_ws/src/autofocus_sim/config"
SQLITE, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP
NEAR_PX = 1.5  # of pictures whose colours were compressed or are at half the resolution
LOSSY = ("jpeg", "bayer_rggb8", "bayer_gbrg8", "yuv422", "yuyv")

KINDS = {
    **{encoding: Kind(encoding) for encoding in ("bgr8", "rgba8", "bgra8", "rgb16", "png", *LOSSY)},
    "jpeg in SQLite": Kind("jpeg", SQLITE), "png in SQLite": Kind("png", SQLITE),
    "SQLite": Kind(storage=SQLITE), "metadata 8": Kind(version=8),
    "SQLite, metadata 8": Kind(storage=SQLITE, version=8),
    "SQLite, file zstd": Kind(storage=SQLITE, compression=CompressionMode.FILE),
    "SQLite, message zstd": Kind(storage=SQLITE, compression=CompressionMode.MESSAGE),
    "MCAP, file zstd": Kind(compression=CompressionMode.FILE),
    "MCAP, message zstd": Kind(compression=CompressionMode.MESSAGE),
    "MCAP, chunk zstd": Kind(compression=CompressionMode.STORAGE),
    "no joints": Kind(joints=False), "big-endian": Kind(little_endian=False), "padded rows": Kind(pad_bytes=64),
    "going back": Kind(order=lambda i: i ^ 1),
    "years ago": Kind(stamps=lambda i: 12_000_000_000 + i * PERIOD_NS),
}  # fmt: skip


@pytest.fixture(scope="module")
def robot():
    return load_robot(CONFIG / "sim_arm.yaml")


@pytest.fixture(scope="module")
def task():
    return load_task(CONFIG / "lift.yaml")


@pytest.fixture(scope="module")
def reference(tmp_path_factory, robot, task):
    return annotate_episode(foreign.write(tmp_path_factory.mktemp("foreign") / "reference", Kind()), robot, task)


def same(annotation, reference, near_px=0.0, camera="camera"):
    """The same things, valid in the same frames, with the same boxes."""
    found, known = annotation.camera(camera), reference.camera("camera")
    assert len(found.stamps_ns) == FRAMES and known.valid.all()
    assert found.valid.tolist() == known.valid.tolist(), found.reason
    for thing in known.objects:
        off = np.abs(found.object(thing.name).boxes_px - thing.boxes_px)
        assert np.nanmax(off) <= near_px, thing.name
    assert not annotation.provenance["recording"]["lossy"] and not annotation.provenance["recording"]["dropped"]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_recording_is_annotated_alike(name, tmp_path, robot, task, reference):
    kind = KINDS[name]
    annotation = annotate_episode(foreign.write(tmp_path / "bag", kind), robot, task)
    same(annotation, reference, NEAR_PX if kind.encoding in LOSSY else 0.0)
    assert annotation.camera("camera").stamps_ns.tolist() == sorted(kind.stamps(i) for i in range(FRAMES))
    assert (annotation.provenance["motion"]["source"] == "none") == (not kind.joints)


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
@pytest.mark.parametrize("bare", [True, False])
def test_an_mcap_of_another_writer_with_no_metadata(compression, bare, tmp_path, robot, task, reference):
    """A single .mcap, or a folder that rosbag2 did not finish; the annotation lies beside it."""
    folder = tmp_path if bare else tmp_path / "bag"
    folder.mkdir(exist_ok=True)
    file = foreign.write_mcap(folder / "theirs.mcap", Kind(), compression)
    path = file if bare else folder
    outcome = annotate_file(path, robot, task, Options())
    assert outcome.status == "annotated" and annotation_path(path).is_dir()
    annotation = annotate_episode(path, robot, task)
    if bare:
        same(annotation, reference)
    else:
        assert "no metadata.yaml" in annotation.provenance["recording"]["losses"][0]
        assert annotation.camera("camera").valid.all()


@pytest.mark.parametrize("storage", [MCAP, SQLITE])
def test_recordings_in_several_files(storage, tmp_path, robot, task, reference):
    same(annotate_episode(foreign.split(tmp_path / "bag", Kind(storage=storage)), robot, task), reference)


def test_metadata_of_old_distributions(tmp_path, robot, task, reference):
    path = foreign.as_version_4(foreign.write(tmp_path / "bag", Kind(storage=SQLITE, version=8)))
    same(annotate_episode(path, robot, task), reference)


def test_two_cameras(tmp_path, robot, task, reference):
    """Each camera of the task is annotated by itself."""
    wrist = dataclasses.replace(robot.cameras[0], name="wrist", topic="/wrist/image_raw")
    both = dataclasses.replace(robot, cameras=(*robot.cameras, wrist))
    task = dataclasses.replace(task, cameras=("camera", "wrist"))
    path = foreign.write(tmp_path / "bag", Kind(topics=(TOPIC, "/wrist/image_raw")))
    annotation = annotate_episode(path, both, task)
    for camera in task.cameras:
        same(annotation, reference, camera=camera)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Kind(topics=("/other",)), ["/other", "robot YAML"]),
        (Kind(stamps=lambda i: 0), ["header stamp", "zero"]),
        (Kind("mono8"), ["red cube"]),
    ],
    ids=["topic absent", "stamps zero", "no colours"],
)
def test_what_cannot_be_annotated_says_what_to_do(kind, says, tmp_path, robot, task):
    path = foreign.write(tmp_path / "bag", kind)
    try:
        annotation = annotate_episode(path, robot, task)
    except AutofocusError as error:
        assert error.fix and all(words in str(error) for words in says), str(error)
    else:  # read, and nothing of that colour in it: each frame says so
        camera = annotation.camera("camera")
        assert not camera.valid.any() and all(says[0] in why for why in camera.reason)
