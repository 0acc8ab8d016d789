"""The saliency server: watches a folder of finished episodes and annotates new ones.

    ros2 run saliency_server server --ros-args -p robot:=robot.yaml -p task:=task.yaml -p folder:=episodes

Annotating is done in a thread of its own; one episode at a time, so that a recording session keeps the machine. Models
are loaded at the first episode and stay. When nothing is left to do, the folder's quality report is written.
"""

from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.schema import load_robot, load_task
from autofocus_core.signals import ignore_stop, on_stop
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from saliency_server.course import Progress
from saliency_server.item import BUSY, Outcome, annotate_file
from saliency_server.options import Options, Stages
from saliency_server.report import make_report, write_report
from saliency_server.threads import limit_threads
from saliency_server.watch import Watcher

STATUS_PERIOD_S, PROGRESS_PERIOD_S = 1.0, 0.25
#: Parameters without a default, each with what it is.
PATHS = {
    "robot": "path of the robot YAML: which topics the cameras are on",
    "task": "path of the task YAML: instruction, objects, cameras to annotate",
    "folder": "folder in which finished episodes appear",
}
BACKENDS = {
    "describe": "where the objects' names come from; empty: the vlm, or the instruction where none is named",
    "detect": "what finds them in the images",
    "filter": "what says when each matters; empty: the vlm, or task-objects where none is named",
    "vlm": "vision-language model for the backends that ask one: openai:MODEL@URL or transformers:MODEL",
    "gripper": "auto, projection or detect",
    "map": "maps: gaussian, box or mask",
    "masks": "SAM 2 model that makes masks out of boxes: transformers:MODEL",
}
#: name -> default, least, greatest, what it is.
NUMBERS = {
    "period_s": (2.0, 0.1, 3600.0, "time between two looks into the folder [s]"),
    "alpha": (0.0, 0.0, 0.99, "what a map keeps of the one before it, a share; 0: nothing, 0.7 in the paper"),
    "keyframe_s": (0.0, 0.0, 60.0, "show the detector a frame so often, and more where in doubt [s]; 0: every frame"),
    "threads": (1, 1, 256, "processors for the arithmetic of models in this process"),
}
#: Defaults of the backends; "" for those that hang on `vlm`.
DEFAULTS = {entry.name: entry.default for entry in dataclasses.fields(Options)}


