"""F12: somebody sets the wall clock by an hour while an episode is recorded, forward and back."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from autofocus_core import results
from autofocus_core.episode import load_episode
from recorder_cell import IMAGE, INTENT, STATE, Publisher, Recorder, receive_stamps, write_robot

COMMAND = "pytest tests/faults/test_f12_clock_step.py"
SET_CLOCK = Path(__file__).parents[1] / "fixtures/set_clock_recorder.py"


def test_f12_no_stamp_runs_backwards(spawn, ros_node, wait_until, tmp_path):
    """Receive stamps stay those of a clock that nobody sets; both steps are in the sidecar, which says bad."""
    Publisher(spawn, "--joints", f"{STATE}:100", "--joints", f"{INTENT}:10", "--image", f"{IMAGE}:320x240:30")
    robot = write_robot(tmp_path / "robot.yaml")
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", robot=robot, program=(str(SET_CLOCK),))
    recorder.ready().start()
    begin_s = time.monotonic()
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2):
        time.sleep(0.7)
        recorder.process.send_signal(number)
    time.sleep(0.7)
    path = recorder.stop()
    took_s = time.monotonic() - begin_s
    meta = load_episode(path).meta
    inversions = 0
    for topic in (STATE, INTENT, IMAGE):
        stamps = receive_stamps(path, topic)
        inversions += int(np.sum(np.diff(stamps) < 0))
        assert meta.start_ns <= stamps[0]
        assert stamps[-1] <= meta.end_ns
        assert np.max(np.diff(stamps)) < 2e9
    steps = [event for event in meta.events if event.kind == "clock_step"]
    sizes_s = [float(event.detail.split("by ")[1].split(" s")[0]) for event in steps]
    assert sizes_s == pytest.approx([3600.0, -3600.0, -3600.0], abs=0.5)
    assert (meta.end_ns - meta.start_ns) / 1e9 == pytest.approx(took_s, abs=1.0)
    assert meta.verdict.grade == "bad"
    assert any("clock" in reason for reason in meta.verdict.reasons)
    results.record("faults", "F12 clock steps by an hour: inversions", inversions, "", "0", inversions == 0, COMMAND)
    results.record(
        "faults", "F12 clock steps by an hour: steps recorded", len(steps), "of 3", "3", len(steps) == 3, COMMAND
    )
    assert inversions == 0
