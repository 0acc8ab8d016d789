"""F25: /clock jumps forward, jumps back, stands still: everything from before is forgotten, and the node holds."""

import time

import policy_files as files
import pytest
from autofocus_core import results
from autofocus_policy.clock import ClockWatch
from policy_cell import FakeCell, policy_argv, stamp_ns

COMMAND = "pytest tests/faults/test_f25_clock.py"
S = 10**9
#: A request that was under way when the clock was set may still arrive.
UNDER_WAY_S = 0.1


def test_f25_no_action_is_from_another_time(ros_node, spawn, tmp_path, wait_until):
    cell = FakeCell(ros_node, sim_time=True)
    spawn(policy_argv(files.write_policy(tmp_path / "policy.pt"), use_sim_time="true"))
    stale = 0

    def running(count: int) -> None:
        wait_until(lambda: len(cell.requests) > count + 3 and cell.last_status()[0] == "running", 60, "running")

    running(0)
    for jump_s in (10.0, -5.0, 0.6):
        count, jumps = len(cell.requests), int(cell.last_status()[1]["clock_jumps"])
        low_ns = stamp_ns(cell.now())
        cell.jump(jump_s)
        jumped_s = time.monotonic()
        wait_until(lambda n=jumps: int(cell.last_status()[1]["clock_jumps"]) > n, 10, f"a jump of {jump_s} s")
        running(count)
        after = [m for t, m in cell.requests[count:] if t > jumped_s + UNDER_WAY_S]
        middle_ns = low_ns + round(jump_s * S / 2)
        stale += sum((stamp_ns(m.header.stamp) > middle_ns) != (jump_s > 0) for m in after)
    wait_until(lambda: cell.last_status()[0] == "running", 10, "running")
    cell.paused = True
    paused_s = time.monotonic()
    wait_until(lambda: "stood still" in cell.last_status()[0], 10, "a hold because the clock stands still")
    count, beats = len(cell.requests), len(cell.beats)
    wait_until(lambda: time.monotonic() > paused_s + 1.5, 5, "a pause")  # forgotten, it must not begin with old stamps
    assert len(cell.beats) > beats + 20, "the watchdogs run on steady time"
    stale += len(cell.requests) - count
    late = [t - paused_s for t, _ in cell.requests if t > paused_s]
    cell.paused = False
    running(count)
    results.record("faults", "F25 stale actions after three jumps and a pause of /clock", stale, "actions", "0",
                   stale == 0, COMMAND)
    results.record("faults", "F25 last request after /clock stopped", round(max(late, default=0.0) * 1e3, 1), "ms",
                   "<= 200 (2T)", max(late, default=0.0) <= 0.2, COMMAND)
    assert stale == 0 and max(late, default=0.0) < 1.0


@pytest.mark.parametrize(("step_s", "jumps"), [(0.1, 0), (0.0, 0), (0.2, 0), (-0.001, 1), (0.31, 1), (3600.0, 1)])
def test_f25_what_is_a_jump(step_s, jumps):
    """Of the ROS clock within 0.1 s: slow and fast replays are none, a step back always is."""
    watch = ClockWatch()
    assert watch.look(5 * S, 10 * S) == 0
    found = watch.look(5 * S + round(step_s * S), 10 * S + S // 10)
    assert bool(found) == bool(jumps)


def test_f25_a_clock_that_stands_still_is_noticed_on_steady_time():
    watch = ClockWatch()
    for k in range(20):
        watch.look(5 * S + min(k, 5) * S // 10, k * S // 10)
        assert (watch.stalled_s(k * S // 10) is not None) == (k > 10)
    watch.look(6 * S, 2 * S)
    assert watch.stalled_s(2 * S) is None
