"""The workspace under colcon and the launch files under the real `ros2 launch`, where these are installed.

colcon is in the lock of `make test`; launch, launch_ros and ros2cli come with a ROS 2 installation only. With one
sourced, `pytest tests/ros/test_launch.py` runs all of this.
"""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import policy_files as files
import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH_FILES = [*sorted(ROOT.glob("launch/*.launch.py")), *ROOT.glob("ros2_ws/src/*/launch/*.launch.py")]
HAS_LAUNCH = all(importlib.util.find_spec(name) for name in ("launch", "launch_ros", "ros2launch"))
HAS_COLCON = importlib.util.find_spec("colcon_core") is not None
needs_launch = pytest.mark.skipif(not HAS_LAUNCH, reason="launch, launch_ros, ros2launch: only in a ROS 2 installation")
needs_colcon = pytest.mark.skipif(not HAS_COLCON, reason="no colcon: pip install colcon-common-extensions")


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 60


@needs_launch
@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_every_argument_is_described(path):
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(path))
    arguments = [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]
    assert arguments and all(len(a.description) > 5 for a in arguments)


@needs_launch
def test_annotate_launch_starts_the_command_or_the_node_with_what_was_given():
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    def started(**given):
        context = LaunchContext()
        context.launch_configurations.update({"episodes": "e", "robot": "r.yaml", "task": "2", **given})
        description = get_launch_description_from_python_launch_file(str(ROOT / "launch/annotate.launch.py"))
        actions = [action for entity in description.entities for action in entity.visit(context) or []]
        (action,) = [action for action in actions if not isinstance(action, DeclareLaunchArgument)]
        return context, action

    _, command = started(workers="3", ray="local", force="true", keyframe_s="0.5")
    words = ["".join(getattr(part, "text", "") for part in word) for word in command.cmd[1:]]
    assert words[0] == "e" and words[-1] == "--force" and "--vlm" not in words
    for option, value in (("--task", "2"), ("--workers", "3"), ("--ray", "local"), ("--keyframe-s", "0.5")):
        assert words[words.index(option) + 1] == value
    context, node = started(watch="true", alpha="0.7")
    node._perform_substitutions(context)
    (parameters,) = [path for path, is_file in node._Node__expanded_parameter_arguments if is_file]
    values = next(iter(yaml.safe_load(Path(parameters).read_text()).values()))["ros__parameters"]
    assert (values["folder"], values["task"], values["alpha"]) == ("e", "2", 0.7) and "vlm" not in values


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """ros2_ws copied and built by colcon; its environment after sourcing install/setup.bash."""
    if not HAS_COLCON:
        pytest.skip("colcon is not installed")
    folder = tmp_path_factory.mktemp("colcon")
    shutil.copytree(ROOT / "ros2_ws/src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    code = "import sys; from colcon_core.command import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, "--log-base", "log", "build"], cwd=folder, check=True, timeout=280)
    sourced = subprocess.run(["bash", "-c", "source install/setup.bash && env -0"], cwd=folder, check=True,
                             capture_output=True).stdout.decode()
    return folder, dict(line.split("=", 1) for line in sourced.split("\0") if "=" in line)


@needs_colcon
@pytest.mark.slow
def test_colcon_builds_every_package(workspace):
    """The executables are where `ros2 run` looks for them, and the modules come from install/."""
    folder, env = workspace
    for package in ("autofocus_sim", "autofocus_policy", "command_guard", "demo_recorder", "saliency_server"):
        names = [p.name for p in (folder / "install" / package / "lib" / package).iterdir()]
        assert names and str(folder / "install" / package) in env["AMENT_PREFIX_PATH"], package
    where = subprocess.run([sys.executable, "-c", "import autofocus_core; print(autofocus_core.__file__)"], env=env,
                           check=True, capture_output=True, text=True).stdout
    assert where.startswith(str(folder / "install"))
    assert (folder / "install/autofocus_policy/share/autofocus_policy/launch/run.launch.py").is_file()
    for file in ("sim_arm.yaml", "sim_arm.xml"):
        assert (folder / "install/autofocus_sim/share/autofocus_sim/config" / file).is_file()
    for file in ("leader.yaml", "gamepad.yaml", "keyboard.yaml", "buttons.yaml"):
        assert (folder / "install/demo_recorder/share/demo_recorder/config" / file).is_file()


