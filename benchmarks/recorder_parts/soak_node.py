"""The hands of a soak: publishers, a recorder, episodes one after the other; each is audited, checked and deleted."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from autofocus_cli.demo.processes import Process, ProcessGroup
from autofocus_cli.episodes.checking import check_episode
from autofocus_core.episode import load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import QualityRules
from demo_recorder.recovery import recover
from std_srvs.srv import SetBool

from recorder_parts.audit import EDGE_NS, audit, recorded, storage_files
from recorder_parts.payloads import NS_PER_S
from recorder_parts.publications import Publications, read_publications
from recorder_parts.soak_plan import DISCARD, KILL, RESTART, Episode, Planned, verdict_problems
from recorder_parts.trial_node import Client, recorder_argv, spawn_publisher
from recorder_parts.workloads import Workload

NODE = "/demo_recorder"
START_TIMEOUT_S, ANSWER_TIMEOUT_S = 60.0, 4.0
#: A publisher that was late by more than so many periods once, or by half a period with more than such a share of its
#: messages, is what the verdict is about, not the recorder: 1 % of gaps and 3.5 periods are what "good" allows.
LATE_PERIODS, LATE_INTERVAL, LATE_SHARE = 3.0, 1.5, 0.005
#: From the issue's figure for a kill: so much of each stream may be lost at most.
MAX_TAIL_S = 1.0
WORKING_SUFFIX = ".recording"


class Soak:
    """One recorder (again and again, if it is killed), its publishers, and the folder they work in."""

    def __init__(
        self, caller: Client, group: ProcessGroup, workload: Workload, folder: Path, split_mb: int,
        look: Callable[[], int],
    ) -> None:  # fmt: skip
        """`look` is called when most is on the disk."""
        self.life = -1
        self._caller, self._group, self._workload, self._folder = caller, group, workload, folder
        self._joints = workload.streams[len(workload.cameras) :]
        self._output, self._log = folder / "bags", folder / "published"
        self._split_mb, self._look = split_mb, look
        self._begin_s = time.monotonic()
        self._publisher_life = 0
        self._joint_publisher = self._spawn_joints()
        self._recorder: Process | None = None
        spawn_publisher(group, "cameras", workload.cameras, self._log)

    @property
    def pid(self) -> int | None:
        """Of the recorder, None while there is none."""
        return None if self._recorder is None else self._recorder.popen.pid

    def spawn_recorder(self) -> None:
        """Start the recorder, the first one or the next."""
        self.life += 1
        argv = recorder_argv("autofocus", self._workload, self._folder)
        self._recorder = self._group.spawn("recorder", [*argv, "-p", f"max_file_mb:={self._split_mb}"])
        self._caller.state = ""

    def _start(self) -> None:
        """Ask until it records. For some time after a kill the services of the dead recorder seem to be there still,
        and a request goes nowhere; so what counts is the recorder's own word."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._caller.trigger(f"{NODE}/start", ANSWER_TIMEOUT_S)
                return
            except AutofocusError:
                self._group.check()
                if self._caller.state == "recording":
                    return
                if time.monotonic() > deadline_s:
                    raise

    def run(self, planned: Planned, seconds: float) -> Episode:
        """Record one episode as planned, and look at it closely."""
        if self._recorder is None:
            self.spawn_recorder()
        episode = Episode(planned.number, planned.kind, self.life, time.monotonic() - self._begin_s)
        self._start()
        start_ns = time.time_ns()
        if planned.kind == KILL:
            self._kill(episode, seconds, start_ns)
        else:
            self._record(episode, planned, seconds, start_ns)
        episode.end_s = time.monotonic() - self._begin_s
        self._group.check()
        return episode

    def _record(self, episode: Episode, planned: Planned, seconds: float, start_ns: int) -> None:
        self._caller.rest(seconds / 2)
        if planned.kind == RESTART:
            self._group.end(self._joint_publisher)
            self._publisher_life += 1
            self._joint_publisher = self._spawn_joints()
        self._caller.rest(seconds / 2)
        self._caller.call(f"{NODE}/outcome", SetBool, SetBool.Request(data=planned.success))
        verb = "discard" if planned.kind == DISCARD else "stop"
        stop_ns = time.time_ns()
        path = Path(self._caller.trigger(f"{NODE}/{verb}"))
        assert self.pid is not None
        episode.threads = len(os.listdir(f"/proc/{self.pid}/task"))
        episode.files = len(os.listdir(f"/proc/{self.pid}/fd"))
        self._audit(episode, path, start_ns, stop_ns)
        outcome = "success" if planned.success else "failure"
        meta = load_episode(path).meta
        self._require(episode, meta is not None and meta.outcome == outcome, f"outcome is not {outcome}")
        if planned.kind == DISCARD:
            kept = path.parent.name == ".discarded" and not (self._output / path.name).exists()
            self._require(episode, kept, f"a discarded episode at {path}")
        shutil.rmtree(path)

    def _kill(self, episode: Episode, seconds: float, start_ns: int) -> None:
        assert self._recorder is not None
        self._caller.rest(seconds / 2)
        killed_ns = time.time_ns()
        self._recorder.popen.send_signal(signal.SIGKILL)
        self._recorder.popen.wait()
        self._group.end(self._recorder)
        self._recorder = None
        (working,) = self._output.glob(f"*{WORKING_SUFFIX}")
        found = recover(working, delete_original=True)
        published = self._published()
        ends_ns = dict.fromkeys(published, start_ns)
        for topic, counter, _ in recorded(found.path, self._workload.streams):
            ends_ns[topic] = max(ends_ns[topic], _time_of(published[topic], counter))
        episode.tail_s = (killed_ns - min(ends_ns.values())) / NS_PER_S
        self._require(episode, episode.tail_s <= MAX_TAIL_S, f"{episode.tail_s:.2f} s lost by the kill")
        self._audit(episode, found.path, start_ns, min(ends_ns.values()) + EDGE_NS)
        shutil.rmtree(found.path)

    def _audit(self, episode: Episode, path: Path, start_ns: int, stop_ns: int) -> None:
        self._look()
        published = self._published()
        accounts = audit(path, self._workload.streams, published, start_ns, stop_ns)
        episode.messages = sum(account.recorded for account in accounts)
        episode.bytes = sum(account.bytes for account in accounts)
        episode.splits = len(storage_files(path)) - 1
        episode.missing = sum(account.missing for account in accounts)
        episode.unmatched = sum(account.unmatched for account in accounts)
        episode.unreported = sum(account.unreported for account in accounts)
        episode.wrong = sum(account.doubled + account.foreign for account in accounts)
        for account in accounts:
            where = f"{account.head} at the start, {account.tail} at the end"
            text = f"{account.topic}: {account.missing} lost ({where}), {account.reported} reported"
            self._require(episode, not account.unreported, text)
            self._require(episode, not account.doubled + account.foreign, f"{account.topic}: doubled or foreign")
        checked = check_episode(path, QualityRules())
        episode.problems += [f"check: {problem}" for problem in checked.problems]
        episode.grade, episode.reasons = checked.recorded.grade, checked.recorded.reasons
        same = checked.verdict.grade == checked.recorded.grade
        self._require(episode, same, f"check says {checked.verdict.grade}, the sidecar {episode.grade}")
        late = any(self._late(published[s.topic], s.rate_hz, start_ns, stop_ns) for s in self._workload.streams)
        episode.late = late or episode.missing > 0
        episode.problems += verdict_problems(episode, episode.reasons)

    @staticmethod
    def _late(published: Publications, rate_hz: float, start_ns: int, stop_ns: int) -> bool:
        times_ns = published.times_ns[published.between(start_ns, stop_ns)]
        if len(times_ns) < 2:
            return True
        periods = np.diff(times_ns) * rate_hz / NS_PER_S
        return bool(periods.max() > LATE_PERIODS or (periods > LATE_INTERVAL).mean() > LATE_SHARE)

    @staticmethod
    def _require(episode: Episode, true: bool, otherwise: str) -> None:
        if not true:
            episode.problems.append(otherwise)

    def _published(self) -> dict[str, Publications]:
        return read_publications(self._log, [stream.topic for stream in self._workload.streams])

    def _spawn_joints(self) -> Process:
        return spawn_publisher(self._group, "joints", self._joints, self._log, self._publisher_life)


def _time_of(published: Publications, counter: int) -> int:
    index = int(np.searchsorted(published.counters, counter))
    known = index < len(published.counters) and published.counters[index] == counter
    return int(published.times_ns[index]) if known else 0


def disk_bytes(folder: Path) -> int:
    """What a folder's files take on the disk; what vanishes meanwhile is left out."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_blocks * 512 if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def watch_disk(folder: Path) -> Callable[[], int]:
    """A function that looks at a folder's size and gives the largest seen so far."""
    peak = 0

    def look() -> int:
        nonlocal peak
        peak = max(peak, disk_bytes(folder))
        return peak

    return look
