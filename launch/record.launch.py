"""A recording session: recorder and command guard, beside the robot's drivers or with the simulated cell.

    ros2 launch launch/record.launch.py robot:=robot.yaml task:=task.yaml output:=episodes
    ros2 service call /command_guard/arm std_srvs/srv/Trigger
    ros2 service call /demo_recorder/start std_srvs/srv/Trigger      # then /stop or /discard
    ros2 service call /demo_recorder/outcome std_srvs/srv/SetBool "{data: true}"

Teleoperation publishes requests and a heartbeat to the guard as a policy does; see docs/safety.md.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, Shutdown
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = [
    DeclareLaunchArgument("robot", description="path of the robot YAML"),
    DeclareLaunchArgument("task", description="path of the task YAML"),
    DeclareLaunchArgument("output", description="folder for the episodes"),
    DeclareLaunchArgument("compression", default_value="none", choices=["none", "zstd"], description="of the MCAP"),
    DeclareLaunchArgument("camera", default_value="none", choices=["sim", "none"],
                          description="sim: start the simulated cell and its demonstrator; none: drivers run already"),
    DeclareLaunchArgument("scene", default_value="lift", description="with camera:=sim: lift or place"),
    DeclareLaunchArgument("condition", default_value="nominal", description="with camera:=sim: see sim.launch.py"),
]


def generate_launch_description() -> LaunchDescription:
    robot, task, output, compression = (ParameterValue(LaunchConfiguration(name), value_type=str)
                                        for name in ("robot", "task", "output", "compression"))
    sim = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("sim.launch.py"))),
        condition=IfCondition(EqualsSubstitution(LaunchConfiguration("camera"), "sim")),
        launch_arguments={"robot": LaunchConfiguration("robot"), "task": LaunchConfiguration("scene"),
                          "condition": LaunchConfiguration("condition"), "demonstrator": "true"}.items())
    return LaunchDescription([
        *ARGUMENTS,
        GroupAction([sim], scoped=True),  # or the cell's `task`, a name, would replace ours, a path
        Node(package="command_guard", executable="guard", output="screen", on_exit=Shutdown(reason="the guard ended"),
             parameters=[{"robot": robot}]),
        Node(package="demo_recorder", executable="recorder", output="screen",
             on_exit=Shutdown(reason="the recorder ended"),
             parameters=[{"robot": robot, "task": task, "output": output, "compression": compression}]),
    ])
