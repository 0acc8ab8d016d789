"""Fixtures for tests over real ROS 2: own domain per test, own processes, everything ended by id.

rclpy is imported inside fixtures only: without ROS, collecting these tests gives one skip per module, no error.
"""

import contextlib
import fcntl
import importlib.util
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NO_RCLPY = "rclpy is not importable: `make test` installs it into .venv"
# Domain 0 is the user's. 102-214 would put DDS ports into Linux's ephemeral range (7400 + 250 * id).
DOMAIN_IDS = [*range(1, 102), *range(215, 232)]
OUTPUT_TAIL_CHARS = 6000


class _SkippedModule(pytest.Module):
    def collect(self):
        pytest.skip(NO_RCLPY, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip a whole module, without importing it, where rclpy is missing."""
    if importlib.util.find_spec("rclpy") is None:
        return _SkippedModule.from_parent(parent, path=module_path)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Attach the tail of every spawned process's output to a failing test's report."""
    report = yield
    if report.failed:
        for path in getattr(item, "spawned_output", []):
            text = path.read_text(errors="replace") if path.exists() else "(no output file)"
            report.sections.append((f"output of {path.stem}", text[-OUTPUT_TAIL_CHARS:]))
    return report


def wait_for(predicate: Callable[[], object], timeout_s: float, what: str) -> object:
    """Return the first true value of `predicate()`, polled at 200 Hz; fail with `what` after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline_s:
            pytest.fail(f"waited {timeout_s} s in vain for: {what}")
        time.sleep(0.005)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object], float, str], object]:
    """`wait_until(predicate, timeout_s, what)`: see `wait_for`."""
    return wait_for


@pytest.fixture
def ros_domain_id(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A domain id no other test on this machine uses now, held by a file lock."""
    candidates = random.SystemRandom().sample(DOMAIN_IDS, len(DOMAIN_IDS))
    for domain_id in candidates:
        with open(f"/tmp/autofocus_test_domain_{domain_id}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain_id
            return
    pytest.fail("every ROS domain id is in use by other tests on this machine")


@pytest.fixture
def ros_env(ros_domain_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment for spawned processes, set in this process too; loopback discovery, logs under tmp_path."""
    ours = {
        "ROS_DOMAIN_ID": str(ros_domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(tmp_path / "ros_log"),
        "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
        "PYTHONUNBUFFERED": "1",
        "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl"),
    }
    for key, value in ours.items():
        monkeypatch.setenv(key, value)
    return {**os.environ, **ours}


def end_process(process: subprocess.Popen, grace_s: float = 5.0) -> None:
    """End one spawned process and its own group: SIGINT (woken first if stopped), SIGKILL after `grace_s`."""
    if process.poll() is None:
        for signum in (signal.SIGCONT, signal.SIGINT):
            os.kill(process.pid, signum)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # children it left behind; the group is its own (new session)


@pytest.fixture
def spawn(ros_env: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable]:
    """`spawn(argv, env={...extra}) -> Popen`: "python" as argv[0] means this interpreter; ended by id.

    Output goes to `process.output_path` and is shown if the test fails.
    """
    processes: list[subprocess.Popen] = []
    request.node.spawned_output = []

    def start(argv: list[str], env: dict[str, str] | None = None) -> subprocess.Popen:
        argv = [str(part) for part in argv]
        if argv[0] == "python":
            argv[0] = sys.executable
        output_path = tmp_path / f"process_{len(processes)}_{Path(argv[-1 if len(argv) < 3 else 2]).stem}.log"
        with output_path.open("wb") as output:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**ros_env, **(env or {})}, start_new_session=True,
            )
        process.output_path = output_path
        request.node.spawned_output.append(output_path)
        processes.append(process)
        return process

    yield start
    for process in reversed(processes):
        end_process(process)


@pytest.fixture
def ros_node(ros_env: dict[str, str], ros_domain_id: int) -> Iterator:
    """A fresh rclpy node in its own context on the test's domain, spun in a thread until the test ends."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    node = rclpy.create_node("test_probe", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, name="test_probe_spin", daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(5.0)
    node.destroy_node()
    rclpy.shutdown(context=context)
