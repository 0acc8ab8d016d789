"""What there is to doubt about an annotated episode, in words and as one number to sort by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from autofocus_core.annotation import Annotation, ObjectTrack
from autofocus_core.episode import Episode

JUMP_SHARE = 0.08  # of the diagonal, between neighbouring valid frames: as fast as no arm carries anything
LOW_COVERAGE = 0.9  # an object valid in fewer of the frames is worth a look
GRADE_WEIGHT = {"bad": 4.0, "usable": 1.0}
COVERAGE_WEIGHT, FRAMES_WEIGHT, JUMP_WEIGHT, MOST_JUMPS, UNANSWERED_WEIGHT = 10.0, 5.0, 4.0, 5, 5.0
NOT_ANNOTATED = 100.0


@dataclass(frozen=True, slots=True)
class Quality:
    """worst: greater is worse; coverage: "camera/object" -> share of frames in which it is valid; doubts: in words,
    the gravest first."""

    worst: float
    coverage: dict[str, float]
    valid_share: float
    frames: int
    doubts: tuple[str, ...]


def judge(episode: Episode | None, annotation: Annotation | None, problem: str) -> Quality:
    """problem: why the episode or its annotation cannot be read, "" where it can."""
    grade = "unknown" if episode is None else episode.verdict.grade
    recorder = () if episode is None else tuple(f"recording: {why}" for why in episode.verdict.reasons)
    worst = GRADE_WEIGHT.get(grade, 0.0)
    if annotation is None:
        return Quality(worst + NOT_ANNOTATED, {}, 0.0, 0, (problem or "not annotated", *recorder))
    found: list[tuple[float, str]] = []
    coverage: dict[str, float] = {}
    valid = np.concatenate([camera.valid for camera in annotation.cameras])
    for camera in annotation.cameras:
        if not camera.objects:
            found.append((COVERAGE_WEIGHT, f"{camera.camera}: no object"))
        for track in camera.objects:
            share = float(track.valid.mean())
            coverage[f"{camera.camera}/{track.name}"] = share
            if track.role != "robot" and share < LOW_COVERAGE:
                why = Counter(why for why in track.reason if why).most_common(1)
                text = f"{track.name}: valid in {share:.0%}" + (f", mostly {why[0][0]}" if why else "")
                found.append((COVERAGE_WEIGHT * (1 - share), text))
            jumps = jumped(track, (camera.height_px, camera.width_px))
            if len(jumps):
                text = f"{track.name}: jumps {len(jumps)} times, first at frame {jumps[0]}"
                found.append((JUMP_WEIGHT * min(MOST_JUMPS, len(jumps)), text))
    for unanswered in annotation.provenance.get("unanswered", ()):
        found.append((UNANSWERED_WEIGHT, f"a question without an answer: {unanswered}"))
    share = float(valid.mean()) if len(valid) else 0.0
    if share < LOW_COVERAGE:
        found.append((FRAMES_WEIGHT * (1 - share), f"{int((~valid).sum())} of {len(valid)} frames are not valid"))
    found.sort(key=lambda each: -each[0])
    total = worst + sum(weight for weight, _ in found)
    return Quality(total, coverage, share, len(valid), tuple(text for _, text in found) + recorder)


def jumped(track: ObjectTrack, size_px: tuple[int, int]) -> np.ndarray:
    """Frames (J,) in which a track is farther from its last frame than things move; size_px (height, width)."""
    seen = np.flatnonzero(track.valid)
    centre = (track.boxes_px[seen, :2] + track.boxes_px[seen, 2:]) / 2
    far = np.hypot(*np.diff(centre, axis=0).T) > JUMP_SHARE * np.hypot(*size_px)
    return seen[1:][far & (np.diff(seen) == 1)]
