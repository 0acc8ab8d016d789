"""A recording session: recorder, command guard, camera and teleoperation, beside the robot's own drivers.

    ros2 launch launch/record.launch.py robot:=robot.yaml task:=task.yaml output:=out camera:=realsense teleop:=leader
    ros2 service call /command_guard/arm std_srvs/srv/Trigger       # somebody has to want the arm to move

Two need a terminal of their own: `autofocus teleop keyboard` and the session's screen, `autofocus record --attach`.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, Shutdown
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {  # name: (meaning, default or None, choices or None)
    "robot": ("path of the robot YAML", None, None), "task": ("path of the task YAML", None, None),
    "output": ("folder for the episodes", None, None),
    "compression": ("of the MCAP", "none", ["none", "zstd"]),
    "camera": ("sim: the whole cell; realsense: our node; none: a driver runs", "none", ["sim", "realsense", "none"]),
    "serial_no": ("with camera:=realsense: which one, `_` before the number; empty: the only one", "", None),
    "scene": ("with camera:=sim: lift, place or pack", "lift", None),
    "condition": ("with camera:=sim: see sim.launch.py", "nominal", None),
    "teleop": ("who moves the arm; the keyboard needs a terminal of its own", "none", ["leader", "gamepad", "none"]),
    "teleop_config": ("path of the leader YAML or gamepad YAML", "", None),
    "buttons": ("path of the YAML of the session's gamepad buttons; empty: none", "", None),
    "joystick": ("true: publish /dev/input/js0 as /joy; false: joy_node does", "false", ["true", "false"]),
}


def node(package, executable, condition=None, **parameters):
    values = {name: ParameterValue(LaunchConfiguration(value), value_type=str) for name, value in parameters.items()}
    return Node(package=package, executable=executable, output="screen", condition=condition, parameters=[values],
                on_exit=Shutdown(reason=f"{executable} ended"))


def when(name, value, comparison=EqualsSubstitution):
    return IfCondition(comparison(LaunchConfiguration(name), value))


def generate_launch_description() -> LaunchDescription:
    arguments = {"robot": "robot", "task": "scene", "condition": "condition"}.items()
    sim = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("sim.launch.py"))), condition=when("camera", "sim"),
        launch_arguments=[("demonstrator", "true"), *((name, LaunchConfiguration(ours)) for name, ours in arguments)])
    return LaunchDescription([
        *(DeclareLaunchArgument(name, description=meaning, default_value=default, choices=choices)
          for name, (meaning, default, choices) in ARGUMENTS.items()),
        GroupAction([sim], scoped=True),  # or the cell's `task`, a name, would replace ours, a path
        node("command_guard", "guard", robot="robot"),
        node("demo_recorder", "recorder", robot="robot", task="task", output="output", compression="compression"),
        node("demo_recorder", "realsense", when("camera", "realsense"), serial_no="serial_no"),
        node("demo_recorder", "leader", when("teleop", "leader"), robot="robot", teleop="teleop_config"),
        node("demo_recorder", "jog", when("teleop", "gamepad"), robot="robot", teleop="teleop_config", input="teleop"),
        node("demo_recorder", "joystick", when("joystick", "true")),
        node("demo_recorder", "session_buttons", when("buttons", "", NotEqualsSubstitution), buttons="buttons"),
    ])
