"""Run a policy on a recording, at its pace and on its clock; requests go to /replay/..., never to a guard.

    ros2 launch launch/replay.launch.py robot:=robot.yaml policy:=policy.pt bag:=episodes/0001

For figures use `autofocus evaluate`, which is quicker and deterministic; this is for looking, in rviz or Foxglove.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = [
    DeclareLaunchArgument("robot", description="path of the robot YAML"),
    DeclareLaunchArgument("policy", description="path of a policy file written by `autofocus export`"),
    DeclareLaunchArgument("bag", description="an episode or any rosbag2 recording"),
    DeclareLaunchArgument("rate", default_value="1.0", description="speed, 0.1 to 2.0; 1.0 as recorded"),
]
AWAY = [(topic, "/replay" + topic) for topic in ("/command_guard/request", "/command_guard/heartbeat")]


def generate_launch_description() -> LaunchDescription:
    """It ends with the recording."""
    robot, policy, bag = (ParameterValue(LaunchConfiguration(name), value_type=str)
                          for name in ("robot", "policy", "bag"))
    rate = ParameterValue(LaunchConfiguration("rate"), value_type=float)
    return LaunchDescription([
        *ARGUMENTS,
        Node(package="autofocus_policy", executable="replay", output="screen",
             on_exit=Shutdown(reason="the recording ended"),
             parameters=[{"robot": robot, "bag": bag, "rate": rate}]),
        Node(package="autofocus_policy", executable="policy", output="screen", remappings=AWAY,
             on_exit=Shutdown(reason="the policy ended"),
             parameters=[{"robot": robot, "policy": policy, "autostart": True, "use_sim_time": True}]),
    ])
