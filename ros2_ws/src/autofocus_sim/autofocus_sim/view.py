"""Pictures of a running cell from another thread: a copy of the state, shown by a model of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autofocus_sim import mjcf
from autofocus_sim.picture import Picture, mujoco
from autofocus_sim.truth import Truth


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a cell at one moment, in MuJoCo's layout; ``geoms_of`` names the geoms of each object."""

    time_s: float
    success: bool
    two_cubes: bool
    qpos: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray
    geom_rgba: np.ndarray
    light_dir: np.ndarray
    light_diffuse: np.ndarray
    geoms_of: dict[str, tuple[int, ...]]


class View:
    """Shows snapshots. Use one from a single thread: it owns an OpenGL context there."""

    def __init__(self, image_size: tuple[int, int]) -> None:
        """``image_size``: (height, width) px, the cell's."""
        self._image_size = image_size
        self._shown: Snapshot | None = None
        self._build(two_cubes=False)

    def _build(self, two_cubes: bool) -> None:
        self._two_cubes = two_cubes
        self._model = mujoco.MjModel.from_xml_string(mjcf.build_xml(self._image_size, two_cubes))
        self._data = mujoco.MjData(self._model)
        self._picture = Picture(self._model, self._image_size)

    def show(self, snapshot: Snapshot) -> None:
        """Makes ``snapshot`` what :meth:`render` and :meth:`truth` are about."""
        if snapshot.two_cubes is not self._two_cubes:
            self._picture.close()
            self._build(snapshot.two_cubes)
        model, data = self._model, self._data
        data.qpos[:] = snapshot.qpos
        data.mocap_pos[:], data.mocap_quat[:] = snapshot.mocap_pos, snapshot.mocap_quat
        model.geom_rgba[:] = snapshot.geom_rgba
        model.light_dir[:], model.light_diffuse[:] = snapshot.light_dir, snapshot.light_diffuse
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        self._shown = snapshot

    def render(self) -> np.ndarray:
        """uint8 (H, W, 3) rgb."""
        return self._picture.colour(self._data)

    def truth(self, exact: bool) -> Truth:
        """The truth of the snapshot; boxes by segmentation where ``exact``, else none (NaN)."""
        shown = self._shown
        return self._picture.truth(self._data, shown.geoms_of, shown.success, shown.time_s, exact, boxes=exact)

    def camera_matrix(self) -> np.ndarray:
        """(3, 3) intrinsics in px."""
        return self._picture.camera_matrix()

    def close(self) -> None:
        """Frees the OpenGL context; call it in the thread that rendered."""
        self._picture.close()
