"""From messages to observations at control rate: the same code for the running node and for bags.

Messages are anything with the fields of the ROS message: rclpy's and rosbags' classes both are.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from autofocus_core.errors import AutofocusError
from autofocus_core.images import IMAGE, decode_image
from autofocus_core.joints import decode_joints
from autofocus_core.messages import stamp_ns
from autofocus_core.resample import Missing, Observation, Resampler
from autofocus_core.schema import Camera, Robot


class Intake:
    """Takes images and joint states, refuses what does not fit, and returns an observation when one is ready.

    An observation is made at the header stamp of an image of the first camera: of a camera faster than `rate_hz`
    every so many images are used, of a slower one each, so `rate_hz` is a ceiling. It is ready once every stream has
    shown a later stamp (Resampler.settled), so that a bag gives the same observations as the live streams did.

    counts: observations, refused_frames, refused_states, late_frames (older than the camera's timeout on arrival),
    incomplete (a stream had nothing recent), unsettled (the next observation was due before this one was ready).
    """

    def __init__(self, robot: Robot, cameras: tuple[str, ...], rate_hz: float) -> None:
        self._robot = robot
        self._cameras: dict[str, Camera] = {name: robot.camera(name) for name in cameras}
        self._first = cameras[0]
        self._period_ns = round(1e9 / rate_hz)
        # An image half a frame early is the one meant for this tick: stamps jitter around their grid.
        self._slack_ns = round(0.5e9 / self._cameras[self._first].rate_hz)
        self.counts: Counter[str] = Counter()
        self.flush()

    def flush(self) -> None:
        """Forget every message, as after a pause or a jump of the clock; counts stay."""
        self._resampler = Resampler(self._robot, tuple(self._cameras))
        self._encodings: dict[str, str] = {}
        self._refusals: dict[str, str] = {}
        self._newest_ns: dict[str, int] = {}  # by camera name, and "state"
        self._due_ns: int | None = None
        self._pending_ns: int | None = None
        self._missing: str | None = None

    def state(self, msg: Any) -> Observation | None:
        """Take a joint state; one that lacks a joint, has one twice or is not finite is refused and counted."""
        try:
            stamp, positions = decode_joints(msg, self._robot.state.type, self._robot)
        except AutofocusError as e:
            self.counts["refused_states"] += 1
            self._refusals["state"] = f"joint state refused: {e.got}; allowed: {e.allowed}"
            return None
        if stamp is None:
            raise TypeError(f"{self._robot.state.type} without a header: the robot schema does not allow that")
        self._refusals.pop("state", None)
        self._resampler.push_state(stamp, positions)
        self._newest_ns["state"] = stamp
        return self._ready()

    def image(self, name: str, msg: Any, now_ns: int) -> Observation | None:
        """Take an image of camera `name` that arrived at `now_ns` on the clock of the stamps.

        A frame of another size, or of another encoding than the camera's first, is refused and counted.
        """
        camera, stamp = self._cameras[name], stamp_ns(msg.header)
        try:
            self._check(camera, msg)
            self._newest_ns[name] = stamp
            due = name == self._first and self._is_due(stamp)
            if due or name != self._first:  # frames of the first camera between observations are not decoded
                self._resampler.push_image(name, stamp, decode_image(msg, camera.type))
        except AutofocusError as e:
            self.counts["refused_frames"] += 1
            self._refusals[name] = f"frame of camera {name!r} refused: {e.got}; allowed: {e.allowed}"
            return None
        self._refusals.pop(name, None)
        if now_ns - stamp > camera.timeout_ms * 1e6:
            self.counts["late_frames"] += 1
        elif due:
            self.counts["unsettled"] += self._pending_ns is not None
            self._pending_ns = stamp
        return self._ready()

    def hold_reason(self, now_ns: int) -> str | None:
        """Why no observation can be made now, in words; None while inputs are fresh."""
        for refusal in self._refusals.values():
            return refusal
        streams = [(name, f"image on {c.topic}", c.timeout_ms) for name, c in self._cameras.items()]
        streams.append(("state", f"joint state on {self._robot.state.topic}", self._robot.state.timeout_ms))
        for name, what, timeout_ms in streams:
            if name not in self._newest_ns:
                return f"no {what} yet"
            if now_ns - self._newest_ns[name] > timeout_ms * 1e6:
                return f"the last {what} is older than {timeout_ms:g} ms"
        return self._missing

    def ages_ms(self, now_ns: int) -> dict[str, float]:
        """Age of each stream's newest message by its header stamp: by camera name, and "state"."""
        return {name: (now_ns - stamp) / 1e6 for name, stamp in self._newest_ns.items()}

    def _check(self, camera: Camera, msg: Any) -> None:
        """The encoding of the first frame stays: a driver that changes it midway is not trusted with colours."""
        raw = camera.type == IMAGE
        encoding = msg.encoding if raw else msg.format
        first = self._encodings.setdefault(camera.name, encoding)
        if encoding != first:
            raise AutofocusError(f"camera {camera.name}", f"encoding {encoding!r}", f"{first!r}, as in its first frame",
                                 "restart the driver, then deactivate and activate the policy")
        if raw and (msg.width, msg.height) != (camera.width_px, camera.height_px):
            raise AutofocusError(f"camera {camera.name}", f"{msg.width}x{msg.height} px",
                                 f"{camera.width_px}x{camera.height_px} px", "set the camera driver to this size")

    def _is_due(self, stamp: int) -> bool:
        if self._due_ns is None or abs(stamp - self._due_ns) > 2 * self._period_ns:  # the first; after a gap or a jump
            self._due_ns = stamp + self._period_ns
            return True
        if stamp < self._due_ns - self._slack_ns:
            return False
        self._due_ns = max(self._due_ns + self._period_ns, stamp)
        return True

    def _ready(self) -> Observation | None:
        if self._pending_ns is None or not self._resampler.settled(self._pending_ns):
            return None
        found = self._resampler.observe(self._pending_ns)
        self._pending_ns = None
        if isinstance(found, Missing):
            self.counts["incomplete"] += 1
            self._missing = found.reason
            return None
        self.counts["observations"] += 1
        self._missing = None
        return found
