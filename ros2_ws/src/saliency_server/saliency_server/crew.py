"""Workers as processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

from saliency_server.batch import Died, Done, Job, Told
from saliency_server.course import Progress
from saliency_server.item import Outcome, Work
from saliency_server.threads import limit_threads

WAIT_S = 0.2
END_S = 3.0


class LocalCrew:
    """`count` processes that have loaded nothing of this one; told: hears how far each episode is."""

    def __init__(self, work: Work, count: int, told: Told) -> None:
        limit_threads(work.threads)  # before they start: the environment is theirs, too
        # Not forked: OpenCV's and ROS's threads do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        self._work, self._told = work, told
        self._workers = [_Worker(self._context, work) for _ in range(count)]

    @property
    def pids(self) -> list[int]:
        """Of the workers that are there now."""
        return [worker.process.pid for worker in self._workers]

    def idle(self) -> int:
        """See `batch.Crew`."""
        return sum(worker.is_idle for worker in self._workers)

    def give(self, job: Job) -> None:
        """See `batch.Crew`."""
        worker = next(worker for worker in self._workers if worker.is_idle)
        worker.job = job
        with contextlib.suppress(OSError):  # it has just died: wait() finds out
            worker.pipe.send(job)

    def wait(self) -> list[Done | Died]:
        """See `batch.Crew`."""
        wait([each for worker in self._workers for each in (worker.pipe, worker.process.sentinel)], WAIT_S)
        events: list[Done | Died] = []
        for k, worker in enumerate(self._workers):
            events += self._heard(worker)
            if worker.is_gone:
                why = worker.end(END_S)
                if worker.job is not None or not worker.ready:
                    events.append(Died(worker.job, why))
                self._workers[k] = _Worker(self._context, self._work)
        return events

    def close(self) -> None:
        """See `batch.Crew`."""
        for worker in self._workers:
            worker.pipe.close()  # it leaves when it next says something
        end_s = time.monotonic() + END_S
        for worker in self._workers:
            worker.end(max(0.0, end_s - time.monotonic()))

    def _heard(self, worker: _Worker) -> list[Done]:
        done = []
        try:
            while worker.pipe.poll():
                message = worker.pipe.recv()
                if isinstance(message, Outcome):
                    done.append(Done(worker.job, message))
                    worker.job = None
                elif isinstance(message, Progress):
                    self._told(worker.job.path, message)
                else:
                    worker.ready = True
        except (EOFError, OSError):
            worker.is_gone = True
        return done


class _Worker:
    """One process, and the job that it has."""

    def __init__(self, context: multiprocessing.context.SpawnContext, work: Work) -> None:
        self.pipe, its = context.Pipe()
        self.process = context.Process(target=_serve, args=(its, work), daemon=True, name="annotate")
        # Ctrl-C goes to the whole group, and the first process decides: in this one it stays blocked from its start on.
        resource_tracker.ensure_running()  # whose start would unblock it again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        its.close()  # else its end would not be seen
        self.job: Job | None = None
        self.ready = self.is_gone = False

    @property
    def is_idle(self) -> bool:
        return self.ready and self.job is None and not self.is_gone

    def end(self, patience_s: float) -> str:
        """Wait for its end, or make one; how it ended."""
        self.process.join(patience_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        self.process.close()
        self.pipe.close()
        return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"


def _serve(pipe: Connection, work: Work) -> None:
    """In the worker: one job after the other, until the other end is closed."""
    limit_threads(work.threads)

    def say(message: object) -> None:
        try:
            pipe.send(message)
        except OSError:  # nobody is there any more: that is no failure of the episode
            raise SystemExit(0) from None

    say("ready")
    while True:
        try:
            job: Job = pipe.recv()
        except (EOFError, OSError):
            return
        say(work.annotate(Path(job.path), job.wait, say))
