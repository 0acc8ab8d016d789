"""Header stamps of a camera's frames: device time as ROS time, strictly increasing, and what is known of its error.

How, by the time domain that the library gives with each frame:

- global_time: the library has asked the device for its clock and mapped the frame's time to the host's. Taken as it
  is, but watched: a time in the future is not published, and one that stays wrong restarts the streams (the library's
  map is known to go astray when the device's 32-bit clock wraps: librealsense pull request 15360).
- hardware_clock: mapped here, by :class:`OffsetFit`. Streams of one device share its clock, as in the library.
- system_time: the time at which the host got the frame, taken as it is.

Nothing is ever stamped by counting frames.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from demo_recorder.realsense.offset_fit import OffsetFit

GLOBAL_TIME = "global_time"
HARDWARE_CLOCK = "hardware_clock"
SYSTEM_TIME = "system_time"
MAPPINGS = {
    GLOBAL_TIME: "by the library, which asks the device for its clock",
    HARDWARE_CLOCK: "offset and drift fitted to the fastest frames; late by the shortest way from device to host",
    SYSTEM_TIME: "none: the time at which the host got the frame",
}

#: The map moves by more than that: said, and counted.
JUMP_NS = 5_000_000
#: The system clock was set, if it moves against the steady clock by more than that between two frames.
STEP_NS = 10_000_000
#: Stamps that would go back are held; by more than that, they begin anew, and it is said.
HOLD_NS = 200_000_000
HOLD_INCREMENT_NS = 1_000
#: Times of the library's own map that cannot be: later than now, or old in every frame of a second.
FUTURE_NS = 20_000_000
OLD_NS = 500_000_000
WRONG_FOR_NS = 1_000_000_000
#: Two streams whose device times are farther apart than that have clocks of their own.
OTHER_CLOCK_NS = 1_000_000_000


@dataclass(slots=True)
class _Stream:
    domain: str = ""
    fit: OffsetFit | None = None
    last_device_ns: int | None = None
    last_stamp_ns: int | None = None
    plausible_ns: int | None = None  # steady time of the last frame whose time could be true
    ages_ns: deque[int] = field(default_factory=lambda: deque(maxlen=300))


class FrameClock:
    """Stamps the frames of one device. `check` False: times of a recording, which are old and right.

    Attributes: `epoch` (stamps are strictly increasing within one; a new one is said in :meth:`news`), `jumps`,
    `held` (stamps that had to be held to increase), `unstamped` (frames without a time that can be trusted), and
    `restart`: a reason to start the streams anew, or "".
    """

    def __init__(self, check: bool = True) -> None:
        self._check = check
        self._streams: dict[str, _Stream] = {}
        self._offset_ns: int | None = None  # ROS minus steady clock
        self._news: list[str] = []
        self.epoch = 1
        self.jumps = self.held = self.unstamped = 0
        self.last_jump_ms = 0.0
        self.restart = ""

    def stamp(self, stream: str, device_ms: float, domain: str, ros_ns: int, steady_ns: int) -> int | None:
        """ROS time in ns of the frame with the library's time `device_ms`, which has arrived at `ros_ns`.

        None where it is not known: the frame must not be published.
        """
        self._watch_clock(ros_ns, steady_ns)
        state = self._streams.setdefault(stream, _Stream())
        if domain != state.domain:
            if state.domain:
                self._say(f"{stream}: time domain {state.domain} became {domain}")
            self._streams[stream] = state = _Stream(domain, last_stamp_ns=state.last_stamp_ns)
        if domain == HARDWARE_CLOCK:
            mapped_ns = self._fitted(stream, state, device_ms, ros_ns)
        else:
            mapped_ns = self._as_given(stream, state, device_ms, ros_ns, steady_ns)
        if mapped_ns is None:
            self.unstamped += 1
            return None
        state.ages_ns.append(ros_ns - mapped_ns)
        return self._increasing(stream, state, mapped_ns)

    def begin(self) -> None:
        """The streams are started (again): what was known of the device's clock is forgotten, stamps go on."""
        self._streams = {name: _Stream(last_stamp_ns=old.last_stamp_ns) for name, old in self._streams.items()}
        self._offset_ns = None
        self.restart = ""

    def news(self) -> list[str]:
        """What has changed about the map since the last call, in words: device_info is to be published again."""
        news, self._news = self._news, []
        return news

    def info(self) -> dict[str, object]:
        """What is known of the map, for device_info: plain values."""
        streams = {}
        for name, state in self._streams.items():
            if not state.domain:
                continue
            ages_ms = np.array(state.ages_ns or [0]) / 1e6
            streams[name] = {
                "domain": state.domain,
                "mapping": MAPPINGS.get(state.domain, "as given"),
                "arrival_after_stamp_ms": {
                    "p50": round(float(np.percentile(ages_ms, 50)), 3),
                    "p99": round(float(np.percentile(ages_ms, 99)), 3),
                },
                **({"fit": _fit_info(state.fit)} if state.fit is not None else {}),
            }
        return {
            "epoch": self.epoch,
            "jumps": self.jumps,
            "last_jump_ms": round(self.last_jump_ms, 3),
            "stamps_held": self.held,
            "unstamped": self.unstamped,
            "streams": streams,
        }

    def _say(self, what: str) -> None:
        self._news.append(what)

    def _watch_clock(self, ros_ns: int, steady_ns: int) -> None:
        """Follow a system clock that was set, at once and by as much, where the map is ours."""
        offset_ns = ros_ns - steady_ns
        before_ns, self._offset_ns = self._offset_ns, offset_ns
        if before_ns is None or abs(offset_ns - before_ns) < STEP_NS:
            return
        step_ns = offset_ns - before_ns
        self._say(f"the system clock was set by {step_ns / 1e9:+.3f} s")
        for fit in {id(s.fit): s.fit for s in self._streams.values() if s.fit is not None}.values():
            fit.shift(step_ns)

    def _fitted(self, stream: str, state: _Stream, device_ms: float, ros_ns: int) -> int | None:
        if state.fit is None:
            state.fit = self._shared_fit(device_ms, ros_ns) or OffsetFit()
        fit = state.fit
        x_ns = fit.unwrap(device_ms, ros_ns)
        backwards = state.last_device_ns is not None and x_ns < state.last_device_ns - JUMP_NS
        if backwards or not fit.fits(x_ns, ros_ns):
            why = "went backwards" if backwards else "jumped"
            self._jumped(f"{stream}: the device's clock {why}", (ros_ns - fit.map(x_ns)) / 1e6)
            for other in self._streams.values():
                if other.fit is fit:
                    other.fit = other.last_device_ns = None
            state.fit = fit = OffsetFit()
            x_ns = fit.unwrap(device_ms, ros_ns)
        state.last_device_ns = x_ns
        moved_ns = fit.add(x_ns, ros_ns)
        if not fit.settled:
            return None
        if abs(moved_ns) > JUMP_NS:
            self._jumped(f"{stream}: the map of device time moved", moved_ns / 1e6)
        return fit.map(x_ns)

    def _shared_fit(self, device_ms: float, ros_ns: int) -> OffsetFit | None:
        for other in self._streams.values():
            if other.fit is not None and other.fit.samples:
                x_ns = other.fit.unwrap(device_ms, ros_ns)
                if abs(ros_ns - other.fit.map(x_ns)) < OTHER_CLOCK_NS:
                    return other.fit
        return None

    def _as_given(self, stream: str, state: _Stream, device_ms: float, ros_ns: int, steady_ns: int) -> int | None:
        mapped_ns = round(device_ms * 1e6)
        if not self._check:
            return mapped_ns
        age_ns = ros_ns - mapped_ns
        if state.plausible_ns is None or -FUTURE_NS <= age_ns <= OLD_NS:
            state.plausible_ns = steady_ns
        elif steady_ns - state.plausible_ns > WRONG_FOR_NS and not self.restart:
            self.restart = f"{stream}: {state.domain} is {-age_ns / 1e6:+.0f} ms off the system clock"
            self._say(self.restart)
        # Frames that have waited for the host are old, too, but their times go on.
        behind = age_ns > OLD_NS and state.last_stamp_ns is not None and mapped_ns <= state.last_stamp_ns
        return None if behind or age_ns < -FUTURE_NS or self.restart else mapped_ns

    def _jumped(self, what: str, by_ms: float) -> None:
        self.jumps += 1
        self.last_jump_ms = by_ms
        self._say(f"{what} by {by_ms:+.1f} ms")

    def _increasing(self, stream: str, state: _Stream, mapped_ns: int) -> int:
        last_ns = state.last_stamp_ns
        if last_ns is not None and mapped_ns <= last_ns:
            if last_ns - mapped_ns > HOLD_NS:
                self.epoch += 1
                back_s = (last_ns - mapped_ns) / 1e9
                self._say(f"{stream}: stamps go back by {back_s:.3f} s: epoch {self.epoch} of them")
            else:
                self.held += 1
                mapped_ns = last_ns + HOLD_INCREMENT_NS
        state.last_stamp_ns = mapped_ns
        return mapped_ns


def _fit_info(fit: OffsetFit) -> dict[str, object]:
    residual = fit.residual()
    return {
        "drift_ppm": round(fit.drift_ppm, 2),
        "window_s": round(fit.window_s, 1),
        "frames": fit.samples,
        "residual_ms": {
            "p50": round(residual.p50_ms, 3),
            "p99": round(residual.p99_ms, 3),
            "max": round(residual.max_ms, 3),
        },
    }
