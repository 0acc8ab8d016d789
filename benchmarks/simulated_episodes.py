"""Episodes of the simulated cell without ROS: what the recorder would write, and the truth of each image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_core.bags import BagWriter
from autofocus_core.messages import message_class, serialize
from autofocus_core.schema import Robot
from autofocus_sim.cell import Cell
from autofocus_sim.demos import demonstration_rng
from autofocus_sim.expert import PERIOD_S, Expert

IMAGE, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
START_NS = 1_700_000_000_000_000_000
FRAME_TICKS = (4, 3, 3)  # of the guard's 10 ms, between the images within one operator period: 30 Hz
MAX_PERIODS = 150


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """centre_px (N, 2) where the object's centre projects to; visible (N,): at least 12 px of it are in view."""

    centre_px: np.ndarray
    visible: np.ndarray


def write_episode(
    path: Path, robot: Robot, cell: Cell, task: str, condition: str, seed: int, max_frames: int | None = None
) -> dict[str, FrameTruth]:
    """Let the expert do `task` once and write the bag of it; the truth of every object by name."""
    cell.reset(seed, condition, task)
    expert = Expert(task)
    expert.reset(demonstration_rng(seed))
    camera = robot.cameras[0]
    truth: dict[str, list[tuple[np.ndarray, bool]]] = {}
    frames = 0
    sent = cell.joint_positions()  # the command last sent
    with BagWriter(path) as bag:
        bag.add_topic(camera.topic, IMAGE)
        bag.add_topic(robot.state.topic, JOINT_STATE)
        bag.add_topic(robot.action.topic, JOINT_STATE)
        for _ in range(MAX_PERIODS):
            action = expert.act(cell.truth(boxes=False), cell.joint_positions())
            cell.operator_phase = int(action.phase)
            target_ns = _stamp_ns(cell.time_s + PERIOD_S)
            _write_joints(bag, robot, robot.action.topic, target_ns, action.clean, _stamp_ns(cell.time_s))
            # A straight line to the target at 100 Hz, as the guard streams it: a step would jerk the arm.
            commands = iter(np.linspace(sent, action.noisy, 1 + sum(FRAME_TICKS))[1:])
            sent = action.noisy
            for ticks in FRAME_TICKS:
                stamp_ns = _stamp_ns(cell.time_s)
                _write_image(bag, camera.topic, stamp_ns, cell.render())
                for name, found in cell.truth(exact=True).objects.items():
                    truth.setdefault(name, []).append((found.pixel_xy, found.visible))
                frames += 1
                for _ in range(ticks):
                    _write_joints(bag, robot, robot.state.topic, _stamp_ns(cell.time_s), cell.joint_positions())
                    cell.step(next(commands), 0.01)
            if action.done or (max_frames is not None and frames >= max_frames):
                break
    return {
        name: FrameTruth(np.array([pixel for pixel, _ in rows]), np.array([visible for _, visible in rows]))
        for name, rows in truth.items()
    }


def _stamp_ns(time_s: float) -> int:
    return START_NS + round(time_s * 1e9)


def _header(stamp_ns: int, frame_id: str) -> object:
    stamp = message_class("builtin_interfaces/msg/Time")(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return message_class("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)


def _write_image(bag: BagWriter, topic: str, stamp_ns: int, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    message = message_class(IMAGE)(
        header=_header(stamp_ns, "camera"), height=height, width=width, encoding="rgb8", is_bigendian=0,
        step=3 * width, data=image.reshape(-1),
    )
    bag.write(topic, serialize(message, IMAGE), stamp_ns, stamp_ns)


def _write_joints(
    bag: BagWriter, robot: Robot, topic: str, stamp_ns: int, positions: np.ndarray, receive_ns: int | None = None
) -> None:
    nothing = np.empty(0)
    message = message_class(JOINT_STATE)(
        header=_header(stamp_ns, ""), name=list(robot.joint_names), position=np.asarray(positions, dtype=float),
        velocity=nothing, effort=nothing,
    )
    bag.write(topic, serialize(message, JOINT_STATE), stamp_ns if receive_ns is None else receive_ns, stamp_ns)
