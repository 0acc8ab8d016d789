"""Leases: between processes of one machine, and between machines whose locks do not meet."""

import os
import threading
import time

import pytest
from autofocus_core.errors import AutofocusError
from saliency_server.lease import FOLDER, Busy, Leases

BEAT_S, STALE_S = 0.05, 0.6


def elsewhere(host="b", **options):
    """Leases as another machine takes them, over a file system that carries no locks."""
    return Leases(host, **({"beat_s": BEAT_S, "stale_s": STALE_S, "no_locks": True} | options))


def held_by_one_who_is_killed(path):
    """The lease's file is there, and nobody has its lock."""
    pid = os.fork()
    if pid == 0:
        with Leases().held(path):
            os._exit(0)
    os.waitpid(pid, 0)
    assert list((path.parent / FOLDER).iterdir())


def test_one_at_a_time_and_nothing_is_left(tmp_path):
    mine, other = Leases(), Leases()
    with mine.held(tmp_path / "ep"):
        with pytest.raises(Busy, match=str(os.getpid())), other.held(tmp_path / "ep", wait=False):
            pass
        with other.held(tmp_path / "another", wait=False):
            pass
    with other.held(tmp_path / "ep", wait=False):
        pass
    assert not list((tmp_path / FOLDER).iterdir())


def test_who_waits_gets_it_when_it_is_free(tmp_path):
    order = []

    def second():
        with Leases().held(tmp_path / "ep"):
            order.append("second")

    with Leases().held(tmp_path / "ep"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_what_a_killed_holder_left_holds_nobody_up_on_its_machine(tmp_path):
    """Its lock went with it; the file that it left is taken over."""
    held_by_one_who_is_killed(tmp_path / "ep")
    begun_s = time.monotonic()
    with Leases().held(tmp_path / "ep"):
        pass
    assert time.monotonic() - begun_s < 5
    assert not list((tmp_path / FOLDER).iterdir())


def test_what_a_killed_holder_left_is_taken_away_and_what_is_held_is_not(tmp_path):
    held_by_one_who_is_killed(tmp_path / "ep")
    Leases().tidy(tmp_path / "ep")
    assert not list((tmp_path / FOLDER).iterdir())
    Leases().tidy(tmp_path / "ep")  # nothing there: nothing made, either
    with Leases().held(tmp_path / "ep"):
        Leases().tidy(tmp_path / "ep")
        assert list((tmp_path / FOLDER).iterdir())
    with elsewhere().held(tmp_path / "ep"):
        elsewhere("a").tidy(tmp_path / "ep")
        assert list((tmp_path / FOLDER).iterdir())


def test_a_holder_on_another_machine_is_waited_for_as_long_as_it_is_heard_of(tmp_path):
    """Longer than the time after which it would be dead if it were silent."""
    with elsewhere("a").held(tmp_path / "ep"):
        end_s = time.monotonic() + 2.5 * STALE_S
        other = elsewhere()
        while time.monotonic() < end_s:
            with pytest.raises(Busy), other.held(tmp_path / "ep", wait=False):
                pass
            time.sleep(BEAT_S)
    with other.held(tmp_path / "ep", wait=False):
        pass


@pytest.mark.parametrize("no_locks", [True, False])
def test_a_silent_holder_on_another_machine_is_taken_for_dead(tmp_path, no_locks):
    """No clocks are compared: what counts is how long this machine has heard nothing new."""
    pid = os.fork()
    if pid == 0:
        with elsewhere("a", no_locks=no_locks).held(tmp_path / "ep"):
            os._exit(0)
    os.waitpid(pid, 0)
    other = elsewhere(no_locks=no_locks)
    with pytest.raises(Busy), other.held(tmp_path / "ep", wait=False):
        pass
    begun_s = time.monotonic()
    with other.held(tmp_path / "ep"):
        assert time.monotonic() - begun_s > 0.5 * STALE_S


def test_a_folder_that_is_not_there_or_cannot_be_written_to_says_so(tmp_path):
    with pytest.raises(AutofocusError, match="lease"), Leases().held(tmp_path / "none/ep"):
        pass
    assert not (tmp_path / "none").exists()
    (tmp_path / ".autofocus").write_text("a file")
    with pytest.raises(AutofocusError, match="permissions"), Leases().held(tmp_path / "ep"):
        pass
