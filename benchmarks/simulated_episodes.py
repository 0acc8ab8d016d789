"""Episodes of the simulated cell without ROS: what the recorder would write, and the truth of each image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_core.bags import BagWriter
from autofocus_core.messages import message_class, serialize
from autofocus_core.schema import Robot
from autofocus_sim.cell import Cell
from autofocus_sim.demos import MAX_TICKS, demonstration_rng
from autofocus_sim.expert import PERIOD_S, Expert
from autofocus_sim.truth import ObjectTruth

IMAGE, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
START_NS = 1_700_000_000_000_000_000
FRAME_TICKS = (4, 3, 3)  # of the guard's 10 ms, between the images within one operator period: 30 Hz


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """centre_px (N, 2) where the object's centre projects to; boxes_px (N, 4), NaN where not visible; visible (N,)."""

    centre_px: np.ndarray
    boxes_px: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True, slots=True)
class Written:
    """A demonstration as it was written: header stamps of the images, the truth of every object by name."""

    stamps_ns: np.ndarray
    truth: dict[str, FrameTruth]
    success: bool


def write_episode(
    path: Path, robot: Robot, cell: Cell, task: str, condition: str, seed: int, *, exact: bool = True,
    compression: str = "none",
) -> Written:
    """Let the expert do `task` once and write the bag of it.

    exact: boxes are those of the pixels in view, and at least 12 of them are wanted; else those of the whole object,
    also where something covers it, at half the cost. compression: of the bag's chunks.
    """
    cell.reset(seed, condition, task)
    expert = Expert(task)
    expert.reset(demonstration_rng(seed))
    camera = robot.cameras[0]
    truth: dict[str, list[ObjectTruth]] = {}
    stamps: list[int] = []
    sent = cell.joint_positions()  # the command last sent
    with BagWriter(path, compression) as bag:
        bag.add_topic(camera.topic, IMAGE)
        bag.add_topic(robot.state.topic, JOINT_STATE)
        bag.add_topic(robot.action.topic, JOINT_STATE)
        for _ in range(MAX_TICKS):
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
                stamps.append(stamp_ns)
                for name, found in cell.truth(exact=exact).objects.items():
                    truth.setdefault(name, []).append(found)
                for _ in range(ticks):
                    _write_joints(bag, robot, robot.state.topic, _stamp_ns(cell.time_s), cell.joint_positions())
                    cell.step(next(commands), 0.01)
            if action.done:
                break
    return Written(np.array(stamps), {name: _stack(rows) for name, rows in truth.items()}, cell.success)


def _stack(rows: list[ObjectTruth]) -> FrameTruth:
    return FrameTruth(
        np.array([row.pixel_xy for row in rows]), np.array([row.box_px for row in rows]),
        np.array([row.visible for row in rows]),
    )


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
