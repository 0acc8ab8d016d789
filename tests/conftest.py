"""What holds for all tests."""

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from autofocus_core import results

# Where pyrealsense2 is loaded before rclpy, the interpreter crashes at its end, after the last test.
with contextlib.suppress(ImportError):
    import rclpy  # noqa: F401

# A run started in the background (`make test &`) ignores SIGINT, and so would every process that a test starts and ends
# by SIGINT: what is ignored is inherited.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Set by `make bench`: figures measured by tests go to benchmarks/results instead of a temporary folder.
RECORD = "AUTOFOCUS_RECORD"
#: Of what a process said in a try that failed, where the next one passed.
OUTPUT_TAIL_CHARS = 600


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests over real ROS 2 run in real time: a core of a shared machine that stalls fails one once, a defect fails it
    every time. What is run again is named in the summary. `real_time`: these run alone (tools/run_tests.sh)."""
    for item in items:
        if "ros_env" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=2))
            item.add_marker(pytest.mark.real_time)


def pytest_configure(config: pytest.Config) -> None:
    """The folder for measured figures: a test run leaves the checkout as it was, unless it is asked to record.

    In the environment, so that worker processes and the programs that tests start write to the same one.
    """
    if os.environ.get(RECORD) == "1":
        os.environ["AUTOFOCUS_RESULTS"] = str(results.results_dir())
    elif "AUTOFOCUS_RESULTS" not in os.environ:
        config.stash[FIGURES] = Path(tempfile.mkdtemp(prefix="autofocus-figures-"))
        os.environ["AUTOFOCUS_RESULTS"] = str(config.stash[FIGURES])


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(FIGURES, None)
    if folder is not None:
        del os.environ["AUTOFOCUS_RESULTS"]
        shutil.rmtree(folder, ignore_errors=True)


FIGURES = pytest.StashKey[Path]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Why a test was run again; what this run measured, and whether it meets its target."""
    again = terminalreporter.stats.get("rerun", [])
    if again:
        terminalreporter.section("why tries failed that were run again")
    for report in again:
        crash = getattr(report.longrepr, "reprcrash", None)
        terminalreporter.write_line(f"{report.nodeid} ({report.when}): {crash.message if crash else report.longrepr}")
        for title, text in report.sections:
            if title.startswith("output of"):
                terminalreporter.write_line(f"  {title}: ...{text[-OUTPUT_TAIL_CHARS:]}")
    folder = config.stash.get(FIGURES, None)
    if folder is not None and any(folder.glob("*.json")):
        terminalreporter.section("figures measured in this run (make bench records them)")
        for part in sorted(path.stem for path in folder.glob("*.json")):
            for row in results.rows(part, folder):
                met = "    " if row["ok"] else "MISS"
                value = f"{row['value']:.4g} {row['unit']}"
                terminalreporter.write_line(f"{met} {part}: {row['name']}: {value} (target {row['target']})")
