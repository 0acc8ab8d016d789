"""Recorder node: services to start, stop, discard and judge an episode; raw bytes from the wire to the bag."""

from __future__ import annotations

import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import rclpy
from autofocus_core.episode import set_outcome
from autofocus_core.episode_meta import EpisodeMeta
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.messages import default_distro
from autofocus_core.schema import load_robot, load_task
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool, Trigger

from demo_recorder.session import Session, State
from demo_recorder.topics_node import Wanted, attach, drain, publisher_id, wanted_topics
from demo_recorder.writer import WORKING_SUFFIX, Recording, put_aside

#: How long a start waits for publishers to be discovered before it refuses.
DISCOVERY_TIMEOUT_S = 2.5
ATTACH_PERIOD_S = 0.25
STATUS_PERIOD_S = 1.0
#: The bound on the time from a signal to the recording being finished.
SPIN_PERIOD_S = 0.1


class RecorderNode(Node):
    """Node /demo_recorder.

    Parameters: robot, task (YAML paths), output (folder), extra_topics (list), compression (none | zstd).
    Services: ~/start ~/stop ~/discard (std_srvs/Trigger), ~/outcome (std_srvs/SetBool, true: success). The
    message of a stop is the episode's path. Topic ~/status (DiagnosticArray, 1 Hz): counts and drops, live.
    """

    def __init__(self) -> None:
        super().__init__("demo_recorder")
        self._robot = load_robot(self._text("robot"))
        self._task = load_task(self._text("task"))
        self._output = Path(self._text("output")).expanduser().absolute()
        self._compression = str(self.declare_parameter("compression", "none").value)
        extra = self.declare_parameter("extra_topics", Parameter.Type.STRING_ARRAY).value or []
        self._wanted = wanted_topics(self._robot, [topic for topic in extra if topic])
        self._session = Session()
        self._recording: Recording | None = None
        self._episode: Path | None = None
        self.create_service(Trigger, "~/start", self._answer(self._start))
        self.create_service(Trigger, "~/stop", self._answer(lambda _: str(self.stop("requested"))))
        self.create_service(Trigger, "~/discard", self._answer(self._discard))
        self.create_service(SetBool, "~/outcome", self._answer(self._outcome))
        self._status = self.create_publisher(DiagnosticArray, "~/status", QoSProfile(depth=1))
        # Attached ahead of the first start, a start takes milliseconds and loses nothing to discovery.
        self.create_timer(ATTACH_PERIOD_S, self._watch)
        self.create_timer(STATUS_PERIOD_S, self._publish_status)

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._session.state is State.RECORDING

    def _text(self, name: str) -> str:
        value = self.declare_parameter(name, "").value
        if not value:
            raise AutofocusError(
                "recorder parameters", f"no {name!r}", f"-p {name}:=PATH", f"pass the {name} parameter"
            )
        return str(value)

    def _answer(self, action: Any) -> Any:
        """A service callback: success and the action's text, or False and what was wrong."""

        def callback(request: Any, response: Any) -> Any:
            try:
                response.message = action(request)
                response.success = True
            except AutofocusError as error:
                self.get_logger().error(str(error))
                response.message = str(error)
                response.success = False
            return response

        return callback

    def _start(self, request: object) -> str:
        if self.recording:
            self._session.start("")  # raises: one at a time
        self._await_publishers()
        path = self._new_path()
        present = [wanted for wanted in self._wanted.values() if wanted.subscription is not None]
        for wanted in present:
            drain(wanted, self._remember)  # what waits from before the start is not part of the episode
        now_ns = self._now_ns()
        self._recording = Recording(
            path, [w.spec() for w in present], now_ns, compression=self._compression, ros_distro=default_distro()
        )
        self._session.start(path.name)
        for wanted in present:
            for raw in wanted.last.values() if wanted.latched else ():
                self._recording.put(wanted.name, raw, now_ns)
        self.get_logger().info(f"recording {path.name}: {', '.join(w.name for w in present)}")
        return path.name

    def _await_publishers(self) -> None:
        deadline_s = time.monotonic() + DISCOVERY_TIMEOUT_S
        while True:
            missing = [w for w in self._wanted.values() if not attach(self, w, self._on_message) and w.required]
            if not missing:
                return
            if time.monotonic() > deadline_s:
                names = ", ".join(w.name for w in missing)
                raise AutofocusError(
                    "recorder: start",
                    f"nobody publishes {names}",
                    "a publisher for each required topic",
                    "start what publishes it (camera, driver, teleoperation), or correct the topic in the robot YAML",
                )
            time.sleep(0.02)

    def stop(self, reason: str) -> Path:
        """End the running recording and keep it; gives the episode's path."""
        self._session.stop()
        self._episode = None  # should finishing fail, a later discard must not take the episode before
        self._episode = self._finish(reason, discard=False)
        self.get_logger().info(f"recorded {self._episode} ({reason})")
        return self._episode

    def _discard(self, request: object) -> str:
        if self._session.discard():
            path = self._finish("discarded", discard=True)
        else:
            if self._episode is None:
                raise AutofocusError(
                    "recorder: discard", "the last episode could not be finished", "an episode", "record again"
                )
            path = put_aside(self._episode)
        self._episode = None
        return str(path)

    def _outcome(self, request: SetBool.Request) -> str:
        outcome = self._session.set_outcome(request.data)
        if not self.recording and self._episode is not None:
            set_outcome(self._episode, outcome)
        return f"{self._session.episode}: {outcome}"

    def _finish(self, reason: str, *, discard: bool) -> Path:
        recording = self._recording
        assert recording is not None  # the session was recording
        for wanted in self._wanted.values():
            drain(wanted, self._on_message)
        self._recording = None
        end_ns = self._now_ns()

        def describe() -> EpisodeMeta:
            return EpisodeMeta(
                id=recording.path.name,
                task=self._task.name,
                instruction=self._task.instruction,
                robot=self._robot.name,
                robot_hash=self._robot.hash(),
                outcome=self._session.outcome,
                note="",
                start_ns=recording.start_ns,
                end_ns=end_ns,
                stop_reason=reason,
                streams=recording.qualities(end_ns),
            )

        return recording.finish(describe, discard=discard)

    def _on_message(self, wanted: Wanted, raw: bytes, info: dict[str, Any]) -> None:
        self._remember(wanted, raw, info)
        recording = self._recording
        if recording is None:
            return
        if wanted.name not in recording.monitors:
            recording.add_topic(wanted.spec())
        received_ns = info.get("received_timestamp") or self._now_ns()
        recording.put(wanted.name, raw, received_ns, publisher_id(info), info.get("publication_sequence_number"))

    @staticmethod
    def _remember(wanted: Wanted, raw: bytes, info: dict[str, Any]) -> None:
        if wanted.latched:
            wanted.last[publisher_id(info)] = raw

    def _watch(self) -> None:
        """Subscribe to what has turned up; stop if the disk refuses."""
        for wanted in self._wanted.values():
            try:
                if wanted.subscription is None or not self.recording:
                    attach(self, wanted, self._on_message)
            except AutofocusError as error:
                self.get_logger().error(str(error), throttle_duration_sec=10.0)
        if self._recording is not None and self._recording.error:
            try:
                self.stop(f"error: {self._recording.error}")
            except AutofocusError as error:
                self.get_logger().error(str(error))

    def _publish_status(self) -> None:
        status = DiagnosticStatus(name="demo_recorder", level=DiagnosticStatus.OK, message=self._session.state.value)
        status.values = [KeyValue(key="episode", value=self._session.episode)]
        recording = self._recording
        if recording is not None:
            now_ns = time.time_ns()
            for topic, monitor in recording.monitors.items():
                text = (
                    f"{monitor.count} messages, {monitor.rate_hz:.1f} Hz, {monitor.drops} dropped, {monitor.gaps} gaps"
                )
                if monitor.stalled(now_ns):
                    text += f", silent for {monitor.silent_ns(now_ns) / 1e6:.0f} ms"
                if monitor.stalled(now_ns) or monitor.drops:
                    status.level = DiagnosticStatus.WARN
                status.values.append(KeyValue(key=topic, value=text))
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    def _new_path(self) -> Path:
        """A name that sorts by time and is not taken."""
        while True:
            now = datetime.now(timezone.utc)
            path = self._output / f"{self._task.name}_{now:%Y%m%d_%H%M%S}_{now.microsecond // 1000:03d}"
            if not path.exists() and not path.with_name(path.name + WORKING_SUFFIX).exists():
                return path
            time.sleep(0.001)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; a running recording is then finished, not lost."""
    signals: list[int] = []
    # rclpy's own handlers would take the context away before the recording is finished.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: signals.append(received))
    try:
        node = RecorderNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not signals:
            executor.spin_once(timeout_sec=SPIN_PERIOD_S)
        if node.recording:
            node.stop(f"signal: {signal.Signals(signals[0]).name}")
    except AutofocusError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
