"""F08: 60 MB/s into files of 8 MiB, until there are more than 50 of them."""

import itertools
import struct
import time

import numpy as np
from autofocus_core import results
from autofocus_core.bags import open_bag
from autofocus_core.episode import load_episode
from recorder_cell import (
    IMAGE,
    INTENT,
    STATE,
    Publisher,
    Recorder,
    holes,
    large_segment,
    numbers,
    slack,
    write_robot,
)

COMMAND = "pytest tests/faults/test_f08_split_under_load.py"
SPLITS = 50
RATE_HZ = 67.0


def file_numbers(path):
    """(first, last, how many) of the images in one storage file."""
    with open_bag(path) as bag:
        found = [struct.unpack_from("<Q", m.raw, len(m.raw) - 8)[0] for m in bag.messages([IMAGE])]
    return (min(found), max(found), len(found)) if found else None


def test_f08_no_message_is_lost_where_files_are_split(spawn, ros_node, wait_until, tmp_path):
    Publisher(spawn, "--joints", f"{STATE}:100", "--joints", f"{INTENT}:10", "--image",
              f"{IMAGE}:640x480:{RATE_HZ}", env=large_segment(tmp_path))  # fmt: skip
    robot = write_robot(tmp_path / "robot.yaml", rates_hz={"camera": RATE_HZ})
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", "max_file_mb:=8", robot=robot)
    recorder.ready().start()
    begin_s = time.monotonic()
    recorder.wait_for_status(lambda status: int(status[""]["files"]) > SPLITS, 120, f"{SPLITS} splits")
    took_s = time.monotonic() - begin_s
    path = recorder.stop()
    meta = load_episode(path).meta
    files = sorted(path.glob("*.mcap"), key=lambda file: int(file.stem.rsplit("_", 1)[1]))
    rate_mb_s = sum(file.stat().st_size for file in files) / 1e6 / took_s
    lost = unreported = 0
    for topic in (STATE, INTENT, IMAGE):
        found, quality = numbers(path, topic), meta.streams[topic]
        assert quality.count == len(found) == len(np.unique(found))
        lost += quality.drops
        unreported += abs(holes(found) - quality.drops)
    spans = [span for span in map(file_numbers, files) if span]
    between = sum(max(0, b[0] - a[1] - 1) for a, b in itertools.pairwise(spans))
    for file in files:
        file.unlink()  # half a gigabyte: pytest keeps its folders
    name = "F08 files split under load"
    results.record("faults", f"{name}: splits", len(files) - 1, "", f">= {SPLITS}", len(files) > SPLITS, COMMAND)
    results.record("faults", f"{name}: rate", rate_mb_s, "MB/s", ">= 60", rate_mb_s >= 60, COMMAND)
    results.record("faults", f"{name}: messages lost", lost, "", "0", lost == 0, COMMAND)
    results.record("faults", f"{name}: images lost between files", between, "", "0", between == 0, COMMAND)
    assert unreported == 0
    assert between <= lost
    assert lost == 0 or slack() > 1.5, "messages were lost on the way on an idle machine"
