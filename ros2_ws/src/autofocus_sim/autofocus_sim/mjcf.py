"""The MuJoCo model as text: table, arm, gripper and every object that a condition can show. Units: m, kg, rad, s.

`python -m autofocus_sim.mjcf > config/sim_arm.xml` writes the arm alone, for kinematics.
"""

from __future__ import annotations

import numpy as np

from autofocus_sim import arm

TIMESTEP_S = 0.002
CUBE_HALF_M = 0.018
MATE_HALF_M = (0.032, 0.032, 0.034)
PLATE_RADIUS_M = 0.055
PLATE_HALF_HEIGHT_M = 0.004
TRAY_HALF_M = (0.066, 0.052, PLATE_HALF_HEIGHT_M)
LAMP_HALF_M = (0.022, 0.038, 0.03)
#: From the wrist_angle axis to the wrist_rotate joint, along the hand.
ROTATE_AT_M = 0.065

#: Camera in front of the robot, looking back at it over the work area; the image's right is the robot's left (+y).
CAMERA_POSITION_M = np.array([0.88, 0.0, 0.64])
CAMERA_LOOKS_AT_M = np.array([0.255, 0.0, 0.035])
CAMERA_FOVY_DEG = 29.0

#: name -> (MuJoCo geom type, half sizes in m). Four shapes; the scene gives them colour and place.
DISTRACTORS: dict[str, tuple[str, tuple[float, ...]]] = {
    "distractor_0": ("box", (0.020, 0.020, 0.020)),
    "distractor_1": ("cylinder", (0.021, 0.022)),
    "distractor_2": ("box", (0.014, 0.030, 0.016)),
    "distractor_3": ("ellipsoid", (0.026, 0.020, 0.020)),
}


def distractor_height_m(name: str) -> float:
    """Height of a distractor's centre when it stands on the table."""
    return DISTRACTORS[name][1][-1]


def build_xml(image_size: tuple[int, int], two_cubes: bool = False) -> str:
    """MJCF of the cell for an offscreen image of ``image_size`` (height, width) px.

    ``two_cubes``: with a second, green cube and a tray. Tasks of one cube do without: a body that can move and does not
    costs physics, and changes its rounding.
    """
    height_px, width_px = image_size
    distractors = "\n".join(
        f'    <body name="{name}" mocap="true" pos="0 0 -5"><geom name="{name}" type="{kind}"'
        f' size="{_numbers(size)}" rgba="0.5 0.5 0.5 1"/></body>'
        for name, (kind, size) in DISTRACTORS.items()
    )
    return f"""<mujoco model="autofocus_cell">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual>
    <global offwidth="{width_px}" offheight="{height_px}"/>
    <quality shadowsize="0" offsamples="0" numslices="20" numstacks="12"/>
    <map znear="0.05" zfar="10"/>
    <headlight ambient="0.34 0.34 0.34" diffuse="0.28 0.28 0.28" specular="0.05 0.05 0.05"/>
  </visual>
  <asset>
    <material name="fingertip" rgba="1.0 0.48 0.0 1" emission="0.35"/>
  </asset>
  <default>
    <geom friction="1 0.01 0.001" solref="0.006 1"/>
{_arm_defaults()}
  </default>
  <worldbody>
    <light name="sun" directional="true" pos="0.3 0.4 2" dir="-0.2 -0.35 -1" diffuse="0.55 0.55 0.55"
           specular="0.1 0.1 0.1" castshadow="false"/>
    <camera name="camera" pos="{_numbers(CAMERA_POSITION_M)}" xyaxes="{_camera_axes()}" fovy="{CAMERA_FOVY_DEG}"/>
    <geom name="table" type="box" size="1.5 1.5 0.05" pos="0 0 -0.05" rgba="0.66 0.64 0.60 1"/>
    <body name="cube" pos="0.3 0 {CUBE_HALF_M}">
      <freejoint name="cube"/>
      <geom name="cube" type="box" size="{_numbers((CUBE_HALF_M,) * 3)}" mass="0.04" rgba="0.85 0.09 0.09 1"
            condim="4" friction="1 0.02 0.001"/>
    </body>
{_SECOND_CUBE_XML if two_cubes else ""}
    <body name="plate" mocap="true" pos="0 0 -5">
      <geom name="plate" type="cylinder" size="{PLATE_RADIUS_M} {PLATE_HALF_HEIGHT_M}" rgba="0.95 0.95 0.93 1"/>
    </body>
    <body name="mate" mocap="true" pos="0 0 -5">
      <geom name="mate" type="box" size="{_numbers(MATE_HALF_M)}" rgba="0.10 0.20 0.80 1"/>
    </body>
    <body name="lamp" mocap="true" pos="0 0 -5">
      <geom name="lamp_foot" type="box" size="{LAMP_HALF_M[0]} {LAMP_HALF_M[1]} 0.006" pos="0 0 0.006"
            rgba="0.2 0.2 0.2 1" contype="0" conaffinity="0"/>
      <geom name="lamp" type="box" size="{_numbers(LAMP_HALF_M)}" pos="0 0 {0.012 + LAMP_HALF_M[2]}"
            rgba="1 1 1 1" contype="0" conaffinity="0"/>
    </body>
{distractors}
{_arm_xml()}
  </worldbody>
  <contact>
    <exclude body1="left_finger" body2="right_finger"/>
  </contact>
  <actuator>
    <position name="waist" joint="waist" kp="600" kv="14" forcerange="-60 60"/>
    <position name="shoulder" joint="shoulder" kp="600" kv="14" forcerange="-60 60"/>
    <position name="elbow" joint="elbow" kp="600" kv="14" forcerange="-60 60"/>
    <position name="wrist_angle" joint="wrist_angle" kp="300" kv="7" forcerange="-20 20"/>
    <position name="wrist_rotate" joint="wrist_rotate" kp="300" kv="7" forcerange="-20 20"/>
    <position name="left_finger" joint="left_finger" kp="1200" kv="20" forcerange="-25 25"/>
    <position name="right_finger" joint="right_finger" kp="1200" kv="20" forcerange="-25 25"/>
  </actuator>
</mujoco>
"""


