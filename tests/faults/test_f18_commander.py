"""F18: a commander that is killed, stopped or late, at the robot's end.

A trial that misses its figure on a machine that did not run a thread which only sleeps on time either (`Canary`) says
nothing about the guard, and is repeated.
"""

import os
import signal
import time

import numpy as np
import pytest
from canary import BUSY_MS, Canary
from guard_cell import Cell, offset, record_fault

HOLD_MS = 100.0


def hold_times_ms(cell: Cell, how: signal.Signals, trials: int, most: int = 10) -> list[float]:
    """From the signal to a commander in motion to the first command at rest."""
    canary, hold_ms = Canary(), []
    for _ in range(most):
        commander = cell.sweep()
        struck_s = time.monotonic()
        os.kill(commander.pid, how)
        took_ms = cell.stop_time_s(struck_s) * 1e3
        late_ms = canary.worst_ms(struck_s, struck_s + took_ms / 1e3)
        print(f"{how.name}: at rest after {took_ms:.1f} ms; the machine was {late_ms:.1f} ms late")
        if took_ms <= HOLD_MS or late_ms < BUSY_MS:
            hold_ms.append(took_ms)
        commander.kill()
        commander.wait()
        cell.call("hold")
        if len(hold_ms) == trials:
            return hold_ms
    pytest.skip(f"the machine is too busy to time anything: {len(hold_ms)} of {most} trials ran on time")


def record_hold(name: str, hold_ms: list[float]) -> None:
    worst = max(hold_ms)
    target = f"<= {HOLD_MS:g}, worst of {len(hold_ms)}"
    record_fault(name, round(worst, 1), "ms", target, worst <= HOLD_MS)
    # Figures are the rows above; the test itself leaves room for one stall of a machine that the canary did not see.
    assert np.median(hold_ms) <= HOLD_MS and worst <= 2 * HOLD_MS, hold_ms


def test_f18_a_killed_commander_is_held_within_100_ms(cell: Cell) -> None:
    hold_ms = hold_times_ms(cell, signal.SIGKILL, trials=5)
    assert cell.count("holds_heartbeat") >= 5
    cell.assert_smooth()
    record_hold("F18 kill -9 of a commander to command at rest", hold_ms)


def test_f18_a_stopped_commander_is_held_within_100_ms(cell: Cell) -> None:
    hold_ms = hold_times_ms(cell, signal.SIGSTOP, trials=3)
    cell.assert_smooth()
    record_hold("F18 SIGSTOP of a commander to command at rest", hold_ms)


def test_f18_a_commander_that_wakes_up_later_does_not_go_on_by_itself(cell: Cell) -> None:
    commander = cell.sweep()
    os.kill(commander.pid, signal.SIGSTOP)
    cell.wait_until(lambda: cell.status["needs_arm"] == "True", 5, "the end of the time to resume")
    where = cell.commands()[1][-1]
    refused = cell.count("request_refused_needs_arm")
    os.kill(commander.pid, signal.SIGCONT)
    cell.wait_until(lambda: cell.count("request_refused_needs_arm") > refused + 3, 5, "requests of the woken commander")
    assert (cell.commands()[1][-1] == where).all()
    cell.assert_smooth()


def test_f18_a_late_commander_is_held_and_resumes_by_itself(cell: Cell) -> None:
    cell.command_from_here()
    goal = offset(0.2, 0, 0, 0, 0, 0)
    cell.arm()
    cell.follow(goal)
    for _ in range(5):  # on a busy machine the heartbeats may be late too
        cell.wait_for_state("holding")
        cell.follow(goal + np.array([0.1, 0, 0, 0, 0, 0]))
        cell.follow(goal)
        if cell.count("holds_request"):
            break
    assert cell.count("holds_request") >= 1
    assert cell.count("armed") == 1 or cell.count("holds_heartbeat") >= 1, "it resumed by itself"
    cell.assert_smooth()
