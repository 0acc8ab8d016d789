"""Where the gripper is in an image, from joint states, kinematics and the camera's calibration: nothing is detected."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.errors import AutofocusError
from autofocus_core.kinematics import Kinematics
from autofocus_core.schema import Camera, Robot
from scipy.spatial.transform import Rotation

from saliency_server.values import TrackResult

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
FINGER_HALF_M = 0.012  # half the size of a fingertip about its link's origin
HAND_HALF_M = 0.03  # the same about the tool, where the model has no fingers that move
DISTORTIONS = (0, 4, 5, 8, 12, 14)  # numbers of coefficients that OpenCV knows
NEAREST_M = 0.02  # what is nearer to the camera than this, or behind it, is not in the image
MAX_AWAY_S = 0.2  # frames farther than this from any joint state have no gripper


@dataclass(frozen=True, slots=True)
class Lens:
    """matrix (3, 3) px, in ROS's convention (the first pixel's centre is at 0); distortion (D,) as OpenCV takes it."""

    matrix: np.ndarray
    distortion: np.ndarray


def lens_of(bag: Bag, camera: Camera) -> Lens | None:
    """From the recording's first CameraInfo if it is of this image size, else from the robot YAML; None where neither
    is."""
    if bag.topics.get(camera.info_topic) == CAMERA_INFO:
        for _, info in bag.decoded([camera.info_topic], bag.dropped):
            matrix = np.array(info.k, dtype=np.float64).reshape(3, 3)
            fits = (info.width, info.height) == (camera.width_px, camera.height_px) and matrix[0, 0] > 0
            known = len(info.d) in DISTORTIONS and np.isfinite(info.d).all() and np.isfinite(matrix).all()
            if fits and known:
                return Lens(matrix, np.array(info.d, dtype=np.float64))
            break
    if camera.intrinsics is None:
        return None
    known = camera.intrinsics
    matrix = np.array([[known.fx_px, 0.0, known.cx_px], [0.0, known.fy_px, known.cy_px], [0.0, 0.0, 1.0]])
    return Lens(matrix, np.zeros(5))


def why_not(bag: Bag, robot: Robot, camera: Camera, joints: np.ndarray) -> str:
    """What is missing for a projection, "" if nothing is."""
    if robot.kinematics is None:
        return "the robot YAML has no kinematics"
    if camera.extrinsics is None:
        return f"camera {camera.name} has no extrinsics in the robot YAML"
    if not len(joints):
        return f"no joint states on {robot.state.topic}"
    if lens_of(bag, camera) is None:
        return f"no usable CameraInfo on {camera.info_topic} and no intrinsics in the robot YAML"
    try:
        Kinematics(robot)
    except AutofocusError as error:
        return f"{error.where}: {error.got}"
    return ""


def gripper_track(
    robot: Robot, camera: Camera, lens: Lens, frame_s: np.ndarray, joints_s: np.ndarray, joints: np.ndarray
) -> TrackResult:
    """The gripper's box in N frames. frame_s (N,), joints_s (M,) stamps in s; joints (M, A) rad or m.

    Not valid where no joint state is near, and where its centre is out of the image. Whether something is in front of
    it, a projection does not know. Raises AutofocusError where the model or the camera's parent is wrong.
    """
    at_frames = np.stack([np.interp(frame_s, joints_s, column) for column in joints.T], axis=1)
    boxes = gripper_boxes(robot, camera, lens, at_frames)
    right = np.clip(np.searchsorted(joints_s, frame_s), 0, len(joints_s) - 1)
    left = np.maximum(right - 1, 0)
    away_s = np.minimum(np.abs(joints_s[left] - frame_s), np.abs(joints_s[right] - frame_s))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    outside = ~((centre >= 0) & (centre <= (camera.width_px, camera.height_px))).all(axis=1)
    reason = tuple(
        "no joint state" if away > MAX_AWAY_S else "left the image" if out else ""
        for away, out in zip(away_s, outside, strict=True)
    )
    valid = np.array([not why for why in reason])
    boxes[~valid] = np.nan
    limit = np.array([camera.width_px, camera.height_px] * 2, dtype=np.float64)
    boxes = np.clip(boxes, 0.0, limit)  # NaN stays NaN
    return TrackResult(boxes.astype(np.float32), valid.astype(np.float32), valid, reason)


def gripper_boxes(robot: Robot, camera: Camera, lens: Lens, joints: np.ndarray) -> np.ndarray:
    """(N, 4) px around the gripper at joint vectors (N, A), in edges of pixels (a pixel's own centre is at +0.5); NaN
    where a part of it is behind the camera. May reach beyond the image."""
    kinematics = Kinematics(robot)
    fingers = finger_bodies(kinematics, robot)
    half_m = FINGER_HALF_M if fingers else HAND_HALF_M
    corners = half_m * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    mounted = Rotation.from_quat(camera.extrinsics.quaternion_xyzw).as_matrix()
    seen = []
    for q in joints:
        tip, axes = kinematics.tip_pose(q)
        places = kinematics.body_positions(q) if fingers else {}
        origins = np.array([places[name] for name in fingers]) if fingers else tip[None]
        points = (origins[:, None] + (corners @ axes.T)[None]).reshape(-1, 3)
        position, rotation = kinematics.body_pose(q, camera.extrinsics.parent)
        eye = position + rotation @ np.array(camera.extrinsics.position_m)
        seen.append((points - eye) @ (rotation @ mounted))
    in_camera = np.array(seen).reshape(len(joints), -1, 3)
    behind = (in_camera[..., 2] < NEAREST_M).any(axis=1)
    in_camera[behind] = (0.0, 0.0, 1.0)
    flat, _ = cv2.projectPoints(in_camera.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), lens.matrix, lens.distortion)
    pixels = flat.reshape(len(joints), -1, 2) + 0.5
    boxes = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    boxes[behind] = np.nan
    return boxes


def finger_bodies(kinematics: Kinematics, robot: Robot) -> tuple[str, ...]:
    """Names of the bodies of the model that move with the gripper's joint."""
    if robot.gripper is None:
        return ()
    q = np.array(robot.start.pose, dtype=np.float64)
    wide, narrow = q.copy(), q.copy()
    wide[-1], narrow[-1] = robot.gripper.upper, robot.gripper.lower
    at_wide, at_narrow = kinematics.body_positions(wide), kinematics.body_positions(narrow)
    return tuple(name for name in at_wide if np.linalg.norm(at_wide[name] - at_narrow[name]) > 1e-4)