def build_arm_xml() -> str:
    """MJCF of the arm alone, with a site `tip` between the finger pads. One finger's joint is called as the gripper in
    the robot file, the other follows it."""
    xml = _arm_xml(f'''
                <site name="tip" pos="{_numbers((arm.HAND_M - ROTATE_AT_M, 0, 0))}"/>''')
    xml = xml.replace('<joint name="left_finger"', f'<joint name="{arm.GRIPPER_JOINT}"')
    return f"""<!-- The simulated arm, for kinematics. Written by `python -m autofocus_sim.mjcf`. -->
<mujoco model="sim_arm">
  <compiler angle="radian" autolimits="true"/>
  <asset>
    <material name="fingertip" rgba="1.0 0.48 0.0 1"/>
  </asset>
  <default>
{_arm_defaults()}
  </default>
  <worldbody>
{xml}
  </worldbody>
  <equality>
    <joint joint1="right_finger" joint2="{arm.GRIPPER_JOINT}"/>
  </equality>
</mujoco>
"""


_SECOND_CUBE_XML = f"""    <body name="second_cube" pos="0.3 0.1 {CUBE_HALF_M}">
      <freejoint name="second_cube"/>
      <geom name="second_cube" type="box" size="{CUBE_HALF_M} {CUBE_HALF_M} {CUBE_HALF_M}" mass="0.04"
            rgba="0.07 0.52 0.13 1" condim="4" friction="1 0.02 0.001"/>
    </body>
    <body name="tray" mocap="true" pos="0 0 -5">
      <geom name="tray" type="box" size="{TRAY_HALF_M[0]} {TRAY_HALF_M[1]} {TRAY_HALF_M[2]}" rgba="0.95 0.95 0.93 1"/>
    </body>"""