class SaliencyServer(Node):
    """Node `saliency_server`; raises AutofocusError where a file, a backend or a parameter is wrong."""

    def __init__(self, **node_options) -> None:
        super().__init__("saliency_server", **node_options)
        paths = {name: self._path(name, text) for name, text in PATHS.items()}
        named = {name: self._declare(name, DEFAULTS[name], text) for name, text in BACKENDS.items()}
        numbers = {name: self._number(name, *limits) for name, limits in NUMBERS.items()}
        self._robot, self._task = load_robot(paths["robot"]), load_task(paths["task"])
        self._options = Options(**named, alpha=numbers["alpha"], keyframe_s=numbers["keyframe_s"] or None)
        Stages.of(self._options)  # an unknown backend fails here, not at the first episode
        self._watcher = Watcher(Path(paths["folder"]))
        limit_threads(numbers["threads"])
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="annotate")
        self._running: list[Future[Outcome]] = []
        self._report: Future[None] | None = None
        self._in_hand: tuple[str, Progress] | None = None  # written by the worker's thread, read by this one
        self._status = self.create_publisher(DiagnosticArray, "~/status", 10)
        self.create_service(Trigger, "~/annotate", self._annotate_now)
        self.create_timer(numbers["period_s"], self._look)
        self.create_timer(STATUS_PERIOD_S, self._publish_status)
        self.create_timer(PROGRESS_PERIOD_S, lambda: self._in_hand and self._publish_status())
        self.get_logger().info(f"watching {self._watcher.folder} for episodes of task {self._task.name}")

    def close(self) -> None:
        """Finish the episode in hand, forget those that wait."""
        self._worker.shutdown(cancel_futures=True)

    def _declare(self, name: str, default: str, text: str) -> str:
        return self.declare_parameter(name, default, ParameterDescriptor(description=text, read_only=True)).value

    def _path(self, name: str, text: str) -> str:
        path = self._declare(name, "", text)
        if not path:
            raise AutofocusError(
                f"saliency server: parameter {name}", "nothing", text, f"--ros-args -p {name}:=PATH"
            )
        return path

    def _number(self, name: str, default: float, least: float, greatest: float, text: str) -> float:
        bounds = {"from_value": least, "to_value": greatest}
        ranges = (
            {"integer_range": [IntegerRange(**bounds, step=1)]} if isinstance(default, int)
            else {"floating_point_range": [FloatingPointRange(**bounds)]}
        )  # fmt: skip
        try:
            return self.declare_parameter(
                name, default, ParameterDescriptor(description=text, read_only=True, **ranges)
            ).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            kind = "a whole number" if isinstance(default, int) else "a number with a point"
            raise AutofocusError(
                f"saliency server: parameter {name}", " ".join(str(error).split()),
                f"{kind} from {least} to {greatest}", f"--ros-args -p {name}:={default}",
            ) from error

    def _annotate_now(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Look again at every recording, those that failed included."""
        self._watcher.forget()
        todo = self._look()
        response.success = not self._watcher.problem
        response.message = self._watcher.problem or f"{todo} episodes to look at in {self._watcher.folder}"
        return response

    def _look(self) -> int:
        """Collect what is done, start what is new; how many are new."""
        if self._report is not None and self._report.done():
            self._report.result()
            self._report = None
        for future in [future for future in self._running if future.done()]:
            self._running.remove(future)
            self._done(future.result())
        todo = self._watcher.scan()
        self._running += [self._worker.submit(self._annotate, path) for path in todo]
        if todo:
            self._publish_status()
        return len(todo)

    def _done(self, outcome: Outcome) -> None:
        if outcome.status == BUSY:  # another annotator has it: it is given out again at the next look
            self._watcher.forget(outcome.path)
            return
        self._watcher.record(outcome)
        if outcome.error:
            self.get_logger().error(f"{outcome.path.name}: {outcome.status}: {outcome.error}")
        else:
            self.get_logger().info(f"{outcome.path.name}: {outcome.status} in {outcome.seconds:.1f} s")
        if not self._running:
            self._report = self._worker.submit(self._write_report)

    def _annotate(self, path: Path) -> Outcome:
        """In the worker's thread."""
        def tell(progress: Progress) -> None:
            self._in_hand = (path.name, progress)

        tell(Progress("begin"))
        try:
            return annotate_file(path, self._robot, self._task, self._options, wait=False, tell=tell)
        finally:
            self._in_hand = None

    def _write_report(self) -> None:
        """In the worker's thread."""
        known = {
            outcome.path.resolve(): outcome.quality for outcome in list(self._watcher.outcomes.values())
            if outcome.quality is not None
        }
        try:
            write_report(self._watcher.folder, make_report(self._watcher.folder, known))
        except AutofocusError as error:  # the annotations are there; their report will be written the next time
            self.get_logger().warning(f"no report: {error.where}: {error.got}")

    def _publish_status(self) -> None:
        values, problem = self._watcher.summary()
        values |= {"folder": self._watcher.folder, "task": self._task.name}
        message = "idle"
        in_hand = self._in_hand
        values["queue"] = max(0, sum(not future.done() for future in self._running) - (in_hand is not None))
        if in_hand is not None:
            name, progress = in_hand
            values |= {"episode": name, "stage": progress.stage}
            values |= {"frames_done": progress.done, "frames_total": progress.total}
            frames = f" {progress.done}/{progress.total} frames" if progress.total else ""
            message = f"annotating {name}: {progress.stage}{frames}"
        elif self._running:
            message = "annotating"
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
            name="saliency_server",
            message=f"{problem}; {message}" if problem and in_hand else problem or message,
            hardware_id=self._robot.name,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        stamp = self.get_clock().now().to_msg()
        self._status.publish(DiagnosticArray(header=Header(stamp=stamp), status=[status]))


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the episode in hand is finished."""
    signals: list[int] = []
    on_stop(signals.append)
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = SaliencyServer()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not signals:
            executor.spin_once(timeout_sec=0.1)
        node.close()
    except AutofocusError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE
    finally:
        rclpy.try_shutdown()
        ignore_stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
