"""Workers that die in the middle of a batch: processes of this machine, and actors of a Ray cluster."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing

import batch_episodes as be
import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.results import record
from autofocus_core.schema import load_robot, load_task
from deadly_work import ALWAYS, ONCE, DeadlyWork
from saliency_server.annotate import annotate_all
from saliency_server.batch import run
from saliency_server.crew import LocalCrew
from saliency_server.failures import failure_path, read_failure
from saliency_server.item import Work, annotate_file
from saliency_server.options import Options
from saliency_server.report import make_report

EPISODES, FRAMES = 6, 30
ROBOT, TASK = load_robot(be.CONFIG / "sim_arm.yaml"), load_task(be.CONFIG / "lift.yaml")

#: Annotates a folder over a Ray cluster of its own and kills one of its two workers after the first outcome.
RAY = '''
import json, os, signal, sys
from contextlib import closing
from pathlib import Path
from autofocus_core.schema import load_robot, load_task
from saliency_server.batch import run
from saliency_server.item import Work
from saliency_server.options import Options
from saliency_server.ray_crew import RayCrew

folder, robot, task = map(Path, sys.argv[1:])
killed, statuses = 0, []
with closing(RayCrew(Work(load_robot(robot), load_task(task), Options()), "local", 2)) as crew:
    before = crew.folder
    for outcome in run(crew, sorted(folder.iterdir())):
        statuses.append(outcome.status)
        if not killed and len(crew.pids) == 2:
            killed = crew.pids[0]
            os.kill(killed, signal.SIGKILL)
    after = crew.pids
print(json.dumps({"statuses": statuses, "killed": killed, "after": after, "left": os.path.exists(before)}))
'''


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """(episodes, the bytes of their annotations by one process)."""
    folder = tmp_path_factory.mktemp("alone") / "all"
    for path in be.make(folder, EPISODES, FRAMES):
        assert annotate_file(path, ROBOT, TASK, Options()).status == "annotated"
    return folder, be.annotations(folder)


def test_a_killed_worker_loses_nothing(alone, tmp_path):
    """A pool of the standard library breaks as a whole when one of its processes is killed: the batch was lost."""
    folder = be.fresh(alone[0], tmp_path / "all")
    with closing(LocalCrew(Work(ROBOT, TASK, Options()), 2, lambda path, progress: None)) as crew:
        killed = 0
        statuses = []
        for outcome in run(crew, sorted(folder.glob("ep_*"))):
            statuses.append(outcome.status)
            if not killed:
                killed = crew.pids[0]
                os.kill(killed, signal.SIGKILL)
        assert killed not in crew.pids
    assert statuses == ["annotated"] * EPISODES
    assert be.annotations(folder) == alone[1] and not be.leftovers(folder)


def test_an_episode_that_kills_its_worker_fails_and_the_others_are_done(alone, tmp_path):
    """As one does that is too large for the memory. It is tried twice, then it is a failure with a record beside it,
    which the report shows and the next success takes away."""
    folder = be.fresh(alone[0], tmp_path / "all")
    work = DeadlyWork(ROBOT, TASK, Options(), once=str(tmp_path / "once"))
    with closing(LocalCrew(work, 2, lambda path, progress: None)) as crew:
        outcomes = {outcome.path.name: outcome for outcome in run(crew, sorted(folder.glob("ep_*")))}
    assert {name for name, outcome in outcomes.items() if outcome.status == "failed"} == {ALWAYS}
    assert len(outcomes) == EPISODES and outcomes[ONCE].status == "annotated"
    assert "SIGKILL" in outcomes[ALWAYS].error and "SIGKILL" in read_failure(folder / ALWAYS).brief
    rows = {row["episode"]: row for row in make_report(folder)["episodes"]}
    assert next(iter(rows)) == ALWAYS and rows[ALWAYS]["status"] == "failed"
    assert annotate_file(folder / ALWAYS, ROBOT, TASK, Options()).status == "annotated"
    assert not failure_path(folder / ALWAYS).exists()
    assert be.annotations(folder) == alone[1]


def test_a_bug_fails_its_episode_and_leaves_the_traceback(alone, tmp_path, monkeypatch):
    """One exception that nobody expected used to end the whole batch."""
    folder = be.fresh(alone[0], tmp_path / "all")
    monkeypatch.setattr("saliency_server.item.annotate_episode", lambda *_: 1 / 0)
    outcome = annotate_file(folder / "ep_00", ROBOT, TASK, Options())
    assert outcome.status == "failed" and "ZeroDivisionError" in outcome.error and "bug" in outcome.error
    assert "Traceback" in read_failure(folder / "ep_00").trace


def test_workers_that_cannot_start_end_the_batch_with_a_reason(tmp_path):
    class Broken:
        def idle(self):
            return 0

        def wait(self):
            from saliency_server.batch import Died

            return [Died(None, "exit status 1")]

    with pytest.raises(AutofocusError, match="exit status 1"):
        list(run(Broken(), [tmp_path / "a"]))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is not installed (saliency_server[ray])")
def test_ray_with_a_killed_worker_gives_the_bytes_of_one_process(alone, tmp_path):
    """Two actors, one of them killed after the first episode; everything of Ray is gone in the end."""
    folder = be.fresh(alone[0], tmp_path / "all")
    command = [sys.executable, "-c", RAY, str(folder), *be.CELL[1::2]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["statuses"] == ["annotated"] * EPISODES
    assert told["killed"] and told["killed"] not in told["after"] and not told["left"]
    found = be.annotations(folder)
    wrong = sum(found.get(name) != data for name, data in alone[1].items()) + len(found.keys() - alone[1].keys())
    command = "pytest tests/e2e/test_annotate_workers.py -k ray"
    name = "Ray, two workers, one killed: files that differ from one process's"
    record("annotation", name, wrong, "files", "0", not wrong, command)
    assert not wrong and not be.leftovers(folder)


def test_ray_that_is_not_installed_is_an_error_that_names_the_extra(tmp_path):
    be.make(tmp_path / "all", 1, 5)
    code = "import sys; sys.modules['ray'] = None; from saliency_server.annotate import cli; sys.exit(cli())"
    command = [sys.executable, "-c", code, str(tmp_path / "all"), *be.CELL, "--ray", "local"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "saliency_server[ray]" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is not installed (saliency_server[ray])")
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_an_error_at_once(tmp_path, scheme):
    """Ray itself tries for minutes."""
    be.make(tmp_path / "all", 1, 5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AutofocusError, match="ray start"):
            list(annotate_all([tmp_path / "all/ep_00"], ROBOT, TASK, Options(), 1, ray=address))


def test_nothing_heavy_is_loaded_for_a_batch_without_models():
    heavy = {"torch", "transformers", "ray", "openai", "uvicorn"}
    code = f"import sys, saliency_server.annotate, saliency_server.crew; print(*(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_threads_are_bounded_in_workers_and_before_torch_is_loaded(tmp_path):
    """N workers with as many threads as there are processors each stand in one another's way."""
    code = (
        "from saliency_server.threads import limit_threads; limit_threads(1); import os, cv2, torch; "
        "print(os.environ['OMP_NUM_THREADS'], cv2.getNumThreads(), torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1"]
