"""Kinematics of the arm: closed-form forward, damped-least-squares inverse. Needs NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autofocus_sim import arm

#: Weight of an angle against a length in the residual: 1 rad counts like 0.15 m.
_ANGLE_WEIGHT_M = 0.15
_DAMPING = 1e-3
_MAX_ITERATIONS = 40
_TOLERANCE_M = 1e-5


@dataclass(frozen=True, slots=True)
class TipPose:
    """Pose of the point between the finger pads, in the base frame (x forward, z up, table at z = 0).

    ``pitch_rad`` is the hand's inclination, pi/2 pointing straight down; ``yaw_rad`` is the turn of the fingers about
    the vertical, meaningful when the hand points down.
    """

    position_m: np.ndarray  # (3,)
    pitch_rad: float
    yaw_rad: float


def forward(q: np.ndarray) -> TipPose:
    """Tip pose of joint vector ``q`` (A,) or (5,), rad."""
    radius_m, height_m, pitch = _planar(q)
    position = np.array([radius_m * np.cos(q[0]), radius_m * np.sin(q[0]), height_m])
    return TipPose(position, float(pitch), float(q[0] - q[4]))


def inverse(start: np.ndarray, goal: TipPose) -> np.ndarray:
    """Arm joints (5,) rad that bring the tip to ``goal``, searched from ``start`` (5,) or (A,) by damped least squares.

    The result is the nearest reachable one within the joint limits; use :func:`forward` to see how near it came.
    """
    q = np.array(start[:5], dtype=float)
    lower, upper = arm.LOWER[:5], arm.UPPER[:5]
    for _ in range(_MAX_ITERATIONS):
        error = _residual(q, goal)
        if np.abs(error).max() < _TOLERANCE_M:
            break
        jacobian = _jacobian(q)
        normal = jacobian @ jacobian.T + _DAMPING**2 * np.eye(5)
        q = np.clip(q + np.clip(jacobian.T @ np.linalg.solve(normal, error), -0.3, 0.3), lower, upper)
    return q


def _planar(q: np.ndarray) -> tuple[float, float, float]:
    """(radius, height, pitch) of the tip in the vertical plane of the arm, m and rad."""
    p1 = q[1]
    p2 = p1 + q[2]
    p3 = p2 + q[3]
    radius = arm.UPPER_ARM_FORWARD_M * np.cos(p1) + arm.UPPER_ARM_UP_M * np.sin(p1)
    height = arm.SHOULDER_HEIGHT_M - arm.UPPER_ARM_FORWARD_M * np.sin(p1) + arm.UPPER_ARM_UP_M * np.cos(p1)
    radius += arm.FOREARM_M * np.cos(p2) + arm.HAND_M * np.cos(p3)
    height -= arm.FOREARM_M * np.sin(p2) + arm.HAND_M * np.sin(p3)
    return radius, height, p3


def _residual(q: np.ndarray, goal: TipPose) -> np.ndarray:
    """(5,) goal minus tip: x, y, z in m, pitch and yaw weighted into m."""
    tip = forward(q)
    angles = np.array([goal.pitch_rad - tip.pitch_rad, wrap(goal.yaw_rad - tip.yaw_rad)])
    return np.concatenate([goal.position_m - tip.position_m, _ANGLE_WEIGHT_M * angles])


def _jacobian(q: np.ndarray) -> np.ndarray:
    """(5, 5) derivative of the weighted tip pose by the arm joints."""
    p1 = q[1]
    p2 = p1 + q[2]
    p3 = p2 + q[3]
    hand = np.array([-arm.HAND_M * np.sin(p3), -arm.HAND_M * np.cos(p3)])
    forearm = hand + np.array([-arm.FOREARM_M * np.sin(p2), -arm.FOREARM_M * np.cos(p2)])
    upper = forearm + np.array([
        -arm.UPPER_ARM_FORWARD_M * np.sin(p1) + arm.UPPER_ARM_UP_M * np.cos(p1),
        -arm.UPPER_ARM_FORWARD_M * np.cos(p1) - arm.UPPER_ARM_UP_M * np.sin(p1),
    ])
    radius = _planar(q)[0]
    c, s = np.cos(q[0]), np.sin(q[0])
    columns = np.zeros((5, 5))
    columns[0, 0], columns[1, 0] = -radius * s, radius * c
    for joint, (d_radius, d_height) in zip((1, 2, 3), (upper, forearm, hand)):
        columns[0, joint], columns[1, joint], columns[2, joint] = d_radius * c, d_radius * s, d_height
        columns[3, joint] = _ANGLE_WEIGHT_M
    columns[4, 0], columns[4, 4] = _ANGLE_WEIGHT_M, -_ANGLE_WEIGHT_M
    return columns


def wrap(angle_rad: float) -> float:
    """``angle_rad`` brought into [-pi, pi)."""
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)


def nearest_quarter_turn(yaw_rad: float, reference_rad: float) -> float:
    """The angle equal to ``yaw_rad`` modulo a quarter turn that lies nearest ``reference_rad``: a cube has four."""
    quarter = np.pi / 2
    return float(reference_rad + (yaw_rad - reference_rad + quarter / 2) % quarter - quarter / 2)
