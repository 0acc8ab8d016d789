"""Every transition of the state machine, from a table, and that docs/safety.md draws exactly these."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_guard.chunk import Request
from command_guard.core import State
from guard_bench import HOME, NAMES, Bench, T, assert_smooth, offset

NOT_YET, ASKED, WATCHED, LASTING, BRAKING, FOLLOWS, WRONG, UNKNOWN, OFF = (
    "waits for the first request", "hold was asked for", "held by a watchdog", "held for too long", "disarming",
    "follows", "fault", "fault, silent", "disarmed",
)


def situation(name: str) -> Bench:
    """A guard with a deadman switch, brought into the situation."""
    bench = Bench(deadman=True)
    bench.held = True
    if name == OFF:
        bench.run(0.05)
        return bench
    if name == NOT_YET:
        bench.arm().run(0.05)
        return bench
    bench.moving()
    match name:
        case "hold was asked for":
            bench.guard.hold()
        case "held by a watchdog":
            bench.heartbeat = False
            bench.run(0.2)
            bench.heartbeat = True
        case "held for too long":
            bench.heartbeat = False
            bench.run(1.4)
            bench.heartbeat = True
        case "disarming":
            bench.guard.disarm()
        case "fault":
            bench.guard.fault("a test's")
            bench.run(0.3)
        case "fault, silent":
            bench.driver = False
            bench.run(0.5)
            bench.driver = True
            bench.run(0.05)
    return bench


def events() -> dict:
    def ask(bench: Bench) -> None:
        bench.run(0.05, bench.measured)

    def dead(bench: Bench) -> None:
        bench.heartbeat = False
        bench.run(0.09, bench.measured)

    def late(bench: Bench) -> None:
        bench.run(0.3)

    def deadman(bench: Bench) -> None:
        bench.held = False
        bench.run(0.05, bench.measured)

    def lost_state(bench: Bench) -> None:
        bench.driver = False
        bench.run(0.14, bench.measured)

    return {
        "arm": lambda bench: bench.guard.arm(bench.now_s - T),
        "a request": ask,
        "dead": dead,
        "late": late,
        "deadman": deadman,
        "asks to hold": lambda bench: bench.guard.on_request(Request(bench.now_s, NAMES, (), ()), bench.now_s),
        "hold": lambda bench: bench.guard.hold(),
        "disarm": lambda bench: (bench.guard.disarm(), bench.run(0.3)),
        "estop": lambda bench: bench.guard.estop(),
        "button": lambda bench: bench.guard.on_estop_signal(True),
        "nan": lambda bench: bench.ask(HOME * float("nan")),
        "far": lambda bench: bench.run(0.05, bench.measured + offset(1.2, 0, 0, 0, 0, 0) - HOME),
        "stranger": lambda bench: bench.guard.on_foreign_publisher("/stranger"),
        "no state": lost_state,
    }


H, F, D, K = State.HOLDING, State.FAULT, State.DISARMED, State.TRACKING
EVENTS = ["arm", "a request", "dead", "late", "deadman", "asks to hold", "hold", "disarm", "estop", "button", "nan",
          "far", "stranger", "no state"]
#: The state after each event, in the order of EVENTS.
TABLE = {
    OFF:      [H, D, D, D, D, D, D, D, F, F, D, D, D, D],
    NOT_YET:  [H, K, H, H, H, H, H, D, F, F, F, F, F, F],
    ASKED:    [H, H, H, H, H, H, H, D, F, F, F, H, F, F],
    WATCHED:  [H, K, H, H, H, H, H, D, F, F, F, F, F, F],
    LASTING:  [H, H, H, H, H, H, H, D, F, F, F, H, F, F],
    BRAKING:  [H, D, D, D, D, H, H, D, F, F, F, D, F, D],
    FOLLOWS:  [K, K, H, H, H, H, H, D, F, F, F, K, F, F],
    WRONG:    [H, F, F, F, F, F, F, D, F, F, F, F, F, F],
    UNKNOWN:  [H, F, F, F, F, F, F, D, F, F, F, F, F, F],
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("event", EVENTS)
def test_the_state_after_an_event(name: str, event: str) -> None:
    bench = situation(name)
    before = bench.guard.state
    events()[event](bench)
    assert bench.guard.state is TABLE[name][EVENTS.index(event)], bench.guard.reason
    if (before, event) not in ((State.DISARMED, "arm"), (State.FAULT, "arm")):  # arming may begin where the arm is
        bench.run(0.2)
        if bench.commands:
            assert_smooth(bench.commands)


def test_the_diagram_in_the_document_has_these_transitions_and_no_others() -> None:
    text = (Path(__file__).parents[2] / "docs/safety.md").read_text()
    drawn = {(a.lower(), b.lower()) for a, b in re.findall(r"(\w+) --> (\w+):", text)}
    happen = {(situation(name).guard.state.value, after.value) for name, row in TABLE.items() for after in row}
    assert {pair for pair in happen if pair[0] != pair[1]} == drawn


@pytest.mark.parametrize(("name", "silent"), [(OFF, True), (NOT_YET, False), (WRONG, False), (UNKNOWN, True)])
def test_which_situations_are_silent(name: str, silent: bool) -> None:
    bench = situation(name)
    assert (len(bench.run(0.1)) == 0) is silent


def test_only_arm_leaves_a_fault_or_a_hold_that_was_asked_for_towards_following() -> None:
    """For a full second of good requests, heartbeats, a held switch and fresh joint states."""
    for name in (ASKED, LASTING, WRONG, UNKNOWN, OFF):
        bench = situation(name)
        bench.run(1.0, bench.measured.copy())
        assert bench.guard.state is not State.TRACKING, name
        bench.arm()
        bench.run(0.2, bench.measured.copy())
        assert bench.guard.state is State.TRACKING, name
