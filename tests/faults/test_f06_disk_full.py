"""F06: the disk fills up while recording, because of a foreign file that grows."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from autofocus_core import results
from autofocus_core.bags import open_bag
from autofocus_core.episode import list_episodes
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

COMMAND = "pytest tests/faults/test_f06_disk_full.py"
MIB = 1 << 20


def grow(path: Path, size: int) -> None:
    """A foreign file takes this much room at once."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def start(spawn, ros_node, wait_until, tmp_path, output, reserve_mb):
    Publisher(spawn, "--joints", f"{STATE}:100", "--joints", f"{INTENT}:10", "--image", f"{IMAGE}:320x240:30",
              env=large_segment(tmp_path))  # fmt: skip
    recorder = Recorder(
        spawn, ros_node, wait_until, output, f"reserve_mb:={reserve_mb}", robot=write_robot(tmp_path / "robot.yaml")
    )
    recorder.ready().start()
    time.sleep(1.0)
    return recorder


def check_end(recorder, begin_s, error_s, what, reason):
    """The error came in time, the episode is closed and whole, and what it lacks is counted."""
    recorder.wait_for_status(lambda status: status[""]["state"] == "stopped", 20, "the end of the recording")
    (episode,) = list_episodes(recorder.output)
    assert episode.meta.stop_reason.startswith("error: ")
    assert reason in episode.meta.stop_reason
    assert episode.meta.verdict.grade == "bad"
    assert not list(recorder.output.glob("*.recording"))
    with open_bag(episode.path) as bag:
        assert not bag.lossy
    for topic in (STATE, INTENT, IMAGE):
        found, quality = numbers(episode.path, topic), episode.meta.streams[topic]
        assert len(found) == quality.count
        assert holes(found) <= quality.drops
    took_s = error_s - begin_s
    results.record("faults", f"F06 disk full, {what}: time to the error", took_s, "s", "<= 1", took_s <= 1.0, COMMAND)
    assert took_s < 1.0 * slack()
    assert recorder.process.poll() is None, "the recorder goes on, for the next episode"


def test_f06_the_reserve_stops_the_recording(spawn, ros_node, wait_until, tmp_path):
    free = free_bytes(tmp_path)
    if free < 4096 * MIB:
        pytest.skip(f"only {free / 1e9:.1f} GB free: too little to play with")
    reserve_mb = free // MIB - 1024  # others may use or free some room meanwhile
    recorder = start(spawn, ros_node, wait_until, tmp_path, tmp_path / "out", reserve_mb)
    foreign = tmp_path / "foreign"
    begin_s = time.monotonic()
    grow(foreign, 2048 * MIB)
    try:
        error_s = recorder.wait_for_status(lambda status: "reserve" in status[""]["error"], 20, "the error")
        check_end(recorder, begin_s, error_s, "at the reserve", "reserve")
        refused = recorder.call("start")
        assert not refused.success
        assert "reserve" in refused.message
    finally:
        foreign.unlink()
    wait_until(lambda: not recorder.status[""]["error"] or "reserve" not in recorder.call("start").message, 20, "room")


def test_f06_a_disk_that_fills_up_in_an_instant(spawn, ros_node, wait_until, tmp_path, small_disk):
    """No reserve, and between two looks at the disk it is full: the file is closed with what was kept back for it."""
    recorder = start(spawn, ros_node, wait_until, tmp_path, small_disk / "out", 0)
    begin_s = time.monotonic()
    grow(small_disk / "foreign", free_bytes(small_disk) - MIB)
    error_s = recorder.wait_for_status(lambda status: "No space" in status[""]["error"], 20, "the error")
    check_end(recorder, begin_s, error_s, "no room at all", "No space")
