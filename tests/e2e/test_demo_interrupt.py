"""Ctrl-C and SIGTERM in the middle of a recording end every process of the demo, in order."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest
from autofocus_cli.demo.settings import Paths

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="rclpy is not importable: use `make test`"),
]


def processes_of(paths: Paths) -> list[str]:
    """Command lines of processes whose environment names the run's log folder: all nodes of its cells."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as environ, open(f"/proc/{entry}/cmdline", "rb") as command:
                    if str(paths.logs).encode() in environ.read():
                        found.append(command.read().replace(b"\0", b" ").decode())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(tmp_path, signum):
    paths = Paths(tmp_path / "run")
    demo = subprocess.Popen([sys.executable, "-m", "autofocus_cli.main", "demo", "--quick", "--out", str(paths.run)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline_s = time.monotonic() + 90
        while len(processes_of(paths)) < 5:  # simulator, guard, demonstrator, recorder and client
            assert demo.poll() is None and time.monotonic() < deadline_s
            time.sleep(0.1)
        demo.send_signal(signum)
        _, errors = demo.communicate(timeout=60)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
    assert demo.returncode == 130
    assert errors == "autofocus: interrupted\n"
    assert processes_of(paths) == []
