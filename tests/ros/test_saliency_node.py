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
    assert process.poll() is None


def test_a_wrong_parameter_ends_the_server_with_the_remedy(spawn, wait_until, tmp_path):
    process = server(spawn, tmp_path, detect="crystal-ball")
    wait_until(lambda: process.poll() is not None, 30, "the server gone")
    assert process.returncode == 2
    assert "colour-terms" in process.output_path.read_text()
