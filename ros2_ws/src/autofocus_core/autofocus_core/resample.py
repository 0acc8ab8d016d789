"""The one rule by which streams are put together, live and offline alike.

The time of an observation is the header stamp t of an image of the first camera. Every stream contributes
its last message with header stamp <= t, if that is no older than the stream's timeout. A policy that sees joint states
of the past gets, by the same rule, those at t - dt, t - 2 dt and so on.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autofocus_core.dropped import Dropped
from autofocus_core.errors import AutofocusError
from autofocus_core.images import decode_image
from autofocus_core.joints import decode_joints
from autofocus_core.messages import stamp_ns
from autofocus_core.schema import Robot
from autofocus_core.stream_buffer import StampCounts, StreamBuffer

if TYPE_CHECKING:
    from autofocus_core.bags import Bag

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
#: Images kept for each camera: two seconds at 30 Hz.
IMAGE_BUFFER = 64
#: Joint messages kept: four seconds at 500 Hz.
STATE_BUFFER = 2048


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees: `images` {camera: uint8 (H, W, 3) RGB}, `state` float64 (A,) rad or m, and when each
    was taken. `stamp_ns` is the time of the observation. `earlier`: the states before it, as its `StateHistory` asks,
    the newest first."""

    stamp_ns: int
    images: dict[str, np.ndarray]
    image_stamps_ns: dict[str, int]
    state: np.ndarray
    state_stamp_ns: int
    earlier: tuple[np.ndarray, ...] = ()

    @property
    def states(self) -> np.ndarray:
        """float64 (P, A): the state and the earlier ones."""
        return np.stack([self.state, *self.earlier])


@dataclass(frozen=True, slots=True)
class StateHistory:
    """Which joint states belong to an observation at t: those at t, t - dt_s, ... , `count` in all."""

    count: int = 1
    dt_s: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or (self.count > 1 and self.dt_s <= 0):
            raise AutofocusError(
                "state history", f"{self.count} states {self.dt_s:g} s apart", "at least 1, and more than 0 s",
                "correct the number of joint states and their distance",
            )

    @property
    def ages_ns(self) -> tuple[int, ...]:
        """How long before t the earlier states are."""
        return tuple(round(k * self.dt_s * NS_PER_S) for k in range(1, self.count))


@dataclass(frozen=True, slots=True)
class Missing:
    """No observation at `stamp_ns`, and why."""

    reason: str
    stamp_ns: int = 0


