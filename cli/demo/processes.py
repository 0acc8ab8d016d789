"""Processes of a cell: each in its own group with a log file of its own, ended by id, never left behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from autofocus_core.errors import AutofocusError

T = TypeVar("T")

#: Lines of the log that an error message carries.
LOG_TAIL_LINES = 25
#: Characters of the command line in it: a training names every episode.
COMMAND_CHARS = 240
#: DDS participants find each other by ports computed from the domain id: 101-214 fall into Linux's ephemeral range.
DOMAIN_IDS = (*range(1, 101), *range(215, 232))
#: One per id, as in tests/ros/conftest.py: who holds its lock has the domain.
DOMAIN_LOCK = "/tmp/autofocus_test_domain_{}.lock"
#: How long a process may take to end after each signal.
GRACE_S = 5.0


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """A random ROS_DOMAIN_ID that no other demo and no test on this machine uses meanwhile, held by a file lock.

    AutofocusError when all are taken.
    """
    for domain_id in random.SystemRandom().sample(DOMAIN_IDS, len(DOMAIN_IDS)):
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(open(DOMAIN_LOCK.format(domain_id), "w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # taken, or by another user
                continue
            yield domain_id
            return
    raise AutofocusError("ROS_DOMAIN_ID", "every id is in use", f"one of {len(DOMAIN_IDS)} ids free",
                         "wait for the other demos and tests on this machine")


def ros_environment(domain_id: int, log_dir: Path, threads: int = 1) -> dict[str, str]:
    """The environment of a cell's processes: own domain, this machine only, one numerical thread each."""
    return {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(log_dir / "ros"),
        "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
        "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl"),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }


def shorten(text: str, most: int) -> str:
    """`text`, its middle left out where it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def log_tail(path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log, indented, or a note that there is nothing."""
    text = path.read_text(errors="replace") if path.exists() else ""
    tail = text.splitlines()[-lines:]
    return "\n".join("    | " + line for line in tail) if tail else "    | (it printed nothing)"


class EndedEarly(AutofocusError):
    """This process is well, but something beside it has failed: that error is the one to show."""

    def __init__(self, name: str) -> None:
        super().__init__(f"process {name!r}", "ended early", "everything beside it well", "see the other error")


@dataclass(slots=True)
class Process:
    """One started process."""

    name: str
    popen: subprocess.Popen
    log_path: Path
    reader: threading.Thread | None = None

    def failed(self) -> AutofocusError:
        """The error that says that this process is gone, with the end of what it printed."""
        code = self.popen.returncode
        how = f"ended by signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit {code}"
        return AutofocusError(
            f"process {self.name!r} ({shorten(' '.join(map(str, self.popen.args)), COMMAND_CHARS)})",
            f"{how}; the end of {self.log_path}:\n{log_tail(self.log_path)}",
            "running until the stage is over, or exit 0", "read the log above; `autofocus doctor` checks the machine",
        )


