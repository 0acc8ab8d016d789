"""The simulated cell, as the drivers of a real one would run; with `demonstrator:=true` also who teleoperates it.

    ros2 launch launch/sim.launch.py robot:=ros2_ws/src/autofocus_sim/config/sim_arm.yaml task:=lift condition:=mate
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = [
    DeclareLaunchArgument("robot", description="path of the robot YAML"),
    DeclareLaunchArgument("task", default_value="lift", description="lift, place or pack"),
    DeclareLaunchArgument("condition", default_value="nominal",
                          description="nominal, unseen, mate, mate_broken, lamp or lamp_broken"),
    DeclareLaunchArgument("seed", default_value="0", description="number of the scene"),
    DeclareLaunchArgument("demonstrator", default_value="false", choices=["true", "false"],
                          description="start the scripted demonstrator, too: Trigger /demonstrator/run"),
]


def ending(what):
    """When one process ends, all do."""
    said = f"the {what} has ended: everything is shut down"
    return [LogInfo(msg=said), Shutdown(reason=said)]


def generate_launch_description() -> LaunchDescription:
    robot, task = (ParameterValue(LaunchConfiguration(name), value_type=str) for name in ("robot", "task"))
    seed = ParameterValue(LaunchConfiguration("seed"), value_type=int)
    condition = ParameterValue(LaunchConfiguration("condition"), value_type=str)
    return LaunchDescription([
        *ARGUMENTS,
        Node(package="autofocus_sim", executable="sim", output="screen", on_exit=ending("sim"),
             parameters=[{"robot": robot, "task": task, "condition": condition, "seed": seed}]),
        Node(package="autofocus_sim", executable="demonstrator", output="screen", on_exit=ending("demonstrator"),
             condition=IfCondition(LaunchConfiguration("demonstrator")),
             parameters=[{"robot": robot, "task": task, "seed": seed}]),
    ])
