"""What the system knows of a process and of a folder: CPU time, memory, filesystem."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Runnable processes beside ours (averaged over a minute) from which figures are no longer trusted.
BUSY_LOAD = 0.7
_TICKS_HZ = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU time in s, user + system, of all threads of a process so far (without its children)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_HZ


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in bytes; `private` leaves out mapped files and the middleware's shared memory."""

    total: int
    private: int


def memory(pid: int) -> Memory:
    """Resident memory of a process; raises FileNotFoundError where it has gone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return Memory(kib.get("VmRSS", 0) << 10, kib.get("RssAnon", 0) << 10)


class MemorySampler:
    """Samples a process's memory on a thread; what is not there any more is left out."""

    def __init__(self, period_s: float, pid: Callable[[], int | None]) -> None:
        self.samples: list[tuple[float, Memory]] = []  # monotonic time in s
        self._pid, self._period_s = pid, period_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory sampler", daemon=True)

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._period_s):
            pid = self._pid()
            if pid is None:
                continue
            try:
                self.samples.append((time.monotonic(), memory(pid)))
            except (FileNotFoundError, ProcessLookupError):
                continue

    @property
    def peak(self) -> Memory:
        """The largest total and the largest private size seen."""
        if not self.samples:
            return Memory(0, 0)
        return Memory(max(m.total for _, m in self.samples), max(m.private for _, m in self.samples))


@dataclass(frozen=True, slots=True)
class Copy:
    """A file copy: CPU time, and wall time until it was on the disk."""

    bytes: int
    cpu_s: float
    wall_s: float


def copy_files(sources: list[Path], target: Path) -> Copy:
    """`cp` of some files into a new folder, each synced; nothing is shared with the original."""
    target.mkdir(parents=True)
    begin_s = time.monotonic()
    command = ["cp", "--reflink=never", "--sparse=never", *map(str, sources), str(target)]
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise OSError(f"{' '.join(command)}: exit {process.returncode}")
    for source in sources:
        handle = os.open(target / source.name, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    wall_s = time.monotonic() - begin_s
    return Copy(sum(source.stat().st_size for source in sources), used.ru_utime + used.ru_stime, wall_s)


def warn_if_busy() -> None:
    """Say so on stderr if other things are running: figures measured now are not worth keeping."""
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        print(f"this machine is busy (load average {load:.1f}): measure again when it is idle", file=sys.stderr)


def filesystem(path: Path) -> str:
    """Type, device and mount point of the filesystem that holds a folder, e.g. "ext4 on /dev/vda at /"."""
    path = path.resolve()
    best = ("?", "?", Path("/"))
    for line in Path("/proc/mounts").read_text().splitlines():
        device, mount, kind = line.split()[:3]
        point = Path(mount.replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= len(best[2].parts):
            best = (kind, device, point)
    return f"{best[0]} on {best[1]} at {best[2]}"
