"""Run a policy: camera (or the simulated cell), command guard, policy node; an arm's driver runs already.

    ros2 launch autofocus_policy run.launch.py robot:=robot.yaml policy:=policy.pt camera:=realsense
    ros2 service call /command_guard/arm std_srvs/srv/Trigger      # a person arms; nothing moves before
"""

from autofocus_core.names import GUARD_HEARTBEAT_TOPIC, GUARD_REQUEST_TOPIC
from autofocus_core.schema import load_robot
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessStart
from launch_ros.actions import Node

ARGUMENTS = {  # name: (meaning, default, choices)
    "robot": ("path of the robot YAML: joints, limits, cameras, topics", None, None),
    "policy": ("path of a policy file written by `autofocus export`", None, None),
    "camera": ("realsense: our node; realsense2_camera: realsense-ros; sim: the simulated cell, camera and arm; "
               "none: its driver runs already", "none", ["realsense", "realsense2_camera", "sim", "none"]),
    "serial_no": ("with a RealSense: which one, `_` before the number; empty: the only one", "", None),
    "shadow": ("true: moves nothing: no guard, requests to /shadow/command_guard", "false", ["true", "false"]),
    "task": ("with camera:=sim: the scene, lift or place", "lift", None), "seed": ("its number", "0", None),
    "condition": ("with camera:=sim: nominal, unseen, mate, mate_broken, lamp or lamp_broken", "nominal", None),
    "device": ("where the network runs: cpu, cuda or cuda:N", "cpu", None), "threads": ("on the CPU", "1", None),
    "blending": ("how a new chunk takes over: none, ensemble or crossfade", "none", ["none", "ensemble", "crossfade"]),
    "overlay_hz": ("rate of /policy/overlay/compressed, where it looks, Hz; 0: off", "0.0", None),
}
ROS_DRIVER = {"name": "camera", "namespace": "camera"}  # as realsense-ros's own launch file has it


def node(package, executable, parameters, **options):
    """When one process ends, all do, and it is said which."""
    said = f"the {executable} has ended: everything is shut down"
    return Node(package=package, executable=executable, output="screen", parameters=[parameters],
                on_exit=[LogInfo(msg=said), Shutdown(reason=said)], **options)


def setup(context):
    """Camera and guard first; the policy once the guard runs. It activates itself when every input is fresh."""
    arg = {name: context.launch_configurations[name] for name in ARGUMENTS}
    seen, shadow = load_robot(arg["robot"]).cameras[0], arg["shadow"] == "true"
    profile = {"rgb_camera.color_profile": f"{seen.width_px}x{seen.height_px}x{seen.rate_hz:g}", "enable_depth": False}
    profile |= {"serial_no": arg["serial_no"]} if arg["serial_no"] else {}
    scene = {"robot": arg["robot"], "task": arg["task"], "condition": arg["condition"], "seed": int(arg["seed"])}
    drivers = {"sim": node("autofocus_sim", "sim", scene), "realsense": node("demo_recorder", "realsense", profile),
               "realsense2_camera": node("realsense2_camera", "realsense2_camera_node", profile, **ROS_DRIVER)}
    policy = node("autofocus_policy", "policy", {
        "robot": arg["robot"], "policy": arg["policy"], "threads": int(arg["threads"]), "device": arg["device"],
        "blending": arg["blending"], "overlay_hz": float(arg["overlay_hz"]), "autostart": True,
    }, remappings=[(topic, "/shadow" + topic) for topic in (GUARD_REQUEST_TOPIC, GUARD_HEARTBEAT_TOPIC) if shadow])
    guard = node("command_guard", "guard", {"robot": arg["robot"]})
    moving = [LogInfo(msg="the arm moves after: ros2 service call /command_guard/arm std_srvs/srv/Trigger"),
              RegisterEventHandler(OnProcessStart(target_action=guard, on_start=[policy])), guard]
    still = [LogInfo(msg="shadow mode, nothing moves; requests on /shadow" + GUARD_REQUEST_TOPIC), policy]
    return [*(driver for name, driver in drivers.items() if name == arg["camera"]), *(still if shadow else moving)]


def generate_launch_description():
    return LaunchDescription([*(DeclareLaunchArgument(name, description=meaning, default_value=value, choices=choices)
                                for name, (meaning, value, choices) in ARGUMENTS.items()),
                              OpaqueFunction(function=setup)])
