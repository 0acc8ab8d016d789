"""What the page is told about episodes, as JSON types. Stamps stay here: numbers of frames are exact in a browser."""

from __future__ import annotations

from typing import Any

import numpy as np
from autofocus_core.annotation import CameraAnnotation, ObjectTrack
from autofocus_core.review import Review

from saliency_server.review.catalogue import Seen


def summary(seen: Seen) -> dict[str, Any]:
    """One card of the grid."""
    episode, quality = seen.episode, seen.quality
    return {
        "key": seen.key,
        "name": seen.path.name.encode("utf-8", "replace").decode(),
        "revision": seen.revision,
        "status": seen.status,
        "outcome": "unknown" if episode is None else episode.outcome,
        "grade": "unknown" if episode is None else episode.verdict.grade,
        "worst": round(quality.worst, 3),
        "coverage": {name: round(share, 4) for name, share in quality.coverage.items()},
        "validShare": round(quality.valid_share, 4),
        "frames": quality.frames,
        "doubts": list(quality.doubts),
        "annotated": seen.annotation is not None,
        "changes": 0 if seen.review is None else len(seen.review.corrected) + len(seen.review.dropped),
    }


def details(seen: Seen) -> dict[str, Any]:
    """Everything that the player shows."""
    review, annotation = seen.review, seen.annotation
    cameras = []
    for raw, now in zip(annotation.cameras, seen.reviewed.cameras, strict=True) if annotation is not None else ():
        cameras.append(_camera(raw, now, review))
    return summary(seen) | {
        "instruction": "" if annotation is None else annotation.instruction,
        "note": "" if review is None else review.note,
        "problem": seen.problem,
        "phases": [] if annotation is None else phases(annotation.provenance),
        "cameras": cameras,
    }


def phases(provenance: dict[str, Any]) -> list[tuple[int, int, str]]:
    """(first frame, last frame, name) of the first camera; none where nobody wrote them down."""
    motion = provenance.get("motion")
    found = motion.get("phases") if isinstance(motion, dict) else None
    wanted = (int, int, str)
    return [
        tuple(each)
        for each in (found if isinstance(found, list) else [])
        if isinstance(each, list) and len(each) == 3 and all(map(isinstance, each, wanted))
    ]


def _camera(raw: CameraAnnotation, now: CameraAnnotation, review: Review | None) -> dict[str, Any]:
    """The tracks as they are now, and those that were dropped, so that they can be had back."""
    dropped = {each.object for each in review.dropped if each.camera == raw.camera} if review is not None else set()
    again = {t.track.name: t.track for t in review.tracks if t.camera == raw.camera} if review is not None else {}
    added = {each.object for each in review.added if each.camera == raw.camera} if review is not None else set()
    tracks = [again.pop(track.name, track) for track in raw.objects] + list(again.values())
    number = {stamp: i for i, stamp in enumerate(raw.stamps_ns.tolist())}
    return {
        "camera": raw.camera,
        "width": raw.width_px,
        "height": raw.height_px,
        "times": np.round((raw.stamps_ns - raw.stamps_ns[:1]) * 1e-9, 4).tolist(),
        "valid": now.valid.astype(int).tolist(),
        "reason": list(now.reason),
        "objects": [
            _track(track) | {
                "dropped": track.name in dropped,
                "added": track.name in added,
                "fixes": [] if review is None else [
                    number[fix.stamp_ns] for fix in review.fixes(raw.camera, track.name) if fix.stamp_ns in number
                ],
            }
            for track in tracks
        ],
    }  # fmt: skip


def _track(track: ObjectTrack) -> dict[str, Any]:
    return {
        "name": track.name,
        "role": track.role,
        "boxes": [None if np.isnan(box).any() else np.round(box.astype(float), 1).tolist() for box in track.boxes_px],
        "score": [round(float(score), 2) for score in track.score],
        "valid": track.valid.astype(int).tolist(),
        "reason": list(track.reason),
    }
