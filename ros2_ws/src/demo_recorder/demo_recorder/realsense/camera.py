"""A camera that is kept running: found, set, streamed, and found again when it is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autofocus_core.errors import AutofocusError

from demo_recorder.realsense import options
from demo_recorder.realsense.clock import FrameClock
from demo_recorder.realsense.connection import Connection, connect
from demo_recorder.realsense.counters import StreamCount
from demo_recorder.realsense.device import DeviceAbsent, Source, find
from demo_recorder.realsense.outputs import Outputs, Sink
from demo_recorder.realsense.settings import Settings
from demo_recorder.realsense.streams import Arrival, FrameQueue, Streams

WAITING, STREAMING, STOPPED = "waiting", "streaming", "stopped"
SHORTEST_PAUSE_S = 0.1
FIRST_PAUSE_S = 0.5
QUEUE_FRAMES = 8
POLL_S = 0.1
#: So many connections in a row without a frame, and the device is reset.
RESET_AFTER = 3
#: A device that was reset leaves the bus within that, and comes back by itself.
RESET_GONE_S = 3.0
#: device_info is published at the first frame, when its time is known and when its drift is, and then so often.
INFO_AT_S = (0.0, 2.0, 15.0)
INFO_PERIOD_S = 30.0


@dataclass(slots=True)
class CameraState:
    """Where a camera is. `error`: why it is waiting, "" while it streams; counts are since the beginning.

    `losses`: streams that came to an end, `last_loss` why; of these, `hangs`: no frame came any more.
    """

    state: str = WAITING
    error: str = ""
    warning: str = ""
    device: str = ""
    connections: int = 0
    losses: int = 0
    hangs: int = 0
    resets: int = 0
    last_loss: str = ""
    counts: dict[str, StreamCount] = field(default_factory=dict)


class _Again(Exception):
    """The device is to be looked for again; the text says why."""


class _Lost(_Again):
    """Streams that ran came to an end."""


class Camera:
    """Runs one camera in a thread of its own, from :meth:`start` to :meth:`stop`.

    `failure`: what has ended the thread. An AutofocusError where waiting mends nothing (a profile that the camera
    does not offer, a value out of range, no camera in the time to wait), found before it has ever streamed. Once it
    has, it tries for ever.
    """

    def __init__(self, rs: Any, settings: Settings, source: Source, sink: Sink, ros_now_ns: Callable[[], int]) -> None:
        options.plan(settings.options)  # what contradicts itself is known before there is a device
        self._rs, self._settings, self._source, self._sink = rs, settings, source, sink
        self._ros_now_ns = ros_now_ns
        self.state = CameraState(counts={output: StreamCount() for output in settings.outputs})
        self.clock = FrameClock(check=not source.recorded)
        self.failure: BaseException | None = None
        self._queue = FrameQueue(QUEUE_FRAMES, self.state.counts)
        self._stopping = threading.Event()
        self._changed = threading.Event()  # devices came or went
        self._gone = threading.Event()  # the one in hand went
        self._device: Any = None
        self._fruitless = 0  # connections in a row that gave no frame
        self._thread = threading.Thread(target=self._run, name="realsense", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._source.watch(self._on_change)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the streams and the thread; False where the library does not let go of the device in that time."""
        self._stopping.set()
        self._changed.set()
        self._queue.wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._keep_running()
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self.state.state = STOPPED

    def _keep_running(self) -> None:
        started_s = time.monotonic()
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            before = self._received()
            try:
                self._connect_and_stream()
            except _Again as again:
                if isinstance(again, _Lost):
                    self.state.losses += 1
                    self.state.last_loss = str(again)
                self._wait(str(again))
            except RuntimeError as error:  # the library's: busy, or unplugged just now
                self._wait(f"the library says: {error}")
            except AutofocusError as error:
                self._wait(str(error))
                if not self.state.connections and self._hopeless(error, time.monotonic() - started_s):
                    self.failure = error
                    return
            finally:
                self._device = None
            if self._received() > before:
                pause_s, self._fruitless = FIRST_PAUSE_S, 0
            self._stopping.wait(SHORTEST_PAUSE_S)
            self._changed.wait(pause_s)  # a device that comes is tried at once
            self._changed.clear()
            pause_s = min(2.0 * pause_s, self._settings.reconnect_timeout_s)

    def _received(self) -> int:
        return sum(count.received for count in self.state.counts.values())

    def _hopeless(self, error: AutofocusError, waited_s: float) -> bool:
        return not isinstance(error, DeviceAbsent) or 0 <= self._settings.wait_for_device_timeout_s < waited_s

    def _connect_and_stream(self) -> None:
        self._gone.clear()
        device, device_facts = find(self._rs, self._source.devices(), self._settings.serial_no)
        self._device = device
        self.state.device = str(device_facts)
        if self._settings.initial_reset and not self.state.resets:
            self._reset(device)
            raise _Again("the device was reset, as asked (initial_reset)")
        if self._fruitless >= RESET_AFTER:
            self._fruitless = 0
            self._reset(device)
            raise _Again(f"the device was reset: it gave no frame in {RESET_AFTER} attempts")
        connection = connect(self._rs, device, device_facts, self._settings)
        self.state.warning = connection.warning
        if connection.warning:
            self._sink.say(connection.warning, warn=True)
        for count in self.state.counts.values():
            count.begin()
        self.clock.begin()
        streams = connection.start(self._queue, self.state.counts, self._ros_now_ns)
        try:
            self.state.connections += 1
            self._fruitless += 1
            self.state.state, self.state.error = STREAMING, ""
            self._sink.say(f"streaming {device_facts}: {', '.join(map(str, self._settings.streams))}", warn=False)
            self._stream(streams, connection)
        except RuntimeError as error:
            raise _Lost(f"the library says: {error}") from error
        finally:
            streams.close()

    def _stream(self, streams: Streams, connection: Connection) -> None:
        """Give frames on until they end; raises _Lost."""
        outputs = Outputs(self._rs, connection.models, connection.depth_unit_m, self._sink, self.state.counts)
        due_s = [time.monotonic() + at_s for at_s in INFO_AT_S]
        while not self._stopping.is_set():
            arrival = self._queue.get(POLL_S)
            if arrival is not None:
                self._give_on(arrival, outputs)
            news = self.clock.news()
            for text in news:
                self._sink.say(text, warn=True)
            if news or (arrival is not None and time.monotonic() > due_s[0]):
                due_s = [due for due in due_s if due > time.monotonic()] or [time.monotonic() + INFO_PERIOD_S]
                self._sink.info(connection.info(self.clock.info(), self.state.connections))
            if self._gone.is_set():
                raise _Lost("the device was unplugged")
            if self.clock.restart:
                raise _Lost(f"streams are started anew: {self.clock.restart}")
            for request in self._settings.streams:
                if (silent_s := streams.silent_s(request.stream)) > self._settings.stall_periods / request.rate_hz:
                    self.state.hangs += 1
                    raise _Lost(f"no {request.stream} frame for {silent_s:.1f} s")

    def _give_on(self, arrival: Arrival, outputs: Outputs) -> None:
        frame, stream = arrival.frame, arrival.stream
        domain = frame.get_frame_timestamp_domain().name
        stamp_ns = self.clock.stamp(stream, frame.get_timestamp(), domain, arrival.ros_ns, arrival.steady_ns)
        if stamp_ns is None:
            self.state.counts[stream].unstamped += 1
        else:
            outputs.give_on(stream, frame, stamp_ns, self._ros_now_ns())

    def _wait(self, why: str) -> None:
        if why != self.state.error:
            self._sink.say(why, warn=True)
        self.state.state, self.state.error = WAITING, why

    def _reset(self, device: Any) -> None:
        self.state.resets += 1
        self._sink.say(f"resetting {self.state.device}", warn=True)
        try:
            device.hardware_reset()
        except RuntimeError as error:
            self._sink.say(f"the device cannot be reset: {error}", warn=True)
            return
        self._gone.wait(RESET_GONE_S)

    def _on_change(self, was_removed: Callable[[Any], bool]) -> None:
        """Called by the library when devices come or go."""
        device = self._device
        if device is not None and was_removed(device):
            self._gone.set()
            self._queue.wake()
        self._changed.set()
