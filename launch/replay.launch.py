"""Run a policy on a recording, at its pace and on its clock, and write what it would have done, and the report.

    ros2 launch launch/replay.launch.py robot:=robot.yaml policy:=policy.pt bag:=episodes/0001

Nothing can move: requests and heartbeat go below /replay, no guard runs (it would guard an arm that does not follow),
and a graph in which the robot's drivers run is refused. `autofocus evaluate` is quicker and needs no graph; this shows
the same through the real one, with its latency, and to rviz or Foxglove.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

PLAYER = {  # name: (meaning, type, default)
    "robot": ("path of the robot YAML", str, None),
    "policy": ("path of a policy file written by `autofocus export`", str, None),
    "bag": ("an episode or any rosbag2 recording", str, None),
    "output": ("folder for the policy's answers, a bag; empty: POLICY.replay", str, ""),
    "report": ("the report, one HTML file; empty: POLICY.replay.html", str, ""),
    "rate": ("speed, 0.05 to 10; 1.0 as recorded", float, "1.0"),
    "clock_hz": ("rate of /clock, Hz", float, "100.0"),
    "start_offset_s": ("begin so long after the recording's start, s", float, "0.0"),
    "topics": ("which other topics to play, below /replay, with blanks between them; empty: all", str, ""),
    "blending": ("how a new chunk takes over: none, ensemble or crossfade", str, "none"),
}
NODE = {  # of the policy alone
    "threads": ("threads of one inference on the CPU", int, "1"),
    "overlay_hz": ("rate of /policy/overlay/compressed, where it looks, Hz; 0: off", float, "0.0"),
}
AWAY = [(topic, "/replay" + topic) for topic in ("/command_guard/request", "/command_guard/heartbeat")]


def node(executable, parameters, more, said, **options):
    values = {name: ParameterValue(LaunchConfiguration(name), value_type=kind)
              for name, (_, kind, _) in parameters.items()}
    return Node(package="autofocus_policy", executable=executable, output="screen", parameters=[values | more],
                on_exit=[LogInfo(msg=said), Shutdown(reason=said)], **options)


def generate_launch_description():
    """It ends with the recording, or with the policy."""
    both = {name: PLAYER[name] for name in ("robot", "policy", "blending")}
    return LaunchDescription([
        *(DeclareLaunchArgument(name, description=meaning, default_value=default)
          for name, (meaning, _, default) in (PLAYER | NODE).items()),
        node("replay", PLAYER, {}, "the replay has ended: everything is shut down"),
        node("policy", both | NODE, {"autostart": True, "use_sim_time": True},
             "the policy has ended: everything is shut down", remappings=AWAY),
    ])
