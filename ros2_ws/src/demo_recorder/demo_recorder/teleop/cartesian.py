"""From the tool's velocity to joint velocities: damped least squares, position before orientation."""

from __future__ import annotations

import numpy as np

#: Directions in which the joints move the tool this much less than in the best one are damped: a condition number of
#: 15, a little before MoveIt Servo begins to slow down (17).
_SMALLEST_SHARE = 1.0 / 15.0
#: ... and never finer than this: m per rad for positions, rad per rad for orientations.
_POSITION_FLOOR, _ORIENTATION_FLOOR = 1e-3, 0.2


def joint_velocity(jacobian: np.ndarray, twist: np.ndarray) -> tuple[np.ndarray, bool]:
    """(velocities (n,) rad/s or m/s, whether a singularity takes something off) for a tool velocity.

    jacobian: (6, n); twist: (6,) linear m/s, then angular rad/s, in the frame of the Jacobian.

    The position comes first, the orientation gets what freedom is left: an arm with five joints that is asked to go
    straight goes straight, and turns the tool only as far as it must (Siciliano and Slotine 1991, two tasks). Near a
    singularity speeds fall to zero instead of growing without bound (Nakamura and Hanafusa 1986).
    """
    position, orientation = jacobian[:3], jacobian[3:]
    inverse, rank = _damped_inverse(position, _POSITION_FLOOR)
    velocity = inverse @ twist[:3]
    free = np.eye(jacobian.shape[1]) - inverse @ position  # changes smoothly through a singularity, too
    inverse, _ = _damped_inverse(orientation @ free, _ORIENTATION_FLOOR)
    velocity = velocity + free @ (inverse @ (twist[3:] - orientation @ velocity))
    return velocity, rank < 3 and bool(np.any(twist[:3]))


def _damped_inverse(matrix: np.ndarray, floor: float) -> tuple[np.ndarray, int]:
    """(inverse (n, m), number of directions that are not damped) of a matrix (m, n).

    A singular value s below the threshold e is inverted as s / (s^2 + d^2) with d^2 = (e / 2)^2 (1 - (s / e)^2): 1 / s
    at the threshold, 0 at the singularity, never more than about 1.2 / e in between.
    """
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    threshold = max(_SMALLEST_SHARE * values[0], floor)
    damping = np.where(values < threshold, (0.5 * threshold) ** 2 * (1.0 - (values / threshold) ** 2), 0.0)
    gains = values / np.maximum(values**2 + damping, 1e-300)
    return (right.T * gains) @ left.T, int((values >= threshold).sum())
