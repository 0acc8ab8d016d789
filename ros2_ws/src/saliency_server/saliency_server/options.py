"""How annotations are made: the options, and the backends that they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autofocus_core.annotation import MapStyle
from autofocus_core.errors import AutofocusError

from saliency_server import backends
from saliency_server.ask import Asker
from saliency_server.models.chat import Chat, open_chat

if TYPE_CHECKING:
    from saliency_server.models.masks import BoxMasks

GRIPPER_WAYS = ("auto", "projection", "detect")


@dataclass(frozen=True, slots=True)
class Options:
    """How annotations are made. All of it goes into the content key.

    describe, detect, filter: backends by name; detect also by a model's spec. An empty describe or filter becomes
    "vlm" where a vlm is named, else "instruction" and "task-objects". vlm: spec of the model that is asked;
    batch: images a detector gets at once; keyframe_s: how far apart the frames are that the detector is shown first
    (None: it looks at every frame); map, alpha: see `autofocus_core.annotation.MapStyle`;
    masks: spec of a SAM 2 model that makes masks out of boxes, "" for none; gripper: "projection" from
    joint states, "detect" by its name, or "auto": projection where that is possible and fits what is detected.
    """

    describe: str = ""
    detect: str = "colour-terms"
    filter: str = ""
    batch: int = 16
    vlm: str = ""
    keyframe_s: float | None = None
    map: str = "gaussian"
    masks: str = ""
    alpha: float = 0.0
    gripper: str = "auto"

    def __post_init__(self) -> None:
        for stage, offline in (("describe", "instruction"), ("filter", "task-objects")):
            if not getattr(self, stage):
                object.__setattr__(self, stage, "vlm" if self.vlm else offline)
        MapStyle(self.map, self.alpha)
        if self.gripper not in GRIPPER_WAYS:
            raise AutofocusError("--gripper", repr(self.gripper), ", ".join(GRIPPER_WAYS), "choose one of these")
        if self.keyframe_s is not None and not 0.0 < self.keyframe_s <= 60.0:
            raise AutofocusError("--keyframe-s", str(self.keyframe_s), "above 0, at most 60", "0.5 is usual")


@dataclass(frozen=True, slots=True)
class Stages:
    """The backends that an Options names; chat: the model they ask, None where none does."""

    describer: backends.Describer
    detector: backends.Detector
    filter: backends.Filter
    chat: Chat | None
    masks: BoxMasks | None

    @classmethod
    def of(cls, options: Options) -> Stages:
        """Look the backends up; AutofocusError for a name that the tables do not have, and for a model that is asked
        for and not named. Nothing is loaded yet."""
        asks = bool({options.describe, options.filter} & backends.ASKING)
        chat = open_chat(options.vlm) if asks and options.vlm else None
        return cls(
            backends.create("--describe", backends.DESCRIBERS, options.describe, chat),
            backends.create_detector(options.detect),
            backends.create("--filter", backends.FILTERS, options.filter, chat),
            chat,
            backends.create_masks(options.masks) if options.masks else None,
        )

    def versions(self) -> dict[str, str]:
        """Stage -> "backend version", for the provenance."""
        stages = {"describe": self.describer, "detect": self.detector, "filter": self.filter}
        stages |= {"masks": self.masks} if self.masks is not None else {}
        return {stage: f"{backend.name} {backend.version}" for stage, backend in stages.items()}

    def asker(self) -> Asker | None:
        """With a ledger of its own."""
        return None if self.chat is None else Asker(self.chat)
