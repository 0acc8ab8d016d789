"""`autofocus record`: the recorder as a child process, and a screen in front of it that talks to it over ROS."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType

from autofocus_core.errors import AutofocusError
from autofocus_core.schema import QualityRules

from demo_recorder.screen.child import RecorderProcess
from demo_recorder.screen.client_node import RecorderClient
from demo_recorder.screen.options import check, parser, recorder_command
from demo_recorder.screen.terminal import require_terminal, screen_alone

#: How long another recorder has to be discovered, so that there are not two.
LOOK_AROUND_S = 1.0
#: A recorder may have a full queue to write to a slow disk when it is asked to end.
END_TIMEOUT_S = 120.0
#: After a signal: the time for the screen to be left in order before the process ends without it.
LEAVE_S = 3.0
LOG_FOLDER = ".recorder"
LOG_LINES = 25


@contextlib.contextmanager
def ended_by_signals(leave_screen: Callable[[], None], process: RecorderProcess | None) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the recorder in order, whatever the screen is doing, then the screen.

    When ssh drops, the terminal is gone and drawing may never return: the recorder is told first, and this process
    ends by itself if the screen does not let go of it.
    """

    def leave() -> None:
        if process is not None:
            process.wait(END_TIMEOUT_S)
        time.sleep(LEAVE_S)
        os._exit(1)

    def ended(number: int, frame: FrameType | None) -> None:
        if process is not None:
            process.interrupt()
        leave_screen()
        threading.Thread(target=leave, name="leave", daemon=True).start()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ended) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show(client: RecorderClient, process: RecorderProcess | None, options: argparse.Namespace, rules: QualityRules,
         log_path: Path) -> int:
    """The screen until it is left, then the end of the recorder; gives the exit status."""
    from demo_recorder.screen.app import RecordApp  # textual: a quarter of a second, and only here

    app = RecordApp(client, process, rules, sound=options.sound)
    with ended_by_signals(app.end, process):
        with screen_alone(log_path):
            app.run(mouse=False)  # so that a path can be marked and copied
        code = end(process) if process is not None else 0
    return code or app.return_code or 0


def end(process: RecorderProcess) -> int:
    """Ask the recorder to finish, wait, and say what became of it; its exit status.

    Raises AutofocusError where it ended by itself with an error, or does not end.
    """
    by_itself = process.exit_code() is not None
    process.interrupt()
    code = process.wait(1.0)
    if code is None:
        say("the recorder is finishing ...")
        code = process.wait(END_TIMEOUT_S)
    if code is None:
        raise AutofocusError("recorder", f"still busy {END_TIMEOUT_S:.0f} s after it was asked to end", "an end",
                             f"it is left running, as process {process.pid}; its log: {process.log_path}")
    if code == -signal.SIGINT and not by_itself:
        code = 0  # asked to end before it had its handlers: there was nothing to finish yet
    if code != 0:
        how = "ended by itself" if by_itself else "ended"
        tail = "\n".join("    | " + line for line in process.log_tail(LOG_LINES).splitlines())
        raise AutofocusError("recorder", f"{how} with status {code}; the end of {process.log_path}:\n{tail}",
                             "status 0", "read the log; `autofocus episodes recover` saves what was cut off")
    say(f"recorder ended; its log: {process.log_path}")
    return 0


def say(text: str) -> None:
    """Print, where there still is a terminal."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, start the recorder unless there is one to attach to, show the screen."""
    options = parser().parse_args(argv)
    require_terminal()
    rules = check(options)
    client = RecorderClient()
    try:
        there = client.recorder_there(LOOK_AROUND_S)
        if options.attach:
            log_path = Path(os.environ.get("ROS_LOG_DIR") or "~/.ros/log").expanduser() / "autofocus_record.log"
            return show(client, None, options, rules, log_path)
        if there:
            raise AutofocusError("autofocus record", "a recorder is running in this ROS domain already", "one recorder",
                                 "show that one with --attach, or end it, or set another ROS_DOMAIN_ID")
        name = f"{datetime.now(timezone.utc):%Y%m%d_%H%M%S}.log"
        log_path = Path(options.output).expanduser().absolute() / LOG_FOLDER / name
        return show(client, RecorderProcess(recorder_command(options), log_path), options, rules, log_path)
    finally:
        client.close()


if __name__ == "__main__":
    sys.exit(main())