def _arm_defaults() -> str:
    return f"""    <default class="arm">
      <geom rgba="0.16 0.17 0.19 1" contype="0" conaffinity="0"/>
      <joint armature="0.05" damping="0.3"/>
    </default>
    <default class="finger">
      <joint type="slide" armature="0.05" damping="1" range="{arm.LOWER[5]} {arm.UPPER[5]}"/>
      <geom friction="2 0.05 0.002" condim="4" solref="0.006 1"/>
    </default>"""


def _arm_xml(tip: str = "") -> str:
    """The arm, gravity compensated throughout. Its links do not collide, its palm and fingers do."""
    up, forward = arm.UPPER_ARM_UP_M, arm.UPPER_ARM_FORWARD_M
    rotate_at = ROTATE_AT_M
    return f"""    <body name="base" childclass="arm">
      <geom type="cylinder" size="0.06 0.03" pos="0 0 0.03"/>
      <body name="waist" gravcomp="1">
        <joint name="waist" axis="0 0 1" range="{arm.LOWER[0]} {arm.UPPER[0]}"/>
        <geom type="cylinder" size="0.045 0.03" pos="0 0 0.085" mass="0.6"/>
        <body name="shoulder" pos="0 0 {arm.SHOULDER_HEIGHT_M}" gravcomp="1">
          <joint name="shoulder" axis="0 1 0" range="{arm.LOWER[1]} {arm.UPPER[1]}"/>
          <geom type="capsule" size="0.024" fromto="0 0 0 0 0 {up}" mass="0.5"/>
          <geom type="capsule" size="0.020" fromto="0 0 {up} {forward} 0 {up}" mass="0.1"/>
          <body name="elbow" pos="{forward} 0 {up}" gravcomp="1">
            <joint name="elbow" axis="0 1 0" range="{arm.LOWER[2]} {arm.UPPER[2]}"/>
            <geom type="capsule" size="0.018" fromto="0 0 0 {arm.FOREARM_M} 0 0" mass="0.3"/>
            <body name="wrist_angle" pos="{arm.FOREARM_M} 0 0" gravcomp="1">
              <joint name="wrist_angle" axis="0 1 0" range="{arm.LOWER[3]} {arm.UPPER[3]}"/>
              <geom type="capsule" size="0.017" fromto="0 0 0 {rotate_at} 0 0" mass="0.1"/>
              <body name="wrist_rotate" pos="{rotate_at} 0 0" gravcomp="1">
                <joint name="wrist_rotate" axis="1 0 0" range="{arm.LOWER[4]} {arm.UPPER[4]}"/>
                <geom name="palm" type="box" size="0.012 0.040 0.014" pos="0.030 0 0" mass="0.1"
                      contype="1" conaffinity="1"/>{tip}
{_finger_xml("left_finger", 1, arm.HAND_M - rotate_at)}
{_finger_xml("right_finger", -1, arm.HAND_M - rotate_at)}
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""


def _finger_xml(name: str, side: int, tip_m: float) -> str:
    """A finger whose slide reads the distance from the hand's middle plane to its pad's surface."""
    half_m, pad_m = 0.005, arm.PAD_HALF_LENGTH_M
    return f"""                <body name="{name}" pos="{tip_m} {side * half_m} 0" gravcomp="1" childclass="finger">
                  <joint name="{name}" axis="0 {side} 0"/>
                  <geom name="{name}_tip" type="box" size="{pad_m + 0.005} {half_m} 0.010" pos="-0.005 0 0"
                        mass="0.03" material="fingertip"/>
                  <geom name="{name}_link" type="box" size="0.013 0.004 0.008" pos="-0.034 0 0" mass="0.02"
                        rgba="0.16 0.17 0.19 1"/>
                </body>"""


def _camera_axes() -> str:
    """The camera's x and y axes in the world, as MJCF wants them: it looks along its own -z."""
    backward = CAMERA_POSITION_M - CAMERA_LOOKS_AT_M
    backward /= np.linalg.norm(backward)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    return _numbers((*right, *np.cross(backward, right)))


def _numbers(values) -> str:
    return " ".join(f"{value:.6g}" for value in values)


if __name__ == "__main__":
    print(build_arm_xml(), end="")
