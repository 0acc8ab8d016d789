"""F28: an annotator that is killed at any moment, run twice, or run beside another one: nothing is lost, nothing is
done twice, and every annotation has the bytes that an undisturbed run gives it."""

import os
import random
import signal
import time

import batch_episodes as be
import pytest
from autofocus_core.results import record

COMMAND = "pytest tests/faults/test_f28_annotator_killed.py"
EPISODES, FRAMES, KILLS = 5, 24, 20


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    with be.annotators(tmp_path_factory.mktemp("logs")) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, started):
    """(episodes, the bytes of their annotations, seconds it took)."""
    folder = tmp_path_factory.mktemp("episodes") / "all"
    be.make(folder, EPISODES, FRAMES)
    started.finish(folder, "--workers", "1")
    begun_s = time.monotonic()
    started.finish(folder, "--workers", "1", "--force")
    return folder, be.annotations(folder), time.monotonic() - begun_s


def test_f28_killed_at_random_times_and_run_again(undisturbed, started, tmp_path):
    """SIGKILL between the start and the end, half of them aimed at the moment in which an annotation is written.

    Whatever has its final name is whole at every moment; the run after the last kill finishes, cleans up, and gives
    what a run that nobody disturbs gives.
    """
    source, expected, usual_s = undisturbed
    folder = be.fresh(source, tmp_path / "all")
    chance = random.Random(28)
    killed = broken = 0
    for number in range(KILLS):
        if len(list(folder.glob("*.annotation"))) == EPISODES:
            folder = be.fresh(source, tmp_path / "all")
        process, _ = started.start(folder, "--workers", "1")
        if number % 2:
            be.until_written(folder, process)
            time.sleep(chance.uniform(0, 0.01))
        else:
            time.sleep(chance.uniform(0, 1.2 * usual_s))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        names = be.whole(folder)
        broken += any(be.annotations(folder)[f"{name}/annotation.json"] != expected[f"{name}/annotation.json"]
                      for name in names)  # fmt: skip
    assert killed >= KILLS // 2
    started.finish(folder, "--workers", "1")
    result = be.annotations(folder)
    lost = EPISODES - len(be.whole(folder))
    wrong = sum(result.get(name) != data for name, data in expected.items()) + broken
    extra = len(result.keys() - expected.keys()) + len(be.leftovers(folder))
    for name, value in (("annotations lost", lost), ("files that differ", wrong), ("files left over", extra)):
        record("faults", f"F28 killed {KILLS} times: {name}", value, name.split()[0], "0", not value, COMMAND)
    assert (lost, wrong, extra) == (0, 0, 0), be.leftovers(folder)


def test_f28_killed_while_it_replaces_an_annotation(undisturbed, started, tmp_path):
    """An annotation that is made anew: at every moment the old or the new one is there, never neither."""
    source, expected, _ = undisturbed
    folder = be.fresh(source, tmp_path / "all")
    started.finish(folder, "--workers", "1")
    chance = random.Random(29)
    for _ in range(6):
        process, _ = started.start(folder, "--workers", "1", "--force")
        be.until_written(folder, process)
        end_s = time.monotonic() + chance.uniform(0, 0.1)
        while time.monotonic() < end_s:
            assert len(list(folder.glob("*.annotation"))) == EPISODES
        process.kill()
        process.join()
        assert len(be.whole(folder)) == EPISODES
    assert be.counts(started.finish(folder, "--workers", "1"))["up to date"] == EPISODES
    assert be.annotations(folder) == expected and not be.leftovers(folder)


def test_f28_run_twice_does_nothing_the_second_time(undisturbed, started, tmp_path):
    source, expected, _ = undisturbed
    folder = be.fresh(source, tmp_path / "all")
    assert be.counts(started.finish(folder, "--workers", "2"))["annotated"] == EPISODES
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.annotation/*")}
    # As one leaves it that is killed when all is written and its lease not yet given back.
    (folder / ".autofocus/leases/ep_01.lease").touch()
    assert be.counts(started.finish(folder, "--workers", "2"))["up to date"] == EPISODES
    touched = sum(path.stat().st_mtime_ns != stamp for path, stamp in before.items())
    record("faults", "F28 run twice: files written again", touched, "files", "0", not touched, COMMAND)
    assert not touched and be.annotations(folder) == expected and not be.leftovers(folder)


def test_f28_two_annotators_at_once_do_each_episode_once(undisturbed, started, tmp_path):
    """Two that begin at the same moment share the work: an episode that the other has is left for later, and by then
    it is done."""
    source, expected, _ = undisturbed
    folder = be.fresh(source, tmp_path / "all")
    both = [started.start(folder, "--workers", workers) for workers in ("1", "2")]
    for process, log in both:
        process.join(be.WAIT_S)
        assert process.exitcode == 0, log.read_text()
    done = [be.counts(log.read_text()) for _, log in both]
    twice = sum(each["annotated"] for each in done) - EPISODES
    record("faults", "F28 two annotators at once: episodes done twice", twice, "episodes", "0", twice == 0, COMMAND)
    lost = EPISODES - len(be.whole(folder))
    record("faults", "F28 two annotators at once: annotations lost", lost, "annotations", "0", not lost, COMMAND)
    assert twice == 0 and all(each["annotated"] + each["up to date"] == EPISODES for each in done), done
    assert be.annotations(folder) == expected and not be.leftovers(folder)


def test_f28_the_whole_family_is_killed_with_two_workers(undisturbed, started, tmp_path):
    """What a reboot or the system's out-of-memory killer does: no worker is left, and the next run goes on."""
    source, expected, _ = undisturbed
    folder = be.fresh(source, tmp_path / "all")
    process, _ = started.start(folder, "--workers", "2")
    be.until_written(folder, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    be.whole(folder)
    started.finish(folder, "--workers", "2")
    assert be.annotations(folder) == expected and not be.leftovers(folder)


def test_f28_ctrl_c_ends_it_and_keeps_what_is_done(undisturbed, started, tmp_path):
    source, expected, _ = undisturbed
    folder = be.fresh(source, tmp_path / "all")
    process, log = started.start(folder, "--workers", "2")
    be.until(lambda: len(list(folder.glob("*.annotation"))) >= 2, "two annotations")
    os.killpg(process.pid, signal.SIGINT)
    process.join(be.WAIT_S)
    assert process.exitcode == 130 and "Traceback" not in log.read_text(), log.read_text()
    assert "episodes are done" in log.read_text()
    assert len(be.whole(folder)) >= 2 and not be.leftovers(folder)
    process, log = started.start(folder, "--workers", "2")
    be.until(lambda: os.getpgid(process.pid) == process.pid, "its own group")
    time.sleep(0.4)  # its workers begin to import: they used to print a traceback each
    os.killpg(process.pid, signal.SIGINT)
    process.join(be.WAIT_S)
    assert process.exitcode == 130 and "Traceback" not in log.read_text(), log.read_text()
    started.finish(folder, "--workers", "2")
    assert be.annotations(folder) == expected
