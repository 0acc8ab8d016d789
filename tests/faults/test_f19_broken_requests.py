"""F19: NaN, infinity and absurd numbers in a request: all of it is refused, before anything is used."""

import numpy as np
from guard_cell import ROBOT, Cell, record_fault


def test_f19_nothing_broken_reaches_the_wire(cell: Cell) -> None:
    cell.command_from_here()
    start = np.array(ROBOT.start.pose)
    for bad in (float("nan"), float("inf"), 1e30):
        cell.arm()
        cell.follow(start)
        cell.ask([0.5, bad, *start[2:]])
        cell.wait_for_state("fault")
        refused = cell.count("request_refused_fault")
        cell.ask(start + 0.1 * np.array([1, 1, 1, 1, 1, 0]))
        cell.wait_until(lambda before=refused: cell.count("request_refused_fault") > before, 2, "a latched fault")
    positions = cell.commands()[1]
    astray = int((np.abs(positions - start).max(axis=1) > 1e-9).sum() + (~np.isfinite(positions)).any(axis=1).sum())
    record_fault("F19 commands with anything of a request with NaN, infinity or 1e30", astray, "", "0", astray == 0)
    assert astray == 0
