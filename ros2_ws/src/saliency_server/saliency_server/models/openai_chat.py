"""A chat over HTTP: any server with OpenAI's chat completions (vLLM, SGLang, Ollama, transformers serve, hosted)."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from autofocus_core.errors import AutofocusError
from pydantic import BaseModel, ConfigDict, ValidationError

from saliency_server.models.chat import ChatError, Completion, redact, with_schema
from saliency_server.models.http_session import Reply, Session, session_for
from saliency_server.models.images import IMAGE_FORMATS, data_url
from saliency_server.models.spec import need, number, one_of, split_options
from saliency_server.prompts import PROMPT_VERSION

OPENAI_URL = "https://api.openai.com/v1"
OWN_KEY, OPENAI_KEY = "AUTOFOCUS_VLM_API_KEY", "OPENAI_API_KEY"
FORMATS = ("json_schema", "json_object", "text")
WHERE = "vision-language model openai"
_URL = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[\w./~-]*)?", re.ASCII)

_OPTIONS = {
    "timeout_s": number(0.1, 3600),
    "max_tokens": number(16, 65_536, whole=True),
    "seed": number(0, 2**31 - 1, whole=True),
    "concurrency": number(1, 256, whole=True),
    "image": one_of(*IMAGE_FORMATS),
    "price_in": number(0, 1e6),
    "price_out": number(0, 1e6),
    "format": one_of("auto", *FORMATS),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """timeout_s: of one request as a whole; concurrency: requests at a time in this process; price_in, price_out: of a
    million prompt and completion tokens; image: how images are sent; format: response_format, "auto" finds out."""

    model: str
    url: str
    timeout_s: float = 60.0
    max_tokens: int = 2048
    seed: int = 0
    concurrency: int = 4
    image: str = "jpeg"
    price_in: float = 0.0
    price_out: float = 0.0
    format: str = "auto"

    @classmethod
    def parse(cls, body: str) -> Settings:
        """From `MODEL[@URL][,key=value ...]`; AutofocusError for what is wrong with it."""
        head, options = split_options(WHERE, body, _OPTIONS)
        at = max(head.rfind("@http://"), head.rfind("@https://"))
        model, url = (head, OPENAI_URL) if at < 0 else (head[:at], head[at + 1 :])
        if not model or not _URL.fullmatch(url):
            raise AutofocusError(
                WHERE, redact(repr(head)), "MODEL@http(s)://HOST[:PORT]/v1 without a user, a key or a query",
                f"name model and server; a key goes into the environment as {OWN_KEY}",
            )
        return cls(model=model, url=url.rstrip("/"), **options)


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(BaseModel):
    """What is read of a server's answer; the rest is its own business."""

    model_config = ConfigDict(extra="ignore")
    choices: list[_Choice]
    usage: _Usage | None = None


class OpenAIChat:
    """One model on one server.

    Each `complete` is one HTTP request. What a server refuses by name (a response format, the seed, the temperature,
    the old name of the token limit) is left out from then on: the request that found it out counts as a failed try.
    """

    def __init__(self, settings: Settings, session: Session) -> None:
        self._settings = settings
        self._session = session
        self.name = f"openai:{settings.model}"
        # The address is not part of it: the same model behind another port answers the same.
        self.version = (
            f"{settings.model} temperature 0 seed {settings.seed} max_tokens {settings.max_tokens} "
            f"image {settings.image} prompts {PROMPT_VERSION}"
        )

    @classmethod
    def from_spec(cls, body: str) -> OpenAIChat:
        """A chat by `MODEL[@URL][,key=value ...]`; the key comes from the environment, and from nowhere else."""
        settings = Settings.parse(body)
        need("openai", "openai")
        key = _key_for(settings.url)
        return cls(settings, session_for(settings.url, key, settings.model, settings.concurrency))

    def within(self, seconds: float) -> OpenAIChat:
        """The same chat with a shorter limit for each request."""
        limit_s = min(seconds, self._settings.timeout_s)
        return OpenAIChat(replace(self._settings, timeout_s=limit_s), self._session)

    def complete(
        self, system: str, text: str, images: Sequence[np.ndarray], schema: Mapping[str, Any]
    ) -> Completion:
        """One request, ended after `timeout_s` whatever the server does; see `Chat.complete`."""
        begun_s = time.monotonic()
        refused = self._session.refused
        body = _body(self._settings, refused, system, with_schema(text, schema), images, schema)
        reply = self._session.post(body, self._settings.timeout_s)
        if reply.status != 200:
            raise self._failure(reply, body)
        self._session.settle(answered=True)
        answer = _read(reply.text)
        choice, usage = answer.choices[0], answer.usage or _Usage()
        if choice.message.refusal or not choice.message.content:
            reason = redact(choice.message.refusal or "") or f"finish_reason {redact(str(choice.finish_reason))}"
            reason += "; raise max_tokens" if choice.finish_reason == "length" else ""
            raise ChatError(f"the model gave no answer: {reason}", retryable=False)
        given, made = max(0, usage.prompt_tokens), max(0, usage.completion_tokens)
        cost = (given * self._settings.price_in + made * self._settings.price_out) / 1e6
        return Completion(choice.message.content, given, made, time.monotonic() - begun_s, cost)

    def _failure(self, reply: Reply, body: Mapping[str, Any]) -> ChatError:
        """What an answer other than 200 means."""
        said = self._session.redact(_message(reply.text)) or "no explanation"
        if reply.status in (400, 422):
            learned = _refused_by(reply.text, body) - (set() if self._settings.format == "auto" else set(FORMATS))
            if learned:
                self._session.refuse(learned)
                return ChatError(f"HTTP {reply.status}: {said}", retryable=True, retry_after_s=0.0)
            self._session.settle(answered=False)
        if reply.status in (401, 403):
            said += f"; is {OWN_KEY} set and valid?"
        if reply.status == 404:
            said += f"; is {self._settings.model!r} served at {self._settings.url}, and does the address end in /v1?"
        if 300 <= reply.status < 400:
            said = "the server redirects; give the address it redirects to"
        spent = reply.status == 429 and "insufficient_quota" in reply.text
        retryable = not spent and (reply.status in (408, 409, 425, 429) or reply.status >= 500)
        if retryable and reply.retry_after_s is not None:
            said += f" (asks to wait {reply.retry_after_s:g} s)"
        return ChatError(f"HTTP {reply.status}: {said}", retryable=retryable, retry_after_s=reply.retry_after_s)


