"""The simulated arm in numbers: joint names, link lengths, limits. Lengths are those of a WidowX 250 (5 DOF)."""

from __future__ import annotations

import numpy as np

ARM_JOINTS: tuple[str, ...] = ("waist", "shoulder", "elbow", "wrist_angle", "wrist_rotate")
GRIPPER_JOINT = "gripper"
#: Order of every joint vector: the arm (rad), then the gripper (m, from the middle plane to one finger's pad).
JOINT_NAMES: tuple[str, ...] = (*ARM_JOINTS, GRIPPER_JOINT)

SHOULDER_HEIGHT_M = 0.110
UPPER_ARM_FORWARD_M = 0.050
UPPER_ARM_UP_M = 0.250
FOREARM_M = 0.250
#: From the wrist_angle axis to the middle of the finger pads.
HAND_M = 0.158
PAD_HALF_LENGTH_M = 0.011

#: The same as in config/sim_arm.yaml, which a test holds against these.
LOWER = np.array([-3.1, -1.85, -1.75, -1.8, -3.1, 0.0])
UPPER = np.array([3.1, 1.95, 1.6, 2.15, 3.1, 0.037])

GRIPPER_OPEN_M = 0.034
#: Commanded when holding: less than half a cube, so the position actuator keeps pressing.
GRIPPER_CLOSED_M = 0.008
#: Fingers this near have closed on the 36 mm cube (pads touch it at 0.018 m) ...
GRIPPER_HOLDING_BELOW_M = 0.0200
#: ... and fingers this near have closed on nothing.
GRIPPER_EMPTY_BELOW_M = 0.0125

#: The arm is here after a reset: tip at (0.25, 0, 0.15) m, pointing down, gripper open.
START_POSE = np.array([0.0, -0.1717, 0.4012, 1.3413, 0.0, GRIPPER_OPEN_M])
