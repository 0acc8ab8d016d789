"""The saliency server: watches a folder of finished episodes and annotates new ones.

    ros2 run saliency_server server --ros-args -p robot:=robot.yaml -p task:=task.yaml -p folder:=episodes

Annotating is done in a thread of its own; one episode at a time, so that a recording session keeps the machine.
"""

from __future__ import annotations

import dataclasses
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.schema import load_robot, load_task
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from saliency_server.item import annotate_file
from saliency_server.options import Options, Stages
from saliency_server.watch import Watcher

STATUS_PERIOD_S = 1.0
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
#: Their defaults; "" for those that hang on `vlm`.
DEFAULTS = {entry.name: entry.default for entry in dataclasses.fields(Options)}


class SaliencyServer(Node):
    """Node `saliency_server`; raises AutofocusError where a file, a backend or a parameter is wrong."""

    def __init__(self, **node_options) -> None:
        super().__init__("saliency_server", **node_options)
        paths = {name: self._path(name, text) for name, text in PATHS.items()}
        self._robot, self._task = load_robot(paths["robot"]), load_task(paths["task"])
        self._options = Options(**{name: self._declare(name, DEFAULTS[name], text) for name, text in BACKENDS.items()})
        Stages.of(self._options)  # an unknown backend fails here, not at the first episode
        period_s = self.declare_parameter(
            "period_s", 2.0,
            ParameterDescriptor(
                description="time between two looks into the folder [s]", read_only=True,
                floating_point_range=[FloatingPointRange(from_value=0.1, to_value=3600.0)],
            ),
        ).value
        self._watcher = Watcher(Path(paths["folder"]))
        cv2.setNumThreads(1)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="annotate")
        self._running: list[Future] = []
        self._status = self.create_publisher(DiagnosticArray, "~/status", 10)
        self.create_service(Trigger, "~/annotate", self._annotate_now)
        self.create_timer(period_s, self._look)
        self.create_timer(STATUS_PERIOD_S, self._publish_status)
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

    def _annotate_now(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Look again at every recording, those that failed included."""
        self._watcher.forget()
        todo = self._look()
        response.success = not self._watcher.problem
        response.message = self._watcher.problem or f"{todo} episodes to look at in {self._watcher.folder}"
        return response

    def _look(self) -> int:
        """Collect what is done, start what is new; how many are new."""
        for future in [future for future in self._running if future.done()]:
            self._running.remove(future)
            outcome = future.result()
            self._watcher.record(outcome)
            if outcome.error:
                self.get_logger().error(f"{outcome.path.name}: {outcome.status}: {outcome.error}")
            else:
                self.get_logger().info(f"{outcome.path.name}: {outcome.status} in {outcome.seconds:.1f} s")
        todo = self._watcher.scan()
        self._running += [
            self._worker.submit(annotate_file, path, self._robot, self._task, self._options) for path in todo
        ]
        if todo:
            self._publish_status()
        return len(todo)

    def _publish_status(self) -> None:
        counts = self._watcher.counts()
        failed = [outcome.path.name for outcome in self._watcher.outcomes.values() if outcome.error]
        values = {name.replace(" ", "_"): count for name, count in counts.items()}
        values |= {"folder": self._watcher.folder, "task": self._task.name, "failed_episodes": ", ".join(failed)}
        for outcome in list(self._watcher.outcomes.values())[-1:]:
            values["last"] = outcome.path.name
            values |= {f"coverage.{name}": f"{share:.3f}" for name, share in outcome.coverage.items()}
        problem = self._watcher.problem or (f"{len(failed)} failed" if failed else "")
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
            name="saliency_server",
            message=problem or ("annotating" if self._running else "idle"),
            hardware_id=self._robot.name,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        stamp = self.get_clock().now().to_msg()
        self._status.publish(DiagnosticArray(header=Header(stamp=stamp), status=[status]))


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the episode in hand is finished."""
    signals: list[int] = []
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: signals.append(received))
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
