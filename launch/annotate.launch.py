"""Annotate recorded episodes: a command that ends when the work is done or, with watch:=true, a node that goes on.

    ros2 launch launch/annotate.launch.py episodes:=episodes robot:=robot.yaml task:=task.yaml workers:=4
    ros2 launch launch/annotate.launch.py episodes:=episodes robot:=robot.yaml task:=task.yaml watch:=true
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage

#: name: (meaning, default; None: it must be given)
SHARED = {
    "robot": ("path of the robot YAML", None),
    "task": ("path of the task YAML: instruction, objects, cameras to annotate", None),
    "vlm": ("model that describes and filters: openai:MODEL@URL or transformers:MODEL; empty: none", ""),
    "describe": ("where the objects' names come from; empty: vlm, or the instruction", ""),
    "detect": ("what finds them: colour-terms or transformers:MODEL", "colour-terms"),
    "filter": ("what says when each matters; empty: vlm, or all of the task's objects", ""),
    "gripper": ("auto, projection or detect", "auto"),
    "map": ("gaussian, box or mask", "gaussian"),
    "masks": ("SAM 2 model that makes masks: transformers:MODEL; empty: none", ""),
    "alpha": ("what a map keeps of the one before it, 0.0 to below 1", "0.0"),
    "keyframe_s": ("show the detector a frame so often [s], such as 0.5; empty: every frame", ""),
    "threads": ("processors for a model's arithmetic, in each worker", "1"),
}
OWN = {
    "episodes": ("an episode, a rosbag2 recording, or a folder of them; with watch:=true a folder", None),
    "watch": ("true: the node that annotates what appears in the folder; false: the command", "false"),
    "workers": ("without watch: processes, or actors of a Ray cluster; empty: as many as is usual", ""),
    "ray": ("without watch: address of a Ray cluster; empty: this machine", ""),
    "force": ("without watch: true makes annotations anew that are up to date", "false"),
}


def start(context):
    given = {name: value for name, value in context.launch_configurations.items() if value not in ("", "false")}
    if "watch" in given:
        types = {"alpha": float, "keyframe_s": float, "threads": int}
        values = {name: ParameterValue(LaunchConfiguration(name), value_type=types.get(name, str))
                  for name in SHARED if name in given}
        folder = ParameterValue(LaunchConfiguration("episodes"), value_type=str)
        return [Node(package="saliency_server", executable="server", output="screen",
                     parameters=[values | {"folder": folder}])]
    flags = [word for name in (*SHARED, "workers", "ray") if name in given
             for word in (f"--{name.replace('_', '-')}", given[name])]
    more = ["--force"] if "force" in given else []
    return [ExecuteProcess(output="screen", cmd=[
        ExecutableInPackage("annotate", "saliency_server"), given["episodes"], *flags, *more])]


def generate_launch_description() -> LaunchDescription:
    """Empty arguments are left out."""
    arguments = [DeclareLaunchArgument(name, description=meaning, default_value=default)
                 for name, (meaning, default) in (SHARED | OWN).items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
