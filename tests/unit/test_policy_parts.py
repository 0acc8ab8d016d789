"""The worker thread, the histograms, the monitor, and the answers of a replay."""

import json
import threading
import time

import numpy as np
import policy_files as files
import pytest
from autofocus_core import messages
from autofocus_policy.answers import ANSWERS_TYPE, AnswerLog, read_answers
from autofocus_policy.monitor import Monitor
from autofocus_policy.timing import Durations
from autofocus_policy.worker import NewestWins


def test_the_newest_wins():
    started, release, done = threading.Event(), threading.Event(), []

    def work(item: int) -> None:
        started.set()
        release.wait(5)
        done.append(item)

    worker = NewestWins(work, "test")
    worker.submit(0)
    started.wait(5)
    for item in (1, 2, 3):
        worker.submit(item)
    release.set()
    while len(done) < 2:
        time.sleep(0.001)
    assert worker.close() and done == [0, 3] and worker.superseded == 2


def test_a_failure_is_kept_for_the_owner():
    worker = NewestWins(lambda item: 1 / item, "test")
    worker.submit(0)
    worker._thread.join(5)
    assert isinstance(worker.failure, ZeroDivisionError)


def test_a_cleared_item_is_not_worked_on():
    started, release, done = threading.Event(), threading.Event(), []
    worker = NewestWins(lambda i: (started.set(), release.wait(5), done.append(i)), "test")
    worker.submit(0)
    started.wait(5)
    worker.submit(1)
    worker.clear()
    release.set()
    assert worker.close() and done == [0]


def test_percentiles():
    durations = Durations()
    assert durations.percentile_ms(50) is None
    for ms in [*range(1, 100), 5000.0]:
        durations.add(ms)
    assert durations.percentile_ms(50) == pytest.approx(50.5, abs=0.5)
    assert durations.percentile_ms(99) == pytest.approx(99.5, abs=0.5)
    assert durations.percentile_ms(100) == durations.max_ms == 5000.0
    assert sum(json.loads(durations.to_json())["counts"].values()) == 100


def test_durations_can_be_read_while_another_thread_counts(monkeypatch):
    """The status of a policy node on a busy machine met its inference thread within numpy's nonzero, which raises when
    the array changes under it ("number of non-zero array elements changed"): the node ended in mid-run."""
    durations = Durations()
    durations.add(1.0)
    nonzero = np.flatnonzero

    def interrupted(array: np.ndarray) -> np.ndarray:
        before = np.count_nonzero(array)
        other = threading.Thread(target=durations.add, args=(7.0,))
        other.start()
        other.join(5)
        assert not other.is_alive()  # nobody waits for a reader
        assert np.count_nonzero(array) == before
        return nonzero(array)

    monkeypatch.setattr(np, "flatnonzero", interrupted)
    assert sum(json.loads(durations.to_json())["counts"].values()) == 1
    assert sum(json.loads(durations.to_json())["counts"].values()) == 2


def test_monitor_counts_holds_and_misses():
    monitor = Monitor(period_ms=100.0)
    assert monitor.summary().startswith("holding") and monitor.set_hold(None) and not monitor.set_hold(None)
    for k in range(3):
        monitor.published(latency_ms=20.0 if k else 120.0, steady_ns=k * 100_000_000)
    assert monitor.counts["deadline_misses"] == 1 and monitor.values()["period_ms_p50"] == "100.00"
    assert monitor.set_hold("no camera") and monitor.counts["holds"] == 1
    monitor.set_hold(None)
    monitor.published(20.0, 10_000_000_000)
    assert monitor.values()["period_ms_max"] == "100.00"  # the hold is not a period
    monitor.bad_output("NaN")
    assert "NaN" in monitor.summary()
    monitor.published(20.0, 10_100_000_000)
    assert monitor.summary() == "running"


def test_an_inference_that_hangs_is_a_hold():
    monitor = Monitor(period_ms=1.0)
    with monitor.inference():
        assert monitor.stuck() is None
        time.sleep(0.01)
        assert "inference" in monitor.stuck()
    assert monitor.stuck() is None


def test_what_may_be_left_out_never_delays_anything():
    """A guess is only worked on where nothing else is: it must not take the place of what is sure."""
    started, release, done = threading.Event(), threading.Event(), []
    worker = NewestWins(lambda i: (started.set(), release.wait(5), done.append(i)), "test")
    assert worker.submit_if_idle(0)
    started.wait(5)
    assert not worker.submit_if_idle(1)  # it works
    worker.submit(2)
    assert not worker.submit_if_idle(3)  # something waits
    release.set()
    while len(done) < 2:
        time.sleep(0.001)
    assert worker.close() and done == [0, 2] and worker.superseded == 0


def test_a_request_to_hold_is_counted_and_is_no_answer(tmp_path):
    """A replay's bag has them, too: without points there is nothing to compare, and no latency to tell."""
    header, at, trajectory, point, duration = (messages.message_class(t) for t in (
        "std_msgs/msg/Header", "builtin_interfaces/msg/Time", ANSWERS_TYPE, "trajectory_msgs/msg/JointTrajectoryPoint",
        "builtin_interfaces/msg/Duration"))
    none, names = np.zeros(0), list(files.SIM_ROBOT.joint_names)
    log = AnswerLog(tmp_path / "answers")
    for sec, points in ((5, 8), (6, 0), (7, 8)):
        rows = [point(positions=np.full(6, 0.1 * k), velocities=none, accelerations=none, effort=none,
                      time_from_start=duration(sec=k, nanosec=0)) for k in range(points)]
        msg = trajectory(header=header(stamp=at(sec=sec, nanosec=0), frame_id=""), joint_names=names, points=rows)
        log.add(messages.serialize(msg, ANSWERS_TYPE), sec * 10**9 + 20_000_000)
    assert log.close() == 3
    found = read_answers(tmp_path / "answers", files.SIM_ROBOT)
    assert sorted(found.positions) == [5 * 10**9, 7 * 10**9] and found.holds == 1
    assert found.latency_ms.tolist() == [20.0, 20.0]
