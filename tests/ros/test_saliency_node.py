"""The saliency server over real ROS 2: episodes appear in its folder, annotations beside them."""

from pathlib import Path

import pytest
from annotate_bags import write_bag

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "ros2_ws/src/autofocus_sim/config"


def server(spawn, folder, **parameters):
    values = {"robot": CONFIG / "sim_arm.yaml", "task": CONFIG / "lift.yaml", "folder": folder, "period_s": 0.2}
    arguments = [word for name, value in (values | parameters).items() for word in ("-p", f"{name}:={value}")]
    return spawn(["python", "-m", "saliency_server.node", "--ros-args", *arguments])


@pytest.fixture
def statuses(ros_node):
    """Every status that arrives, as (level, message, {key: value})."""
    from diagnostic_msgs.msg import DiagnosticArray

    received = []

    def keep(message):
        (status,) = message.status
        received.append((status.level, status.message, {pair.key: pair.value for pair in status.values}))

    ros_node.create_subscription(DiagnosticArray, "/saliency_server/status", keep, 10)
    return received


def test_an_episode_that_appears_is_annotated_and_a_bad_one_reported(spawn, ros_node, statuses, wait_until, tmp_path):
    from autofocus_core.annotation import read_annotation
    from diagnostic_msgs.msg import DiagnosticStatus
    from std_srvs.srv import Trigger

    folder = tmp_path / "episodes"
    folder.mkdir()
    process = server(spawn, folder)
    wait_until(lambda: statuses and statuses[-1][1] == "idle", 30, "the server idle over an empty folder")

    write_bag(tmp_path / "one", frames=10)
    (tmp_path / "one").rename(folder / "one")  # as the recorder does it
    wait_until(lambda: statuses[-1][2]["annotated"] == "1", 30, "the episode annotated")
    assert read_annotation(folder / "one").camera("camera").valid.all()
    assert statuses[-1][2]["coverage.camera/red cube"] == "1.000"

    write_bag(tmp_path / "two", topic="/other", frames=5)
    (tmp_path / "two").rename(folder / "two")
    wait_until(lambda: statuses[-1][2]["failed"] == "1", 30, "the other one failed")
    assert statuses[-1][0] == DiagnosticStatus.WARN
    assert statuses[-1][2]["failed_episodes"] == "two"

    client = ros_node.create_client(Trigger, "/saliency_server/annotate")
    wait_until(client.service_is_ready, 10, "service ~/annotate")
    future = client.call_async(Trigger.Request())
    wait_until(future.done, 10, "an answer")
    assert future.result().success and "2 episodes" in future.result().message
    wait_until(lambda: statuses[-1][2]["up_to_date"] == "1", 30, "the good one looked at again")
    wait_until((folder / "annotation_report.json").is_file, 30, "the folder's report")
    assert (folder / "two.annotation.failed.json").is_file()
    assert process.poll() is None


def test_progress_within_an_episode_its_queue_and_the_quality_are_on_the_status(
    spawn, ros_node, statuses, wait_until, tmp_path
):
    """An episode of many minutes used to be one word, "annotating", for all that time."""
    folder = tmp_path / "episodes"
    for name, frames in (("a_long", 1500), ("b_short", 10)):
        write_bag(folder / name, frames=frames)
    server(spawn, folder, keyframe_s=0.5, alpha=0.7)
    seen = lambda: [values for _, _, values in statuses if values.get("episode") == "a_long"]  # noqa: E731
    wait_until(lambda: [v for v in seen() if 0 < int(v["frames_done"]) < int(v["frames_total"])], 60, "frames counted")
    within = next(v for v in seen() if int(v["frames_done"]))
    assert (within["frames_total"], within["stage"], within["queue"]) == ("1500", "detect", "1")
    assert any(message.startswith("annotating a_long: detect ") for _, message, _ in statuses)
    wait_until(lambda: statuses[-1][2]["annotated"] == "2", 60, "both annotated")
    last = statuses[-1][2]
    assert last["queue"] == "0" and float(last["seconds"]) > 0 and last["questions"] == "0"
    from autofocus_core.annotation import read_annotation

    made = read_annotation(folder / "b_short")
    assert made.maps.alpha == 0.7 and made.provenance["options"]["keyframe_s"] == 0.5


@pytest.mark.parametrize("parameter", [{"alpha": "1.5"}, {"keyframe_s": "-1.0"}, {"threads": "0"}, {"alpha": "much"}])
def test_a_parameter_out_of_its_range_ends_the_server_with_the_range(spawn, wait_until, tmp_path, parameter):
    process = server(spawn, tmp_path, **parameter)
    wait_until(lambda: process.poll() is not None, 30, "the server gone")
    output = process.output_path.read_text()
    assert process.returncode == 2 and "Traceback" not in output
    assert f"parameter {next(iter(parameter))}" in output and "from 0" in output.replace("from 1", "from 0")


def test_a_wrong_parameter_ends_the_server_with_the_remedy(spawn, wait_until, tmp_path):
    process = server(spawn, tmp_path, detect="crystal-ball")
    wait_until(lambda: process.poll() is not None, 30, "the server gone")
    assert process.returncode == 2
    assert "colour-terms" in process.output_path.read_text()
