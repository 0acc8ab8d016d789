"""F23: the robot is far from where the commander begins: approached slowly, or refused."""

import numpy as np
from guard_cell import ROBOT, Cell, T, offset, record_fault

RAMP_SCALE = 0.2  # the node's default


def test_f23_a_far_start_is_approached_slowly_and_a_farther_one_refused(cell: Cell) -> None:
    cell.command_from_here()
    goal = offset(0.8, 0, 0, 0, 0, 0)
    cell.arm()
    ramped: list[bool] = []

    def there() -> bool:
        cell.ask(goal)
        ramped.append(cell.status["ramping"] == "True")
        cell.wait_until(lambda: True, 1, "")
        here = cell.commands()[1]
        return len(here) > 0 and np.abs(here[-1] - goal).max() < ROBOT.start.ramp_distance_rad

    cell.wait_until(there, 20, f"the robot within {ROBOT.start.ramp_distance_rad} rad; status {cell.status}")
    assert any(ramped)
    fastest_rad_s = float(np.abs(np.diff(cell.commands()[1][:, 0])).max() / T)
    allowed_rad_s = RAMP_SCALE * float(ROBOT.velocity[0])
    ok = 0.0 < fastest_rad_s <= allowed_rad_s + 1e-6
    record_fault("F23 fastest approach of a start 0.8 rad away", round(fastest_rad_s, 6), "rad/s",
                 f"<= {allowed_rad_s:g}", ok)
    assert ok
    cell.follow(goal)
    assert cell.call("hold").success
    cell.wait_until(lambda: cell.speed() == 0.0, 5, "rest")
    before = len(cell.commands()[0])
    cell.arm()
    too_far = goal - [ROBOT.start.refuse_distance_rad + 0.01, 0, 0, 0, 0, 0]

    def refused() -> bool:
        cell.ask(too_far)
        return cell.status["state"] == "fault"

    cell.wait_until(refused, 5, "the refusal")
    assert "go to the start pose first" in cell.status["reason"]
    moved_rad = float(np.abs(np.diff(cell.commands()[1][before - 1:], axis=0)).max(initial=0.0))
    record_fault("F23 motion for a start 1.01 rad away, 1 rad allowed", moved_rad, "rad", "0", moved_rad == 0.0)
    assert moved_rad == 0.0
    cell.assert_smooth()
