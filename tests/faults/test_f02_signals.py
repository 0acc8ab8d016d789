"""F02: SIGTERM, or SIGINT twice, while recording and while files are being split."""

import itertools
import signal
import time

import pytest
from autofocus_core import results
from autofocus_core.episode import list_episodes
from recorder_cell import IMAGE, INTENT, STATE, Publisher, Recorder, holes, large_segment, numbers, slack, write_robot

COMMAND = "pytest tests/faults/test_f02_signals.py"


@pytest.mark.parametrize(
    ("sent", "max_file_mb"),
    [((signal.SIGTERM,), 0), ((signal.SIGINT, signal.SIGINT), 0), ((signal.SIGTERM,), 1), ((signal.SIGINT,) * 2, 1)],
)
def test_f02_a_signal_finishes_the_recording(spawn, ros_node, wait_until, tmp_path, sent, max_file_mb):
    """With files of 1 MiB and 83 MB/s one is split every 12 ms: the signal falls into a split."""
    Publisher(spawn, "--joints", f"{STATE}:100", "--joints", f"{INTENT}:10", "--image", f"{IMAGE}:1280x720:30",
              env=large_segment(tmp_path))  # fmt: skip
    robot = write_robot(tmp_path / "robot.yaml")
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", f"max_file_mb:={max_file_mb}", robot=robot)
    recorder.ready().start()
    time.sleep(1.0)
    begin_s = time.monotonic()
    for number in sent:
        recorder.process.send_signal(number)
        time.sleep(0.02)
    assert recorder.process.wait(60) == 0
    took_s = time.monotonic() - begin_s
    (episode,) = list_episodes(tmp_path / "out")
    assert episode.meta.stop_reason == f"signal: {sent[0].name}"
    assert not list((tmp_path / "out").glob("*.recording"))
    files = sorted(episode.path.glob("*.mcap"))
    assert len(files) > 10 if max_file_mb else len(files) == 1
    lost = 0
    for topic in (STATE, INTENT, IMAGE):
        found, quality = numbers(episode.path, topic), episode.meta.streams[topic]
        assert quality.count == len(found)
        assert quality.drops == holes(found), f"{topic}: lost and not counted"
        lost += holes(found)
    for file in files:
        file.unlink()  # 100 MB: pytest keeps its folders
    what = f"F02 {' '.join(signal.name for signal, _ in itertools.groupby(sent))} x{len(sent)}"
    what += " while files split" if max_file_mb else ""
    results.record("faults", f"{what}: time to the end", took_s, "s", "<= 5", took_s <= 5.0, COMMAND)
    results.record("faults", f"{what}: messages lost", lost, "", "0", lost == 0, COMMAND)
    assert took_s < 5.0 * slack()
    assert lost == 0 or slack() > 1.5
