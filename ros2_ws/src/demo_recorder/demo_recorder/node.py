"""Recorder node: services to start, stop, discard and judge an episode; raw bytes from the wire to the bag.

    python -m demo_recorder.node --ros-args -p robot:=robot.yaml -p task:=task.yaml -p output:=episodes

Threads: the executor's (services, timers, the graph), the intake's (messages), a writing and a syncing one for each
recording, one that looks at the disk. The main thread waits for a signal.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import rclpy
from autofocus_core.episode_meta import Event
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.messages import default_distro
from autofocus_core.schema import load_robot, load_task
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool, Trigger

from demo_recorder.clock import ReceiveClock
from demo_recorder.describe import Describer
from demo_recorder.disk import DiskWatch
from demo_recorder.folder import EpisodeFolder
from demo_recorder.intake import Intake
from demo_recorder.keeper import Keeper
from demo_recorder.memory import keep_freed_memory
from demo_recorder.parameters_node import declare
from demo_recorder.qos_node import load_overrides
from demo_recorder.reader_events_node import NoExecutor
from demo_recorder.session import Due, State
from demo_recorder.status import RateMeter, StatusRow, TopicView, summary_row, topic_row
from demo_recorder.topics_node import Attachments, Wanted, wanted_topics
from demo_recorder.watch import PublisherWatch, SilenceWatch
from demo_recorder.writer import WriterSettings

#: How long a start waits for publishers to be discovered before it refuses.
DISCOVERY_TIMEOUT_S = 2.5
GRAPH_PERIOD_S = 0.25
STATUS_PERIOD_S = 0.5
#: News are published at once, but not oftener than this: a stream with a loose contact has some all the time.
NEWS_PERIOD_S = 0.02


def guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """A timer's or guard condition's callback: whatever it meets is told once and counted; the node goes on."""

    @wraps(callback)
    def call(self: RecorderNode, *args: Any) -> None:
        try:
            callback(self, *args)
        except Exception as error:
            self.told_once(f"{callback.__name__.strip('_')}: {error!r}")

    return call


class RecorderNode(Node):
    """Node /demo_recorder. Parameters: see parameters_node.TABLE.

    Services: ~/start ~/stop ~/discard (std_srvs/Trigger), ~/outcome (SetBool, true: success). The message of a stop is
    the episode's path. Topic ~/status (DiagnosticArray): twice a second, and at once when something changes.
    """

    def __init__(self) -> None:
        super().__init__("demo_recorder")
        settings = declare(self)
        robot, task = load_robot(settings.robot), load_task(settings.task)
        self._wanted = wanted_topics(robot, list(settings.extra_topics), load_overrides(settings.qos_overrides))
        self._robot = robot.name
        self._failures: dict[str, int] = {}
        self._rates = {name: RateMeter() for name in self._wanted}
        self._silence = SilenceWatch({w.name: w.expected_rate_hz for w in self._wanted.values()})
        self._publisher_watch = PublisherWatch()
        self._seen: tuple[object, ...] = ()
        self._published_s = 0.0

        self._intake = Intake(ReceiveClock(), self._tick, self._warn)
        self._disk = DiskWatch(settings.output, settings.reserve_bytes)
        folder = EpisodeFolder(settings.output)
        required = frozenset(w.name for w in self._wanted.values() if w.required)
        writer = WriterSettings(
            compression=settings.compression,
            ros_distro=default_distro(),
            queue_bytes=settings.queue_bytes,
            max_file_bytes=settings.max_file_bytes,
            max_file_s=settings.max_file_s,
            sync_period_s=settings.sync_period_s,
        )
        self._keeper = Keeper(Describer(robot, task, required), self._intake, self._disk, folder, writer)
        self._attachments = Attachments(self, NoExecutor(), self._intake.lock, self._intake.drain)
        if folder.interrupted:
            self._warn(
                f"{len(folder.interrupted)} interrupted recording(s) in {folder.path}; "
                f"make them readable with: autofocus episodes recover {folder.path}"
            )

        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_service(Trigger, "~/start", self._answer(self._start))
        self.create_service(Trigger, "~/stop", self._answer(self._stop))
        self.create_service(Trigger, "~/discard", self._answer(self._discard))
        self.create_service(SetBool, "~/outcome", self._answer(self._outcome))
        self._status = self.create_publisher(DiagnosticArray, "~/status", QoSProfile(depth=1))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        # Attached ahead of the first start, a start takes milliseconds and loses nothing to discovery.
        self.create_timer(GRAPH_PERIOD_S, self._watch_graph, clock=steady)
        self.create_timer(STATUS_PERIOD_S, self._publish_status, clock=steady)
        self._attention = self.create_guard_condition(self._attend)
        self._intake.start()

    def close(self, reason: str) -> None:
        """Finish a running recording, for this reason, and end the threads. The executor must have ended."""
        try:
            if self._keeper.recording is not None:
                self._end(reason)
        finally:
            self._intake.close()
            self._disk.close()

    def told_once(self, text: str) -> None:
        """Log an error that may come again and again."""
        self._failures[text] = self._failures.get(text, 0) + 1
        if self._failures[text] == 1:
            self.get_logger().error(f"{text}; more of these are only counted")

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text)

    # ---- what people ask for

    def _answer(self, action: Callable[[Any], str]) -> Callable[[Any, Any], Any]:
        """A service callback: success and the action's text, or False and what was wrong."""

        def callback(request: Any, response: Any) -> Any:
            try:
                response.message = action(request)
                response.success = True
            except AutofocusError as error:
                self.get_logger().error(str(error))
                response.message = str(error)
                response.success = False
            except Exception as error:  # one bad request must not end a session
                self.told_once(repr(error))
                response.message = f"a fault in the recorder: {error!r}"
                response.success = False
            self._publish_status()
            return response

        return callback

    def _start(self, request: object) -> str:
        self._keeper.session.require_startable()
        self._await_publishers()
        countdown_s = self._keeper.session.ask_start(time.monotonic())
        return f"countdown {countdown_s:g} s" if countdown_s else self._begin()

    def _begin(self) -> str:
        name = self._keeper.begin(self._present())
        self.set_parameters([Parameter("note", value="")])
        self.get_logger().info(f"recording {name}: {', '.join(w.name for w in self._present())}")
        return name

    def _present(self) -> list[Wanted]:
        return [wanted for wanted in self._wanted.values() if wanted.subscription is not None]

    def _await_publishers(self) -> None:
        deadline_s = time.monotonic() + DISCOVERY_TIMEOUT_S
        while True:
            missing = [w for w in self._wanted.values() if not self._attach(w) and w.required]
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

    def _stop(self, request: object) -> str:
        if self._keeper.session.state is State.COUNTDOWN:
            self._keeper.session.cancel()
            return "countdown cancelled"
        return str(self._end("requested"))

    def _end(self, reason: str) -> Path:
        path = self._keeper.end(reason, self._wanted.values())
        verdict = self._keeper.last.verdict
        self.get_logger().info(
            f"recorded {path} ({reason}), {verdict.grade}: {'; '.join(verdict.reasons) or 'all well'}"
        )
        return path

    def _discard(self, request: object) -> str:
        if self._keeper.session.state is State.COUNTDOWN:
            self._keeper.session.cancel()
            return "countdown cancelled"
        return str(self._keeper.discard(self._wanted.values()))

    def _outcome(self, request: SetBool.Request) -> str:
        outcome = self._keeper.set_outcome(request.data)
        return f"{self._keeper.session.episode}: {outcome}"

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "note" and parameter.value != self._keeper.session.note:
                try:
                    self._keeper.set_note(str(parameter.value))
                except (AutofocusError, OSError) as error:
                    return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    # ---- what happens

    def _tick(self, now_ns: int) -> None:
        """After each pass of the intake, in its thread: has something happened that cannot wait?"""
        keeper, recording = self._keeper, self._intake.recording
        if recording is not None:
            recording.tend(now_ns)
            if self._disk.problem:
                recording.fail(self._disk.problem)
        last_ns = {w.name: w.last_ns for w in self._wanted.values() if w.subscription is not None}
        changed = self._silence.look(last_ns, now_ns)
        seen = (recording, recording and recording.events.count, self._disk.problem)
        due = keeper.session.due(time.monotonic()) is not Due.NOTHING
        if changed or due or seen != self._seen or (recording is not None and recording.error):
            self._seen = seen
            self._attention.trigger()

    @guarded
    def _attend(self) -> None:
        """What the tick has seen, in the executor's thread."""
        recording, rules = self._keeper.recording, self._keeper.session.rules
        self._publish_status()  # ending takes a moment: the reason first
        due = self._keeper.session.due(time.monotonic())
        if recording is not None and recording.error:
            self._end_by_itself(f"error: {recording.error}")
        elif due is Due.STOP:
            self._end_by_itself(f"time limit: {rules.max_duration_s:g} s")
        elif due is Due.START:
            try:
                self._await_publishers()
                self._begin()
            except AutofocusError as error:
                self._keeper.session.cancel()
                self._keeper.error = str(error)
                self.get_logger().error(str(error))
            self._publish_status()

    def _end_by_itself(self, reason: str) -> None:
        self.get_logger().warning(f"the recording ends: {reason}")
        try:
            self._end(reason)
        except AutofocusError as error:
            self.get_logger().error(str(error))
        self._publish_status()

    @guarded
    def _watch_graph(self) -> None:
        """Subscribe to what has turned up; while recording, note who went and stop where a type has changed."""
        for wanted in self._wanted.values():
            recording = self._keeper.recording
            try:
                self._ask_middleware(wanted)
                if recording is None:
                    self._attach(wanted)
                    self._publisher_watch.look(wanted.name, wanted.publishers, wanted.type)
                else:
                    self._watch_recorded(wanted)
            except AutofocusError as error:
                if str(error) not in self._failures:
                    self._failures[str(error)] = 1
                    self.get_logger().error(str(error))

    def _watch_recorded(self, wanted: Wanted) -> None:
        self._attachments.look(wanted)
        change = self._publisher_watch.look(wanted.name, wanted.publishers, wanted.type)
        now_ns = self._intake.clock.now_ns()
        for publisher in change.gone:
            left = f"{change.left} left" if change.left else "nobody publishes it any more"
            self._note(Event("publisher_lost", wanted.name, now_ns, now_ns, f"{publisher.node} went away, {left}"))
        if change.other_type is not None:
            text = f"{wanted.type} -> {change.other_type.type}"
            self._note(Event("type_change", wanted.name, now_ns, now_ns, f"{text} ({change.other_type.node})"))
            self._end_by_itself(f"type change: {wanted.name} {text}")
        elif self._attach(wanted):
            self._keeper.add(wanted)

    def _attach(self, wanted: Wanted) -> bool:
        attached = self._attachments.attach(wanted)
        if attached and wanted not in self._intake.sources:
            with self._intake.lock:
                wanted.last_ns = self._intake.clock.now_ns()
                self._intake.sources.append(wanted)
        return attached

    def _ask_middleware(self, wanted: Wanted) -> None:
        """What it reports about a subscription goes to the recording."""
        if wanted.events is None:
            return
        lost, unfit = wanted.events.lost(), wanted.events.unfit()
        recording = self._keeper.recording
        if recording is not None and wanted.name in recording.monitors:
            recording.monitors[wanted.name].lost_event(lost)
        if unfit:
            text = f"a publisher offers a {unfit} that does not fit what is asked for: nothing of it is recorded"
            now_ns = self._intake.clock.now_ns()
            self._note(Event("error", wanted.name, now_ns, now_ns, text))

    def _note(self, event: Event) -> None:
        recording = self._keeper.recording
        if recording is not None:
            self._warn(f"{event.topic}: {event.detail}")
            recording.events.add(event)

    # ---- what people see

    @guarded
    def _publish_status(self) -> None:
        now_s = time.monotonic()
        topics = [topic_row(self._view(wanted, now_s)) for wanted in self._wanted.values()]
        values = self._keeper.values(now_s)
        rows = [summary_row(self._robot, values["error"], values, topics), *topics]
        message = DiagnosticArray(status=[self._diagnostic(row) for row in rows])
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)

    def _view(self, wanted: Wanted, now_s: float) -> TopicView:
        shown = self._keeper.shown
        return TopicView(
            name=wanted.name,
            type=wanted.type or wanted.declared_type,
            required=wanted.required,
            publishers=len(wanted.publishers),
            qos=wanted.qos_words,
            rate_hz=self._rates[wanted.name].read(now_s, wanted.received),
            expected_rate_hz=wanted.expected_rate_hz,
            silent_ms=(self._intake.clock.now_ns() - wanted.last_ns) / 1e6 if wanted.received else None,
            silent=wanted.name in self._silence.silent,
            failures=wanted.failures,
            monitor=None if shown is None else shown.monitors.get(wanted.name),
        )

    def _diagnostic(self, row: StatusRow) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=bytes([row.level]),
            name=row.name,
            message=row.message,
            hardware_id=self._robot,
            values=[KeyValue(key=key, value=value) for key, value in row.values.items()],
        )


class Spinner:
    """The executor in a thread of its own, so that the main thread hears signals at once."""

    def __init__(self, node: Node, ended: threading.Event) -> None:
        """`ended` is set if the executor ends by itself."""
        self.error: Exception | None = None
        self._ended = ended
        self._stop = False
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the callback that runs come to its end, and no other begin."""
        self._stop = True
        self._executor.create_task(lambda: None)  # a wait that has begun ends only when there is something to do
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop:
                self._executor.spin_once()
        except Exception as error:
            self.error = error
        finally:
            self._ended.set()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; a running recording is then finished, not lost."""
    keep_freed_memory()
    ended = threading.Event()
    signals: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        signals.append(number)
        ended.set()

    # rclpy's own handlers would take the context away before the recording is finished.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        node = RecorderNode()
        spinner = Spinner(node, ended)
        ended.wait()
        spinner.close()
        node.close(f"signal: {signal.Signals(signals[0]).name}" if signals else f"error: {spinner.error!r}")
        if spinner.error is not None:
            raise spinner.error
    except AutofocusError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
