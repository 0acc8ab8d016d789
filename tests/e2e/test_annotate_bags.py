"""`autofocus annotate` over foreign bags, bad bags and twice over the same bag."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from annotate_bags import FRAMES, PERIOD_NS, START_NS, TOPIC, write_bag
from autofocus_core.annotation import read_annotation
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import load_robot, load_task
from rosbags.rosbag2 import StoragePlugin
from saliency_server.annotate import main
from saliency_server.pipeline import Options, annotate_episode, content_key

CONFIG = Path(__file__).parents[2] / "ros2_ws/src/autofocus_sim/config"
ROBOT, TASK = CONFIG / "sim_arm.yaml", CONFIG / "lift.yaml"


def annotate(*arguments, robot=ROBOT, task=TASK):
    return main([*map(str, arguments), "--robot", str(robot), "--task", str(task), "--workers", "1", "--quiet"])


def annotated(path):
    return read_annotation(path).camera("camera")


def centre_error_px(track, centres):
    found = (track.boxes_px[:, :2] + track.boxes_px[:, 2:]) / 2
    return np.hypot(*(found - np.array(centres)).T)


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3], ids=["mcap", "sqlite"])
@pytest.mark.parametrize("kind", ["raw", "bgr", "jpeg", "png"])
def test_a_foreign_bag_is_annotated_with_nothing_but_a_robot_yaml(tmp_path, kind, storage):
    centres = write_bag(tmp_path / "theirs", kind, storage)
    assert annotate(tmp_path / "theirs") == 0
    camera = annotated(tmp_path / "theirs")
    assert camera.stamps_ns.tolist() == [START_NS + i * PERIOD_NS for i in range(FRAMES)]
    assert camera.valid.all()
    assert {track.name: track.role for track in camera.objects} == {"red cube": "target", "orange gripper": "robot"}
    assert np.percentile(centre_error_px(camera.object("red cube"), centres), 95) < 1.5


def test_provenance_says_how_it_was_made(tmp_path):
    write_bag(tmp_path / "bag")
    annotation = annotate_episode(tmp_path / "bag", load_robot(ROBOT), load_task(TASK))
    provenance = annotation.provenance
    backends = {"describe": "instruction 1", "detect": "colour-terms 1", "filter": "task-objects 1"}
    assert provenance["backends"] == backends
    assert provenance["queries"] == 0 and provenance["questions"] == []
    assert annotation.run["seconds"]["total"] > 0
    assert "closes" in [what for _, what in provenance["motion"]["events"]]
    assert "no usable CameraInfo" in provenance["cameras"]["camera"]["gripper"]


def test_a_single_storage_file_and_a_folder_of_bags_are_taken_too(tmp_path):
    write_bag(tmp_path / "folder/one", frames=20)
    write_bag(tmp_path / "folder/two", frames=20)
    assert annotate(tmp_path / "folder") == 0
    (file,) = (tmp_path / "folder/one").glob("*.mcap")
    single = tmp_path / "single.mcap"
    single.write_bytes(file.read_bytes())
    assert annotate(single) == 0
    assert annotated(single).valid.all()


def test_a_second_run_does_nothing_and_a_changed_task_or_force_does_it_again(tmp_path):
    write_bag(tmp_path / "bag", frames=20)
    sidecar = tmp_path / "bag.annotation/annotation.json"
    annotate(tmp_path / "bag")
    first = sidecar.stat().st_ino
    annotate(tmp_path / "bag")
    assert sidecar.stat().st_ino == first
    annotate(tmp_path / "bag", "--force")
    second = sidecar.stat().st_ino
    assert second != first
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(yaml.safe_load(TASK.read_text()) | {"objects": ["red cube"]}))
    annotate(tmp_path / "bag", task=other)
    assert [track.name for track in annotated(tmp_path / "bag").objects] == ["red cube"]


def test_workers_give_the_same_annotation_as_one_process(tmp_path):
    for name in ("a", "b"):
        write_bag(tmp_path / name, frames=20)
    annotate(tmp_path / "a")
    before = annotated(tmp_path / "a")
    arguments = [tmp_path / "a", tmp_path / "b", "--robot", ROBOT, "--task", TASK, "--workers", "2", "--force"]
    run = subprocess.run([sys.executable, "-m", "saliency_server.annotate", *map(str, arguments)], capture_output=True)
    assert run.returncode == 0, run.stderr
    for name in ("a", "b"):
        np.testing.assert_array_equal(annotated(tmp_path / name).objects[0].boxes_px, before.objects[0].boxes_px)


def test_an_unreadable_frame_keeps_its_place_and_says_so(tmp_path):
    """The reference skipped such a frame, which shifted every later image against its action."""
    centres = write_bag(tmp_path / "bag", "jpeg", damaged=(7, 8))
    annotate(tmp_path / "bag")
    camera = annotated(tmp_path / "bag")
    assert len(camera.stamps_ns) == FRAMES
    assert np.flatnonzero(~camera.valid).tolist() == [7, 8]
    assert camera.reason[7] == "unreadable image"
    assert np.nanmax(centre_error_px(camera.object("red cube"), centres)) < 2.0


def test_zero_and_doubled_stamps_are_left_out_and_counted(tmp_path):
    stamps = [START_NS + i * PERIOD_NS for i in range(FRAMES)]
    stamps[3], stamps[10], stamps[20], stamps[21] = 0, stamps[9], stamps[21], stamps[20]
    write_bag(tmp_path / "bag", stamps_ns=stamps)
    annotate(tmp_path / "bag")
    annotation = read_annotation(tmp_path / "bag")
    assert annotation.provenance["cameras"]["camera"]["stamps_dropped"] == 2
    assert len(annotation.camera("camera").stamps_ns) == FRAMES - 2


def test_an_image_of_another_size_is_not_used(tmp_path):
    write_bag(tmp_path / "bag", frames=5)
    robot = tmp_path / "robot.yaml"
    text = ROBOT.read_text().replace("width_px: 320", "width_px: 640").replace("height_px: 240", "height_px: 480")
    robot.write_text(text)
    with pytest.raises(AutofocusError, match="320x240 instead of 640x480"):
        annotate_episode(tmp_path / "bag", load_robot(robot), load_task(TASK))


def test_a_missing_image_topic_names_the_ones_in_the_bag(tmp_path):
    write_bag(tmp_path / "bag", topic="/wrist/image_raw", frames=5)
    with pytest.raises(AutofocusError) as caught:
        annotate_episode(tmp_path / "bag", load_robot(ROBOT), load_task(TASK))
    assert TOPIC in caught.value.got
    assert "/wrist/image_raw" in caught.value.allowed
    assert "robot YAML" in caught.value.fix


def test_one_bad_bag_does_not_stop_the_others_and_the_exit_status_says_so(tmp_path, capsys):
    write_bag(tmp_path / "all/good", frames=20)
    write_bag(tmp_path / "all/bad", frames=20)
    (file,) = (tmp_path / "all/bad").glob("*.mcap")
    file.write_bytes(b"not a bag any more" * 1000)
    assert annotate(tmp_path / "all") == 2
    assert annotated(tmp_path / "all/good").valid.all()
    assert not (tmp_path / "all/bad.annotation").exists()
    message = capsys.readouterr().err
    assert "bad" in message and "fix:" in message


def test_an_object_that_is_nowhere_is_an_error_not_a_silent_success(tmp_path):
    write_bag(tmp_path / "bag", frames=10)
    task = tmp_path / "task.yaml"
    task.write_text(TASK.read_text().replace("red cube", "green cube"))
    with pytest.raises(AutofocusError, match="green cube: valid in no frame"):
        annotate(tmp_path / "bag", task=task)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--detect", "crystal-ball"], "colour-terms"),
        (["--describe", "crystal-ball"], "instruction"),
        (["--filter", "crystal-ball"], "task-objects"),
    ],
)
def test_an_unknown_backend_exits_2_and_names_the_known_ones(tmp_path, arguments, expected):
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "saliency_server.annotate", tmp_path / "empty", "--robot", ROBOT, "--task", TASK]
    run = subprocess.run([*map(str, command), *arguments], capture_output=True, text=True)
    assert run.returncode == 2
    assert expected in run.stderr and "crystal-ball" in run.stderr and "Traceback" not in run.stderr


def test_an_empty_episode_directory_exits_2_with_the_remedy(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AutofocusError, match="record"):
        annotate(tmp_path / "empty")


def test_a_killed_run_leaves_nothing_half_written_and_the_next_one_finishes(tmp_path):
    """Two at once and one killed: what has its final name is whole (F28)."""
    write_bag(tmp_path / "bag")
    arguments = [tmp_path / "bag", "--robot", ROBOT, "--task", TASK, "--force", "--quiet", "--workers", "1"]
    command = [sys.executable, "-m", "saliency_server.annotate", *map(str, arguments)]
    running = [subprocess.Popen(command) for _ in range(2)]
    try:
        running[0].wait(0.6)
    except subprocess.TimeoutExpired:
        running[0].kill()
        running[0].wait()
    assert running[1].wait(60) == 0
    assert annotated(tmp_path / "bag").valid.all()
    assert annotate(tmp_path / "bag") == 0


def test_options_travel_into_the_content_key(tmp_path):
    write_bag(tmp_path / "bag", frames=5)
    robot, task = load_robot(ROBOT), load_task(TASK)
    assert len({content_key(tmp_path / "bag", robot, task, Options(batch=batch)) for batch in (4, 8)}) == 2
