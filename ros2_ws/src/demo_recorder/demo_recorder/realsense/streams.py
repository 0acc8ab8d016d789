"""The running streams of one device: frames from the library's threads into a short queue, newest first to live."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from demo_recorder.realsense.counters import StreamCount

#: From starting a stream to its first frame: a second or two on a camera that is well.
FIRST_FRAME_S = 5.0
#: Between two readings of the clocks that belong together; a thread that was put aside in between reads again.
_SAME_TIME_NS = 200_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame of the library as it came, with the ROS and the steady time of its arrival."""

    stream: str
    frame: Any
    ros_ns: int
    steady_ns: int


def now_pair(ros_now_ns: Callable[[], int]) -> tuple[int, int]:
    """(ROS time, steady time) of the same moment, in ns."""
    for _ in range(4):
        before_ns = time.monotonic_ns()
        ros_ns = ros_now_ns()
        after_ns = time.monotonic_ns()
        if after_ns - before_ns < _SAME_TIME_NS:
            break
    return ros_ns, after_ns


class FrameQueue:
    """A few frames between the library and what publishes them; where it is full, the oldest goes, and is counted."""

    def __init__(self, capacity: int, counts: Mapping[str, StreamCount]) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._capacity = capacity
        self._counts = counts
        self._ready = threading.Condition()

    def put(self, arrival: Arrival) -> None:
        """Called in the library's threads."""
        with self._ready:
            if len(self._arrivals) >= self._capacity:
                self._counts[self._arrivals.popleft().stream].dropped += 1
            self._arrivals.append(arrival)
            self._ready.notify()

    def get(self, timeout_s: float) -> Arrival | None:
        """The oldest frame; None where none came in time, or :meth:`wake` was called."""
        with self._ready:
            if not self._arrivals:
                self._ready.wait(timeout_s)
            return self._arrivals.popleft() if self._arrivals else None

    def wake(self) -> None:
        """Let :meth:`get` return."""
        with self._ready:
            self._ready.notify_all()

    def clear(self) -> None:
        """Let the frames go."""
        with self._ready:
            self._arrivals.clear()


class Streams:
    """Streaming sensors of one device. Make it, and it streams; :meth:`close` ends that."""

    def __init__(
        self,
        chosen: Mapping[str, tuple[Any, Any]],
        queue: FrameQueue,
        counts: Mapping[str, StreamCount],
        ros_now_ns: Callable[[], int],
    ) -> None:
        """`chosen` {stream: (sensor, profile)}. Raises RuntimeError (the library's) where a sensor does not start."""
        self._names = {profile.stream_type(): stream for stream, (_, profile) in chosen.items()}
        self._queue, self._counts, self._ros_now_ns = queue, counts, ros_now_ns
        self._arrived_s = dict.fromkeys(chosen, time.monotonic() + FIRST_FRAME_S)
        self._streaming: list[Any] = []
        self._opened: list[Any] = []
        self._closed = False
        by_sensor: dict[str, tuple[Any, list[Any]]] = {}
        for sensor, profile in chosen.values():  # a D405 has both streams on one sensor, which opens once
            by_sensor.setdefault(sensor.name, (sensor, []))[1].append(profile)
        try:
            for sensor, profiles in by_sensor.values():
                sensor.open(profiles)
                self._opened.append(sensor)
            for sensor in self._opened:
                sensor.start(self._on_frame)
                self._streaming.append(sensor)
        except RuntimeError:
            self.close()
            raise

    def _on_frame(self, frame: Any) -> None:
        if self._closed:
            return
        ros_ns, steady_ns = now_pair(self._ros_now_ns)
        stream = self._names.get(frame.get_profile().stream_type())
        if stream is not None and self._counts[stream].number(frame.get_frame_number()):
            self._arrived_s[stream] = steady_ns / 1e9
            self._queue.put(Arrival(stream, frame, ros_ns, steady_ns))

    def silent_s(self, stream: str) -> float:
        """Since when no new frame of the stream has come; below 0 while a first one may still be on its way."""
        return time.monotonic() - self._arrived_s[stream]

    def close(self) -> None:
        """Stop and close the sensors; a device that is gone may refuse, which changes nothing."""
        self._closed = True
        for sensors, verb in ((self._streaming, "stop"), (self._opened, "close")):
            for sensor in sensors:
                try:
                    getattr(sensor, verb)()
                except RuntimeError:
                    continue
            sensors.clear()
        self._queue.clear()