def ros2_launch(spawn, env, *argv):
    """`ros2 launch ...` in the environment of the workspace, but for what the test's own domain needs."""
    code = "import sys; from ros2cli.cli import main; sys.exit(main())"
    keys = ("PATH", "PYTHONPATH", "AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH")
    env = {key: env[key] for key in keys if key in env}
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env["PATH"]))
    return spawn(["python", "-c", code, "launch", *argv], env=env)


@needs_launch
@needs_colcon
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_run_launch_moves_the_simulated_arm(workspace, ros_node, spawn, tmp_path, wait_until):
    """ros2 launch autofocus_policy run.launch.py with the simulator: armed by service, the arm follows the policy."""
    from sensor_msgs.msg import JointState
    from std_srvs.srv import Trigger
    from trajectory_msgs.msg import JointTrajectory

    states, requests = [], []
    ros_node.create_subscription(JointState, "/joint_states", lambda m: states.append(np.array(m.position)), 10)
    ros_node.create_subscription(JointTrajectory, "/command_guard/request", requests.append, 10)
    arm = ros_node.create_client(Trigger, "/command_guard/arm")
    policy = files.write_policy(tmp_path / "policy.pt")
    launch = ros2_launch(spawn, workspace[1], "autofocus_policy", "run.launch.py", f"robot:={files.SIM_ROBOT_YAML}",
                         f"policy:={policy}", "camera:=sim")
    wait_until(lambda: len(requests) > 5 and states, 120, "requests of the policy")
    still = states[-1]
    time.sleep(0.5)
    assert np.abs(states[-1] - still).max() < 0.01  # not armed: nothing moves
    wait_until(arm.service_is_ready, 20, "the guard's service")
    for _ in range(20):  # as a person would: on a busy machine the guard may stop for a late process
        arm.call_async(Trigger.Request())
        deadline_s = time.monotonic() + 3.0
        while time.monotonic() < deadline_s and np.abs(states[-1] - still).max() < 0.03:
            time.sleep(0.01)
        if np.abs(states[-1] - still).max() >= 0.03:
            break
    assert np.abs(states[-1] - still).max() >= 0.03, "the arm did not move"
    assert launch.poll() is None
    kill_process(launch, "guard")  # the policy and the cell are not left alone
    launch.wait(60)
    output = launch.output_path.read_text()
    assert "the guard has ended: everything is shut down" in output and not running(launch)
    assert re.search(r"guard-\d+\]: process has died", output)


@needs_launch
@needs_colcon
@pytest.mark.slow
def test_run_launch_ends_with_the_remedy_where_the_policy_is_missing(workspace, spawn, tmp_path):
    launch = ros2_launch(spawn, workspace[1], "autofocus_policy", "run.launch.py", f"robot:={files.SIM_ROBOT_YAML}",
                         f"policy:={tmp_path / 'none.pt'}")
    launch.wait(120)
    output = launch.output_path.read_text()
    assert "nothing there" in output and "autofocus export" in output
    assert re.search(r"policy-\d+\]: process has died .*exit code 2", output), output


@needs_launch
@needs_colcon
@pytest.mark.slow
def test_run_launch_with_a_camera_driver_that_is_not_installed(workspace, spawn, tmp_path):
    prefixes = workspace[1].get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    if any((Path(prefix) / "share/realsense2_camera").is_dir() for prefix in prefixes):
        pytest.skip("realsense-ros is installed here")
    launch = ros2_launch(spawn, workspace[1], "autofocus_policy", "run.launch.py", f"robot:={files.SIM_ROBOT_YAML}",
                         f"policy:={files.write_policy(tmp_path / 'policy.pt')}", "camera:=realsense2_camera")
    assert launch.wait(60) != 0 and "'realsense2_camera' not found" in launch.output_path.read_text()
    launch = ros2_launch(spawn, workspace[1], "autofocus_policy", "run.launch.py", f"robot:={files.SIM_ROBOT_YAML}",
                         "policy:=p.pt", "camera:=webcam")
    assert launch.wait(60) != 0 and "realsense2_camera, sim, none" in launch.output_path.read_text().replace("'", "")


