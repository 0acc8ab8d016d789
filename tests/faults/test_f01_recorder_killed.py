"""F01: the recorder is killed at random times, with and without a camera worth the name."""

import random
import signal
import time

import pytest
from autofocus_core import results
from autofocus_core.episode import list_unfinished
from autofocus_core.episode_meta import INTERRUPTED
from demo_recorder.recovery import recover
from recorder_cell import INTENT, STATE, Publisher, Recorder, holes, numbers, receive_stamps, slack, write_robot

COMMAND = "pytest tests/faults/test_f01_recorder_killed.py"
ROUNDS = 5
#: Fast DDS gives the shared memory port of a killed process to the next one, which then hears nothing for 20 s.
NO_SHARED_MEMORY = {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
FULL, NEXT_TO_NONE = "/full/image_raw", "/tiny/image_raw"


def cells(tmp_path):
    """Two robots that differ in the camera: 7 MB/s, or 10 tiny images a second, so that no chunk ever fills."""
    rates = {"state": 100.0, "action": 10.0}
    full = write_robot(tmp_path / "full.yaml", topics={"camera": FULL}, rates_hz={**rates, "camera": 30.0})
    tiny = write_robot(tmp_path / "tiny.yaml", topics={"camera": NEXT_TO_NONE}, rates_hz={**rates, "camera": 10.0})
    return (full, (STATE, INTENT, FULL)), (tiny, (STATE, INTENT, NEXT_TO_NONE))


@pytest.mark.slow
def test_f01_killed_at_random_times(spawn, ros_node, wait_until, tmp_path):
    """20 recorders, four at a time, each killed at a time of its own: at most a second is lost, nothing in between."""
    Publisher(spawn, "--joints", f"{STATE}:100", "--joints", f"{INTENT}:10", "--image", f"{FULL}:320x240:30",
              "--image", f"{NEXT_TO_NONE}:8x6:10")  # fmt: skip
    rng = random.Random(1)
    lost_s, torn, checked = [0.0], 0, 0
    for round_ in range(ROUNDS):
        running = []
        for k, (robot, topics) in enumerate(cells(tmp_path) * 2):
            output = tmp_path / f"out_{round_}_{k}"
            name = f"recorder_{round_}_{k}"
            recorder = Recorder(spawn, ros_node, wait_until, output, robot=robot, name=name, env=NO_SHARED_MEMORY)
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
                torn += holes(found)
                lost_s.append((killed_ns - int(receive_stamps(recovered.path, topic).max())) / 1e9)
                checked += 1
    assert checked == 3 * 4 * ROUNDS
    results.record(
        "faults", "F01 SIGKILL: most of a stream that is lost", max(lost_s), "s", "<= 1", max(lost_s) <= 1.0, COMMAND
    )
    results.record("faults", "F01 SIGKILL: messages lost before the last flush", torn, "", "0", torn == 0, COMMAND)
    assert max(lost_s) < 1.0 * slack()
    assert torn == 0
