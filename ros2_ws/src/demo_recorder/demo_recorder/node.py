"""Recorder node: services to start, stop, discard and judge an episode; raw bytes from the wire to the bag.

    python -m demo_recorder.node --ros-args -p robot:=robot.yaml -p task:=task.yaml -p output:=episodes

Threads: the executor's (services, timers, the graph), the intake's (messages), a writing and a syncing one for each
recording, one that looks at the disk. The main thread waits for a signal.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.messages import default_distro
from autofocus_core.schema import load_robot, load_task
from autofocus_core.signals import ignore_stop, on_stop
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool, Trigger

from demo_recorder.clock import ReceiveClock
from demo_recorder.describe import Describer
from demo_recorder.disk import DiskWatch
from demo_recorder.folder import EpisodeFolder
from demo_recorder.intake import Intake
from demo_recorder.keeper import Keeper
from demo_recorder.lookout_node import Lookout
from demo_recorder.memory import keep_freed_memory
from demo_recorder.parameters_node import declare
from demo_recorder.qos_node import load_overrides
from demo_recorder.reader_events_node import NoExecutor
from demo_recorder.session import Due, State
from demo_recorder.spinner_node import Guard, Spinner
from demo_recorder.status_node import StatusPublisher
from demo_recorder.topics_node import Attachments, wanted_topics
from demo_recorder.transport import ask_for_large_buffers
from demo_recorder.writer import WriterSettings

GRAPH_PERIOD_S = 0.25
STATUS_PERIOD_S = 0.5


class RecorderNode(Node):
    """Node /demo_recorder. Parameters: see parameters_node.TABLE.

    Services: ~/start ~/stop ~/discard (std_srvs/Trigger), ~/outcome (SetBool, true: success). The message of a stop is
    the episode's path. Topic ~/status (DiagnosticArray): twice a second, and at once when something changes.
    """

    def __init__(self) -> None:
        super().__init__("demo_recorder")
        settings = declare(self)
        robot, task = load_robot(settings.robot), load_task(settings.task)
        topics = wanted_topics(robot, settings.extra_topics, load_overrides(settings.qos_overrides))
        self._wanted = list(topics.values())
        self._guard = Guard(self._error)
        self._intake = Intake(ReceiveClock(), self._tick, self._warn)
        self._disk = DiskWatch(settings.output, settings.reserve_bytes)
        folder = EpisodeFolder(settings.output)
        describer = Describer(robot, task, frozenset(topic.name for topic in self._wanted if topic.required))
        writer = WriterSettings(
            compression=settings.compression,
            ros_distro=default_distro(),
            queue_bytes=settings.queue_bytes,
            max_file_bytes=settings.max_file_bytes,
            max_file_s=settings.max_file_s,
            sync_period_s=settings.sync_period_s,
        )
        self._keeper = Keeper(describer, self._intake, self._disk, folder, writer)
        attachments = Attachments(self, NoExecutor(), self._intake.lock, self._intake.drain)
        self._lookout = Lookout(
            self._wanted, self._keeper, self._intake, self._disk, attachments, self._end_by_itself, self._warn
        )
        self._status = StatusPublisher(
            self, robot.name, self._wanted, self._keeper, self._intake, self._lookout.silence
        )
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
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        # Attached ahead of the first start, a start takes milliseconds and loses nothing to discovery.
        self.create_timer(GRAPH_PERIOD_S, self._guard(self._watch_graph), clock=steady)
        self.create_timer(STATUS_PERIOD_S, self._guard(self._status.publish), clock=steady)
        self._attention = self.create_guard_condition(self._guard(self._attend))
        self._intake.start()

    def close(self, reason: str) -> None:
        """Finish a running recording, for this reason, and end the threads. The executor must have ended."""
        try:
            if self._keeper.recording is not None:
                self._end(reason)
        finally:
            self._intake.close()
            self._disk.close()

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text)

    def _error(self, text: str) -> None:
        self.get_logger().error(text)

    # ---- what people ask for

    def _answer(self, action: Callable[[Any], str]) -> Callable[[Any, Any], Any]:
        """A service callback: success and the action's text, or False and what was wrong."""

        def callback(request: Any, response: Any) -> Any:
            try:
                response.message = action(request)
                response.success = True
            except AutofocusError as error:
                self._error(str(error))
                response.message = str(error)
                response.success = False
            except Exception as error:  # one bad request must not end a session
                self._guard.told(f"{action.__name__.strip('_')}: {error!r}")
                response.message = f"a fault in the recorder: {error!r}"
                response.success = False
            self._guard(self._status.publish)()
            return response

        return callback

    def _start(self, request: object) -> str:
        self._keeper.session.require_startable()
        self._lookout.await_publishers()
        countdown_s = self._keeper.session.ask_start(time.monotonic())
        return f"countdown {countdown_s:g} s" if countdown_s else self._begin()

    def _begin(self) -> str:
        present = [topic for topic in self._wanted if topic.subscription is not None]
        name = self._keeper.begin(present)
        self.set_parameters([Parameter("note", value="")])
        self.get_logger().info(f"recording {name}: {', '.join(topic.name for topic in present)}")
        return name

    def _stop(self, request: object) -> str:
        return self._cancelled() or str(self._end("requested"))

    def _discard(self, request: object) -> str:
        return self._cancelled() or str(self._keeper.discard(self._wanted))

    def _cancelled(self) -> str:
        if self._keeper.session.state is not State.COUNTDOWN:
            return ""
        self._keeper.session.cancel()
        return "countdown cancelled"

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
        """After each pass of the intake, in its thread."""
        if self._lookout.news(now_ns):
            self._attention.trigger()

    def _attend(self) -> None:
        """What the tick has seen, in the executor's thread."""
        session, recording = self._keeper.session, self._keeper.recording
        self._status.publish()  # ending takes a moment: the reason first
        due = session.due(time.monotonic())
        if recording is not None and recording.error:
            self._end_by_itself(f"error: {recording.error}")
        elif due is Due.STOP:
            self._end_by_itself(f"time limit: {session.rules.max_duration_s:g} s")
        elif due is Due.START:
            try:
                self._lookout.await_publishers()
                self._begin()
            except AutofocusError as error:
                session.cancel()
                self._keeper.error = str(error)
                self._error(str(error))
            self._status.publish()

    def _watch_graph(self) -> None:
        for topic in self._wanted:
            try:
                self._lookout.watch_graph(topic)
            except AutofocusError as error:
                self._guard.told(str(error))

    def _end(self, reason: str) -> Path:
        path = self._keeper.end(reason, self._wanted)
        verdict = self._keeper.last.verdict
        reasons = "; ".join(verdict.reasons) or "all well"
        self.get_logger().info(f"recorded {path} ({reason}), {verdict.grade}: {reasons}")
        return path

    def _end_by_itself(self, reason: str) -> None:
        self._warn(f"the recording ends: {reason}")
        try:
            self._end(reason)
        except AutofocusError as error:
            self._error(str(error))
        self._status.publish()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; a running recording is then finished, not lost."""
    keep_freed_memory()
    ask_for_large_buffers()
    ended = threading.Event()
    signals: list[int] = []

    def on_signal(number: int) -> None:
        signals.append(number)
        ended.set()

    on_stop(on_signal)
    # rclpy's own handlers would take the context away before the recording is finished.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = RecorderNode()
        gc.collect()
        gc.freeze()  # what lives for ever need not be looked at in every collection
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
        ignore_stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
