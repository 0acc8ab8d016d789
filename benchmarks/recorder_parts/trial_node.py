"""One trial: start publishers and a recorder, let it record, stop it, and account for every message.

Talks to a recorder by its services and, where it has one, its ~/status, as anybody could.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rclpy
from autofocus_cli.demo.cell_client_node import CellClient
from autofocus_cli.demo.processes import Process, ProcessGroup
from autofocus_core.errors import AutofocusError
from diagnostic_msgs.msg import DiagnosticArray

from recorder_parts.audit import audit, storage_files
from recorder_parts.meters import MemorySampler, copy_files, cpu_s
from recorder_parts.peer_node import NODE as PEER_NODE
from recorder_parts.publications import read_publications
from recorder_parts.trial import OURS, PEER_STYLES, Trial
from recorder_parts.workloads import Stream, Workload, write_configuration

NODES = {OURS: "demo_recorder", **dict.fromkeys(PEER_STYLES, PEER_NODE)}
MEMORY_PERIOD_S = 0.2
#: Publishers and recorder have found each other and are past their imports: what follows is steady.
WARM_UP_S = 1.5


class Client(CellClient):
    """Calls a recorder's services, and remembers what its status told: the state, the longest write queue, when."""

    def __init__(self) -> None:
        super().__init__("bench_client")
        self.queue_peak: int | None = None
        self.status_s = 0.0  # monotonic time of the newest status
        self.state = ""  # of the recorder, by that status
        self.node.create_subscription(DiagnosticArray, "/demo_recorder/status", self._on_status, 10)

    def _on_status(self, message: DiagnosticArray) -> None:
        self.status_s = time.monotonic()
        for status in message.status[:1]:
            for pair in status.values:
                if pair.key == "state":
                    self.state = pair.value
                if pair.key == "queue_bytes" and pair.value:
                    self.queue_peak = max(self.queue_peak or 0, int(pair.value))


@contextmanager
def client() -> Iterator[Client]:
    """A client with rclpy initialised, in the domain of this process's environment."""
    rclpy.init()
    try:
        yield Client()
    finally:
        rclpy.try_shutdown()


def streams_json(streams: tuple[Stream, ...]) -> str:
    """Streams as an argument for a process."""
    return json.dumps([dataclasses.asdict(stream) for stream in streams])


def spawn_publisher(group: ProcessGroup, name: str, streams: tuple[Stream, ...], log: Path, life: int = 0) -> Process:
    """A process that publishes some streams and logs what it published in a folder."""
    argv = ["python", "-m", "recorder_parts.publisher_node", streams_json(streams), "--log", log, "--life", str(life)]
    return group.spawn(name, argv)


def recorder_argv(style: str, workload: Workload, folder: Path) -> list[str | Path]:
    """The command line of a recorder."""
    if style != OURS:
        return ["python", "-m", "recorder_parts.peer_node", style, streams_json(workload.streams), folder / "bags"]
    robot, task = write_configuration(workload, folder)
    parameters = {"robot": robot, "task": task, "output": folder / "bags"}
    pairs = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    return ["python", "-m", "demo_recorder.node", "--ros-args", *pairs]


def run_trial(
    caller: Client, env: dict[str, str], style: str, workload: Workload, seconds: float, folder: Path, copy: bool
) -> Trial:
    """Record `seconds` of a workload; what was written is deleted again. `copy`: measure cp on the same bytes."""
    folder.mkdir(parents=True)
    node = f"/{NODES[style]}"
    try:
        with ProcessGroup(folder / "log", env) as group:
            joints = workload.streams[len(workload.cameras) :]
            log = folder / "published"
            publishers = [
                spawn_publisher(group, name, streams, log)
                for name, streams in (("cameras", workload.cameras), ("joints", joints))
            ]
            recorder = group.spawn("recorder", recorder_argv(style, workload, folder))
            pids = [process.popen.pid for process in publishers]
            _start(caller, group, node)
            caller.rest(WARM_UP_S)  # of the publishers, the page cache, the recorder's first chunks
            caller.trigger(f"{node}/stop")
            _forget(folder / "bags")
            caller.queue_peak = None
            caller.trigger(f"{node}/start")
            start_ns, begin_s = time.time_ns(), time.monotonic()
            before_s, publishers_before_s = cpu_s(recorder.popen.pid), sum(map(cpu_s, pids))
            with MemorySampler(MEMORY_PERIOD_S, lambda: recorder.popen.pid) as sampler:
                caller.rest(seconds)
                publishers_cpu_s = sum(map(cpu_s, pids)) - publishers_before_s
                group.check()
                stop_ns, stop_s = time.time_ns(), time.monotonic()
                path = Path(caller.trigger(f"{node}/stop"))
                stopped_s = time.monotonic()
            used_s = cpu_s(recorder.popen.pid) - before_s
        published = read_publications(log, [stream.topic for stream in workload.streams])
        return Trial(
            style=style,
            workload=workload.key,
            seconds=stop_s - begin_s,
            cpu_s=used_s,
            publisher_cpu_s=publishers_cpu_s,
            stop_s=stopped_s - stop_s,
            memory_total=sampler.peak.total,
            memory_private=sampler.peak.private,
            queue_peak=caller.queue_peak,
            accounts=tuple(audit(path, workload.streams, published, start_ns, stop_ns)),
            copy=copy_files(storage_files(path), folder / "copy") if copy else None,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(caller: Client, group: ProcessGroup, node: str) -> None:
    """Start, once everybody is there; where one of them has died, its own error is the one to show."""
    try:
        caller.trigger_when_ready(f"{node}/start")
    except AutofocusError:
        group.check()
        raise


def _forget(folder: Path) -> None:
    """Delete the recording of the warm-up."""
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