def _body(
    settings: Settings, refused: frozenset[str], system: str, text: str, images: Sequence[np.ndarray],
    schema: Mapping[str, Any],
) -> dict[str, Any]:
    """The request as JSON, without what the server has refused."""
    content: list[dict[str, Any]] = []
    for i, image in enumerate(images, 1):
        content += [
            {"type": "text", "text": f"Image {i}:"},
            {"type": "image_url", "image_url": {"url": data_url(image, settings.image)}},
        ]
    content.append({"type": "text", "text": text})
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": content}],
        "max_completion_tokens" if "max_tokens" in refused else "max_tokens": settings.max_tokens,
        "temperature": 0,
        "seed": settings.seed,
    }
    wanted = settings.format if settings.format != "auto" else next(f for f in FORMATS if f not in refused)
    if wanted == "json_schema":
        body["response_format"] = {
            "type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)},
        }
    elif wanted == "json_object":
        body["response_format"] = {"type": "json_object"}
    return {key: value for key, value in body.items() if key not in refused or key == "max_completion_tokens"}


def _refused_by(said: str, body: Mapping[str, Any]) -> set[str]:
    """What a 400 or 422 may be about: what it names, else the response format; nothing once that is gone.

    A server that names json_schema may know json_object; one that names response_format as such knows neither.
    """
    named = {key for key in ("seed", "temperature", "max_tokens") if key in said and key in body}
    kind = body.get("response_format", {}).get("type")
    if kind and ("json_schema" in said or "response_format" in said or "schema" in said or not named):
        knows_object = kind == "json_schema" and ("response_format" not in said or "json_schema" in said)
        named |= {"json_schema"} if knows_object else {"json_schema", "json_object"}
    return named


def _message(text: str) -> str:
    """The message in an error's body, whichever of the usual forms it has; else the body itself."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    body = body.get("error", body) if isinstance(body, dict) else body
    said = next((body[key] for key in ("message", "detail") if body.get(key)), body) if isinstance(body, dict) else body
    return said if isinstance(said, str) else json.dumps(said)


def _read(text: str) -> _Answer:
    try:
        answer = _Answer.model_validate_json(text)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]
        raise ChatError(f"the server's answer is no chat completion: {redact(reason)}", retryable=True) from error
    if not answer.choices:
        raise ChatError("the server's answer has no choice", retryable=True)
    return answer


def _key_for(url: str) -> str:
    """The key for this server: our own variable goes anywhere, OpenAI's only to OpenAI."""
    key = os.environ.get(OWN_KEY, "").strip()
    host = urlsplit(url).hostname or ""
    if not key and (host == "openai.com" or host.endswith(".openai.com")):
        key = os.environ.get(OPENAI_KEY, "").strip()
        if not key:
            raise AutofocusError(
                WHERE, f"neither {OWN_KEY} nor {OPENAI_KEY} is set", f"a key for {host}",
                f"export {OWN_KEY}=..., or name another server as openai:MODEL@URL",
            )
    if not (key.isascii() and key.isprintable()):
        raise AutofocusError(
            WHERE, f"characters that no key has, in {OWN_KEY} or {OPENAI_KEY}", "printable ASCII", "set the key anew"
        )
    return key
