"""Open-vocabulary detection: any zero-shot detector of the transformers library (Grounding DINO, OWLv2, OWL-ViT)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autofocus_core.errors import AutofocusError

from saliency_server.models.boxes import detections, phrase_scores
from saliency_server.models.hub import ModelRef, load, load_weights, parse_ref
from saliency_server.models.spec import body_of, number
from saliency_server.phrases import ObjectPhrase
from saliency_server.values import FrameDetections

WHERE = "detector transformers"
NMS_IOU = 0.7
MAX_CANDIDATES = 16

#: Kinds of models -> how their text and their scores are read, and the least score of a box.
SPANS, CLASSES = "spans", "classes"
KINDS: dict[str, tuple[str, float]] = {
    "grounding-dino": (SPANS, 0.5),
    "mm-grounding-dino": (SPANS, 0.5),
    "owlv2": (CLASSES, 0.2),
    "owlvit": (CLASSES, 0.2),
}
TEXT_THRESHOLD = 0.4  # of a phrase's noun, for models that score tokens


def open_detector(spec: str) -> ZeroShotDetector:
    """The detector that `transformers:MODEL_OR_FOLDER[@REVISION][,...]` names; its weights are loaded when it is asked.

    Raises AutofocusError for another kind, wrong options, a missing extra, and a model that cannot be found.
    """
    return ZeroShotDetector.from_spec(body_of(spec, "detector"))


@dataclass(frozen=True, slots=True)
class Prompt:
    """Grounding DINO's text for some objects, and in which tokens each is spoken of: of its whole name, of its noun."""

    text: str
    phrases: tuple[tuple[int, ...], ...]
    nouns: tuple[tuple[int, ...], ...]


