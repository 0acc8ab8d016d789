"""Annotate recorded episodes; the same as `autofocus annotate`, for those who launch everything.

    ros2 launch launch/annotate.launch.py episodes:=episodes robot:=robot.yaml task:=task.yaml
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import ExecutableInPackage

ARGUMENTS = [
    DeclareLaunchArgument("episodes", description="an episode, a rosbag2 recording, or a folder of them"),
    DeclareLaunchArgument("robot", description="path of the robot YAML"),
    DeclareLaunchArgument("task", description="path of the task YAML: instruction, objects, cameras to annotate"),
]


def generate_launch_description() -> LaunchDescription:
    """Not a node but a command: it ends when the work is done."""
    return LaunchDescription([
        *ARGUMENTS,
        ExecuteProcess(output="screen", cmd=[
            ExecutableInPackage("annotate", "saliency_server"), LaunchConfiguration("episodes"),
            "--robot", LaunchConfiguration("robot"), "--task", LaunchConfiguration("task")]),
    ])
