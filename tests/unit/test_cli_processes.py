"""Process groups of the demo: loud when one dies, nothing left behind."""

import contextlib
import os
import sys
import time

import pytest
from autofocus_cli.demo.processes import ProcessGroup, own_domain, ros_environment, shorten
from autofocus_core.errors import AutofocusError


def alive(pid: int) -> bool:
    """Not ended; a zombie whose parent is gone counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_process_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    with ProcessGroup(tmp_path, os.environ) as group:
        process = group.spawn("camera", [sys.executable, "-c", "print('no device found'); raise SystemExit(3)"])
        process.popen.wait()
        with pytest.raises(AutofocusError) as caught:
            group.check()
    assert "'camera'" in caught.value.where
    assert "exit 3" in caught.value.got and "no device found" in caught.value.got


def test_a_signal_is_named(tmp_path):
    with ProcessGroup(tmp_path, os.environ) as group:
        process = group.spawn("victim", [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
        with pytest.raises(AutofocusError, match="SIGKILL"):
            group.wait(process, 10.0)


def test_waiting_notices_that_another_process_died(tmp_path):
    with ProcessGroup(tmp_path, os.environ) as group:
        group.spawn("guard", [sys.executable, "-c", "raise SystemExit('guard is gone')"])
        client = group.spawn("client", [sys.executable, "-c", "import time; time.sleep(60)"])
        with pytest.raises(AutofocusError, match="guard is gone"):
            group.wait(client, 30.0)
    assert not alive(client.popen.pid)


def test_waiting_too_long_is_an_error(tmp_path):
    with ProcessGroup(tmp_path, os.environ) as group:
        process = group.spawn("slow", [sys.executable, "-c", "import time; time.sleep(60)"])
        with pytest.raises(AutofocusError, match="still running after"):
            group.wait(process, 0.2)


def test_leaving_ends_grandchildren_and_those_that_ignore_signals(tmp_path):
    stubborn = ("import signal, subprocess, sys, time\n"
                "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
                "print('{\"child\": %d}' % child.pid, flush=True)\ntime.sleep(60)")
    events = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autofocus_cli.demo.processes.GRACE_S", 0.3)
        with ProcessGroup(tmp_path, os.environ) as group:
            process = group.spawn("stubborn", [sys.executable, "-c", stubborn], events.append)
            wait_for(lambda: events)
    assert process.popen.returncode == -9
    wait_for(lambda: not alive(events[0]["child"]))


def test_events_are_parsed_and_everything_is_logged(tmp_path):
    events = []
    code = "print('plain'); print('{\"done\": 1}'); print('{not json'); print('[1]')"
    with ProcessGroup(tmp_path, os.environ) as group:
        group.wait(group.spawn("worker", [sys.executable, "-c", code], events.append), 20.0)
    assert events == [{"done": 1}]
    assert (tmp_path / "worker.log").read_text().splitlines() == ["plain", '{"done": 1}', "{not json", "[1]"]


def test_domains_are_nobody_elses_and_stay_out_of_the_ephemeral_ports(tmp_path):
    """Two cells once drew the same random id, and each guard found another publisher of robot commands."""
    with contextlib.ExitStack() as stack:
        ids = [stack.enter_context(own_domain()) for _ in range(12)]
        assert len(set(ids)) == 12
    for domain_id in ids:
        assert 7400 + 250 * domain_id + 249 < 32768 or 7400 + 250 * domain_id > 60999
    env = ros_environment(ids[0], tmp_path)
    assert env["ROS_DOMAIN_ID"] == str(ids[0]) and env["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_what_stands_in_for_hardware_is_preferred_where_that_is_allowed(tmp_path):
    code = "import os, time; time.sleep(0.3); print(os.sched_getscheduler(0), flush=True)"
    with ProcessGroup(tmp_path, os.environ) as group:
        process = group.spawn("sim", [sys.executable, "-c", code], realtime=True)
        allowed = os.sched_getscheduler(process.popen.pid) == os.SCHED_RR
        group.wait(process, 20.0)
    assert (tmp_path / "sim.log").read_text().strip() == str(os.SCHED_RR if allowed else os.SCHED_OTHER)


def test_a_long_command_line_keeps_its_ends():
    assert shorten("short", 240) == "short"
    text = shorten("train " + "episode " * 500 + "--seed 2", 240)
    assert len(text) < 260 and text.startswith("train ") and text.endswith("--seed 2") and " ... " in text
