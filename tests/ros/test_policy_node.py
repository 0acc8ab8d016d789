"""The policy node in its own process: lifecycle, requests, heartbeat, holds, refusals. Over real DDS."""

import signal
import time

import numpy as np
import policy_files as files
import pytest
from policy_cell import START, FakeCell, change_state, policy_argv, stamp_ns

ROBOT = files.SIM_ROBOT


@pytest.fixture
def cell(ros_node):
    return FakeCell(ros_node)


@pytest.fixture
def start(spawn, tmp_path):
    """start(policy=path, **parameters) -> Popen of a policy node."""
    def run(policy=None, robot=files.SIM_ROBOT_YAML, **parameters):
        policy = files.write_policy(tmp_path / "policy.pt") if policy is None else policy
        return spawn(policy_argv(policy, robot, **parameters))
    return run


def test_requests_at_control_rate_stamped_with_the_observation(cell, start, wait_until):
    start()
    wait_until(lambda: len(cell.requests) > 20, 30, "twenty requests")
    wait_until(lambda: len(cell.status) > 1, 5, "a status")
    _, request = cell.requests[-1]
    assert list(request.joint_names) == list(ROBOT.joint_names) and len(request.points) == 8
    times_s = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in request.points]
    np.testing.assert_allclose(times_s, np.arange(1, 9) * 0.1, atol=1e-9)
    np.testing.assert_allclose(request.points[0].positions, START + 0.02, atol=1e-5)
    stamps_s = [stamp_ns(m.header.stamp) * 1e-9 for _, m in cell.requests]
    assert np.median(np.diff(stamps_s)) == pytest.approx(0.1, abs=0.02)
    beats_hz = len(cell.beats) / (cell.beats[-1] - cell.beats[0])
    assert 60 < beats_hz < 110
    message, values = cell.last_status()
    assert message == "running", message
    assert 0 < float(values["latency_ms_p50"]) <= float(values["latency_ms_p99"]) and values["bad_output"] == "0"


def test_the_lifecycle_decides_who_commands(cell, ros_node, start, wait_until):
    """Configured: silent. Active: requests and heartbeat. Deactivated: nothing after the answer. And again."""
    process = start(autostart="false")
    assert change_state(ros_node, wait_until, "configure")
    time.sleep(0.5)
    assert not cell.requests and not cell.beats
    for _ in range(2):
        assert change_state(ros_node, wait_until, "activate")
        before = len(cell.requests)
        wait_until(lambda n=before: len(cell.requests) > n + 5, 10, "requests while active")
        assert change_state(ros_node, wait_until, "deactivate")
        time.sleep(0.05)  # what was published before is still delivered
        counts = len(cell.requests), len(cell.beats)
        time.sleep(0.5)
        assert (len(cell.requests), len(cell.beats)) == counts
    assert change_state(ros_node, wait_until, "cleanup") and change_state(ros_node, wait_until, "configure")
    assert process.poll() is None


def test_f17_without_joint_states_it_holds_says_so_and_goes_on(cell, start, wait_until):
    """Alive, but asking for nothing: the guard judges the arm's own silence (test_guard_node.py)."""
    start()
    wait_until(lambda: cell.last_status()[0] == "running", 30, "running")
    cell.state_on = False
    wait_until(lambda: "holding" in cell.last_status()[0], 5, "a hold")
    assert "/joint_states" in cell.last_status()[0]
    count, beats = len(cell.requests), len(cell.beats)
    wait_until(lambda: len(cell.beats) > beats + 20, 5, "heartbeats")
    assert len(cell.requests) == count
    cell.state_on = True
    wait_until(lambda: len(cell.requests) > count + 3, 10, "requests again")


def test_f16_it_asks_to_hold_once_and_what_it_knew_before_does_not_undo_that(cell, start, wait_until):
    """A request without points, stamped now, with the joints' names; the guard's end of it is in tests/faults."""
    start()
    wait_until(lambda: cell.last_status()[0] == "running" and cell.requests, 30, "running")
    for round_ in (1, 2):
        before, asked = len(cell.requests), len(cell.holds)
        cell.image_on = False
        wait_until(lambda n=asked: len(cell.holds) > n, 5, "a request to hold")
        arrived_s, hold = cell.holds[-1]
        assert tuple(hold.joint_names) == ROBOT.joint_names and not hold.points
        assert abs(cell.node.get_clock().now().nanoseconds - stamp_ns(hold.header.stamp)) < 2e9
        time.sleep(0.3)
        assert len(cell.holds) == asked + 1 and all(t < arrived_s for t, _ in cell.requests), "nothing after the hold"
        cell.image_on = True
        wait_until(lambda n=before: len(cell.requests) > n + 3, 10, f"requests again, round {round_}")


def test_f16_what_was_observed_before_a_hold_is_never_sent(cell):
    """An inference that was under way when the camera stopped would have set the arm in motion again."""
    from autofocus_policy.commander_node import Commander
    from autofocus_policy.messages_node import to_request
    from autofocus_policy.monitor import Monitor
    from autofocus_policy.runner import Chunk

    commander = Commander(cell.node)
    commander.open(Monitor(100.0), ROBOT.joint_names, 0.05)

    def send(ticket) -> bool:
        chunk = Chunk(cell.node.get_clock().now().nanoseconds, 0.1, np.tile(START, (8, 1)), np.zeros((1, 4, 4)))
        return commander.send(to_request(chunk, ROBOT.joint_names), chunk, ticket)

    before = commander.ticket
    assert send(before)
    assert commander.set_hold(True) and not commander.set_hold(True), "it asks once"
    assert not send(before) and send(commander.ticket)
    assert not commander.set_hold(False) and send(commander.ticket)
    commander.close()
    assert not commander.set_hold(True) and not send(commander.ticket)


