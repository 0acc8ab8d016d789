"""Replay of a recording into a policy node: on the recording's clock, commands out of reach, not into a live graph."""

import numpy as np
import policy_files as files
import pytest
from autofocus_core import messages
from autofocus_core.bag_writer import BagWriter

ROBOT = files.SIM_ROBOT
T0 = 1_500_000_000 * 10**9  # long ago: only a node on the recording's clock takes these for fresh
MS = 1_000_000
AWAY = ["-r", "/command_guard/request:=/replay/command_guard/request",
        "-r", "/command_guard/heartbeat:=/replay/command_guard/heartbeat"]


@pytest.fixture
def bag(tmp_path):
    """Four seconds of images, joint states and guard commands."""
    header, time, image, state = (messages.message_class(t) for t in (
        "std_msgs/msg/Header", "builtin_interfaces/msg/Time", "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"))
    streams = {ROBOT.state: 10, ROBOT.command: 10, ROBOT.cameras[0]: 33}
    events = [(T0 + k * period * MS, stream) for stream, period in streams.items() for k in range(4000 // period)]
    with BagWriter(tmp_path / "bag") as writer:
        for stream in streams:
            writer.add_topic(stream.topic, stream.type)
        for stamp, stream in sorted(events, key=lambda e: e[0]):
            head = header(stamp=time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id="")
            msg = (image(header=head, height=240, width=320, encoding="rgb8", is_bigendian=0, step=960,
                         data=np.full(240 * 960, 90, np.uint8)) if stream is ROBOT.cameras[0]
                   else state(header=head, name=list(ROBOT.joint_names), position=np.array(ROBOT.start.pose),
                              velocity=np.zeros(0), effort=np.zeros(0)))
            writer.write(stream.topic, messages.serialize(msg, stream.type), stamp, stamp)
    return tmp_path / "bag"


def test_f26_replay_drives_the_policy_and_nothing_else(bag, ros_node, spawn, tmp_path, wait_until):
    from sensor_msgs.msg import JointState
    from trajectory_msgs.msg import JointTrajectory

    requests, commands, live = [], [], []
    ros_node.create_subscription(JointTrajectory, "/replay/command_guard/request", requests.append, 50)
    ros_node.create_subscription(JointState, "/replay" + ROBOT.command.topic, commands.append, 500)
    ros_node.create_subscription(JointState, ROBOT.command.topic, live.append, 500)
    ros_node.create_subscription(JointTrajectory, "/command_guard/request", live.append, 50)
    policy = files.write_policy(tmp_path / "policy.pt")
    spawn(["python", "-m", "autofocus_policy.node", "--ros-args", *AWAY, "-p", f"robot:={files.SIM_ROBOT_YAML}",
           "-p", f"policy:={policy}", "-p", "autostart:=true", "-p", "use_sim_time:=true"])
    replay = spawn(["python", "-m", "autofocus_policy.replay_node", "--ros-args", "-p", f"bag:={bag}",
                    "-p", f"robot:={files.SIM_ROBOT_YAML}"])
    replay.wait(60)
    assert replay.returncode == 0, replay.output_path.read_text()
    wait_until(lambda: len(requests) > 5, 5, "requests for the recording")
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in requests]
    assert all(T0 <= stamp <= T0 + 4 * 10**9 for stamp in stamps)
    assert len(commands) > 100 and not live


def test_f26_it_refuses_a_live_graph_and_a_bag_without_the_streams(bag, ros_node, spawn, tmp_path):
    from sensor_msgs.msg import JointState

    def run(path, wait_s=2.0):
        process = spawn(["python", "-m", "autofocus_policy.replay_node", "--ros-args", "-p", f"bag:={path}",
                         "-p", f"robot:={files.SIM_ROBOT_YAML}", "-p", f"wait_s:={wait_s}"])
        process.wait(60)
        return process.returncode, process.output_path.read_text()

    code, output = run(bag)
    assert code == 2 and "nobody subscribed" in output
    code, output = run(tmp_path / "none")
    assert code == 2 and "fix:" in output
    driver = ros_node.create_publisher(JointState, ROBOT.state.topic, 10)
    code, output = run(bag, wait_s=25.0)  # discovery takes a while on a busy machine
    assert code == 2 and f"{ROBOT.state.topic} is published by" in output and "ROS_DOMAIN_ID" in output
    ros_node.destroy_publisher(driver)
