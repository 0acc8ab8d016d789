"""The fast evaluator asks for what the policy node asks for: same pictures and joints in, same requests out."""

import time
from dataclasses import replace

import numpy as np
import policy_files as files
import pytest
from autofocus_cli.rollout import Job, run_job, run_rollout
from autofocus_core.schema import load_task
from autofocus_policy.runner import PolicyRunner
from autofocus_sim.cell import Cell

ROBOT = files.SIM_ROBOT
TASK_YAML = files.SIM_CONFIG / "lift.yaml"
STEPS = 12
SEED = 10_500


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return files.write_policy(tmp_path_factory.mktemp("policy") / "policy.pt")


@pytest.fixture(scope="module")
def seen(policy):
    """(observation, chunk) of the first steps of a rollout in process."""
    found = []
    task = replace(load_task(TASK_YAML), timeout_s=STEPS / ROBOT.control_rate_hz)
    cell = Cell("lift", "nominal", SEED)
    run_rollout(PolicyRunner(policy, ROBOT), cell, ROBOT, task, "nominal", SEED,
                watch=lambda time_s, observation, chunk, cell: found.append((observation, chunk)))
    cell.close()
    return found


@pytest.mark.timeout(180)
def test_node_gives_the_rollouts_actions(policy, seen, ros_node, spawn, wait_until):
    from sensor_msgs.msg import Image, JointState
    from trajectory_msgs.msg import JointTrajectory

    requests: dict[int, JointTrajectory] = {}
    ros_node.create_subscription(JointTrajectory, "/command_guard/request",
                                 lambda m: requests.setdefault(nanoseconds(m.header.stamp), m), 50)
    images = ros_node.create_publisher(Image, ROBOT.cameras[0].topic, 10)
    states = ros_node.create_publisher(JointState, ROBOT.state.topic, 10)
    spawn(["python", "-m", "autofocus_policy.node", "--ros-args", "-p", f"robot:={files.SIM_ROBOT_YAML}",
           "-p", f"policy:={policy}", "-p", "autostart:=true"])
    wait_until(lambda: images.get_subscription_count() and states.get_subscription_count(), 60, "the policy node")

    def ask(observation) -> JointTrajectory:
        """Publish one observation, stamped now, until the node answers it; a late frame is rightly refused."""
        sent: list[int] = []

        def answered():
            if any(stamp in requests for stamp in sent):
                return True
            stamp = ros_node.get_clock().now().to_msg()
            state = JointState(name=list(ROBOT.joint_names), position=observation.state.tolist())
            image = Image(height=240, width=320, encoding="rgb8", step=960)
            image.data = observation.images[ROBOT.cameras[0].name].tobytes()
            state.header.stamp = image.header.stamp = stamp
            states.publish(state)
            images.publish(image)
            sent.append(nanoseconds(stamp))
            deadline = ros_node.get_clock().now().nanoseconds + 120_000_000  # a control period and a little
            while ros_node.get_clock().now().nanoseconds < deadline and sent[-1] not in requests:
                time.sleep(0.002)
            return sent[-1] in requests

        wait_until(answered, 30, "the node's answer to an observation")
        return requests[next(stamp for stamp in sent if stamp in requests)]

    for observation, chunk in seen:
        request = ask(observation)
        assert list(request.joint_names) == list(ROBOT.joint_names)
        np.testing.assert_array_equal([p.positions for p in request.points], chunk.positions)
        times_s = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in request.points]
        np.testing.assert_allclose(times_s, chunk.dt_s * np.arange(1, len(chunk.positions) + 1), atol=1e-9)


def test_rollouts_are_repeatable_and_see_what_they_move(policy, seen):
    """The same seed gives the same rollout; and it is a real one: the arm moves with what the policy asks for."""
    job = Job(policy, files.SIM_ROBOT_YAML, TASK_YAML, "nominal", (SEED, SEED))
    first, second = run_job(job)
    assert first == second
    moved = np.abs(seen[-1][0].state - seen[0][0].state).max()
    assert moved > 0.004, "the arm did not follow the policy"


def nanoseconds(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec
