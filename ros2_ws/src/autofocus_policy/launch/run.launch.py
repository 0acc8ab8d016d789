"""Run a policy: camera (or the simulated cell), policy node, command guard.

    ros2 launch autofocus_policy run.launch.py robot:=robot.yaml policy:=policy.pt camera:=sim
    ros2 service call /command_guard/arm std_srvs/srv/Trigger      # a person arms; nothing moves before
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = [
    DeclareLaunchArgument("robot", description="path of the robot YAML: joints, limits, cameras, topics"),
    DeclareLaunchArgument("policy", description="path of a policy file written by `autofocus export`"),
    DeclareLaunchArgument("camera", default_value="none", choices=["sim", "none"],
                          description="sim: start the simulated cell, camera and arm; none: their drivers run already"),
    DeclareLaunchArgument("task", default_value="lift", description="with camera:=sim: the scene, lift or place"),
    DeclareLaunchArgument("condition", default_value="nominal",
                          description="with camera:=sim: nominal, unseen, mate, mate_broken, lamp or lamp_broken"),
    DeclareLaunchArgument("seed", default_value="0", description="with camera:=sim: number of the scene"),
    DeclareLaunchArgument("threads", default_value="1", description="threads of one inference"),
]


def text(name: str) -> ParameterValue:
    """A launch argument as a string parameter, also where it looks like a number."""
    return ParameterValue(LaunchConfiguration(name), value_type=str)


def number(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=int)


def generate_launch_description() -> LaunchDescription:
    """When one process ends, all do: a guard without a policy holds, but a person should see that it is over."""
    return LaunchDescription([
        *ARGUMENTS,
        Node(package="autofocus_sim", executable="sim", output="screen", on_exit=Shutdown(reason="the cell ended"),
             condition=IfCondition(EqualsSubstitution(LaunchConfiguration("camera"), "sim")),
             parameters=[{"robot": text("robot"), "task": text("task"), "condition": text("condition"),
                          "seed": number("seed")}]),
        Node(package="command_guard", executable="guard", output="screen", on_exit=Shutdown(reason="the guard ended"),
             parameters=[{"robot": text("robot")}]),
        Node(package="autofocus_policy", executable="policy", output="screen",
             on_exit=Shutdown(reason="the policy ended"),
             parameters=[{"robot": text("robot"), "policy": text("policy"), "threads": number("threads"),
                          "autostart": True}]),
        LogInfo(msg="the arm moves after: ros2 service call /command_guard/arm std_srvs/srv/Trigger"),
    ])
