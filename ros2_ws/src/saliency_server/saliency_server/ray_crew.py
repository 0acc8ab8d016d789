"""Workers as actors of a Ray cluster, or of one that is started here for the batch."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autofocus_core.errors import AutofocusError

from saliency_server.batch import Died, Done, Job
from saliency_server.item import Work
from saliency_server.models.spec import need
from saliency_server.pipeline import code_version
from saliency_server.threads import limit_threads

if TYPE_CHECKING:
    from types import ModuleType

LOCAL = "local"
LOOPBACK = "127.0.0.1"
SHORT_PATH = 20
WAIT_S, REACH_S = 0.5, 10.0
STORE_BYTES = 100 * 2**20  # nothing but paths and outcomes goes over Ray


class RayCrew:
    """`count` actors, each with one processor and, where a model runs in it and the cluster has any, one GPU; None: as
    many as the cluster has room for.

    address: "local", for a cluster of this machine's own on loopback and only for this batch, or that of a running one
    ("auto", "HOST:PORT", "ray://HOST:PORT"). Every node must see the episodes under the same path and have this very
    code. folder: of Ray's own files, "" for a cluster that is not ours. AutofocusError where Ray is not installed or
    cannot be reached.
    """

    def __init__(self, work: Work, address: str, count: int | None) -> None:
        self.folder = ""
        self._ray = _connect(self, address, count)
        self._work = self._ray.put(work)
        has = self._ray.cluster_resources()
        gpus = 1 if has.get("GPU", 0) >= 1 and _runs_models(work) else 0  # without, Ray hides them from the actor
        room = int(has["GPU"] if gpus else has.get("CPU", 1))
        self._actor = self._ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)(_Worker)
        #: actor -> its job and the call that does it; the first call only says that it is there
        self._calls: dict[Any, tuple[Job | None, Any]] = {}
        self._actors: list[Any] = []
        self._pids: dict[Any, int] = {}
        for _ in range(count or max(1, room)):
            self._start()

    @property
    def pids(self) -> list[int]:
        """Of the actors that are there now, each on its own node."""
        return [self._pids[actor] for actor in self._actors if actor in self._pids]

    def idle(self) -> int:
        """See `batch.Crew`."""
        return len(self._actors) - len(self._calls)

    def give(self, job: Job) -> None:
        """See `batch.Crew`."""
        actor = next(actor for actor in self._actors if actor not in self._calls)
        self._calls[actor] = (job, actor.annotate.remote(str(job.path), job.wait))

    def wait(self) -> list[Done | Died]:
        """See `batch.Crew`."""
        calls = {call: actor for actor, (_, call) in self._calls.items()}
        ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=WAIT_S)
        events: list[Done | Died] = []
        for call in ready:
            actor = calls[call]
            job, _ = self._calls.pop(actor)
            try:
                answer = self._ray.get(call)
            except self._ray.exceptions.RayActorError as error:
                self._actors.remove(actor)
                events.append(Died(job, " ".join(str(error).split())[:300]))
                self._start()
                continue
            if job is None:
                self._pids[actor] = _same_code(answer)
            else:
                events.append(Done(job, answer))
        return events

    def close(self) -> None:
        """See `batch.Crew`. A cluster of our own ends with it."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        actor = self._actor.remote(self._work)
        self._actors.append(actor)
        self._calls[actor] = (None, actor.code.remote())

    def own_folder(self) -> str:
        """For Ray's sockets and logs: a short path, for a socket's name has a hundred characters."""
        usual = tempfile.gettempdir()
        self.folder = tempfile.mkdtemp(prefix="af-ray-", dir=usual if len(usual) <= SHORT_PATH else "/tmp")
        return self.folder


class _Worker:
    """In the actor."""

    def __init__(self, work: Work) -> None:
        limit_threads(work.threads)
        self._work = work

    def code(self) -> tuple[str, int, str]:
        """Node, process and version of the sources."""
        return socket.gethostname(), os.getpid(), code_version()

    def annotate(self, path: str, wait: bool) -> Any:
        return self._work.annotate(Path(path), wait)


def _connect(crew: RayCrew, address: str, count: int | None) -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ours: dict[str, Any] = {"address": address}
    if address == LOCAL:
        # On loopback and with a token: by itself Ray listens on every address of the machine.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray = need("ray", "ray")
    if address == LOCAL:
        ours |= {"num_cpus": count, "include_dashboard": False, "object_store_memory": STORE_BYTES,
                 "_temp_dir": crew.own_folder()}
    try:
        _reachable(address)
        ray.init(**ours, log_to_driver=False, logging_level="ERROR", configure_logging=True)
    except (RuntimeError, ValueError, OSError) as error:
        if crew.folder:
            shutil.rmtree(crew.folder, ignore_errors=True)
        raise AutofocusError(
            f"--ray {address}", " ".join(str(error).split())[:300], "local, or the address of a running Ray cluster",
            "start one with `ray start --head`, or leave --ray out: --workers N uses this machine",
        ) from error
    where = ray.util.get_node_ip_address()
    if address == LOCAL and where != LOOPBACK:
        ray.shutdown()
        raise AutofocusError("--ray local", f"Ray listens on {where}", LOOPBACK, "start it in a process of its own")
    return ray


def _reachable(address: str) -> None:
    """Raise OSError at once where nobody listens: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()


def _runs_models(work: Work) -> bool:
    """Whether a model is loaded into the worker."""
    return any(spec.startswith("transformers:") for spec in (work.options.vlm, work.options.detect, work.options.masks))


def _same_code(answer: tuple[str, int, str]) -> int:
    """The actor's process."""
    node, pid, version = answer
    if version != code_version():
        raise AutofocusError(
            f"--ray: node {node}", f"saliency_server with sources {version}", f"{code_version()}, as here",
            "install the same version on every node: annotations would differ",
        )
    return pid
