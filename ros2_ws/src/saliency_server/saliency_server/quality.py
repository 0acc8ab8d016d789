"""How good an annotation looks without the truth: figures, what there is to doubt in words, and one number to sort by.

The review page and the report of a folder both go by these rules.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from autofocus_core.annotation import Annotation, CameraAnnotation, ObjectTrack
from autofocus_core.episode import Episode

JUMP_SHARE = 0.08  # of the diagonal, between neighbouring valid frames: as fast as no arm carries anything
SPEED_SHARE = 0.04  # of the diagonal per frame, over a gap: faster than anything is carried unseen
SAME_IOU, SAME_FRAMES = 0.8, 5  # two objects on one box for so long: one of them follows the other's thing
LOW_COVERAGE = 0.9  # an object valid in fewer of the frames is worth a look
LOW_CONFIDENCE = 0.5  # mean score of an object's valid frames
GRADE_WEIGHT = {"bad": 4.0, "usable": 1.0}
COVERAGE_WEIGHT, FRAMES_WEIGHT, JUMP_WEIGHT, MOST_JUMPS, UNANSWERED_WEIGHT = 10.0, 5.0, 4.0, 5, 5.0
SWITCH_WEIGHT, CONFIDENCE_WEIGHT = 6.0, 3.0
NOT_ANNOTATED, FAILED = 100.0, 50.0


@dataclass(frozen=True, slots=True)
class Quality:
    """worst: greater is worse; coverage: "camera/object" -> share of frames in which it is valid; confidence: likewise,
    mean score of its valid frames, 0 to 1; doubts: in words, the gravest first; jumps, switches: how many are
    suspected; questions: asked of a model; unanswered: of them; seconds, cost: what making it took, 0 where nobody
    wrote it down."""

    worst: float
    coverage: dict[str, float]
    valid_share: float
    frames: int
    doubts: tuple[str, ...]
    confidence: dict[str, float] = field(default_factory=dict)
    jumps: int = 0
    switches: int = 0
    questions: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    cost: float = 0.0


def judge(episode: Episode | None, annotation: Annotation | None, problem: str, failure: str = "") -> Quality:
    """problem: why the episode or its annotation cannot be read, "" where it can; failure: why annotating it failed the
    last time, "" where it did not."""
    grade = "unknown" if episode is None else episode.verdict.grade
    recorder = () if episode is None else tuple(f"recording: {why}" for why in episode.verdict.reasons)
    worst = GRADE_WEIGHT.get(grade, 0.0)
    failed = (f"annotating failed: {failure}",) if failure else ()
    if annotation is None:
        why = (*failed, *((problem,) if problem else ())) or ("not annotated",)
        return Quality(worst + NOT_ANNOTATED, {}, 0.0, 0, (*why, *recorder))
    found: list[tuple[float, str]] = [(FAILED, text) for text in failed]
    coverage: dict[str, float] = {}
    confidence: dict[str, float] = {}
    jumps = switches = 0
    valid = np.concatenate([camera.valid for camera in annotation.cameras])
    for camera in annotation.cameras:
        if not camera.objects:
            found.append((COVERAGE_WEIGHT, f"{camera.camera}: no object"))
        suspected = switched(camera)
        switches += len(suspected)
        for frame, text in suspected[:MOST_JUMPS]:
            found.append((SWITCH_WEIGHT, f"{text} at frame {frame}: followed the wrong thing?"))
        for track in camera.objects:
            name = f"{camera.camera}/{track.name}"
            share = coverage[name] = float(track.valid.mean()) if len(track.valid) else 0.0
            confidence[name] = float(track.score[track.valid].mean()) if track.valid.any() else 0.0
            if track.role != "robot" and share < LOW_COVERAGE:
                why = Counter(why for why in track.reason if why).most_common(1)
                text = f"{track.name}: valid in {share:.0%}" + (f", mostly {why[0][0]}" if why else "")
                found.append((COVERAGE_WEIGHT * (1 - share), text))
            if track.valid.any() and confidence[name] < LOW_CONFIDENCE:
                text = f"{track.name}: mean confidence {confidence[name]:.2f}"
                found.append((CONFIDENCE_WEIGHT * (1 - confidence[name]), text))
            far = jumped(track, (camera.height_px, camera.width_px))
            jumps += len(far)
            if len(far):
                text = f"{track.name}: jumps {len(far)} times, first at frame {far[0]}"
                found.append((JUMP_WEIGHT * min(MOST_JUMPS, len(far)), text))
    unanswered = annotation.provenance.get("unanswered", ())
    for question in unanswered:
        found.append((UNANSWERED_WEIGHT, f"a question without an answer: {question}"))
    recording = annotation.provenance.get("recording", {})
    if recording.get("lossy"):
        losses = recording["losses"]
        more = f", and {len(losses) - 1} more" if len(losses) > 1 else ""
        found.append((GRADE_WEIGHT["bad"], f"the recording is damaged, annotated as far as it goes: {losses[0]}{more}"))
    for topic, count in recording.get("dropped", {}).items():
        found.append((GRADE_WEIGHT["usable"], f"{topic}: {count} messages could not be decoded"))
    share = float(valid.mean()) if len(valid) else 0.0
    if share < LOW_COVERAGE:
        found.append((FRAMES_WEIGHT * (1 - share), f"{int((~valid).sum())} of {len(valid)} frames are not valid"))
    found.sort(key=lambda each: -each[0])
    total = worst + sum(weight for weight, _ in found)
    seconds, cost = (_number(annotation.run, *keys) for keys in (("seconds", "total"), ("cost",)))
    return Quality(
        total, coverage, share, len(valid), tuple(text for _, text in found) + recorder, confidence, jumps, switches,
        int(_number(annotation.provenance, "queries")), len(unanswered), seconds, cost,
    )


def jumped(track: ObjectTrack, size_px: tuple[int, int]) -> np.ndarray:
    """Frames (J,) in which a track is farther from its last frame than things move; size_px (height, width)."""
    seen, far_px = _steps(track)
    return seen[1:][(far_px > JUMP_SHARE * np.hypot(*size_px)) & (np.diff(seen) == 1)]


def switched(camera: CameraAnnotation) -> list[tuple[int, str]]:
    """(frame, what) where an object may have become another: it comes back after a gap where it cannot have got to, it
    jumps to where another was, or it stays on another's box."""
    diagonal_px = float(np.hypot(camera.height_px, camera.width_px))
    found: list[tuple[int, str]] = []
    things = [track for track in camera.objects if track.role != "robot"]
    for track in things:
        seen, far_px = _steps(track)
        gaps = np.diff(seen)
        reach_px = diagonal_px * np.maximum(JUMP_SHARE, SPEED_SHARE * gaps)
        for k in np.flatnonzero((gaps > 1) & (far_px > reach_px)):
            found.append((int(seen[k + 1]), f"{track.name}: comes back elsewhere"))
        for frame in jumped(track, (camera.height_px, camera.width_px)).tolist():
            for other in things:
                if other is track or not other.valid[frame - 1]:
                    continue
                if iou(track.boxes_px[frame], other.boxes_px[frame - 1]) > 0.0:
                    found.append((frame, f"{track.name}: jumps to where {other.name} was"))
    for k, one in enumerate(things):
        for other in things[k + 1 :]:
            same = one.valid & other.valid & (iou(one.boxes_px, other.boxes_px) > SAME_IOU)
            found += [(first, f"{one.name} and {other.name}: on one box") for first in _runs(same, SAME_FRAMES)]
    return sorted(found)


def _steps(track: ObjectTrack) -> tuple[np.ndarray, np.ndarray]:
    """Valid frames (V,), and how far (V - 1,) px its centre is from one to the next."""
    seen = np.flatnonzero(track.valid)
    centre = (track.boxes_px[seen, :2] + track.boxes_px[seen, 2:]) / 2
    return seen, np.hypot(*np.diff(centre, axis=0).T)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (...) of boxes (..., 4) x0 y0 x1 y1 with those of the same place; NaN where one is not
    there."""
    a, b = a.astype(float), b.astype(float)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=-1)
    both = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1)
    return shared / np.maximum(both - shared, 1e-9)


def _runs(flags: np.ndarray, least: int) -> list[int]:
    """First frames of the runs of at least so many."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False]))
    return [int(first) for first, end in edges.reshape(-1, 2) if end - first >= least]


def _number(document: object, *keys: str) -> float:
    """A number out of JSON that others may have written; 0 where there is none."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    usable = isinstance(document, (int, float)) and not isinstance(document, bool) and np.isfinite(document)
    return float(document) if usable else 0.0