@dataclass(slots=True)
class ProcessGroup:
    """Starts processes, watches them, and ends every one of them when the `with` block is left, however it is left."""

    log_dir: Path
    env: Mapping[str, str]
    processes: list[Process] = field(default_factory=list)

    def __enter__(self) -> ProcessGroup:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self.terminate()

    def spawn(self, name: str, argv: Sequence[str | Path], on_event: Callable[[dict], None] | None = None,
              realtime: bool = False) -> Process:
        """Start `argv` in its own process group; output goes to `<log_dir>/<name>.log`.

        With `on_event`, every printed line that is a JSON object is also parsed and handed to it, on a thread of ours.
        `realtime`: scheduled before ordinary processes, where the system allows that (see `prefer`).
        """
        log_path = self.log_dir / f"{name}.log"
        argv = [sys.executable if part == "python" and i == 0 else str(part) for i, part in enumerate(argv)]
        with log_path.open("ab") as log:
            popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log if on_event is None else subprocess.PIPE,
                stderr=log if on_event is None else subprocess.STDOUT, env=dict(self.env), start_new_session=True,
            )
        if realtime:
            prefer(popen.pid)
        process = Process(name, popen, log_path)
        if on_event is not None:
            process.reader = threading.Thread(target=_read_events, args=(popen, log_path, on_event), daemon=True)
            process.reader.start()
        self.processes.append(process)
        return process

    def check(self) -> None:
        """Raise the AutofocusError of the first process that has ended without being asked to, whatever its status."""
        for process in self.processes:
            if process.popen.poll() is not None:
                raise process.failed()

    def wait(self, process: Process, timeout_s: float, stop: threading.Event | None = None) -> None:
        """Wait for a process that ends by itself with status 0, while the others must go on running.

        AutofocusError when it fails, when another one dies, or after `timeout_s`; EndedEarly once `stop` is set.
        """
        deadline_s = time.monotonic() + timeout_s
        while process.popen.poll() is None:
            for other in self.processes:
                if other is not process and other.popen.poll() is not None:
                    raise other.failed()
            if stop is not None and stop.is_set():
                raise EndedEarly(process.name)
            if time.monotonic() > deadline_s:
                raise AutofocusError(
                    f"process {process.name!r}", f"still running after {timeout_s:.0f} s; the end of "
                    f"{process.log_path}:\n{log_tail(process.log_path)}", f"done within {timeout_s:.0f} s",
                    "look at the log; is the machine busy with something else?",
                )
            time.sleep(0.05)
        if process.reader is not None:
            process.reader.join(GRACE_S)
        self.processes.remove(process)
        if process.popen.returncode != 0:
            raise process.failed()

    def end(self, process: Process) -> None:
        """End one process now, by its id."""
        _end([process])
        self.processes.remove(process)

    def terminate(self) -> None:
        """End all of them, newest first, by their own ids: SIGINT, SIGTERM, SIGKILL, each with a grace period."""
        _end(list(reversed(self.processes)))
        self.processes.clear()


def prefer(pid: int) -> bool:
    """Schedule a process that has just been started, and all threads it will have, before every ordinary one.

    For what stands in for the world outside: a simulated arm or operator must not stall because the computer is busy,
    as a real one would not. False where the system does not allow it (it takes root, CAP_SYS_NICE or an rtprio limit).
    """
    try:
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
    except (PermissionError, ProcessLookupError, AttributeError):  # AttributeError: not Linux
        return False
    return True


def _end(processes: Sequence[Process]) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.popen.poll() is None:
                _signal_group(process.popen.pid, signum)
        deadline_s = time.monotonic() + GRACE_S
        while any(process.popen.poll() is None for process in processes) and time.monotonic() < deadline_s:
            time.sleep(0.02)
    for process in processes:
        _signal_group(process.popen.pid, signal.SIGKILL)  # children it left behind in its own group
        process.popen.wait()
        if process.reader is not None:
            process.reader.join(GRACE_S)


def _signal_group(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signum)


def _read_events(popen: subprocess.Popen, log_path: Path, on_event: Callable[[dict], None]) -> None:
    assert popen.stdout is not None
    with log_path.open("ab") as log:
        for line in popen.stdout:
            log.write(line)
            log.flush()
            if line.startswith(b"{"):
                with contextlib.suppress(json.JSONDecodeError):  # an ordinary line that begins with a brace
                    event = json.loads(line)
                    if isinstance(event, dict):
                        on_event(event)


def in_parallel(works: Sequence[Callable[[], T]], stop: threading.Event, workers: int | None = None) -> list[T]:
    """Results in order, from at most `workers` threads. The first that fails sets `stop`, and is the one raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], T]) -> T | None:
        if stop.is_set():
            return None
        try:
            return work()
        except BaseException as failure:
            failures.append(failure)
            stop.set()
            return None

    with ThreadPoolExecutor(workers or len(works)) as pool:
        futures = [pool.submit(guarded, work) for work in works]
        try:
            results = [future.result() for future in futures]
        except BaseException:  # Ctrl-C while waiting: the threads end their processes before the pool is left
            stop.set()
            raise
    if failures:
        raise next((failure for failure in failures if not isinstance(failure, EndedEarly)), failures[0])
    return results