class ZeroShotDetector:
    """Looks for objects by name, several images at a time; see `backends.Detector`.

    dropped: candidates left out since the detector was made, by reason.
    """

    def __init__(
        self, ref: ModelRef, box_threshold: float | None = None, text_threshold: float = TEXT_THRESHOLD
    ) -> None:
        self._ref = ref
        self._box_threshold = box_threshold
        self._text_threshold = text_threshold
        self.name = ref.name
        own = "own" if box_threshold is None else f"{box_threshold:g}"
        self.version = ref.version(f"box {own} text {text_threshold:g} nms {NMS_IOU:g} code 1")
        self.dropped: Counter[str] = Counter()

    @classmethod
    def from_spec(cls, body: str) -> ZeroShotDetector:
        """By `MODEL_OR_FOLDER[@REVISION][,device=..][,dtype=..][,box=..][,text=..]`; box, text: thresholds."""
        ref, options = parse_ref(WHERE, body, {"box": number(0, 1), "text": number(0, 1)})
        return cls(ref, options.get("box"), options.get("text", TEXT_THRESHOLD))

    def prepare(self, objects: Sequence[ObjectPhrase]) -> None:
        """Load the model and check that it can be asked for these; AutofocusError for a name without a word."""
        processor, _, reading = self._warm()
        if reading == SPANS:
            self._prompt(processor, objects)
        else:
            for thing in objects:
                spoken(thing)

    def detect(self, images: Sequence[np.ndarray], objects: Sequence[ObjectPhrase]) -> list[FrameDetections]:
        """Candidates for each object in each rgb uint8 (H, W, 3) image, best first, at most MAX_CANDIDATES."""
        if not images or not objects:
            return [tuple(() for _ in objects) for _ in images]
        import torch

        processor, model, reading = self._warm()
        with torch.inference_mode():
            if reading == SPANS:
                found = self._spans(processor, model, images, objects)
            else:
                found = self._classes(processor, model, images, objects)
        threshold = KINDS[model.config.model_type][1] if self._box_threshold is None else self._box_threshold
        return [
            detections(
                boxes, scores, phrase, len(objects), image.shape[:2], threshold=threshold, nms_iou=NMS_IOU,
                most=MAX_CANDIDATES, dropped=self.dropped,
            )
            for image, (boxes, scores, phrase) in zip(images, found, strict=True)
        ]

    def _warm(self) -> tuple[Any, Any, str]:
        processor, model = load(self._ref, "zero-shot object detection model", self._load)
        return processor, model, KINDS[model.config.model_type][0]

    def _load(self, folder: Path, arguments: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, AutoProcessor

        kind = AutoConfig.from_pretrained(folder, **arguments).model_type
        if kind not in KINDS:
            raise AutofocusError(
                f"detector {self.name}", f"a model of type {kind!r}", ", ".join(KINDS), "choose a model of these types"
            )
        processor = AutoProcessor.from_pretrained(folder, **arguments)
        return processor, load_weights(self._ref, AutoModelForZeroShotObjectDetection, folder, arguments)

    def _spans(
        self, processor: Any, model: Any, images: Sequence[np.ndarray], objects: Sequence[ObjectPhrase]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Boxes (Q, 4) in px, scores (Q,), phrases (Q,) of each image, from scores for each token of one text."""
        prompt = self._prompt(processor, objects)
        inputs = processor(images=list(images), text=[prompt.text] * len(images), return_tensors="pt")
        output = model(**inputs.to(model.device, model.dtype))
        tokens = inputs["input_ids"].shape[1]
        scores = output.logits[..., :tokens].float().sigmoid().cpu().numpy()
        found = []
        for image, of_tokens, centred in zip(images, scores, output.pred_boxes.float().cpu().numpy(), strict=True):
            phrase, score = phrase_scores(of_tokens, prompt.phrases, prompt.nouns, self._text_threshold)
            found.append((_corners(centred, image.shape[:2]), score, phrase))
        return found

    def _classes(
        self, processor: Any, model: Any, images: Sequence[np.ndarray], objects: Sequence[ObjectPhrase]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The same, from one score for each object: a box belongs to the object that it fits best."""
        texts = [f"a photo of a {spoken(thing)}" for thing in objects]
        inputs = processor(images=list(images), text=[texts] * len(images), truncation=True, return_tensors="pt")
        output = model(**inputs.to(model.device, model.dtype))
        scores = output.logits.float().sigmoid().cpu().numpy()
        found = []
        for image, of_objects, centred in zip(images, scores, output.pred_boxes.float().cpu().numpy(), strict=True):
            phrase = of_objects.argmax(axis=1)
            # OWLv2 pads an image to a square at the bottom and right; OWL-ViT squeezes it into one.
            size = (max(image.shape[:2]),) * 2 if model.config.model_type == "owlv2" else image.shape[:2]
            found.append((_corners(centred, size), of_objects.max(axis=1), phrase))
        return found

    def _prompt(self, processor: Any, objects: Sequence[ObjectPhrase]) -> Prompt:
        prompt = span_prompt(processor.tokenizer, [spoken(thing) for thing in objects])
        limit = min(processor.tokenizer.model_max_length, 256)  # Grounding DINO's own limit
        last = max(index for tokens in prompt.phrases for index in tokens) if objects else 0
        if last + 3 > limit:
            raise AutofocusError(
                f"detector {self.name}", f"names of {last + 3} tokens together", f"at most {limit}",
                "ask for fewer objects, or give them shorter names",
            )
        return prompt


def span_prompt(tokenizer: Any, names: Sequence[str]) -> Prompt:
    """One text with all names ("red cube. white plate."), and each name's tokens, by the characters they cover."""
    text, spans = "", []
    for name in names:
        noun = len(text) + name.rfind(" ") + 1
        spans.append((len(text), noun, len(text) + len(name)))
        text += f"{name}. "
    text = text.strip()
    covered = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]

    def within(low: int, high: int) -> tuple[int, ...]:
        return tuple(i for i, (a, b) in enumerate(covered) if a < b and a >= low and b <= high)

    return Prompt(
        text, tuple(within(low, high) for low, _, high in spans), tuple(within(noun, high) for _, noun, high in spans)
    )


def spoken(thing: ObjectPhrase) -> str:
    """An object's name as a detector is asked for it: small letters, digits, hyphens and apostrophes, nothing that
    could end the phrase or start another; AutofocusError where nothing is left."""
    name = " ".join(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", thing.name.lower()))
    if not name:
        raise AutofocusError(f"object {thing.name!r}", "no word in its name", "a name with letters", "name the object")
    return name


def _corners(centred: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Boxes as centre, width and height in shares of the image -> corners in px."""
    centre, half = centred[:, :2], centred[:, 2:] / 2
    height, width = size_px
    return np.hstack([centre - half, centre + half]) * np.array([width, height, width, height])
