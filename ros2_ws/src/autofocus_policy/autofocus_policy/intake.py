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
from autofocus_core.resample import Missing, Observation, Resampler, StateHistory
from autofocus_core.schema import Camera, Robot

from autofocus_policy.frozen import FrozenImage, FrozenRule

#: A header stamp may be ahead of its receipt by this much: of clocks in step, and of a /clock that ticks at 100 Hz.
MAX_AHEAD_S = 0.05
#: A camera from which so many frames in a row do not come has stopped: known before the last one is too old to use.
STOPPED_FRAMES = 4
#: But a busy machine may keep a fast camera's frames back for this long.
STOPPED_MS = 100.0


class Intake:
    """Takes images and joint states, refuses what does not fit, and returns an observation when one is ready.

    An observation is made at the header stamp of an image of the first camera: of a camera faster than `rate_hz`
    every so many images are used, of a slower one each, so `rate_hz` is a ceiling. It is ready once every stream has
    shown a later stamp (Resampler.settled), so that a bag gives the same observations as the live streams did.

    A stamp more than `max_ahead_s` after its receipt means that two clocks are out of step: such a message is not used,
    since its age could not be told, and it would make its stream look settled for what comes until then. `frozen`: when
    a camera that repeats a picture is not believed; None: always believed.
    `history`: the joint states of an observation.

    counts: observations, refused_frames, refused_states, future_stamps, late_frames (older than the camera's timeout on
    arrival), frozen_frames, incomplete (a stream had nothing recent), unsettled (the next observation was due before
    this one was ready).
    """

    def __init__(self, robot: Robot, cameras: tuple[str, ...], rate_hz: float, *, max_ahead_s: float = MAX_AHEAD_S,
                 frozen: FrozenRule | None = None, history: StateHistory | None = None) -> None:
        self._robot = robot
        self._history = history
        self._max_ahead_ns = round(max_ahead_s * 1e9)
        radians = [joint.unit == "rad" for joint in robot.all_joints]
        self._frozen = {} if frozen is None else {name: FrozenImage(frozen, radians) for name in cameras}
        self._cameras: dict[str, Camera] = {name: robot.camera(name) for name in cameras}
        state = robot.state
        self._streams = [(name, f"image on {c.topic}", c.timeout_ms, stopped_after_ms(c))
                         for name, c in self._cameras.items()]
        self._streams.append(("state", f"joint state on {state.topic}", state.timeout_ms, state.timeout_ms))
        self._first = cameras[0]
        self._period_ns = round(1e9 / rate_hz)
        # An image half a frame early is the one meant for this tick: stamps jitter around their grid.
        self._slack_ns = round(0.5e9 / self._cameras[self._first].rate_hz)
        self.counts: Counter[str] = Counter()
        self.flush()

    def flush(self) -> None:
        """Forget every message, as after a pause or a jump of the clock; counts stay."""
        self._resampler = Resampler(self._robot, tuple(self._cameras), self._history)
        self._encodings: dict[str, str] = {}
        self._refusals: dict[str, str] = {}
        self._newest_ns: dict[str, int] = {}  # stamp, by camera name, and "state"
        self._received_ns: dict[str, int] = {}
        for camera in self._frozen.values():
            camera.clear()
        self._due_ns: int | None = None
        self._pending_ns: int | None = None
        self._missing: str | None = None

    def state(self, msg: Any, now_ns: int | None = None) -> Observation | None:
        """Take a joint state that arrived at `now_ns` on the clock of the stamps (None: when it was stamped).

        One that lacks a joint, has one twice or is not finite is refused and counted.
        """
        try:
            stamp, positions = decode_joints(msg, self._robot.state.type, self._robot)
        except AutofocusError as e:
            self.counts["refused_states"] += 1
            self._refusals["state"] = f"joint state refused: {e.got}; allowed: {e.allowed}"
            return None
        if stamp is None:
            raise TypeError(f"{self._robot.state.type} without a header: the robot schema does not allow that")
        now_ns = stamp if now_ns is None else now_ns
        if self._is_ahead("state", f"joint state on {self._robot.state.topic}", stamp, now_ns):
            return None
        self._refusals.pop("state", None)
        self._resampler.push_state(stamp, positions, now_ns)
        self._newest_ns["state"], self._received_ns["state"] = stamp, now_ns
        return self._ready()

    def image(self, name: str, msg: Any, now_ns: int) -> Observation | None:
        """Take an image of camera `name` that arrived at `now_ns` on the clock of the stamps.

        A frame of another size, or of another encoding than the camera's first, is refused and counted.
        """
        camera, stamp = self._cameras[name], stamp_ns(msg.header)
        try:
            self._check(camera, msg)
            if self._is_ahead(name, f"image on {camera.topic}", stamp, now_ns):
                return None
            self._newest_ns[name], self._received_ns[name] = stamp, now_ns
            due = name == self._first and self._is_due(stamp)
            if due or name != self._first:  # frames of the first camera between observations are not decoded
                self._resampler.push_image(name, stamp, decode_image(msg, camera.type), now_ns)
        except AutofocusError as e:
            self.counts["refused_frames"] += 1
            self._refusals[name] = f"frame of camera {name!r} refused: {e.got}; allowed: {e.allowed}"
            return None
        self._refusals.pop(name, None)
        if now_ns - stamp > camera.timeout_ms * 1e6:
            self.counts["late_frames"] += 1
        elif self._is_frozen(name, stamp, msg):
            self.counts["frozen_frames"] += 1
        elif due:
            self.counts["unsettled"] += self._pending_ns is not None
            self._pending_ns = stamp
        return self._ready()

    def expected(self) -> Observation | None:
        """What the observation that is not ready yet will be, unless a message still under way changes it."""
        found = None if self._pending_ns is None else self._resampler.observe(self._pending_ns)
        return found if isinstance(found, Observation) else None

    def hold_reason(self, now_ns: int) -> str | None:
        """Why no observation can be made now, in words; None while inputs are fresh. `now_ns` 0: ages do not matter."""
        return self.blind(now_ns) or self.outdated(now_ns)

    def blind(self, now_ns: int) -> str | None:
        """Which input does not come, or cannot be used, and so will give no observation before somebody mends it."""
        for refusal in self._refusals.values():
            return refusal
        for name, what, _, stopped_ms in self._streams:
            if name not in self._newest_ns:
                return f"no {what} yet"
            silent_ms = (now_ns - self._received_ns[name]) / 1e6
            if now_ns and silent_ms > stopped_ms:
                return f"the last {what} came {silent_ms:.0f} ms ago; allowed: {stopped_ms:.0f} ms"
        for name, camera in self._frozen.items():
            if camera.frozen:
                return f"frozen: image on {self._cameras[name].topic} {camera}"
        return None

    def outdated(self, now_ns: int) -> str | None:
        """Which input comes, but too late: a busy machine's may be in time again with the next message."""
        for name, what, timeout_ms, _ in self._streams:
            if now_ns == 0 or name not in self._newest_ns:
                continue
            age_ms, silent_ms = (now_ns - self._newest_ns[name]) / 1e6, (now_ns - self._received_ns[name]) / 1e6
            if age_ms > timeout_ms:
                return (f"the last {what} was stamped {age_ms:.0f} ms ago and came {silent_ms:.0f} ms ago; allowed: "
                        f"{timeout_ms:g} ms (a slow driver, or clocks out of step)")
            if -age_ms * 1e6 > self._max_ahead_ns:
                return f"the last {what} is stamped {-age_ms:.0f} ms ahead of the clock, which was set back"
        return self._missing

    def suspicion(self) -> str | None:
        """What looks like a camera that repeats a picture, in words, before and while it is reason enough to hold."""
        for name, camera in self._frozen.items():
            if camera.suspect:
                return f"image on {self._cameras[name].topic} {camera}"
        return None

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

    def _is_ahead(self, name: str, what: str, stamp: int, now_ns: int) -> bool:
        if stamp - now_ns <= self._max_ahead_ns:
            return False
        self.counts["future_stamps"] += 1
        self._refusals[name] = (
            f"{what} is stamped {(stamp - now_ns) / 1e6:.0f} ms ahead of this machine's clock; allowed: "
            f"{self._max_ahead_ns / 1e6:g} ms: set the clocks of camera, robot and this machine in step (chrony, PTP)")
        return True

    def _is_frozen(self, name: str, stamp: int, msg: Any) -> bool:
        if name not in self._frozen:
            return False
        state = self._resampler.state.latest(stamp)
        self._frozen[name].add(stamp, msg.data, None if state is None else state[1])
        return self._frozen[name].frozen

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


def stopped_after_ms(camera: Camera) -> float:
    """After how long a silence a camera counts as stopped, ms: never later than its last frame is too old."""
    return min(camera.timeout_ms, max(STOPPED_MS, STOPPED_FRAMES * 1e3 / camera.rate_hz))
