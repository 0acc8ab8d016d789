"""The quality report of a folder: every episode in it, annotated or not, as JSON and as a table for a terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from autofocus_core.annotation import read_annotation
from autofocus_core.episode import annotation_path, episode_paths, load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.files import write_atomic
from rich.console import Console
from rich.table import Table
from rich.text import Text

from saliency_server.failures import read_failure
from saliency_server.lease import LEASES
from saliency_server.quality import Quality, judge

REPORT_FILE = "annotation_report.json"
REPORT_SCHEMA = 1
MOST_ROWS, MOST_DOUBTFUL, MOST_DOUBTS = 30, 10, 2
COLOURS = {"annotated": "", "incomplete": "yellow", "failed": "red", "not annotated": "yellow"}


def make_report(
    folder: Path, known: Mapping[Path, Quality] | None = None, seen: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Of all episodes in a folder (or of the one that it is), the worst first.

    known: what is known of some already, by resolved path; the others are read. seen: called after each.
    """
    rows = []
    for path in episode_paths(folder):
        rows.append(_row(path, (known or {}).get(path.resolve())))
        seen()
    rows.sort(key=lambda row: (-row["worst"], row["episode"]))
    return {"schema": REPORT_SCHEMA, "total": _total(rows), "episodes": rows}


def write_report(folder: Path, report: dict[str, Any]) -> Path:
    """Write it into the folder, in one step; its path. AutofocusError where the folder cannot be written to."""
    path = folder / REPORT_FILE
    text = json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    with LEASES.held(path):
        try:
            write_atomic(path, text.encode("utf-8", "replace").decode())
        except OSError as error:
            raise AutofocusError(
                f"report {path}", error.strerror or str(error), "a folder that can be written to",
                "check its permissions and the space left",
            ) from error
    return path


def print_report(report: dict[str, Any], folder: Path, console: Console) -> None:
    """The table, worst episodes first, and the totals. Names and reasons are printed as they are."""
    rows, total = report["episodes"], report["total"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("episode", overflow="fold")  # the one that shrinks where there is no room
    table.add_column("", no_wrap=True)
    for name in ("valid", "least", "conf.", "jumps", "switch", "asked", "s", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows[:MOST_ROWS]:
        table.add_row(Text(row["episode"]), Text(row["status"], COLOURS[row["status"]]), *_cells(row))
    if len(rows) > MOST_ROWS:
        table.add_row(Text(f"{len(rows) - MOST_ROWS} better ones", "dim"))
    table.add_section()
    table.add_row(Text("all", "bold"), Text(f"{total['status']['annotated']} of {len(rows)}", "bold"), *_cells(total))
    console.print(Text(str(folder), "bold"), soft_wrap=True)
    console.print(table)
    for name, share in total["coverage"].items():
        told = f"  {name}: valid in {share:.1%} of the frames, mean confidence {total['confidence'][name]:.2f}"
        console.print(Text(told), soft_wrap=True)
    doubtful = [row for row in rows if row["doubts"]]
    for row in doubtful[:MOST_DOUBTFUL]:
        more = len(row["doubts"]) - MOST_DOUBTS
        texts = [_cut(doubt) for doubt in row["doubts"][:MOST_DOUBTS]] + ([f"{more} more"] if more > 0 else [])
        console.print(Text.assemble((row["episode"], "bold"), ": ", "; ".join(texts)), soft_wrap=True)
    if len(doubtful) > MOST_DOUBTFUL:
        console.print(Text(f"and {len(doubtful) - MOST_DOUBTFUL} more with doubts: autofocus review shows them", "dim"))


def _row(path: Path, quality: Quality | None) -> dict[str, Any]:
    failure = read_failure(path)
    why = "" if failure is None else failure.brief
    if quality is None or why:
        quality = _read(path, why)
    status = "incomplete" if quality.unanswered else "annotated" if quality.frames else "not annotated"
    status = "failed" if why else status
    figures = dataclasses.asdict(quality) | {"doubts": list(quality.doubts)}
    return {"episode": path.name, "status": status} | {key: _rounded(value) for key, value in figures.items()}


def _read(path: Path, failure: str) -> Quality:
    episode = annotation = None
    problem = ""
    try:
        episode = load_episode(path)
        if annotation_path(path).is_dir():
            annotation = read_annotation(path)
    except AutofocusError as error:
        problem = f"{error.where}: {error.got}"
    except (LookupError, TypeError, ValueError) as error:  # JSON that is none of ours
        problem = f"annotation: damaged ({type(error).__name__})"
    return judge(episode, annotation, problem, failure)


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums, and means over the frames of those that are annotated."""
    frames = sum(row["frames"] for row in rows)
    names = sorted({name for row in rows for name in row["coverage"]})

    def mean(of: Callable[[dict[str, Any]], float | None]) -> float:
        pairs = [(of(row), row["frames"]) for row in rows if row["frames"] and of(row) is not None]
        values, weights = zip(*pairs, strict=True) if pairs else ((0.0,), (1,))
        return round(float(np.average(values, weights=weights)), 4)

    return {
        "episodes": len(rows),
        "status": {status: sum(row["status"] == status for row in rows) for status in COLOURS},
        "frames": frames,
        "valid_share": mean(lambda row: row["valid_share"]),
        "coverage": {name: mean(lambda row, name=name: row["coverage"].get(name)) for name in names},
        "confidence": {name: mean(lambda row, name=name: row["confidence"].get(name)) for name in names},
        **{key: sum(row[key] for row in rows) for key in ("jumps", "switches", "questions", "unanswered")},
        **{key: round(sum(row[key] for row in rows), 4) for key in ("seconds", "cost")},
    }


def _cells(row: dict[str, Any]) -> list[str]:
    """The figures of a row, or of the total; "-" where there is no annotation."""
    if not row["frames"]:
        return ["-"] * 8
    least = min(row["coverage"].values(), default=0.0)
    confidence = min(row["confidence"].values(), default=0.0)
    cost = f"{row['cost']:.3g}" if row["cost"] else "-"
    return [
        f"{row['valid_share']:.0%}", f"{least:.0%}", f"{confidence:.2f}", str(row["jumps"]), str(row["switches"]),
        str(row["questions"]), f"{row['seconds']:.1f}", cost,
    ]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _cut(text: str, most: int = 160) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
