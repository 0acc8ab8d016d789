"""What a describer, a detector and a filter are, and the tables that name the ones there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Task

from saliency_server.describe import InstructionDescriber
from saliency_server.detect import ColourTermDetector
from saliency_server.keep import KeepTaskObjects, Phase
from saliency_server.phrases import ObjectPhrase
from saliency_server.values import Description, FrameDetections, Selection, TrackResult

B = TypeVar("B")


class Describer(Protocol):
    """Names the objects of a demonstration, once per episode and camera.

    name, version: go into the annotation's provenance and its content key, so change `version` whenever the answers
    change. frames_wanted: how many images, evenly over the episode, `describe` is given (the paper's VLM sees 25).
    """

    name: str
    version: str
    frames_wanted: int

    def describe(self, images: Sequence[np.ndarray], task: Task) -> Description:
        """images: `frames_wanted` (or fewer, in a short episode) rgb uint8 (H, W, 3), in order of time.

        Returns the objects the robot deals with, a sentence about the task, and the number of questions asked.
        A failed or unreadable answer raises AutofocusError: no object is ever made up.
        """
        ...


class Detector(Protocol):
    """Finds candidates for named objects in images, each image on its own."""

    name: str
    version: str

    def prepare(self, objects: Sequence[ObjectPhrase]) -> None:
        """Called once before `detect`; raises AutofocusError for a name that it cannot look for."""
        ...

    def detect(self, images: Sequence[np.ndarray], objects: Sequence[ObjectPhrase]) -> list[FrameDetections]:
        """images: a batch of rgb uint8 (H, W, 3). Returns, per image, one tuple of candidates per object, in the
        objects' order, best first; empty where there is none. Boxes and centres in pixels of the given image."""
        ...


class Filter(Protocol):
    """Chooses which of the tracked objects matter in which phase."""

    name: str
    version: str

    def select(
        self, description: Description, tracks: Sequence[TrackResult], phases: Sequence[Phase]
    ) -> Selection:
        """tracks: one per object, N frames each; phases: cover the N frames. Returns keep (K, N)."""
        ...


DESCRIBERS: Mapping[str, Callable[[], Describer]] = {"instruction": InstructionDescriber}
DETECTORS: Mapping[str, Callable[[], Detector]] = {"colour-terms": ColourTermDetector}
FILTERS: Mapping[str, Callable[[], Filter]] = {"task-objects": KeepTaskObjects}


def create(kind: str, table: Mapping[str, Callable[[], B]], name: str) -> B:
    """The backend of that name; AutofocusError with the table's names for any other. `kind`: its option, "--detect"."""
    if name not in table:
        raise AutofocusError(kind, repr(name), ", ".join(sorted(table)), "choose one of these backends")
    return table[name]()
