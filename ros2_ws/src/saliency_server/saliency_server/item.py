"""One episode of a batch: annotated under its lease and written, or a record of why not."""

from __future__ import annotations

import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_core.annotation import Annotation, read_annotation, write_annotation
from autofocus_core.bag_writer import is_being_written
from autofocus_core.episode import annotation_path, load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Robot, Task

from saliency_server.backends import ASKING
from saliency_server.course import WAIT, Progress, Tell, silent
from saliency_server.failures import failure_path, forget_failure, note_failure
from saliency_server.lease import LEASES, Busy
from saliency_server.options import Options
from saliency_server.pipeline import annotate_episode, content_key, prepare_task
from saliency_server.prepare import Prepared
from saliency_server.quality import Quality, judge

#: "busy" is no outcome of a batch: somebody else has the episode, it comes later.
STATUSES = ("annotated", "up to date", "incomplete", "failed")
BUSY = "busy"
LEFTOVERS = (".partial", ".old")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one episode: status "annotated", "up to date", "incomplete" (annotated, but a question about it
    got no answer: it is done again the next time), "failed" or, where nobody waited for somebody else, "busy";
    coverage: camera/object -> share of valid frames; error: the message of a failed or incomplete one; seen: those of
    the objects that were somewhere, chosen or not; quality: None of a failed one."""

    path: Path
    status: str
    frames: int
    coverage: dict[str, float]
    seconds: float
    error: str
    seen: tuple[str, ...] = ()
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with each episode of a batch; prepared: see `annotate_file`; threads: for a model's
    arithmetic, in each worker."""

    robot: Robot
    task: Task
    options: Options
    force: bool = False
    prepared: Prepared | None = None
    threads: int = 1

    def annotate(self, path: Path, wait: bool = True, tell: Tell = silent) -> Outcome:
        """See `annotate_file`."""
        return annotate_file(
            path, self.robot, self.task, self.options, self.force, self.prepared, wait=wait, tell=tell
        )


def annotate_file(
    path: Path, robot: Robot, task: Task, options: Options, force: bool = False, prepared: Prepared | None = None,
    *, wait: bool = True, tell: Tell = silent,
) -> Outcome:
    """Annotate one episode and write it beside the episode, unless an annotation with the same content key is there.

    prepared: the task's description; None: that which lies beside the episode, or made from this one. wait: for
    somebody else who has the episode now. Whatever goes wrong with it becomes an outcome "failed", with a record beside
    the episode: one bad bag, or a bug that it brings to light, does not stop the others.
    """
    begun_s = time.perf_counter()
    try:
        annotation, is_new = _annotated(path, robot, task, options, force, prepared, wait, tell)
        quality = judge(load_episode(path), annotation, "")
    except Busy as busy:
        return Outcome(path, BUSY, 0, {}, time.perf_counter() - begun_s, f"in hand by {busy}")
    except Exception as error:
        return failed(path, *_told(path, error), time.perf_counter() - begun_s)
    unanswered = annotation.provenance.get("unanswered", [])
    return Outcome(
        path,
        "incomplete" if unanswered else "annotated" if is_new else "up to date",
        sum(len(camera.stamps_ns) for camera in annotation.cameras),
        quality.coverage,
        time.perf_counter() - begun_s,
        "; ".join(f"a question without an answer: {problem}" for problem in unanswered),
        tuple(
            f"{c.camera}/{thing.name}" for c in annotation.cameras for thing in c.objects
            if not np.isnan(thing.boxes_px).all()
        ),
        quality,
    )


def failed(path: Path, error: str, trace: str = "", seconds: float = 0.0) -> Outcome:
    """The outcome of an episode that failed, with the record of it beside the episode, where one can be written.

    Where somebody else has the episode meanwhile, it is for them to say how that ends.
    """
    try:
        if path.exists():
            with LEASES.held(path, wait=False):
                note_failure(path, error, trace)
    except Busy:
        pass
    except (OSError, AutofocusError) as unwritten:  # a full disk, or one that is read-only: still told in the batch
        error = f"{error}\nno record of it could be written: {' '.join(str(unwritten).split())}"
    return Outcome(path, "failed", 0, {}, seconds, error)


def _annotated(
    path: Path, robot: Robot, task: Task, options: Options, force: bool, prepared: Prepared | None, wait: bool,
    tell: Tell,
) -> tuple[Annotation, bool]:
    """The annotation, and whether it was made now."""
    if prepared is None and options.describe in ASKING:
        prepared = prepare_task([path], robot, task, options)
    key = content_key(path, robot, task, options, prepared)
    present = None if force else _present(path, key)
    if present is not None and not _leftovers(path) and not failure_path(path).exists():
        LEASES.tidy(path)
        return present, False  # without its lease: the folder need not even be writable
    if wait:
        tell(Progress(WAIT))
    with LEASES.held(path, wait=wait):
        for leftover in _leftovers(path):
            shutil.rmtree(leftover)
        present = None if force else _present(path, key)
        if present is None:
            annotation = annotate_episode(path, robot, task, options, prepared, tell)
            tell(Progress("write"))
            try:
                write_annotation(annotation, path)
            except BaseException:
                for leftover in _leftovers(path):  # a full disk gets its space back at once
                    shutil.rmtree(leftover, ignore_errors=True)
                raise
        forget_failure(path)
    return present or annotation, present is None


def _present(path: Path, key: str) -> Annotation | None:
    """The annotation that is there if it has this content key, else None (also where it is damaged, or where a question
    about it got no answer: made anew)."""
    try:
        annotation = read_annotation(path)
    except (AutofocusError, LookupError, TypeError, ValueError):
        return None
    if annotation.provenance.get("content_key") != key or annotation.provenance.get("unanswered"):
        return None
    return annotation


def _leftovers(path: Path) -> list[Path]:
    """What somebody who was killed has left of this episode's annotation."""
    target = annotation_path(path)
    found = [target.with_name(target.name + suffix) for suffix in LEFTOVERS]
    return [folder for folder in found if folder.is_dir() and not is_being_written(folder)]


def _told(path: Path, error: Exception) -> tuple[str, str]:
    """What people are told, and the traceback where it is a bug."""
    if isinstance(error, AutofocusError):
        return str(error), ""
    if isinstance(error, OSError):
        told = AutofocusError(
            f"episode {path}", error.strerror or str(error), "files that can be read and written",
            "check disk, space and permissions, and annotate it again",
        )
        return str(told), ""
    told = AutofocusError(
        f"episode {path}", f"{type(error).__name__}: {error}", "an annotation",
        "this is a bug: report it with the traceback that lies beside the episode",
    )
    return str(told), traceback.format_exc()
