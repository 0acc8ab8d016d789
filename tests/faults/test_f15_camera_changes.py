"""F15: the camera's size or encoding changes under a running policy: refused, held, never reinterpreted."""

import time

import policy_files as files
from autofocus_core import results
from policy_cell import FakeCell, policy_argv

COMMAND = "pytest tests/faults/test_f15_camera_changes.py"
HOLD_MS = 2e3 / files.SIM_ROBOT.control_rate_hz
CHANGES = (("size", "width_px", 160, "160x240"), ("encoding", "encoding", "bgr8", "'bgr8'"),
           ("encoding that is no picture", "encoding", "16UC1", "'16UC1'"))


def test_f15_a_frame_that_does_not_fit_is_refused_and_the_arm_held(ros_node, spawn, tmp_path, wait_until):
    """rgb8 to bgr8 could be decoded; but a driver that changes its mind midway is not trusted with colours."""
    cell = FakeCell(ros_node)
    spawn(policy_argv(files.write_policy(tmp_path / "policy.pt")))
    for change, attribute, value, words in CHANGES:
        before = len(cell.requests)
        wait_until(lambda n=before: cell.last_status()[0] == "running" and len(cell.requests) > n, 60, "running")
        good, refused = getattr(cell, attribute), int(cell.last_status()[1].get("refused_frames", 0))
        setattr(cell, attribute, value)
        changed_s = time.monotonic()
        wait_until(lambda w=words: w in cell.last_status()[0], 10, f"a hold that says {words}")
        assert cell.last_status()[0].startswith("holding: frame of camera 'camera' refused")
        count, frames = len(cell.requests), cell.frames
        wait_until(lambda n=frames: cell.frames > n + 10, 10, "ten more frames")
        assert len(cell.requests) == count, "a request from a frame that was refused"
        wait_until(lambda n=refused: int(cell.last_status()[1]["refused_frames"]) > n + 5, 5, "refusals to be counted")
        hold_ms = max(0.0, (cell.requests[-1][0] - changed_s) * 1e3)
        results.record("faults", f"F15 camera's {change} changes: last request", round(hold_ms, 1), "ms",
                       f"<= {HOLD_MS:g} (2T)", hold_ms <= HOLD_MS, COMMAND)
        assert hold_ms < 5 * HOLD_MS
        setattr(cell, attribute, good)
        wait_until(lambda n=count: len(cell.requests) > n + 2, 10, "requests again")
    assert int(cell.last_status()[1]["holds"]) == len(CHANGES)
