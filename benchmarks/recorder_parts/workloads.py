"""What is published while a recorder is measured: cameras and three 100 Hz joint topics, and the YAMLs that say so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import yaml

JOINTS = ("waist", "shoulder", "elbow", "wrist_angle", "wrist_rotate", "gripper")
JOINT_RATE_HZ = 100.0
JOINT_TOPICS = ("/joint_states", "/teleop/intent", "/arm/command")  # the robot's state, action and command
IMAGE, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
BYTES_PER_PIXEL = {"rgb8": 3, "16UC1": 2}
MB = 1e6


@dataclass(frozen=True, slots=True)
class Stream:
    """One published topic. Cameras have a size and an encoding."""

    topic: str
    type: str
    rate_hz: float
    width_px: int = 0
    height_px: int = 0
    encoding: str = ""

    @property
    def pixel_bytes(self) -> int:
        """Size of an image's data."""
        return self.width_px * self.height_px * BYTES_PER_PIXEL.get(self.encoding, 0)


@dataclass(frozen=True, slots=True)
class Workload:
    """A set of cameras with the three joint topics beside them."""

    key: str
    title: str
    cameras: tuple[Stream, ...]

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Cameras, then joints."""
        return (*self.cameras, *(Stream(topic, JOINT_STATE, JOINT_RATE_HZ) for topic in JOINT_TOPICS))

    @property
    def rate_mb_s(self) -> float:
        """Pixels per second, in MB (joints are less than a thousandth of it)."""
        return sum(camera.pixel_bytes * camera.rate_hz for camera in self.cameras) / MB

    def slower(self, share: float) -> Workload:
        """The same at a share of the cameras' rates (joints stay at 100 Hz)."""
        cameras = tuple(replace(camera, rate_hz=camera.rate_hz * share) for camera in self.cameras)
        return replace(self, key=f"{self.key}_{share:.2f}", title=f"{self.title} x {share:.2f}", cameras=cameras)


def camera(name: str, width_px: int, height_px: int, rate_hz: float, encoding: str = "rgb8") -> Stream:
    """A camera with a topic such as realsense-ros gives it."""
    kind = "depth/image_rect_raw" if encoding == "16UC1" else "color/image_raw"
    return Stream(f"/{name}/{kind}", IMAGE, rate_hz, width_px, height_px, encoding)


WORKLOADS = {
    workload.key: workload
    for workload in (
        Workload("vga30", "640x480 at 30 Hz", (camera("camera", 640, 480, 30.0),)),
        Workload("hd60", "1280x720 at 60 Hz", (camera("camera", 1280, 720, 60.0),)),
        Workload(
            "hd30x2_depth",
            "two 1280x720 at 30 Hz + depth",
            (
                camera("left", 1280, 720, 30.0),
                camera("right", 1280, 720, 30.0),
                camera("left", 1280, 720, 30.0, "16UC1"),
            ),
        ),
    )
}


def write_configuration(workload: Workload, folder: Path) -> tuple[Path, Path]:
    """Write the robot YAML and the task YAML of a workload; gives their paths."""
    limits = {"position": [-3.1, 3.1], "velocity": 3.0, "acceleration": 20.0}
    state, action, command = (
        {"topic": topic, "type": JOINT_STATE, "rate_hz": JOINT_RATE_HZ, "timeout_ms": 100} for topic in JOINT_TOPICS
    )
    cameras = [
        {
            "name": stream.topic.strip("/").split("/image")[0].replace("/", "_"),
            "topic": stream.topic,
            "info_topic": stream.topic.rsplit("/", 1)[0] + "/camera_info",
            "type": stream.type,
            "width_px": stream.width_px,
            "height_px": stream.height_px,
            "rate_hz": stream.rate_hz,
            "timeout_ms": 200,
        }
        for stream in workload.cameras
    ]
    robot = {
        "schema": 1,
        "name": "bench_arm",
        "joints": [{"name": name, "unit": "rad", **limits} for name in JOINTS[:-1]],
        "gripper": {"name": JOINTS[-1], "unit": "m", "position": [0.0, 0.04], "velocity": 0.3, "acceleration": 4.0},
        "start": {"pose": [0.0] * len(JOINTS), "ramp_distance_rad": 0.3, "refuse_distance_rad": 1.0},
        "state": state,
        "action": action,
        "command": command,
        "cameras": cameras,
        "control_rate_hz": 10,
        "command_timeout_ms": 250,
        "heartbeat_timeout_ms": 50,
    }
    task = {
        "schema": 1,
        "name": "bench",
        "instruction": "hold still",
        "cameras": [entry["name"] for entry in cameras],
        "timeout_s": 60.0,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in (("robot", robot), ("task", task)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder / "robot.yaml", folder / "task.yaml"
