"""F22 at the robot's end: plausible but wrong requests are limited, and end in a fault where that lasts.

What any sequence of requests can do to the core is in tests/unit/test_guard_fuzz.py and test_guard_limiter.py.
"""

import time

import numpy as np
from guard_cell import ROBOT, Cell, T, offset, record_fault

NEAR = offset(0.1, 0.1, 0.05, 0.1, 0.1, 0)
FAR = np.array([1.7, -1.5, 1.4, 1.6, 1.7, 0.034])
#: Requests in turn, ten a second: none is beyond the limits, and no arm can do one after the other.
WILD = {
    "steps": (NEAR + FAR * [1, 0, 0, 0, 0, 0], NEAR - FAR * [1, 0, 0, 0, 0, 0]),
    "signs flipped": (FAR, FAR * [-1, -1, -1, -1, -1, 1]),
    "ten times as much": (10 * offset(0.17, 0, 0, -1.5, 0, -0.034), 10 * offset(-0.17, 0, 0, -1.2, 0, -0.034)),
}


def go_near(cell: Cell) -> None:
    """Armed, at NEAR and at rest, by way of poses no farther than a first request may be."""
    cell.arm()
    cell.wait_until(lambda: len(cell.commands()[0]) > 0, 5, "a command")
    for share in (1 / 3, 2 / 3, 1):
        cell.follow(NEAR + (1 - share) * (cell.commands()[1][-1] - NEAR) if share < 1 else NEAR)
    cell.wait_until(lambda: cell.speed() == 0.0, 5, "rest")  # a path that ends in motion is passed by a little
    cell.follow(NEAR)  # it may have been held for want of requests meanwhile


def test_f22_wild_requests_are_limited_and_then_a_fault(cell: Cell) -> None:
    cell.command_from_here()
    for wild in WILD.values():
        go_near(cell)

        def wilder(wild: tuple[np.ndarray, ...] = wild) -> bool:
            for goal in wild:
                cell.ask(goal, points=1)
                time.sleep(0.1)
            return cell.status["state"] == "fault"

        cell.wait_until(wilder, 15, "a fault for lasting limiting")
        assert "limited" in cell.status["reason"], cell.status["reason"]
    go_near(cell)
    before = len(cell.commands()[0])
    cell.ask(np.degrees(NEAR))
    cell.wait_for_state("fault")
    assert "wrong unit" in cell.status["reason"]
    moved_rad = float(np.abs(np.diff(cell.commands()[1][before - 1:], axis=0)).max(initial=0.0))
    steps = np.diff(cell.commands()[1], axis=0)
    over_rad = float(max(0.0, (np.abs(steps) - ROBOT.velocity * T).max()))
    over_rad_s2 = float(max(0.0, (np.abs(np.diff(steps, axis=0)) / T**2 - ROBOT.acceleration).max()))
    record_fault("F22 step beyond vmax T at the robot's end", over_rad, "rad", "0 (<= 1e-9)", over_rad <= 1e-9)
    record_fault("F22 acceleration beyond its limit at the robot's end", over_rad_s2, "rad/s^2", "0 (<= 1e-6)",
                 over_rad_s2 <= 1e-6)
    record_fault("F22 motion for a request in degrees", moved_rad, "rad", "0 (<= 1e-3)", moved_rad <= 1e-3)
    assert np.abs(steps).max() > 0.5 * ROBOT.velocity.min() * T, "it never moved: it shows nothing"
    assert over_rad <= 1e-9 and over_rad_s2 <= 1e-6 and moved_rad <= 1e-3
    cell.assert_smooth()
