"""The reference's tracking and asking, written anew from its description, as the baseline.

Boxes of a frame are matched to those of the frame before it, of the same label, greedily by IoU, at least 0.2; what is
not matched gets a new id, and what was not seen in the last frame is forgotten. The VLM is asked again in each frame
whose set of ids differs from the last frame's, and in each frame that has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from saliency_server.values import FrameDetections

MIN_IOU = 0.2


@dataclass(frozen=True, slots=True)
class Followed:
    """ids[i]: id -> (index of the label, box (4,)) in frame i; questions: frames in which the VLM is asked."""

    ids: tuple[dict[int, tuple[int, np.ndarray]], ...]
    questions: tuple[int, ...]


def follow_greedily(detections: Sequence[FrameDetections]) -> Followed:
    """Ids and questions over N frames of detections, per label best first."""
    last: dict[int, tuple[int, np.ndarray]] = {}
    frames, questions, fresh = [], [], 0
    for i, found in enumerate(detections):
        now: dict[int, tuple[int, np.ndarray]] = {}
        for label, candidates in enumerate(found):
            for detection in candidates:
                box = np.array(detection.box_px)
                rivals = [(iou(box, other), key) for key, (its, other) in last.items()
                          if its == label and key not in now]
                best, key = max(rivals, default=(0.0, -1))
                if best < MIN_IOU:
                    key, fresh = fresh, fresh + 1
                now[key] = (label, box)
        if not now or i == 0 or set(now) != set(last):
            questions.append(i)
        frames.append(now)
        last = now
    return Followed(tuple(frames), tuple(questions))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))
