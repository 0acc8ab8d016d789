"""Pictures of a MuJoCo state from the cell's camera: colour, visible boxes by segmentation, projection."""

from __future__ import annotations

import os

import numpy as np

from autofocus_sim.truth import ObjectTruth, Truth

# MuJoCo chooses its OpenGL when it is first imported; without this a machine without a display cannot render.
os.environ.setdefault("MUJOCO_GL", "egl")
# Mesa's software renderer hands tiles to threads of its own: for pictures this small that costs a quarter more, and on
# a busy machine the wait for them is six times the rendering. The pixels are the same. GPU drivers do not read this.
os.environ.setdefault("LP_NUM_THREADS", "0")
import mujoco

_SIGNS = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, 8).T
#: Fewer visible pixels than this, at 320x240, do not count as seeing an object.
_LEAST_VISIBLE_PX = 12


class Picture:
    """Renders states of one model. The OpenGL context is made by the first picture and belongs to that thread."""

    def __init__(self, model: mujoco.MjModel, image_size: tuple[int, int]) -> None:
        """``image_size``: (height, width) px."""
        self._model = model
        self._height_px, self._width_px = image_size
        self._camera = model.camera("camera").id
        self._renderer: mujoco.Renderer | None = None
        self._least_visible_px = max(1, _LEAST_VISIBLE_PX * self._height_px * self._width_px // (240 * 320))

    def colour(self, data: mujoco.MjData) -> np.ndarray:
        """uint8 (H, W, 3) rgb."""
        return self._ready(data).render()

    def visible_boxes(self, data: mujoco.MjData, geoms_of: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """For each name the box (4,) x0 y0 x1 y1 px around the visible pixels of its geoms; NaN where unseen."""
        renderer = self._ready(data)
        flags = renderer.scene.flags
        # As Renderer.enable_segmentation_rendering does, but without its 64-bit arithmetic on every pixel: a scene of
        # fewer than 255 geoms is told apart by the red channel alone. A third of the time.
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        try:
            red = renderer.render()[..., 0]
        finally:
            flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 0
        names = {geom: label for label, geoms in enumerate(geoms_of.values(), start=1) for geom in geoms}
        label_of = np.zeros(256, dtype=np.uint8)
        for seen in renderer.scene.geoms[: renderer.scene.ngeom]:
            if seen.segid >= 0 and seen.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                label_of[seen.segid + 1] = names.get(seen.objid, 0)
        labels = label_of[red]
        places = np.flatnonzero(labels)
        label_at = labels.reshape(-1)[places]
        return {
            name: self._box_of(places[label_at == label]) for label, name in enumerate(geoms_of, start=1)
        }

    def projected_box(self, data: mujoco.MjData, geoms: tuple[int, ...]) -> np.ndarray:
        """The box (4,) px around the projected corners of ``geoms``, cut at the image border; NaN where empty."""
        corners = np.concatenate([self._corners(data, geom) for geom in geoms])
        pixels = self.project(data, corners)
        limit = (self._width_px, self._height_px)
        low, high = np.clip(pixels.min(axis=0), 0, limit), np.clip(pixels.max(axis=0), 0, limit)
        return np.concatenate([low, high]) if (high > low).all() else np.full(4, np.nan)

    def truth(self, data: mujoco.MjData, geoms_of: dict[str, tuple[int, ...]], success: bool, time_s: float,
              exact: bool, boxes: bool) -> Truth:
        """The truth of a state; `exact` and `boxes` as :meth:`autofocus_sim.cell.Cell.truth` explains them."""
        if exact:
            seen = self.visible_boxes(data, geoms_of)
        elif boxes:
            seen = {name: self.projected_box(data, geoms) for name, geoms in geoms_of.items()}
        else:
            seen = dict.fromkeys(geoms_of, np.full(4, np.nan))
        objects = {}
        for name, geoms in geoms_of.items():
            position = data.geom_xpos[list(geoms)].mean(axis=0)
            rotation = data.geom_xmat[geoms[0]]
            yaw_rad = float(np.arctan2(rotation[3], rotation[0]))
            pixel = self.project(data, position[None])[0] if boxes or exact else np.full(2, np.nan)
            objects[name] = ObjectTruth(position, yaw_rad, pixel, seen[name], bool(np.isfinite(seen[name]).all()))
        return Truth(objects, success, time_s)

    def project(self, data: mujoco.MjData, points_m: np.ndarray) -> np.ndarray:
        """(N, 2) px of points (N, 3) m in the base frame; the first pixel's centre is (0.5, 0.5)."""
        rotation = data.cam_xmat[self._camera].reshape(3, 3)
        in_camera = (points_m - data.cam_xpos[self._camera]) @ rotation
        focal_px, centre = self._focal_px(), np.array([self._width_px / 2, self._height_px / 2])
        # MuJoCo's camera looks along -z with y up; pictures count y downwards.
        return centre + focal_px * in_camera[:, :2] * (1, -1) / -in_camera[:, 2:]

    def camera_matrix(self) -> np.ndarray:
        """(3, 3) intrinsics in px, in ROS's convention: the first pixel's centre is (0, 0)."""
        focal_px = self._focal_px()
        return np.array([
            [focal_px, 0.0, self._width_px / 2 - 0.5],
            [0.0, focal_px, self._height_px / 2 - 0.5],
            [0.0, 0.0, 1.0],
        ])

    def close(self) -> None:
        """Frees the context, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _ready(self, data: mujoco.MjData) -> mujoco.Renderer:
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, self._height_px, self._width_px)
        self._renderer.update_scene(data, camera=self._camera)
        flags = self._renderer.scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        return self._renderer

    def _box_of(self, places: np.ndarray) -> np.ndarray:
        """The box around pixels given by their index in reading order."""
        if len(places) < self._least_visible_px:
            return np.full(4, np.nan)
        columns = places % self._width_px
        return np.array([
            columns.min(), places[0] // self._width_px, columns.max() + 1, places[-1] // self._width_px + 1
        ], dtype=float)

    def _corners(self, data: mujoco.MjData, geom: int) -> np.ndarray:
        centre, half = self._model.geom_aabb[geom, :3], self._model.geom_aabb[geom, 3:]
        rotation = data.geom_xmat[geom].reshape(3, 3)
        return data.geom_xpos[geom] + (centre + _SIGNS * half) @ rotation.T

    def _focal_px(self) -> float:
        fovy_rad = np.deg2rad(self._model.cam_fovy[self._camera])
        return float(self._height_px / 2 / np.tan(fovy_rad / 2))
