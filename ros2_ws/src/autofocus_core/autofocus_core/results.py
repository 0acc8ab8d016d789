"""The one home of measured figures: `benchmarks/results/<part>.json`, written by the code that measures."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from autofocus_core.errors import AutofocusError

#: Keys of a row, in order. `target` is a text such as ">= 0.85"; `ok` says whether `value` meets it.
ROW_KEYS = ("name", "value", "unit", "target", "ok", "command", "commit", "date")


def results_dir() -> Path:
    """`$AUTOFOCUS_RESULTS`, else `benchmarks/results` of the checkout that holds the working directory."""
    if os.environ.get("AUTOFOCUS_RESULTS"):
        return Path(os.environ["AUTOFOCUS_RESULTS"])
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "benchmarks" / "results").is_dir():
            return folder / "benchmarks" / "results"
    raise AutofocusError(
        "measured figures",
        f"no benchmarks/results above {Path.cwd()}",
        "a checkout of this project, or a folder in AUTOFOCUS_RESULTS",
        "run it inside the checkout or set AUTOFOCUS_RESULTS",
    )


def record(
    part: str, name: str, value: float, unit: str, target: str, ok: bool, command: str, folder: Path | None = None
) -> dict:
    """Write one row to `<part>.json`, replacing the row of the same name; returns the row.

    `command` is what reproduces the figure. Commit (with "+" where the tree was changed) and UTC date are added here.
    """
    path = (folder or results_dir()) / f"{part}.json"
    row = dict(
        zip(ROW_KEYS, (name, value, unit, target, bool(ok), command, commit(path.parent), _today()), strict=True)
    )
    with _alone(path.parent):
        kept = [old for old in rows(part, path.parent) if old["name"] != name]
        kept = sorted([*kept, row], key=lambda r: r["name"])
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, suffix=".tmp") as file:
            file.write(json.dumps(kept, indent=1) + "\n")
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    return row


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of two processes that record at a time neither loses the other's row."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def rows(part: str, folder: Path | None = None) -> list[dict]:
    """The rows of one part, by name; empty where nothing was measured."""
    path = (folder or results_dir()) / f"{part}.json"
    return json.loads(path.read_text()) if path.exists() else []


def table(parts: Iterable[str] | None = None, folder: Path | None = None) -> str:
    """A Markdown table of the rows of `parts` (None: of every part that has been measured)."""
    folder = folder or results_dir()
    chosen = sorted(path.stem for path in folder.glob("*.json")) if parts is None else list(parts)
    lines = ["| part | figure | value | target | met | commit | date |", "|---|---|---|---|---|---|---|"]
    for part in chosen:
        path = folder / f"{part}.json"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none yet"
            fix = "measure it first (make bench), or name a known part"
            raise AutofocusError(str(path), "no such results", known, fix)
        for row in json.loads(path.read_text()):
            value = f"{row['value']:.4g}" if isinstance(row["value"], float) else str(row["value"])
            met = "yes" if row["ok"] else "**no**"
            cells = (part, row["name"], f"{value} {row['unit']}", row["target"], met, row["commit"], row["date"])
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def commit(folder: Path) -> str:
    """The checkout's commit, with "+" where tracked files other than results differ from it; "unknown" outside one."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True).stdout.strip()

    found = git("rev-parse", "--short", "HEAD") or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!:/benchmarks/results")
    return found + ("+" if changed else "")


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