def test_f19_bad_output_is_not_published(cell, start, tmp_path, wait_until):
    start(policy=files.write_policy(tmp_path / "bad.pt", files.NotANumberLater()))
    wait_until(lambda: len(cell.requests) > 3, 30, "requests")
    cell.q[0] = 1.0
    wait_until(lambda: "refused" in cell.last_status()[0], 5, "an error in the status")
    time.sleep(0.1)
    count = len(cell.requests)
    time.sleep(0.5)
    assert len(cell.requests) == count and int(cell.last_status()[1]["bad_output"]) > 2
    assert np.isfinite([p.positions for _, m in cell.requests for p in m.points]).all()


def ended(process, timeout_s=30):
    process.wait(timeout_s)
    return process.returncode, process.output_path.read_text()


def test_a_bad_policy_file_ends_autostart_with_the_remedy(start, tmp_path):
    code, output = ended(start(policy=tmp_path / "none.pt"))
    assert code == 2 and "nothing there" in output and "fix:" in output, output


def test_a_parameter_out_of_range_is_named(start, tmp_path):
    for given, words in ({"threads": 0}, "threads"), ({"blending": "act"}, "crossfade"), ({"device": "gpu"}, "cuda:N"):
        code, output = ended(start(**given))
        assert code == 2 and words in output and "fix:" in output and "Traceback" not in output, output


def test_every_parameter_says_what_it_is(ros_node, start, wait_until):
    """Type, unit and range, as `ros2 param describe /policy ...` shows them."""
    from autofocus_policy.settings import TABLE
    from rcl_interfaces.srv import DescribeParameters

    start(autostart="false")
    client = ros_node.create_client(DescribeParameters, "/policy/describe_parameters")
    wait_until(client.service_is_ready, 60, "the parameter services")
    future = client.call_async(DescribeParameters.Request(names=list(TABLE)))
    wait_until(future.done, 20, "descriptions")
    for found, row in zip(future.result().descriptors, TABLE.values(), strict=True):
        assert row.meaning in found.description and row.unit in found.description and found.read_only
        ranges = [*found.floating_point_range, *found.integer_range]
        assert [(r.from_value, r.to_value) for r in ranges] == (
            [] if row.lowest is None else [(row.lowest, row.highest)])


def test_it_is_not_activated_before_every_input_is_fresh(cell, ros_node, start, wait_until):
    cell.image_on = False
    process = start(autostart="false", activate_within_s=1.0)
    assert change_state(ros_node, wait_until, "configure")
    assert not change_state(ros_node, wait_until, "activate")
    assert "no image on" in process.output_path.read_text()
    cell.image_on = True
    assert change_state(ros_node, wait_until, "activate")
    wait_until(lambda: cell.requests, 10, "a request")


def test_autostart_without_a_camera_ends_with_the_reason(cell, start):
    cell.image_on = False
    code, output = ended(start(activate_within_s=1.0))
    assert code == 2 and "no image on" in output and "start the drivers" in output, output


def test_the_overlay_is_drawn_where_somebody_looks(cell, ros_node, start, wait_until):
    import cv2
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CompressedImage

    pictures = []
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    ros_node.create_subscription(CompressedImage, "/policy/overlay/compressed", pictures.append, best_effort)
    start(overlay_hz=5.0, blending="ensemble")
    wait_until(lambda: len(pictures) > 3, 30, "four overlays")
    stamps = [stamp_ns(m.header.stamp) for m in pictures]
    assert min(np.diff(stamps)) > 0.05e9 and np.median(np.diff(stamps)) > 0.15e9, "more often than asked for"
    wait_until(lambda: stamps[-1] in {stamp_ns(m.header.stamp) for _, m in cell.requests}, 5, "the request of it")
    image = cv2.imdecode(np.frombuffer(pictures[-1].data, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (240, 320, 3)
    # `Sees` attends to what is bright: the left third, in the first object's orange.
    left, right = image[:, 20:80].mean((0, 1)), image[:, 200:].mean((0, 1))
    assert left[2] > 150 and left[2] > left[0] + 50 and right.max() < 60


def test_a_bad_robot_file_or_none_ends_autostart(start, spawn, tmp_path):
    robot = tmp_path / "robot.yaml"
    robot.write_text(files.SIM_ROBOT_YAML.read_text() + "\nsurprise: 1\n")
    code, output = ended(start(robot=robot))
    assert code == 2 and "surprise" in output and "fix:" in output
    code, output = ended(spawn(["python", "-m", "autofocus_policy.node", "--ros-args", "-p", "autostart:=true"]))
    assert code == 2 and "parameter robot" in output and "robot:=PATH" in output


def test_configuring_with_a_bad_file_fails_and_the_node_stays(ros_node, start, tmp_path, wait_until):
    """A lifecycle manager gets a refusal, may put the file there and ask again."""
    policy = tmp_path / "later.pt"
    process = start(policy=policy, autostart="false")
    assert not change_state(ros_node, wait_until, "configure")
    assert "autofocus export" in process.output_path.read_text()
    files.write_policy(policy)
    assert change_state(ros_node, wait_until, "configure")


def test_it_ends_cleanly_on_a_signal(cell, start, wait_until):
    processes = {signal.SIGINT: start(), signal.SIGTERM: start()}
    outputs = [p.output_path for p in processes.values()]
    wait_until(lambda: all("warm after" in output.read_text() for output in outputs), 30, "both to be loaded")
    wait_until(lambda: cell.requests, 10, "a request")
    for signum, process in processes.items():
        process.send_signal(signum)
        code, output = ended(process, 5)
        assert code == 0 and "Traceback" not in output, output
