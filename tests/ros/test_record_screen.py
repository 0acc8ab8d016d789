"""`autofocus record` in a real terminal, with the real recorder and a fake cell: keys in, episodes out."""

import os
import signal
import time
from pathlib import Path

import pytest
from autofocus_core import results
from autofocus_core.episode import list_episodes, list_unfinished
from terminal import children, measured_cpu_share, terminal  # noqa: F401  (a fixture)

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "ros2_ws/src/autofocus_sim/config"
ROBOT, TASK = CONFIG / "sim_arm.yaml", CONFIG / "lift.yaml"
PUBLISHER = Path(__file__).with_name("recorder_publisher.py")
RECORD = ["python", "-m", "autofocus_cli.main", "record"]
IMAGE, STATE = "/camera/camera/color/image_raw", "/joint_states"
READY = ("space start", "/ 30 ━", STATE)


def record(output: Path) -> list:
    return [*RECORD, "--robot", ROBOT, "--task", TASK, "--output", output, "--reserve-mb", "50"]


def finished(output: Path) -> list:
    there = [path for path in output.glob("lift_*/metadata.yaml") if not path.parent.name.endswith(".recording")]
    return list_episodes(output) if there else []


@pytest.fixture
def cell(spawn, ros_node, wait_until):
    process = spawn(["python", PUBLISHER, ROBOT])
    wait_until(lambda: ros_node.count_publishers("/latched"), 30, "the fake cell, whose last publisher this is")
    return process


def test_a_session_by_keys(terminal, cell, tmp_path):  # noqa: F811
    screen = terminal(record(tmp_path / "out"))
    screen.see(*READY, "lift the red cube")
    screen.press("Space")
    screen.see("space stop", "lift_")
    share = measured_cpu_share(screen.pid, 4.0)
    results.record("recorder", "CPU of the recording screen", 100 * share, "% of a core", "<= 5", share <= 0.05,
                   "pytest tests/ros/test_record_screen.py -k keys")
    screen.press("s")
    screen.see("space start", "success")
    screen.press("n")
    screen.see("Note on lift_")
    screen.press("the cup stood left", "Enter")
    screen.see("note the cup stood left")
    (first,) = finished(tmp_path / "out")
    assert (first.meta.outcome, first.meta.note, first.meta.stop_reason) == (
        "success", "the cup stood left", "requested")
    screen.press("f")
    screen.see(f"{first.id}, failure")
    assert finished(tmp_path / "out")[0].meta.outcome == "failure"

    screen.press("Space")
    screen.see("space stop")
    screen.press("d")
    screen.see("space start")
    assert len(finished(tmp_path / "out")) == 1 and len(list((tmp_path / "out" / ".discarded").iterdir())) == 1

    screen.press("Space")
    screen.see("space stop")
    time.sleep(0.5)
    cell.send_signal(signal.SIGSTOP)
    screen.see("✗", "silent")
    time.sleep(1.0)
    cell.send_signal(signal.SIGCONT)
    screen.see("100 ━━━━━━")
    screen.press("Space")
    seen = screen.see("space start", "bad lift_")
    (_, third) = finished(tmp_path / "out")
    assert third.verdict.grade == "bad"
    assert all(" ".join(reason.split()) in " ".join(seen.split()) for reason in third.verdict.reasons[:1])

    screen.press("q")
    assert screen.exit_status() == 0
    assert "recorder ended" in screen.text()
    assert not list_unfinished(tmp_path / "out")


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "ssh drops", "SIGKILL"])
def test_whatever_ends_the_screen_the_recording_is_finished(terminal, cell, wait_until, tmp_path, end):  # noqa: F811
    """Twice a colleague's laptop went to sleep in mid-episode. The terminal goes away, the episode must not."""
    screen = terminal(record(tmp_path / "out"))
    screen.see(*READY)
    screen.press("Space")
    screen.see("space stop")
    time.sleep(0.5)
    if end == "ssh drops":
        screen.hang_up()
    else:
        os.kill(screen.pid, getattr(signal, end))
    wait_until(lambda: finished(tmp_path / "out"), 30, "the finished episode")
    (episode,) = finished(tmp_path / "out")
    assert episode.meta.stop_reason == "signal: SIGINT"
    assert episode.meta.streams[STATE].count > 10
    assert not list_unfinished(tmp_path / "out")
    if end in ("SIGINT", "SIGTERM"):
        assert screen.exit_status() == 0


def test_a_recorder_that_is_killed_is_not_shown_as_recording(terminal, cell, tmp_path):  # noqa: F811
    screen = terminal(record(tmp_path / "out"))
    screen.see(*READY)
    screen.press("Space")
    screen.see("space stop")
    os.kill(int(children(screen.pid)[0]), signal.SIGKILL)
    screen.see("has ended by itself, status -9: nothing is recorded", "autofocus episodes recover", "space start")
    screen.press("q")
    assert screen.exit_status() == 2
    assert "ended by itself with status -9" in screen.words()


def test_a_refused_start_names_the_topic_and_stays(terminal, spawn, ros_node, wait_until, tmp_path):  # noqa: F811
    spawn(["python", PUBLISHER, ROBOT, "--without", IMAGE])
    wait_until(lambda: ros_node.count_publishers("/latched"), 30, "the fake cell")
    screen = terminal(record(tmp_path / "out"))
    screen.see("space start", STATE, "nobody publishes it")
    screen.press("Space")
    screen.see("refused", f"nobody publishes {IMAGE}", "fix:")
    time.sleep(1.2)  # two more statuses
    screen.see("refused", f"nobody publishes {IMAGE}")
    screen.press("q")
    assert screen.exit_status() == 0


def test_attached_it_leaves_the_recorder_as_it_is(terminal, spawn, cell, ros_node, wait_until, tmp_path):  # noqa: F811
    recorder = spawn(["python", "-m", "demo_recorder.node", "--ros-args", "-p", f"robot:={ROBOT}",
                      "-p", f"task:={TASK}", "-p", f"output:={tmp_path / 'out'}", "-p", "reserve_mb:=50"])
    wait_until(lambda: ros_node.count_publishers("/demo_recorder/status"), 30, "the recorder")
    second = terminal(record(tmp_path / "out"))
    assert second.exit_status() == 2
    assert "--attach" in second.words()
    screen = terminal([*RECORD, "--attach"])
    screen.see(*READY)
    screen.press("Space")
    screen.see("space stop")
    screen.press("q")
    screen.see("goes on recording")
    screen.press("y")
    assert screen.exit_status() == 0
    assert list_unfinished(tmp_path / "out") and not finished(tmp_path / "out")
    recorder.send_signal(signal.SIGINT)
    assert recorder.wait(30) == 0
    assert finished(tmp_path / "out")[0].meta.stop_reason == "signal: SIGINT"


def test_without_a_terminal_the_plain_node_is_named(spawn, tmp_path):
    process = spawn(record(tmp_path / "out"))
    assert process.wait(60) == 2
    assert "python -m demo_recorder.node" in process.output_path.read_text()