@needs_launch
@needs_colcon
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_run_launch_in_shadow_asks_and_moves_nothing(workspace, ros_node, spawn, tmp_path, wait_until):
    """Arguments changed: another scene, shadow, blending. No guard, no command, requests below /shadow; and when the
    policy is killed, all end, and the launch says which process it was."""
    from sensor_msgs.msg import JointState
    from trajectory_msgs.msg import JointTrajectory

    states, requests, live = [], [], []
    ros_node.create_subscription(JointState, "/joint_states", lambda m: states.append(np.array(m.position)), 10)
    ros_node.create_subscription(JointTrajectory, "/shadow/command_guard/request", requests.append, 10)
    ros_node.create_subscription(JointTrajectory, "/command_guard/request", live.append, 10)
    ros_node.create_subscription(JointState, files.SIM_ROBOT.command.topic, live.append, 10)
    policy = files.write_policy(tmp_path / "policy.pt")
    launch = ros2_launch(spawn, workspace[1], "autofocus_policy", "run.launch.py", f"robot:={files.SIM_ROBOT_YAML}",
                         f"policy:={policy}", "camera:=sim", "shadow:=true", "condition:=mate", "seed:=7",
                         "blending:=ensemble")
    wait_until(lambda: len(requests) > 10 and states, 120, "requests in shadow")
    assert not live and np.abs(states[-1] - states[0]).max() < 0.01
    assert ("command_guard", "/") not in ros_node.get_node_names_and_namespaces()
    kill_process(launch, "policy")
    launch.wait(60)
    output = launch.output_path.read_text()
    assert "the policy has ended: everything is shut down" in output and "shadow mode, nothing moves" in output
    assert re.search(r"policy-\d+\]: process has died", output) and not running(launch)


@needs_launch
@needs_colcon
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sim_launch_takes_its_arguments_and_ends_as_one(workspace, ros_node, spawn, wait_until):
    """Scene and demonstrator by arguments; the demonstrator does the task; the cell is killed and all end."""
    from std_srvs.srv import Trigger
    from visualization_msgs.msg import ImageMarker

    seen = set()
    ros_node.create_subscription(ImageMarker, "/sim/truth/image_markers", lambda m: seen.add(m.ns), 50)
    run = ros_node.create_client(Trigger, "/demonstrator/run")
    launch = ros2_launch(spawn, workspace[1], ROOT / "launch/sim.launch.py", f"robot:={files.SIM_ROBOT_YAML}",
                         "task:=place", "condition:=mate", "seed:=3", "demonstrator:=true")
    wait_until(run.service_is_ready, 120, "the demonstrator")
    wait_until(lambda: {"white plate", "blue box"} <= seen, 30, "the plate of `place` and the box of `mate`")
    kill_process(launch, "sim")
    launch.wait(60)
    assert "the sim has ended: everything is shut down" in launch.output_path.read_text() and not running(launch)


@needs_launch
@needs_colcon
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_replay_launch_writes_the_report(workspace, ros_node, spawn, tmp_path, wait_until):
    """A recording made here is played to the policy node: what it answers is kept, the report is written where it was
    asked for, and all end with the recording. Nothing on a robot's topics."""
    from test_policy_replay import write_bag
    from trajectory_msgs.msg import JointTrajectory

    live = []
    ros_node.create_subscription(JointTrajectory, "/command_guard/request", live.append, 10)
    policy, bag = files.write_policy(tmp_path / "policy.pt"), write_bag(tmp_path / "bag")
    launch = ros2_launch(spawn, workspace[1], ROOT / "launch/replay.launch.py", f"robot:={files.SIM_ROBOT_YAML}",
                         f"policy:={policy}", f"bag:={bag}", f"report:={tmp_path}/out/report.html", "rate:=1.5",
                         "clock_hz:=50", "topics:=/arm/command")
    launch.wait(150)
    output = launch.output_path.read_text()
    found = re.search(r"replay: (\d+) of (\d+) observations answered.* difference from lockstep ([\d.e-]+)", output)
    assert found and int(found[1]) > 20 and float(found[3]) == 0.0, output
    assert "Replayed through the real graph" in (tmp_path / "out/report.html").read_text()
    assert (tmp_path / "policy.replay/metadata.yaml").is_file() and not live and not running(launch)
    assert "the replay has ended: everything is shut down" in output


