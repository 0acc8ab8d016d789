"""Both rules on one episode, held against the truth in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tracking_parts.episodes import Episode
from tracking_parts.reference_rule import iou

SAME = 0.2  # IoU with the true box at which a box is that thing's


@dataclass(slots=True)
class Tally:
    """Sums over episodes. errors_px: of the centres of covered frames, against the centre of the whole thing."""

    visible: int = 0
    covered: int = 0
    switches: int = 0
    questions: list[int] = field(default_factory=list)
    errors_px: list[float] = field(default_factory=list)
    false_boxes: int = 0
    boxes: int = 0
    looked: int = 0
    frames: int = 0

    @property
    def episodes(self) -> int:
        return len(self.questions)

    @property
    def coverage(self) -> float:
        """Share of frames in which a thing is in view that have a box on it."""
        return self.covered / max(self.visible, 1)

    @property
    def switches_per_ten(self) -> float:
        return 10 * self.switches / max(self.episodes, 1)

    @property
    def questions_each(self) -> float:
        return float(np.mean(self.questions))

    def error(self, percent: float) -> float:
        return float(np.percentile(self.errors_px, percent)) if self.errors_px else float("nan")


#: What a rule says about one frame: id -> (phrase, box (4,) px)
Boxes = Mapping[object, tuple[str, np.ndarray]]


def add_episode(tally: Tally, episode: Episode, frames: Sequence[Boxes], questions: int) -> None:
    """Count one episode.

    A true thing keeps the id it had for as long as that id's box of the same phrase is on it (IoU >= SAME with its
    visible part); else it takes the one that overlaps most, and if that is another one than the last, the id has
    switched (as in CLEAR MOT). A box on nothing true of its phrase is a false one.
    """
    last: dict[str, object] = {}
    for i, boxes in enumerate(frames):
        used: set[object] = set()
        for name, thing in sorted(episode.things.items(), key=lambda item: item[0] not in last):
            if not thing.visible[i]:
                continue
            tally.visible += 1
            overlap = {
                key: iou(box, thing.boxes_px[i]) for key, (phrase, box) in boxes.items()
                if phrase == thing.phrase and key not in used
            }
            overlap = {key: value for key, value in overlap.items() if value >= SAME}
            if not overlap:
                continue
            key = last[name] if last.get(name) in overlap else max(overlap, key=overlap.get)
            tally.switches += name in last and last[name] != key
            last[name] = key
            used.add(key)
            tally.covered += 1
            box = boxes[key][1]
            tally.errors_px.append(float(np.hypot(*((box[:2] + box[2:]) / 2 - thing.centre_px[i]))))
        tally.boxes += len(boxes)
        tally.false_boxes += len(boxes) - len(used)
    tally.questions.append(questions)
