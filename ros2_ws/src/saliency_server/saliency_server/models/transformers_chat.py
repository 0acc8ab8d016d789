"""A chat in this process: any image-text-to-text model of the transformers library, greedy, kept warm."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saliency_server.models.chat import ChatError, Completion, redact, with_schema
from saliency_server.models.hub import ModelRef, load, load_weights, parse_ref
from saliency_server.models.spec import number
from saliency_server.prompts import PROMPT_VERSION

WHERE = "vision-language model transformers"
#: One generation at a time in a process: two would only halve each other's speed and double the memory.
_ONE_AT_A_TIME = threading.Lock()


class TransformersChat:
    """One model in this process. Greedy, so that the same question gets the same answer on the same machine."""

    def __init__(self, ref: ModelRef, max_new_tokens: int = 1024, timeout_s: float = 600.0) -> None:
        self._ref = ref
        self._max_new_tokens = max_new_tokens
        self._timeout_s = timeout_s
        self.name = ref.name
        self.version = ref.version("greedy", f"max_new_tokens {max_new_tokens}", f"prompts {PROMPT_VERSION}")

    @classmethod
    def from_spec(cls, body: str) -> TransformersChat:
        """A chat by `MODEL_OR_FOLDER[@REVISION][,device=..][,dtype=..][,max_tokens=..][,timeout_s=..]`."""
        more = {"max_tokens": number(16, 65_536, whole=True), "timeout_s": number(0.1, 86_400)}
        ref, options = parse_ref(WHERE, body, more)
        return cls(ref, int(options.get("max_tokens", 1024)), options.get("timeout_s", 600.0))

    def within(self, seconds: float) -> TransformersChat:
        """The same chat, which stops generating after `seconds`."""
        return TransformersChat(self._ref, self._max_new_tokens, min(seconds, self._timeout_s))

    def complete(
        self, system: str, text: str, images: Sequence[np.ndarray], schema: Mapping[str, Any]
    ) -> Completion:
        """See `Chat.complete`; the schema is told to the model, not forced upon it. The time to load is not counted."""
        processor, model = load(self._ref, "image-text-to-text model", self._load)
        begun_s = time.monotonic()
        if not _ONE_AT_A_TIME.acquire(timeout=self._timeout_s):
            raise ChatError(f"the questions before it took more than {self._timeout_s:.3g} s", retryable=True)
        try:
            return self._generate(processor, model, system, with_schema(text, schema), images, begun_s)
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            # Out of memory, or more tokens than the model has positions for: the next try would be the same.
            said = redact(str(error))
            raise ChatError(f"the model failed: {type(error).__name__}: {said}", retryable=False) from error
        finally:
            _ONE_AT_A_TIME.release()

    def _load(self, folder: Path, arguments: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        processor = AutoProcessor.from_pretrained(folder, **arguments)
        return processor, load_weights(self._ref, AutoModelForImageTextToText, folder, arguments)

    def _generate(
        self, processor: Any, model: Any, system: str, text: str, images: Sequence[np.ndarray], begun_s: float
    ) -> Completion:
        import torch

        inputs = _inputs(processor, system, text, images).to(model.device, model.dtype)
        asked = inputs["input_ids"].shape[1]
        left_s = self._timeout_s - (time.monotonic() - begun_s)
        if left_s <= 0:
            raise ChatError(f"no time left of {self._timeout_s:.3g} s", retryable=False)
        tokenizer = getattr(processor, "tokenizer", processor)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        with torch.inference_mode():
            output = model.generate(
                **inputs, do_sample=False, num_beams=1, max_new_tokens=self._max_new_tokens, max_time=left_s,
                pad_token_id=pad,
            )
        new = output[0, asked:]
        spent_s = time.monotonic() - begun_s
        if spent_s >= self._timeout_s and len(new) < self._max_new_tokens:
            raise ChatError(f"no complete answer within {self._timeout_s:.3g} s", retryable=False)
        answer = tokenizer.decode(new, skip_special_tokens=True)
        return Completion(answer, int(asked), len(new), spent_s, 0.0)


def _inputs(processor: Any, system: str, text: str, images: Sequence[np.ndarray]) -> Any:
    """The model's inputs, by its own chat template where it has one that takes this conversation."""
    from jinja2 import TemplateError
    from PIL import Image

    pictures = [Image.fromarray(np.ascontiguousarray(image)) for image in images]
    problems = []
    if getattr(processor, "chat_template", None):
        for messages in _conversations(system, text, pictures):
            try:
                return processor.apply_chat_template(
                    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
                )
            except (TemplateError, TypeError, ValueError) as error:
                problems.append(f"{type(error).__name__}: {error}")
    mark = getattr(processor, "image_token", None) or "<image>"
    marks = "".join(f"Image {i}: {mark}\n" for i in range(1, len(pictures) + 1))
    prompt = f"USER: {system}\n{marks}{text}\nASSISTANT:"
    try:
        return processor(images=pictures or None, text=[prompt], return_tensors="pt")
    except (TypeError, ValueError) as error:
        raise ValueError("; ".join([*problems, str(error)])) from error


def _conversations(system: str, text: str, pictures: Sequence[Any]) -> Iterator[list[dict[str, Any]]]:
    """The conversation with a system turn, and, for templates that refuse one, without."""
    said = [part for i, picture in enumerate(pictures, 1) for part in (
        {"type": "text", "text": f"Image {i}:"}, {"type": "image", "image": picture}
    )]
    asked = {"type": "text", "text": text}
    rules = {"type": "text", "text": system}
    yield [{"role": "system", "content": [rules]}, {"role": "user", "content": [*said, asked]}]
    yield [{"role": "user", "content": [rules, *said, asked]}]
