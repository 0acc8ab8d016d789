"""The simulated cell: physics, picture and truth of one arm at one table. No ROS here.

Threads: physics (`reset`, `step`, the getters) and pictures (`render`, `truth(exact=True)`) share MuJoCo data, so one
thread at a time; the OpenGL context belongs to the thread of the first `render`. A real-time user renders a copy of the
state elsewhere: :meth:`Cell.snapshot` and :class:`autofocus_sim.view.View`.
"""

from __future__ import annotations

import numpy as np
from autofocus_core.errors import AutofocusError

from autofocus_sim import arm, mjcf
from autofocus_sim.attempt import Attempt
from autofocus_sim.ik import forward
from autofocus_sim.phases import GOAL_OF, Phase, PhaseMachine
from autofocus_sim.picture import Picture, mujoco
from autofocus_sim.scene import Placed, Scene, lamp_rgb, sample_scene
from autofocus_sim.truth import CUBE, GRIPPER, SECOND_CUBE, Truth
from autofocus_sim.view import Snapshot

COMMAND_PERIOD_S = 0.01
_PHASE_PERIOD_S = 0.1
#: Names of the bodies that can be moved, and of their joints and geoms.
_BODY_OF = {CUBE: "cube", SECOND_CUBE: "second_cube"}


class Cell:
    """One simulated cell. Equal (task, condition, seed) and equal commands give equal states, bit for bit."""

    def __init__(self, task: str = "lift", condition: str = "nominal", seed: int = 0,
                 image_size: tuple[int, int] = (240, 320)) -> None:
        """``image_size``: (height, width) px. Raises AutofocusError for an unknown task, condition or a bad seed."""
        self.image_size = image_size
        self._model: mujoco.MjModel | None = None
        self._last_command = arm.START_POSE.copy()
        self.reset(seed, condition, task)

    # -- set-up ------------------------------------------------------------------------------------------------------

    def _build(self, two_cubes: bool) -> None:
        """The model of a scene; what the one before held is let go."""
        if self._model is not None:
            self._picture.close()
        self._two_cubes = two_cubes
        self._model = mujoco.MjModel.from_xml_string(mjcf.build_xml(self.image_size, two_cubes))
        self._data = mujoco.MjData(self._model)
        self._picture = Picture(self._model, self.image_size)
        joints = [self._model.joint(name) for name in (*arm.ARM_JOINTS, "left_finger", "right_finger")]
        self._qpos_at = np.array([joint.qposadr[0] for joint in joints])
        self._qvel_at = np.array([joint.dofadr[0] for joint in joints])
        cubes = _BODY_OF if two_cubes else {CUBE: _BODY_OF[CUBE]}
        self._cube_qpos_at = {name: int(self._model.joint(body).qposadr[0]) for name, body in cubes.items()}
        self._cube_qvel_at = {name: int(self._model.joint(body).dofadr[0]) for name, body in cubes.items()}
        self._cube_geom = {name: self._model.geom(body).id for name, body in cubes.items()}
        self._finger_geoms = {self._model.geom(f"{side}_finger_tip").id for side in ("left", "right")}

    def reset(self, seed: int, condition: str | None = None, task: str | None = None) -> None:
        """A fresh scene, the arm at its start pose. Condition and task stay as they are where None."""
        scene = sample_scene(task or self.scene.task, condition or self.scene.condition, seed)
        two_cubes = scene.second_cube is not None
        if self._model is None or two_cubes is not self._two_cubes:
            self._build(two_cubes)
        self.scene: Scene = scene
        self._phases = PhaseMachine(scene.task)
        self._operator_phase: int | None = None
        self._attempt = Attempt(scene.task, self._fingers_touch)
        self._next_phase_s = 0.0
        model, data = self._model, self._data
        mujoco.mj_resetData(model, data)
        data.mocap_pos[:] = (0.0, 0.0, -5.0)
        self._place(scene)
        data.qpos[self._qpos_at] = (*arm.START_POSE, arm.START_POSE[-1])
        self._set_command(arm.START_POSE)
        mujoco.mj_forward(model, data)
        self._update_lamp()

    def _place(self, scene: Scene) -> None:
        model, data = self._model, self._data
        self._geoms_of = {CUBE: (self._cube_geom[CUBE],), GRIPPER: tuple(sorted(self._finger_geoms))}
        for cube in (scene.cube, scene.second_cube):
            if cube is not None:
                self._place_cube(cube)
        for placed in scene.others:
            body = model.body(placed.body)
            data.mocap_pos[body.mocapid[0]] = placed.position_m
            data.mocap_quat[body.mocapid[0]] = _yaw_quaternion(placed.yaw_rad)
            geom = model.geom(placed.body)
            self._geoms_of[placed.name] = (geom.id,)
            if placed.rgb is not None:
                model.geom_rgba[geom.id, :3] = placed.rgb
        model.geom_rgba[model.geom("table").id, :3] = scene.table_rgb
        direction = np.array(scene.light_direction)
        model.light_dir[0] = direction / np.linalg.norm(direction)
        model.light_diffuse[0] = scene.light_diffuse

    def _place_cube(self, cube: Placed) -> None:
        at = self._cube_qpos_at[cube.name]
        self._data.qpos[at : at + 3] = cube.position_m
        self._data.qpos[at + 3 : at + 7] = _yaw_quaternion(cube.yaw_rad)
        self._geoms_of[cube.name] = (self._cube_geom[cube.name],)

    # -- physics -----------------------------------------------------------------------------------------------------

    def step(self, command: np.ndarray, duration_s: float) -> None:
        """Holds joint targets ``command`` (A,) rad and m for ``duration_s`` (a multiple of 2 ms), at 500 Hz physics.

        Raises AutofocusError for a command of another shape or with NaN or infinite values. Targets outside the joint
        ranges are clipped to them, as the servos' end stops would.
        """
        steps = round(duration_s / mjcf.TIMESTEP_S)
        self._set_command(command)
        while steps > 0:
            # Success and phase are looked at every 10 ms at the latest, whatever the caller's step is.
            batch = min(steps, 5)
            mujoco.mj_step(self._model, self._data, nstep=batch)
            steps -= batch
            # MuJoCo's step ends with new joints and old poses; what is seen must be of one moment.
            mujoco.mj_kinematics(self._model, self._data)
            self._update_attempt()
            self._update_lamp()

    def follow(self, target: np.ndarray, duration_s: float) -> None:
        """Moves the command from the last one to ``target`` (A,) in a straight line, at 100 Hz: the guard's stream."""
        start, target = self._last_command.copy(), np.asarray(target, dtype=float)
        ticks = max(1, round(duration_s / COMMAND_PERIOD_S))
        for tick in range(1, ticks + 1):
            self.step(start + (target - start) * (tick / ticks), COMMAND_PERIOD_S)

    def _set_command(self, command: np.ndarray) -> None:
        command = np.asarray(command, dtype=float)
        if command.shape != arm.LOWER.shape or not np.isfinite(command).all():
            raise AutofocusError("autofocus_sim command", str(command), f"{arm.LOWER.size} finite numbers in the order "
                                 + ", ".join(arm.JOINT_NAMES), "send one target per joint")
        self._last_command = np.clip(command, arm.LOWER, arm.UPPER)
        self._data.ctrl[:5] = self._last_command[:5]
        self._data.ctrl[5:] = self._last_command[5]

    def joint_positions(self) -> np.ndarray:
        """(A,) rad, gripper in m (mean of both fingers)."""
        return _with_mean_of_fingers(self._data.qpos[self._qpos_at])

    def joint_velocities(self) -> np.ndarray:
        """(A,) rad/s, gripper in m/s."""
        return _with_mean_of_fingers(self._data.qvel[self._qvel_at])

    @property
    def time_s(self) -> float:
        """Simulated time since the reset."""
        return float(self._data.time)

    @property
    def success(self) -> bool:
        """Whether the task has been achieved since the reset.

        lift: the cube's underside at least 4 cm above the table for 0.3 s. place: the cube at rest on the plate,
        untouched by the fingers, for 0.3 s. pack: both cubes so on the tray, and the green one was not lifted before
        the red one was there.
        """
        return self._attempt.success

    @property
    def outcome(self) -> str:
        """How the attempt since the reset stands: one of `attempt.OUTCOMES`."""
        return self._attempt.outcome

    @property
    def stages(self) -> tuple[str, ...]:
        """What has been reached since the reset, in order; see :class:`autofocus_sim.attempt.Attempt`."""
        return self._attempt.stages

    def _update_attempt(self) -> None:
        data = self._data
        positions = {name: data.qpos[at : at + 3] for name, at in self._cube_qpos_at.items()}
        velocities = {name: data.qvel[at : at + 3] for name, at in self._cube_qvel_at.items()}
        goal = GOAL_OF.get(self.scene.task)
        goal_m = None if goal is None else data.geom_xpos[self._geoms_of[goal][0]]
        self._attempt.update(self.time_s, positions, velocities, goal_m)

    def _fingers_touch(self, cube: str) -> bool:
        geom = self._cube_geom[cube]
        return any(
            (int(a) == geom and int(b) in self._finger_geoms) or (int(b) == geom and int(a) in self._finger_geoms)
            for a, b in self._data.contact.geom
        )

    # -- the lamp ----------------------------------------------------------------------------------------------------

    @property
    def operator_phase(self) -> int:
        """The phase the lamp shows in `lamp`: the one last set, else what the expert's own logic says."""
        return int(self._phases.phase) if self._operator_phase is None else self._operator_phase

    @operator_phase.setter
    def operator_phase(self, phase: int | None) -> None:
        if phase is not None and phase not in tuple(Phase):
            raise AutofocusError("autofocus_sim operator_phase", str(phase), f"0 .. {max(Phase)}", "send a known phase")
        self._operator_phase = phase
        self._next_phase_s = self.time_s

    def _update_lamp(self) -> None:
        if self.time_s < self._next_phase_s - 1e-9 or not self.scene.condition.startswith("lamp"):
            return
        self._next_phase_s = self.time_s + _PHASE_PERIOD_S
        q = self.joint_positions()
        self._phases.update(self.truth(boxes=False), forward(q), float(q[-1]))
        shown = Phase(self.operator_phase)
        if self.scene.lamp_schedule:
            shown = [phase for start_s, phase in self.scene.lamp_schedule if start_s <= self.time_s][-1]
        geom = self._model.geom("lamp").id
        self._model.geom_rgba[geom, :3] = lamp_rgb(self.scene.task, shown)

    # -- pictures and truth ------------------------------------------------------------------------------------------

    def render(self) -> np.ndarray:
        """The camera's picture now: uint8 (H, W, 3) rgb."""
        return self._picture.colour(self._data)

    def camera_matrix(self) -> np.ndarray:
        """(3, 3) pinhole intrinsics in px; there is no distortion."""
        return self._picture.camera_matrix()

    def truth(self, exact: bool = False, boxes: bool = True) -> Truth:
        """Where everything is.

        ``exact``: boxes of the pixels that are really visible, by a segmentation picture (costs one rendering), and
        ``visible`` means at least 12 of them at 320x240. Otherwise boxes enclose the projected corners, cut at the
        image border, and ``visible`` only says that this is not empty: occlusion is ignored. ``boxes=False`` leaves
        out the pixel side altogether (NaN), for a caller who wants positions only.
        """
        return self._picture.truth(self._data, self._geoms_of, self.success, self.time_s, exact, boxes)

    def snapshot(self) -> Snapshot:
        """A copy of all that a picture or the truth of this moment needs, for a :class:`View` in another thread."""
        model, data = self._model, self._data
        return Snapshot(
            self.time_s, self.success, self._two_cubes, data.qpos.copy(), data.mocap_pos.copy(), data.mocap_quat.copy(),
            model.geom_rgba.copy(), model.light_dir.copy(), model.light_diffuse.copy(), self._geoms_of,
        )

    def close(self) -> None:
        """Frees the OpenGL context; call it in the thread that rendered."""
        self._picture.close()


def _with_mean_of_fingers(values: np.ndarray) -> np.ndarray:
    """(7,) of the arm and two fingers -> (A,)."""
    joints = values[:6].copy()
    joints[5] = (values[5] + values[6]) / 2
    return joints


def _yaw_quaternion(yaw_rad: float) -> tuple[float, float, float, float]:
    return (float(np.cos(yaw_rad / 2)), 0.0, 0.0, float(np.sin(yaw_rad / 2)))
