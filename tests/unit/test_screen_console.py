"""Around the recording screen: its command line, the recorder as a child process, the terminal that it needs."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml
from autofocus_core.errors import AutofocusError
from demo_recorder.screen import terminal
from demo_recorder.screen.child import RecorderProcess
from demo_recorder.screen.options import check, parser, recorder_command

CONFIG = Path(__file__).resolve().parents[2] / "ros2_ws/src/autofocus_sim/config"
SESSION = ["--robot", str(CONFIG / "sim_arm.yaml"), "--task", str(CONFIG / "lift.yaml")]


def options(*argv):
    return parser().parse_args(argv)


def test_options_become_parameters_of_the_recorder_with_their_types():
    command = recorder_command(options(*SESSION, "--output", "2026", "--max-file-s", "60", "--queue-mb", "64",
                                       "--extra-topic", "/a", "--extra-topic", "/b"))
    assert command[:4] == [sys.executable, "-m", "demo_recorder.node", "--ros-args"]
    assert command[4::2] == ["-p"] * (len(command[4:]) // 2)
    parameters = {name: yaml.safe_load(value) for name, value in (text.split(":=", 1) for text in command[5::2])}
    assert parameters == {"robot": SESSION[1], "task": SESSION[3], "output": "2026", "max_file_s": 60.0,
                          "queue_mb": 64, "extra_topics": ["/a", "/b"]}
    assert isinstance(parameters["max_file_s"], float)  # rclpy takes no integer for it


@pytest.mark.parametrize("argv, said", [
    ([], "--robot, --task, --output"),
    (SESSION, "--output"),
    (["--attach", "--output", "x"], "--attach"),
    (["--robot", "/no/robot.yaml", "--task", SESSION[3], "--output", "x"], "/no/robot.yaml"),
    ([*SESSION[:2], "--task", "/no/task.yaml", "--output", "x"], "/no/task.yaml"),
])
def test_what_the_recorder_would_refuse_is_told_before_there_is_a_screen(argv, said):
    with pytest.raises(AutofocusError, match=said):
        check(options(*argv))


def test_the_rules_are_the_tasks(tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text(Path(SESSION[3]).read_text() + "quality: {jitter_share: {good: 0.1, usable: 0.2}}\n")
    assert check(options("--attach", "--task", str(task))).jitter_share.usable == 0.2
    assert check(options("--attach")).jitter_share.usable == 1.5


CHILD = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("finished"), sys.exit(0)))
print("ready"); print("-" * 70000); print("to the log", file=sys.stderr)
time.sleep(60)
"""


def test_the_child_writes_into_its_log_and_ends_when_it_is_asked(tmp_path):
    child = RecorderProcess([sys.executable, "-u", "-c", CHILD], tmp_path / "logs" / "recorder.log")
    try:
        deadline_s = time.monotonic() + 30
        while "to the log" not in child.log_tail(3):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        assert child.exit_code() is None and child.wait(0.01) is None
        assert os.getsid(child.pid) != os.getsid(0)  # a hang-up of this terminal is not its own
        child.interrupt()
        assert child.wait(30) == child.exit_code() == 0
        assert child.log_tail(1) == "finished"
        child.interrupt()  # it is gone: nothing to be told
    finally:
        if child.exit_code() is None:
            os.kill(child.pid, signal.SIGKILL)
            child.wait(5)


@pytest.mark.parametrize("tty, term, fine", [
    (True, "xterm-256color", True), (True, "dumb", False), (True, None, False), (False, "xterm", False),
])
def test_without_a_terminal_the_plain_node_is_named(monkeypatch, tty, term, fine):
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: tty)
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    if fine:
        return terminal.require_terminal()
    with pytest.raises(AutofocusError, match=r"python -m demo_recorder\.node"):
        terminal.require_terminal()


def test_what_libraries_write_to_stderr_does_not_reach_the_screen(tmp_path, capfd):
    """Fast DDS warned about a shared-memory port, in the middle of the band that said RECORDING."""
    before = sys.stderr, sys.__stderr__
    with terminal.screen_alone(tmp_path / "logs" / "screen.log"):
        os.write(2, b"[RTPS] a warning\n")
        print("the picture", file=sys.__stderr__)
    assert (sys.stderr, sys.__stderr__) == before
    os.write(2, b"afterwards\n")
    captured = capfd.readouterr()
    assert captured.out == "the picture\n" and captured.err == "afterwards\n"
    assert (tmp_path / "logs" / "screen.log").read_text() == "[RTPS] a warning\n"
