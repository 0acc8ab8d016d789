"""Where the tool is, and how it moves with the joints: MuJoCo reads the robot's URDF or MJCF. Needs `mujoco`.

Poses are in the model's world frame: the root link of a URDF, the worldbody of an MJCF. docs/adr/0012 says why MuJoCo.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Joint, Robot

#: Links without a mass are no reason to refuse a model: nothing here is ever simulated.
_SMALLEST_MASS_KG, _SMALLEST_INERTIA = 1e-3, 1e-6


class Kinematics:
    """Forward kinematics and Jacobian of one robot. Vectors are (A,), rad or m, in the robot's order.

    Joints are found in the model by name. The arm's must all be there; a gripper that the model does not have moves
    nothing. Joints of the model that the robot does not have stay at zero, or where a `mimic` (URDF) or a joint
    equality (MJCF) puts them. Not for use from two threads at once.
    """

    def __init__(self, robot: Robot) -> None:
        """Load `robot.kinematics`; raises AutofocusError where it, a joint, the tip or mujoco is missing."""
        self._mujoco = _mujoco()
        if robot.kinematics is None:
            raise AutofocusError(
                f"robot {robot.name}",
                "no `kinematics:`",
                "kinematics: {model: arm.urdf, tip: tool0}",
                "add it to the robot YAML: a URDF or MJCF file, and the body, link or site that is the tool",
            )
        self.robot = robot
        self._where = f"robot {robot.name}: kinematics: {robot.kinematics.model}"
        self._model = _load(self._mujoco, Path(robot.kinematics.model), self._where)
        self._data = self._mujoco.MjData(self._model)
        ids = self._joint_ids(robot)
        present = [i for i, number in enumerate(ids) if number is not None]
        self._columns = np.array(present)
        self._positions = np.array([self._model.jnt_qposadr[ids[i]] for i in present])
        self._speeds = np.array([self._model.jnt_dofadr[ids[i]] for i in present])
        self._mimics = list(self._coupled_joints(ids))
        self._tip_site, self._tip_body = self._find_tip(robot.kinematics.tip)

    def tip_pose(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(position (3,) in m, rotation (3, 3): columns are the tool's axes) at joint vector `q` (A,)."""
        self._move(q)
        return self._tip_position().copy(), self._tip_rotation().reshape(3, 3).copy()

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """(6, A): rows are the tip's linear velocity (m) and angular velocity (rad) in the world frame, per unit of
        each joint. Columns of joints that do not move the tip are zero."""
        self._move(q)
        linear, angular = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        self._mujoco.mj_comPos(self._model, self._data)
        self._mujoco.mj_jac(self._model, self._data, linear, angular, self._tip_position(), self._tip_body)
        jacobian = np.zeros((6, len(self.robot.joint_names)))
        jacobian[:3, self._columns] = linear[:, self._speeds]
        jacobian[3:, self._columns] = angular[:, self._speeds]
        return jacobian

    def body_positions(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """Position (3,) in m of the origin of each named body (link) of the model at `q` (A,)."""
        self._move(q)
        return {self._model.body(i).name: self._data.xpos[i].copy() for i in range(1, self._model.nbody)}

    def body_pose(self, q: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(position (3,) in m, rotation (3, 3)) of a named body (link) at `q` (A,); "base" is the model's world frame.
        Raises AutofocusError naming the bodies there are."""
        if name == "base":
            return np.zeros(3), np.eye(3)
        names = [self._model.body(i).name for i in range(self._model.nbody)]
        if name not in names:
            raise AutofocusError(
                f"{self._where}: body", repr(name), ", ".join(n for n in ("base", *names[1:]) if n), "use one of these"
            )
        self._move(q)
        number = names.index(name)
        return self._data.xpos[number].copy(), self._data.xmat[number].reshape(3, 3).copy()

    def _move(self, q: np.ndarray) -> None:
        q = np.asarray(q, dtype=np.float64)
        wanted = (len(self.robot.joint_names),)
        if q.shape != wanted or not np.isfinite(q).all():
            raise ValueError(f"joint vector of shape {q.shape}: {q}; wanted {wanted}, finite")
        self._data.qpos[:] = self._model.qpos0
        self._data.qpos[self._positions] = q[self._columns]
        for follower, leader, coefficients in self._mimics:
            offset = self._data.qpos[leader] - self._model.qpos0[leader]
            self._data.qpos[follower] = self._model.qpos0[follower] + np.polyval(coefficients, offset)
        self._mujoco.mj_kinematics(self._model, self._data)

    def _tip_position(self) -> np.ndarray:
        return self._data.xpos[self._tip_body] if self._tip_site is None else self._data.site_xpos[self._tip_site]

    def _tip_rotation(self) -> np.ndarray:
        return self._data.xmat[self._tip_body] if self._tip_site is None else self._data.site_xmat[self._tip_site]

    def _joint_ids(self, robot: Robot) -> list[int | None]:
        """The model's number of each joint, None for a gripper that it does not have."""
        names = {self._model.joint(i).name: i for i in range(self._model.njnt)}
        missing = [joint.name for joint in robot.joints if joint.name not in names]
        if missing:
            raise AutofocusError(
                self._where,
                f"no joint {', '.join(missing)}",
                f"joints of the model: {', '.join(names) or 'none that move'}",
                "call the joints in the robot YAML and in the model alike",
            )
        for joint in robot.all_joints:
            if joint.name in names:
                self._check_unit(joint, int(self._model.jnt_type[names[joint.name]]))
        return [names.get(joint.name) for joint in robot.all_joints]

    def _check_unit(self, joint: Joint, kind: int) -> None:
        kinds = self._mujoco.mjtJoint
        wanted = {"rad": int(kinds.mjJNT_HINGE), "m": int(kinds.mjJNT_SLIDE)}[joint.unit]
        if kind != wanted:
            raise AutofocusError(
                f"{self._where}: joint {joint.name}",
                f"{kinds(kind).name.removeprefix('mjJNT_').lower()} in the model, unit {joint.unit} in the YAML",
                "hinge (revolute) for rad, slide (prismatic) for m",
                "correct the unit, or the model",
            )

    def _coupled_joints(self, ids: list[int | None]) -> Iterable[tuple[int, int, np.ndarray]]:
        """(qpos of the follower, qpos of its leader, polynomial with the highest power first), for joints that are
        not the robot's own."""
        address = self._model.jnt_qposadr
        for i in range(self._model.neq):
            follower, leader = self._model.eq_obj1id[i], self._model.eq_obj2id[i]
            if self._model.eq_type[i] == self._mujoco.mjtEq.mjEQ_JOINT and leader >= 0 and follower not in ids:
                yield int(address[follower]), int(address[leader]), self._model.eq_data[i][4::-1].copy()

    def _find_tip(self, name: str) -> tuple[int | None, int]:
        """(site or None, body) that `name` is; a site goes before a body of the same name."""
        sites = {self._model.site(i).name: i for i in range(self._model.nsite)}
        bodies = {self._model.body(i).name: i for i in range(self._model.nbody)}
        if name in sites:
            return sites[name], int(self._model.site_bodyid[sites[name]])
        if name in bodies:
            return None, bodies[name]
        allowed = ", ".join(n for n in (*sites, *bodies) if n) or "none has a name"
        raise AutofocusError(f"{self._where}: tip", repr(name), f"a site or body: {allowed}", "use one of these names")


def _mujoco() -> Any:
    try:
        import mujoco
    except ImportError as error:
        raise AutofocusError(
            "kinematics", f"mujoco is not importable: {error}", "the Python package mujoco", "pip install mujoco"
        ) from error
    return mujoco


def _load(mujoco: Any, path: Path, where: str) -> Any:
    """The compiled model, without its geometry: meshes need not be there, and there is less to move."""
    try:
        is_urdf = ElementTree.parse(path).getroot().tag == "robot"
        spec = mujoco.MjSpec.from_string(_bare_urdf(path)) if is_urdf else mujoco.MjSpec.from_file(str(path))
        spec.compiler.boundmass, spec.compiler.boundinertia = _SMALLEST_MASS_KG, _SMALLEST_INERTIA
        _strip(mujoco, spec)
        return spec.compile()
    except OSError as error:
        fix = "correct `kinematics: model:`; a relative path starts at the folder of the robot YAML"
        raise AutofocusError(where, error.strerror or str(error), "a readable URDF or MJCF file", fix) from error
    except (ElementTree.ParseError, ValueError) as error:
        fix = "mend the file there; turn a xacro into a URDF first: `xacro arm.urdf.xacro > arm.urdf`"
        raise AutofocusError(where, str(error), "a URDF or MJCF that MuJoCo can read", fix) from error


def _strip(mujoco: Any, spec: Any) -> None:
    """Delete all that says nothing about where bodies are, and what refers to it."""
    for elements in (spec.keys, spec.sensors, spec.actuators, spec.pairs, spec.skins, spec.tendons, spec.geoms):
        for element in list(elements):
            spec.delete(element)
    for equality in list(spec.equalities):
        if equality.type != mujoco.mjtEq.mjEQ_JOINT:
            spec.delete(equality)
    for elements in (spec.meshes, spec.hfields, spec.materials, spec.textures):
        for element in list(elements):
            spec.delete(element)


def _bare_urdf(path: Path) -> str:
    """A URDF's links and joints only, with fixed links kept as bodies: a tool frame is one."""
    root = ElementTree.parse(path).getroot()
    for link in root.iter("link"):
        for element in [*link.findall("visual"), *link.findall("collision")]:
            link.remove(element)
    for element in [child for child in root if child.tag not in ("link", "joint")]:
        root.remove(element)
    settings = ElementTree.SubElement(root, "mujoco")
    ElementTree.SubElement(settings, "compiler", fusestatic="false", balanceinertia="true")
    return ElementTree.tostring(root, encoding="unicode")
