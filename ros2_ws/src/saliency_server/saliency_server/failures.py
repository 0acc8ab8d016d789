"""EPISODE.annotation.failed.json: why an episode could not be annotated, until it can."""

from __future__ import annotations

import datetime
import json
import socket
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.files import write_atomic
from autofocus_core.names import ANNOTATION_FAILED_SUFFIX

FAILURE_SCHEMA = 1
MAX_CHARS, MAX_BRIEF = 8000, 300


@dataclass(frozen=True, slots=True)
class Failure:
    """error: as people are told; trace: a traceback where it was a bug, else ""; when: UTC, ISO 8601; host: where."""

    error: str
    trace: str
    when: str
    host: str

    @property
    def brief(self) -> str:
        """What was found wrong, in one line."""
        _, found, rest = self.error.partition("\n  got:")
        return " ".join((rest.partition("\n  allowed:")[0] if found else self.error).split())[:MAX_BRIEF]


def failure_path(episode: Path) -> Path:
    """Where an episode's record of failure lies, if it has one."""
    return episode.with_name(episode.name + ANNOTATION_FAILED_SUFFIX)


def note_failure(episode: Path, error: str, trace: str = "") -> None:
    """Write the record, replacing an older one. Raises OSError where the folder cannot be written to."""
    document = {
        "schema": FAILURE_SCHEMA,
        "episode": episode.name,
        "error": error[:MAX_CHARS],
        "trace": trace[-MAX_CHARS:],
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
    }
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    write_atomic(failure_path(episode), text.encode("utf-8", "replace").decode())


def forget_failure(episode: Path) -> None:
    """It is annotated now."""
    failure_path(episode).unlink(missing_ok=True)


def read_failure(episode: Path) -> Failure | None:
    """The record, None where there is none; of one that cannot be read that much is told."""
    path = failure_path(episode)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        texts = [document[key] for key in ("error", "trace", "when", "host")]
        if document["schema"] != FAILURE_SCHEMA or not all(isinstance(text, str) for text in texts):
            raise ValueError
        return Failure(*texts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return Failure(f"{path.name} cannot be read; annotate the episode again", "", "", "")
