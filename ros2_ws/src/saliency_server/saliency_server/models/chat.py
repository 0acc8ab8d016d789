"""What a chat is: a vision-language model that answers one question with text; and opening one by its spec."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from autofocus_core.errors import AutofocusError

SPECS = "openai:MODEL[@URL][,...] | transformers:MODEL_OR_FOLDER[@REVISION][,...]"

_SECRETS = re.compile(r"\b(?:sk|hf|key|api)[-_][A-Za-z0-9_\-.]{8,}|Bearer\s+\S+|data:image/[\w+.-]+;base64,\S+")
MAX_REASON = 300  # characters


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. text: as it came; prompt_tokens, completion_tokens: 0 where the server does not count; seconds: wall
    time of the request; cost: in the currency of the prices that the spec gives, 0.0 where it gives none."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float


class ChatError(Exception):
    """No answer came, and why, in words. retryable: whether another try may do better; retry_after_s: how long the
    server wants to be left alone first (0: try at once), None where it does not say."""

    def __init__(self, reason: str, *, retryable: bool, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class Chat(Protocol):
    """A vision-language model.

    name: "openai:MODEL" or "transformers:MODEL@REVISION"; version: changes whenever the answers may (model, revision,
    prompts, sampling), so it is part of content keys.
    """

    name: str
    version: str

    def complete(
        self, system: str, text: str, images: Sequence[np.ndarray], schema: Mapping[str, Any]
    ) -> Completion:
        """One request, one answer. images: rgb uint8 (H, W, 3), in the order in which `text` speaks of them; schema:
        JSON schema that the answer is to fit, which is asked for and not yet checked.

        Raises ChatError where no answer came; AutofocusError where the model cannot be used at all.
        """
        ...


@runtime_checkable
class TimedChat(Protocol):
    """A chat that can be told when to stop."""

    def within(self, seconds: float) -> Chat:
        """The same chat, of which every request ends within `seconds`, with an answer or a ChatError."""
        ...


def open_chat(spec: str) -> Chat:
    """The chat that a spec names. Nothing is asked yet, and weights are loaded at the first question.

    Raises AutofocusError for an unknown kind, wrong options, a missing extra, and a model that cannot be found.
    """
    kind, _, body = spec.partition(":")
    if body.strip():
        if kind == "openai":
            from saliency_server.models.openai_chat import OpenAIChat

            return OpenAIChat.from_spec(body)
        if kind == "transformers":
            from saliency_server.models.transformers_chat import TransformersChat

            return TransformersChat.from_spec(body)
    raise AutofocusError(
        "vision-language model", redact(repr(spec)), SPECS, "name a model as openai:MODEL@URL or transformers:MODEL"
    )


def with_schema(text: str, schema: Mapping[str, Any]) -> str:
    """The question with the schema of its answer: also for servers that take a schema and then leave it unread."""
    return f"{text}\nAnswer with one JSON object, and nothing else, that fits this JSON schema:\n{json.dumps(schema)}"


def redact(text: str, *secrets: str) -> str:
    """A foreign text for an error or a log: one line, at most MAX_REASON characters, without the given secrets, what
    looks like a key, and image data."""
    for secret in secrets:
        if len(secret) > 3:
            text = text.replace(secret, "[secret]")
    text = _SECRETS.sub("[secret]", text[: 50 * MAX_REASON])
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= MAX_REASON else text[:MAX_REASON] + " ..."
