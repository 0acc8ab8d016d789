"""F01: the recorder is killed at random times, with and without a camera worth the name."""

import random
import signal
import time

import pytest
from autofocus_core import results
from autofocus_core.episode import list_unfinished
from autofocus_core.episode_meta import INTERRUPTED
from demo_recorder.recovery import recover
from recorder_cell import (
    INTENT,
    STATE,
    Publisher,
    Recorder,
    holes,
    large_segment,
    numbers,
    receive_stamps,
    slack,
    write_robot,
)

COMMAND = "pytest tests/faults/test_f01_recorder_killed.py"
ROUNDS = 5
RECORDERS = 4
FULL, NEXT_TO_NONE = "/full/image_raw", "/tiny/image_raw"
#: Over all rounds: what each stream lost, in s, and holes before that.
lost_s: list[float] = []
torn: list[int] = []


def cells(tmp_path):
    """Two robots that differ in the camera: 27 MB/s, or 10 tiny images a second, so that no chunk ever fills."""
    rates = {"state": 100.0, "action": 10.0}
    full = write_robot(tmp_path / "full.yaml", topics={"camera": FULL}, rates_hz={**rates, "camera": 30.0})
    tiny = write_robot(tmp_path / "tiny.yaml", topics={"camera": NEXT_TO_NONE}, rates_hz={**rates, "camera": 10.0})
    return (full, (STATE, INTENT, FULL)), (tiny, (STATE, INTENT, NEXT_TO_NONE))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_f01_killed_at_a_random_time(spawn, ros_node, wait_until, tmp_path, seed):
    """20 recorders, four at a time, each killed at a time of its own: at most a second is lost, nothing in between.

    Each round has a ROS domain of its own: for 20 s the middleware takes what is new for what was killed.
    """
    Publisher(spawn, "--joints", f"{STATE}:100", "--joints", f"{INTENT}:10", "--image", f"{FULL}:640x480:30",
              "--image", f"{NEXT_TO_NONE}:8x6:10", env=large_segment(tmp_path))  # fmt: skip
    rng = random.Random(seed)
    running = []
    for k, (robot, topics) in enumerate(cells(tmp_path) * (RECORDERS // 2)):
        recorder = Recorder(spawn, ros_node, wait_until, tmp_path / f"out_{k}", robot=robot, name=f"recorder_{k}")
        running.append((recorder, topics))
    for recorder, _ in running:
        recorder.ready().start()
    deaths = sorted(((rng.uniform(0.8, 2.0), recorder, topics) for recorder, topics in running), key=lambda d: d[0])
    begin_s = time.monotonic()
    killed = []
    for after_s, recorder, topics in deaths:
        time.sleep(max(0.0, begin_s + after_s - time.monotonic()))
        recorder.process.send_signal(signal.SIGKILL)
        killed.append((time.time_ns(), recorder, topics))
    for killed_ns, recorder, topics in killed:
        recorder.process.wait(10)
        (working,) = list_unfinished(recorder.output)
        recovered = recover(working)
        assert (recovered.meta.stop_reason, recovered.meta.verdict.grade) == (INTERRUPTED, "bad")
        assert recovered.meta.robot == "sim_arm"
        assert not (recorder.output / working.name).exists()
        for topic in topics:
            found = numbers(recovered.path, topic)
            assert len(found), f"nothing of {topic}, killed {(killed_ns - recovered.meta.start_ns) / 1e9:.2f} s in"
            torn.append(holes(found))
            lost_s.append((killed_ns - int(receive_stamps(recovered.path, topic).max())) / 1e9)
    most_s, all_torn = max(lost_s), sum(torn)
    figures = (("most of a stream that is lost", most_s, "s", 1.0), ("lost before the last flush", all_torn, "", 0))
    for name, value, unit, most in figures:
        results.record(
            "faults", f"F01 SIGKILL, 20 runs: {name}", value, unit, f"<= {most:g}", value <= most, COMMAND
        )  # fmt: skip
    assert most_s < 1.0 * slack()
    assert sum(torn[-3 * RECORDERS :]) == 0 or slack() > 1.5
