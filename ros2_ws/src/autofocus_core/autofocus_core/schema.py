"""What a robot and a task are, and how their YAML is read: the names that the other packages import."""

from autofocus_core.robot import Camera, Extrinsics, Intrinsics, Joint, Kinematics, Robot, Start, Stream
from autofocus_core.robot_file import IMAGE_TYPES, load_robot, parse_robot
from autofocus_core.task import QualityRules, RecordingRules, Task, Threshold, load_task, parse_task

__all__ = [
    "IMAGE_TYPES",
    "Camera",
    "Extrinsics",
    "Intrinsics",
    "Joint",
    "Kinematics",
    "QualityRules",
    "RecordingRules",
    "Robot",
    "Start",
    "Stream",
    "Task",
    "Threshold",
    "load_robot",
    "load_task",
    "parse_robot",
    "parse_task",
]
