"""How good an annotation is, against the truth that the simulator published while the episode was recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from autofocus_cli.demo.stats import percentile
from autofocus_core.annotation import CameraAnnotation, read_annotation
from autofocus_core.bags import open_bag
from autofocus_core.names import SIM_TRUTH_IMAGE_MARKERS_TOPIC

#: {object: {image stamp in ns: box (4,) x0 y0 x1 y1 in px}}; only where the object is visible.
Truth = dict[str, dict[int, np.ndarray]]


def read_truth(episode: Path) -> Truth:
    """The boxes of visible objects that the simulator wrote into the episode."""
    truth: Truth = {}
    with open_bag(episode) as bag:
        bag.require([SIM_TRUTH_IMAGE_MARKERS_TOPIC])
        for _, marker in bag.decoded([SIM_TRUTH_IMAGE_MARKERS_TOPIC]):
            stamp = marker.header.stamp
            boxes = truth.setdefault(marker.ns, {})
            if marker.points:
                xy = np.array([(point.x, point.y) for point in marker.points])
                boxes[stamp.sec * 1_000_000_000 + stamp.nanosec] = np.concatenate([xy.min(axis=0), xy.max(axis=0)])
    return truth


@dataclass(slots=True)
class ObjectQuality:
    """Counts over frames for one object. visible: frames in which it can be seen; found: of these, with a valid box;
    spurious: valid boxes where it cannot be seen; errors_px: distance between box centres, one for each found."""

    visible: int = 0
    found: int = 0
    spurious: int = 0
    errors_px: list[float] = field(default_factory=list)

    def to_json(self) -> dict:
        return {
            "visible": self.visible, "found": self.found, "spurious": self.spurious,
            "coverage": round(self.found / self.visible, 4) if self.visible else None,
            "centre_error_px_p50": _rounded(percentile(self.errors_px, 50)),
            "centre_error_px_p95": _rounded(percentile(self.errors_px, 95)),
        }


def compare(annotation: CameraAnnotation, truth: Truth, quality: dict[str, ObjectQuality]) -> None:
    """Add one episode's frames to `quality`. Frames without any truth (the first ones of a recording) do not count."""
    known = {stamp for boxes in truth.values() for stamp in boxes}
    for track in annotation.objects:
        counts = quality.setdefault(track.name, ObjectQuality())
        boxes = truth.get(track.name, {})
        for stamp, box, valid in zip(annotation.stamps_ns.tolist(), track.boxes_px, track.valid):
            if stamp in boxes:
                counts.visible += 1
                if valid:
                    counts.found += 1
                    counts.errors_px.append(float(np.linalg.norm(_centre(box) - _centre(boxes[stamp]))))
            elif stamp in known and valid:
                counts.spurious += 1


def measure(episodes: Iterable[Path], camera: str) -> dict:
    """Coverage and centre error over episodes: the annotation block of the summary, with every error for a histogram.

    coverage: share of (frame, object) pairs, of objects that can be seen, that carry a valid box.
    """
    quality: dict[str, ObjectQuality] = {}
    for episode in episodes:
        compare(read_annotation(episode).camera(camera), read_truth(episode), quality)
    visible = sum(q.visible for q in quality.values())
    errors_px = [error for q in quality.values() for error in q.errors_px]
    return {
        "coverage": round(sum(q.found for q in quality.values()) / visible, 4) if visible else None,
        "centre_error_px_p50": _rounded(percentile(errors_px, 50)),
        "centre_error_px_p95": _rounded(percentile(errors_px, 95)),
        "spurious": sum(q.spurious for q in quality.values()),
        "objects": {name: q.to_json() for name, q in quality.items()},
        "centre_errors_px": [round(error, 2) for error in errors_px],
    }


def _centre(box: np.ndarray) -> np.ndarray:
    return (np.asarray(box[:2], dtype=np.float64) + np.asarray(box[2:], dtype=np.float64)) / 2


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
