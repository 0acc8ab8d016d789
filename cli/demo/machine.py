"""What a run was made with: commit, date and machine, for the summary."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path


def describe_machine() -> dict:
    """Processor, cores this process may use, memory, system and Python."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def describe_commit(folder: Path) -> str:
    """Short commit of the checkout around `folder`, with "+" where files differ from it; "unknown" outside one."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True).stdout.strip()

    commit = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!:/benchmarks/results")
    return (commit or "unknown") + ("+" if commit and changed else "")


def now_utc() -> str:
    """The time now, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _first(path: str, key: str) -> str | None:
    file = Path(path)
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return None
