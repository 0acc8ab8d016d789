"""An answer as JSON: the schema that a model is given, and reading its answer out of what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

MAX_ANSWER_CHARS = 64_000
MAX_PROBLEM = 600  # characters
MAX_LOOKS = 50  # places in an answer where an object may begin

M = TypeVar("M", bound=BaseModel)


class BadAnswer(ValueError):
    """A model's text that is no valid answer; the message says why, in words that the model can act upon."""


def wire_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of an answer as servers take it: no references, every property required, none besides.

    Limits of lengths stay out: not every server knows them, and the validation has them.
    """
    raw = model.model_json_schema()
    definitions = raw.get("$defs", {})

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(item) for item in node]
        if not isinstance(node, Mapping):
            return node
        if "$ref" in node:
            return plain(definitions[node["$ref"].rsplit("/", 1)[-1]])
        kept = {key: node[key] for key in ("type", "enum", "const", "description") if key in node}
        kept |= {key: plain(node[key]) for key in ("items", "anyOf") if key in node}
        if "properties" in node:
            properties = {name: plain(value) for name, value in node["properties"].items()}
            kept |= {"properties": properties, "required": list(properties), "additionalProperties": False}
        return kept

    return plain({key: value for key, value in raw.items() if key not in ("$defs", "description")})


def parse_answer(text: str, model: type[M]) -> M:
    """The valid answer in a model's text; BadAnswer, saying why, where there is none.

    A model may think aloud first (<think>...</think>) and put its JSON in a code block; of several objects the last
    is the answer.
    """
    if len(text) > MAX_ANSWER_CHARS:
        raise BadAnswer(f"the answer has {len(text)} characters; at most {MAX_ANSWER_CHARS} are read")
    try:
        return model.model_validate(_json_object(text))
    except ValidationError as error:
        raise BadAnswer(_problem(error)) from error


def _json_object(text: str) -> Mapping[str, Any]:
    text = text.rsplit("</think>", 1)[-1].strip()
    if not text:
        raise BadAnswer("the answer is empty")
    decoder = json.JSONDecoder(parse_constant=_refuse)
    found, at, looks = None, text.find("{"), 0
    while at >= 0 and looks < MAX_LOOKS:
        looks += 1
        try:
            value, at = decoder.raw_decode(text, at)
            found = value
        except (ValueError, RecursionError):
            at += 1
        at = text.find("{", at)
    if not isinstance(found, dict):
        raise BadAnswer("the answer has no complete JSON object; answer with one JSON object and nothing else")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _problem(error: ValidationError) -> str:
    """What is wrong, by field, without the values: these are the model's words, the message is ours."""
    parts = []
    for each in error.errors(include_url=False, include_input=False, include_context=False)[:5]:
        where = ".".join(re.sub(r"\W", "?", str(step))[:30] for step in each["loc"]) or "answer"
        parts.append(f"{where}: {each['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)[:MAX_PROBLEM]