@needs_launch
@needs_colcon
@pytest.mark.slow
def test_replay_launch_ends_with_the_remedy_where_there_is_no_bag(workspace, spawn, tmp_path):
    policy = files.write_policy(tmp_path / "policy.pt")
    launch = ros2_launch(spawn, workspace[1], ROOT / "launch/replay.launch.py", f"robot:={files.SIM_ROBOT_YAML}",
                         f"policy:={policy}", f"bag:={tmp_path}/none")
    launch.wait(120)
    output = launch.output_path.read_text()
    assert re.search(r"replay-\d+\]: process has died .*exit code 2", output) and "fix:" in output, output


def children(process):
    """{process id: command line} of everything below a process."""
    found, parents = {}, {process.pid}
    for stat in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda p: int(p.parent.name)):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
            command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, IndexError):
            continue
        if parent in parents:
            pid = int(stat.parent.name)
            parents.add(pid)
            found[pid] = command
    return found


def kill_process(launch, executable):
    """kill -9 for one node of the launch; remembers all of them for `running`."""
    launch.nodes = children(launch)
    ids = [pid for pid, command in launch.nodes.items() if f"/{executable} --ros-args" in command]
    assert len(ids) == 1, launch.nodes
    os.kill(ids[0], signal.SIGKILL)


def running(launch):
    """What is left of a launch that has ended."""
    return [pid for pid in getattr(launch, "nodes", {}) if Path(f"/proc/{pid}").exists()]


def record_arguments(output, **more):
    config = ROOT / "ros2_ws/src/autofocus_sim/config"
    values = {"robot": config / "sim_arm.yaml", "task": config / "lift.yaml", "output": output, **more}
    return [ROOT / "launch/record.launch.py", *(f"{name}:={value}" for name, value in values.items())]


@needs_launch
@needs_colcon
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_record_launch_starts_a_session_that_a_leader_leads(workspace, ros_node, spawn, tmp_path, wait_until):
    """The simulated cell, guard, recorder, leader and buttons from one file: the arm goes where the leader is."""
    from sensor_msgs.msg import JointState
    from std_srvs.srv import Trigger

    states = []
    ros_node.create_subscription(JointState, "/joint_states", lambda m: states.append(np.array(m.position)), 10)
    leader = ros_node.create_publisher(JointState, "/leader/joint_states", 10)
    names, home = list(files.SIM_ROBOT.joint_names), np.array(files.SIM_ROBOT.start.pose)

    def lead() -> None:
        message = JointState(name=names, position=[home[0] + 0.3, *home[1:5], 0.5])
        message.header.stamp = ros_node.get_clock().now().to_msg()
        leader.publish(message)

    ros_node.create_timer(0.02, lead)
    clients = {name: ros_node.create_client(Trigger, name) for name in
               ("/command_guard/arm", "/demo_recorder/start", "/demo_recorder/stop", "/leader/engage")}
    config = ROOT / "ros2_ws/src/demo_recorder/config"
    launch = ros2_launch(spawn, workspace[1], *record_arguments(
        tmp_path / "out", camera="sim", teleop="leader", teleop_config=config / "leader.yaml",
        buttons=config / "buttons.yaml"))
    for name, client in clients.items():
        wait_until(client.service_is_ready, 120, name)
    wait_until(lambda: states and ros_node.count_subscribers("/joy"), 60, "joint states, and who listens to buttons")

    def arrived() -> bool:  # as a person would: on a busy machine the guard may stop for a late process
        clients["/command_guard/arm"].call_async(Trigger.Request())
        time.sleep(0.5)
        return abs(states[-1][0] - home[0] - 0.3) < 0.02

    wait_until(arrived, 120, f"the arm at the leader's pose; it is at {states[-1]}")
    assert launch.poll() is None


@needs_launch
@needs_colcon
@pytest.mark.slow
def test_record_launch_ends_with_the_remedy_where_the_leader_is_not_described(workspace, spawn, tmp_path):
    launch = ros2_launch(spawn, workspace[1], *record_arguments(tmp_path / "out", teleop="leader"))
    launch.wait(120)
    output = launch.output_path.read_text()
    assert "leader YAML" in output and "-p teleop:=PATH" in output
    assert re.search(r"leader-\d+\]: process has died .*exit code 2", output), output