class Resampler:
    """Keeps the streams of a robot and puts observations together by the rule at the top of this file."""

    def __init__(self, robot: Robot, cameras: Sequence[str], history: StateHistory | None = None) -> None:
        """`cameras`: names of the robot's cameras; the first one's stamps are the times of observation. `history`: the
        joint states of an observation (None: the one at its time)."""
        if not cameras:
            raise AutofocusError(
                f"robot {robot.name}", "no camera", ", ".join(c.name for c in robot.cameras), "name at least one camera"
            )
        self.robot = robot
        self.cameras = tuple(cameras)
        self.images = {
            name: StreamBuffer(round(robot.camera(name).timeout_ms * NS_PER_MS), IMAGE_BUFFER) for name in self.cameras
        }
        self.history = history or StateHistory()
        reach_s = (self.history.count - 1) * self.history.dt_s
        # Twice the expected number: a stream that is faster than the robot YAML says must not push its past out.
        kept = STATE_BUFFER + math.ceil(2 * reach_s * robot.state.rate_hz)
        self.state = StreamBuffer(round(robot.state.timeout_ms * NS_PER_MS), kept)

    @property
    def counts(self) -> dict[str, StampCounts]:
        """Messages and faults of their stamps, by camera name, and "state"."""
        return {"state": self.state.counts, **{name: stream.counts for name, stream in self.images.items()}}

    def push_image(self, camera: str, stamp_ns: int, image: np.ndarray, receive_ns: int | None = None) -> bool:
        """Add an image uint8 (H, W, 3); False (and counted) for a zero, repeated or future stamp.

        Raises AutofocusError where its size is not the one in the robot YAML: an image is never reinterpreted.
        """
        spec = self.robot.camera(camera)
        if image.shape != (spec.height_px, spec.width_px, 3):
            raise AutofocusError(
                f"camera {camera}: image at {stamp_ns} ns",
                f"{image.shape[1]}x{image.shape[0]}" if image.ndim >= 2 else f"shape {image.shape}",
                f"{spec.width_px}x{spec.height_px}, as in the robot YAML",
                "set the camera driver to this size, or correct the robot YAML",
            )
        return self.images[camera].push(stamp_ns, image, receive_ns)

    def push_state(self, stamp_ns: int, q: np.ndarray, receive_ns: int | None = None) -> bool:
        """Add a joint vector (A,); False (and counted) for a zero, repeated or future stamp."""
        return self.state.push(stamp_ns, q, receive_ns)

    @property
    def anchor_ns(self) -> int | None:
        """Header stamp of the newest image of the first camera: the time of the next observation."""
        return self.images[self.cameras[0]].newest_ns

    def settled(self, t_ns: int) -> bool:
        """Whether every stream has shown a stamp >= t, so that observe(t) will not change any more.

        (But for messages that overtake each other within a stream.) What is observed after this is what
        an offline reader of the same messages observes.
        """
        streams = (self.state, *self.images.values())
        return all(stream.newest_ns is not None and stream.newest_ns >= t_ns for stream in streams)

    def observe(self, t_ns: int) -> Observation | Missing:
        """The observation at time t (normally `anchor_ns`), or the reason why there is none."""
        images: dict[str, np.ndarray] = {}
        stamps: dict[str, int] = {}
        for name in self.cameras:
            found = self.images[name].latest(t_ns)
            if found is None:
                return Missing(self._reason(f"camera {name}", self.images[name]), t_ns)
            stamps[name], images[name] = found
        state = self.state.latest(t_ns)
        if state is None:
            return Missing(self._reason("state", self.state), t_ns)
        earlier = []
        for age_ns in self.history.ages_ns:
            past = self.state.latest(t_ns - age_ns)
            if past is None:
                return Missing(f"state: no message within {self.state.max_age_ns // NS_PER_MS} ms before "
                               f"{age_ns / NS_PER_S:g} s earlier", t_ns)
            earlier.append(past[1])
        return Observation(t_ns, images, stamps, state[1], state[0], tuple(earlier))

    def clear(self) -> None:
        """Forget all values: for a reset of the clock or of the robot."""
        self.state.clear()
        for stream in self.images.values():
            stream.clear()

    @staticmethod
    def _reason(name: str, stream: StreamBuffer) -> str:
        if stream.newest_ns is None:
            return f"{name}: nothing received" + (" with a stamp that can be used" if stream.counts.refused else "")
        return f"{name}: no message within {stream.max_age_ns // NS_PER_MS} ms before"


def observations(
    bag: Bag,
    robot: Robot,
    cameras: Sequence[str],
    *,
    counts: dict[str, StampCounts] | None = None,
    dropped: Dropped | None = None,
    history: StateHistory | None = None,
) -> Iterator[Observation | Missing]:
    """One result for each image of the first camera, by header stamp, from a recording.

    Messages go through the Resampler in order of receipt, as live; each image is answered once all streams
    have passed its stamp (or passed it by all timeouts, or the recording ends). An image that arrives after a later
    one was answered is answered when it comes. `history`: as for the Resampler.

    `counts` is given one entry for each camera, by its name, and "state": what was wrong with the stamps, up to date
    at every result and complete after the last. A message that cannot be decoded raises AutofocusError, or with
    `dropped` is left out and noted there: an image so left out is not answered, and nothing else moves.
    """
    resampler = Resampler(robot, cameras, history)
    if counts is not None:
        counts.update(resampler.counts)
    names = {robot.camera(name).topic: name for name in cameras}
    bag.require([robot.state.topic, *names])
    patience_ns = max(s.max_age_ns for s in (resampler.state, *resampler.images.values()))
    waiting: list[int] = []
    newest_ns = 0
    for message, msg in bag.decoded([robot.state.topic, *names], dropped):
        camera = names.get(message.topic)
        try:
            if camera is None:
                stamp, q = decode_joints(msg, message.type, robot)
                stamp = message.receive_ns if stamp is None else stamp
                taken = resampler.push_state(stamp, q, message.receive_ns)
            else:
                stamp = stamp_ns(msg.header)
                spec = robot.camera(camera)
                where = f"bag {bag.path}: topic {message.topic}: stamp {stamp} ns"
                image = decode_image(msg, message.type, where, (spec.width_px, spec.height_px))
                taken = resampler.push_image(camera, stamp, image, message.receive_ns)
                if taken and camera == resampler.cameras[0]:
                    insort(waiting, stamp)
        except AutofocusError as error:
            if dropped is None:
                raise
            dropped.add(message.topic, message.receive_ns, bag.header_ns(message), error)
            continue
        if taken:
            newest_ns = max(newest_ns, stamp)
        while waiting and (resampler.settled(waiting[0]) or newest_ns - waiting[0] > patience_ns):
            yield resampler.observe(waiting.pop(0))
    while waiting:
        yield resampler.observe(waiting.pop(0))
