"""F22: sessions of random and adversarial requests through the guard's pure core; `make bench` runs a million."""

from __future__ import annotations

import multiprocessing
import os

from autofocus_core import results
from command_guard.core import GuardCore
from guard_bench import NAMES, ROBOT, T
from guard_fuzz import LOWER, UPPER, Worst, followed, fuzz
from hypothesis import given, settings
from hypothesis import strategies as st

TOLERANCE = 1e-9
#: 1 000 000 in `make bench` (about four minutes on two cores), few enough to be quick otherwise.
SEQUENCES = int(os.environ.get("AUTOFOCUS_FUZZ_SEQUENCES", "20000"))
PIECE = 5_000


def test_f22_any_requests_break_no_limit() -> None:
    pieces = max(1, SEQUENCES // PIECE)
    jobs = [(min(PIECE, SEQUENCES), seed) for seed in range(pieces)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(fuzz, jobs)
    excess, nonfinite = max(worst.excess for worst in found), sum(worst.nonfinite for worst in found)
    sequences = sum(count for count, _ in jobs)
    command = f"AUTOFOCUS_FUZZ_SEQUENCES={SEQUENCES} pytest tests/unit/test_guard_fuzz.py"
    name = f"F22 worst excess over any limit in {sequences} random and adversarial requests"
    results.record("faults", name, excess, "rad, rad/s, rad/s^2", f"<= {TOLERANCE:g}", excess <= TOLERANCE, command)
    name = f"F22 commands that are not finite in {sequences} random and adversarial requests"
    results.record("faults", name, nonfinite, "", "0", nonfinite == 0, command)
    jerk = max(worst.jerk for worst in found)
    results.record("guard", f"jerk over its limit in {sequences} random and adversarial requests", max(0.0, jerk),
                   "of the limit", f"<= {TOLERANCE:g}", jerk <= TOLERANCE, command)
    assert excess <= TOLERANCE and nonfinite == 0 and -1.0 < jerk <= TOLERANCE, found
    assert all(followed(worst) for worst in found), [worst.states for worst in found]
    refused = {kind for worst in found for kind in worst.counts if kind.startswith("request_refused_")}
    assert {f"request_refused_{kind}" for kind in ("nonfinite", "names", "shape", "times", "stamp")} <= refused
    assert all(worst.counts["holds_asked"] > 0 for worst in found), "requests without points are among them"


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-4, 4)
requests = st.lists(
    st.tuples(
        st.lists(numbers, max_size=4),  # times
        st.lists(st.lists(numbers, min_size=5, max_size=7), min_size=0, max_size=4),
        st.permutations(NAMES) | st.lists(st.sampled_from((*NAMES, "other")), max_size=7),
        numbers | st.just(0.0),  # age of the stamp
        st.integers(1, 30),  # periods until the next
    ),
    max_size=10,
)


@settings(max_examples=200, deadline=None)
@given(script=requests)
def test_f22_whatever_hypothesis_finds_breaks_no_limit(script) -> None:
    from command_guard.chunk import Request

    guard, now_s, here = GuardCore(ROBOT), 10.0, (LOWER + UPPER) / 2
    commands, worst = [here, here], Worst()
    for times, positions, names, age_s, periods in script:
        if guard.needs_arm:
            guard.on_state(NAMES, here, now_s)
            guard.arm(now_s)
        guard.on_request(Request(now_s - age_s, names, times, positions), now_s)
        for _ in range(periods):
            guard.on_heartbeat(now_s)
            guard.on_state(NAMES, here, now_s)
            command = guard.step(now_s)
            if command is not None:
                commands.append(command)
                here = command
            now_s += T
    worst.take(commands)
    assert worst.excess <= TOLERANCE and worst.nonfinite == 0
