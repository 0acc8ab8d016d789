"""What a describer, a detector and a filter are, and the tables that name the ones there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Task

from saliency_server.ask import Asker
from saliency_server.choose import VlmFilter
from saliency_server.describe import InstructionDescriber, Verdict, VlmDescriber
from saliency_server.detect import ColourTermDetector
from saliency_server.keep import KeepTaskObjects
from saliency_server.models.chat import Chat
from saliency_server.phrases import ObjectPhrase
from saliency_server.values import Description, FrameDetections, Scene, Selection
from saliency_server.views import Episode

if TYPE_CHECKING:
    from saliency_server.models.masks import BoxMasks

B = TypeVar("B")


class Describer(Protocol):
    """Names the objects of a demonstration.

    name, version: go into the annotation's provenance and its content key, so change `version` whenever the answers
    change. frames_wanted: how many images, evenly over the episode, `describe` is given (the paper's VLM sees 25);
    check_frames: how many go on each camera's contact sheet for `check`; 0: it is not called.
    """

    name: str
    version: str
    frames_wanted: int
    check_frames: int

    def describe(self, scene: Scene, task: Task, asker: Asker | None, notes: str = "") -> Description:
        """The objects the robot deals with and a sentence about the task. notes: what an earlier description lacked.

        A failed or unreadable answer raises NoAnswer: no object is ever made up.
        """
        ...

    def check(
        self, sheets: Sequence[np.ndarray], task: Task, description: Description, asker: Asker | None
    ) -> Verdict:
        """Whether a description made from another episode fits this one."""
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
    """Chooses which of the tracked objects matter when. chooses: it can tell two things of one name apart, so all
    instances are given to it, and not only the best."""

    name: str
    version: str
    chooses: bool

    def select(self, episode: Episode, asker: Asker | None, most: int) -> list[Selection]:
        """What is kept, for each camera of the episode. At most `most` questions. A filter may add tracks to a
        camera's views: of things it found missing."""
        ...


DESCRIBERS: Mapping[str, Callable[..., Describer]] = {"instruction": InstructionDescriber, "vlm": VlmDescriber}
DETECTORS: Mapping[str, Callable[[], Detector]] = {"colour-terms": ColourTermDetector}
FILTERS: Mapping[str, Callable[..., Filter]] = {"task-objects": KeepTaskObjects, "vlm": VlmFilter}
#: Backends that ask a model.
ASKING = frozenset({"vlm"})


def create(kind: str, table: Mapping[str, Callable[..., B]], name: str, chat: Chat | None = None) -> B:
    """The backend of that name; AutofocusError with the table's names for any other, and where it needs a model and
    there is none. `kind`: its option, "--describe"."""
    if name not in table:
        raise AutofocusError(kind, repr(name), ", ".join(sorted(table)), "choose one of these backends")
    if name not in ASKING:
        return table[name]()
    if chat is None:
        raise AutofocusError(
            f"{kind} {name}", "no model to ask", "--vlm openai:MODEL@URL or --vlm transformers:MODEL", "name one"
        )
    return table[name](chat)


def create_detector(name: str) -> Detector:
    """A detector by its name, or by the spec of a model ("transformers:MODEL"); AutofocusError for any other."""
    if ":" in name:
        from saliency_server.models.detectors import open_detector

        return open_detector(name)
    if name not in DETECTORS:
        allowed = ", ".join((*sorted(DETECTORS), "transformers:MODEL[@REVISION]"))
        raise AutofocusError("--detect", repr(name), allowed, "choose one of these backends")
    return DETECTORS[name]()


def create_masks(spec: str) -> BoxMasks:
    """What makes masks out of boxes: SAM 2 by "transformers:MODEL"; AutofocusError for any other spec."""
    from saliency_server.models.masks import open_masks

    return open_masks(spec)
