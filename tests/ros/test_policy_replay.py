"""Replay of a recording into a policy node: on the recording's clock, commands out of reach, not into a live graph; and
its answers are those of the lockstep evaluation."""

import json
import time

import numpy as np
import policy_files as files
import pytest
from autofocus_core import messages, results
from autofocus_core.bag_writer import BagWriter
from autofocus_core.bags import open_bag
from autofocus_core.episode import load_episode
from autofocus_core.errors import AutofocusError
from autofocus_policy.answers import ANSWERS_TOPIC, read_answers
from autofocus_policy.offline import main as evaluate
from autofocus_policy.replayed import compare

ROBOT = files.SIM_ROBOT
T0 = 1_500_000_000 * 10**9  # long ago: only a node on the recording's clock takes these for fresh
MS = 1_000_000
AWAY = ["-r", "/command_guard/request:=/replay/command_guard/request",
        "-r", "/command_guard/heartbeat:=/replay/command_guard/heartbeat"]


@pytest.fixture
def bag(tmp_path):
    """See write_bag."""
    return write_bag(tmp_path / "bag")


def write_bag(path):
    """Four seconds of images that flicker and drift, joint states that wander, actions and guard commands."""
    header, at, image, state = (messages.message_class(t) for t in (
        "std_msgs/msg/Header", "builtin_interfaces/msg/Time", "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"))
    streams = {ROBOT.state: 10, ROBOT.command: 10, ROBOT.cameras[0]: 33, ROBOT.action: 100}
    noise, pixels = np.random.default_rng(0), np.full((240, 320, 3), 90, np.uint8)
    events = [(T0 + k * period * MS, stream) for stream, period in streams.items() for k in range(4000 // period)]
    with BagWriter(path) as writer:
        for stream in streams:
            writer.add_topic(stream.topic, stream.type)
        for stamp, stream in sorted(events, key=lambda e: e[0]):
            head = header(stamp=at(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id="")
            pixels[:, : noise.integers(1, 320)] = noise.integers(60, 120)
            wander = np.array(ROBOT.start.pose) + 0.05 * np.sin((stamp - T0) / 1e9 + np.arange(6))
            msg = (image(header=head, height=240, width=320, encoding="rgb8", is_bigendian=0, step=960,
                         data=pixels.reshape(-1).copy()) if stream is ROBOT.cameras[0]
                   else state(header=head, name=list(ROBOT.joint_names), position=wander,
                              velocity=np.zeros(0), effort=np.zeros(0)))
            writer.write(stream.topic, messages.serialize(msg, stream.type), stamp, stamp)
    return path


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
    # One without points asks to hold, as once the recording is over and its clock stands still, and has no stamp.
    answers = wait_until(lambda: (found := [m for m in requests if m.points])[5:] and found, 5, "answers")
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in answers]
    assert all(T0 <= stamp <= T0 + 4 * 10**9 for stamp in stamps), stamps
    assert len(commands) > 100 and not live


@pytest.mark.parametrize(("blending", "offset_s"), [("none", 0.0), ("ensemble", 0.55)])
def test_both_routes_agree(blending, offset_s, bag, spawn, tmp_path, capsys):
    """Equal observations give equal answers in lockstep and over the graph; what the live route missed is counted. With
    chunks blended that holds as long as nothing was missed before. A replay that begins later takes other images, and
    so does lockstep then."""
    policy = files.write_policy(tmp_path / "policy.pt")
    spawn(["python", "-m", "autofocus_policy.node", "--ros-args", *AWAY, "-p", f"robot:={files.SIM_ROBOT_YAML}",
           "-p", f"policy:={policy}", "-p", "autostart:=true", "-p", "use_sim_time:=true", "-p",
           f"blending:={blending}"])
    replay = spawn(["python", "-m", "autofocus_policy.replay_node", "--ros-args", "-p", f"bag:={bag}",
                    "-p", f"robot:={files.SIM_ROBOT_YAML}", "-p", f"policy:={policy}", "-p", f"blending:={blending}",
                    "-p", "rate:=0.8", "-p", "topics:=/arm/command", "-p", f"start_offset_s:={offset_s}"])
    replay.wait(90)
    output = replay.output_path.read_text()
    assert replay.returncode == 0 and "observations answered" in output, output
    with open_bag(tmp_path / "policy.replay") as kept:
        assert set(kept.topics) == {ANSWERS_TOPIC}
    answers = read_answers(tmp_path / "policy.replay", ROBOT)
    options = ["--blending", blending, "--replayed", str(tmp_path / "policy.replay"), "--json", str(tmp_path / "j"),
               "--start-offset-s", str(offset_s)]
    assert evaluate([str(policy), str(bag), "--robot", str(files.SIM_ROBOT_YAML), *options]) == 0
    routes = {each["name"]: each for each in json.loads((tmp_path / "j").read_text())["policies"]}
    page = (tmp_path / "policy.replay.html").read_text()
    assert "Replayed through the real graph" in page and page.count("<svg") >= 10
    _, agreement = compare(policy, load_episode(bag), tmp_path / "policy.replay", ROBOT, offset_s=offset_s)
    assert agreement.asked in ((34, 35) if offset_s else (39, 40))
    assert agreement.answered + agreement.elsewhere == len(answers.positions)
    assert agreement.answered >= 30, agreement  # a busy machine may miss some
    assert np.median(answers.latency_ms) < 300
    if blending == "none":
        command = "pytest tests/ros/test_policy_replay.py -k both_routes"
        results.record("evaluation", "replay over the graph, largest difference from lockstep", agreement.largest,
                       "rad or m", "= 0", agreement.largest == 0.0, command)
        results.record("evaluation", "replay over the graph, observations missed of those in lockstep",
                       agreement.missed / agreement.asked, "1", "<= 0.1", agreement.missed <= 0.1 * agreement.asked,
                       command)
        assert agreement.largest == 0.0, agreement
        assert "the two routes agree" in page
        assert routes["replay"]["mean_error"] == pytest.approx(routes["lockstep"]["mean_error"], rel=0.3)
    elif agreement.missed == agreement.elsewhere == 0:
        assert routes["replay"]["mean_error"] == routes["lockstep"]["mean_error"]
        assert agreement.largest > 1e-4  # without blending lockstep says something else


def test_f26_it_refuses_a_live_graph_and_a_bag_without_the_streams(bag, ros_node, spawn, tmp_path):
    from sensor_msgs.msg import JointState

    def run(path, wait_s=2.0, options=()):
        process = spawn(["python", "-m", "autofocus_policy.replay_node", "--ros-args", "-p", f"bag:={path}",
                         "-p", f"robot:={files.SIM_ROBOT_YAML}", "-p", f"wait_s:={wait_s}", *options])
        process.wait(60)
        return process.returncode, process.output_path.read_text()

    code, output = run(bag)
    assert code == 2 and "nobody subscribed" in output
    code, output = run(tmp_path / "none")
    assert code == 2 and "fix:" in output
    for options, words in ((["-p", "start_offset_s:=9.0"], "begin earlier"), (["-p", "rate:=99.0"], "0.05 to 10"),
                           (["-p", "topics:=/none"], "no topic /none"),
                           (["-p", "loop:=true", "-p", f"policy:={tmp_path}/p.pt"], "one or the other")):
        code, output = run(bag, options=options)
        assert code == 2 and words in output, output
    assert not [path for path in tmp_path.iterdir() if "replay" in path.name and path.is_dir()]
    driver = ros_node.create_publisher(JointState, ROBOT.state.topic, 10)
    code, output = run(bag, wait_s=25.0)  # discovery takes a while on a busy machine
    assert code == 2 and f"{ROBOT.state.topic} is published by" in output and "ROS_DOMAIN_ID" in output
    ros_node.destroy_publisher(driver)


def test_a_recording_is_read_before_its_time():
    """The first chunk of a recording with real images took a busy machine a second to read and check; the clock ran
    already, what followed came late and in a burst, and the policy node missed the first 13 of 49 observations. So the
    first message is there before the clock starts, and a thread reads on while another publishes."""
    from autofocus_policy.replay_node import read_ahead

    given = []

    def slow(count, error=None):
        for i in range(count):
            time.sleep(0.2 if i == 0 else 0.02)
            given.append(i)
            yield i
        if error is not None:
            raise error

    began_s = time.monotonic()
    messages = read_ahead(slow(10))
    assert given and time.monotonic() - began_s >= 0.2  # nobody has asked for one yet
    deadline_s = time.monotonic() + 10.0
    while len(given) < 10 and time.monotonic() < deadline_s:
        time.sleep(0.005)
    assert len(given) == 10 and list(messages) == list(range(10))
    assert list(read_ahead(iter(()))) == []
    with pytest.raises(AutofocusError, match="damaged"):
        list(read_ahead(slow(3, AutofocusError("bag", "damaged", "a whole one", "recover it"))))
