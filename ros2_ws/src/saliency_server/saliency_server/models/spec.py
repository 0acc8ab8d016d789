"""Specs of models, as they are given on a command line: `KIND:MODEL[@REVISION or @URL][,key=value ...]`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from autofocus_core.errors import AutofocusError


def split_options(
    where: str, body: str, kinds: Mapping[str, Callable[[str], Any]]
) -> tuple[str, dict[str, Any]]:
    """The part before the first comma, and the options after it, each parsed by its entry of `kinds`.

    where: the option that the spec was given to, for errors; kinds: key -> parser that raises ValueError with what is
    allowed. Unknown keys, doubled keys and values that do not parse raise AutofocusError.
    """
    head, *parts = body.split(",")
    options: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or key not in kinds or key in options:
            got = f"{key!r} twice" if key in options else repr(part)
            raise AutofocusError(where, got, "KEY=VALUE with one of " + ", ".join(kinds), "correct the spec's options")
        try:
            options[key] = kinds[key](value.strip())
        except ValueError as error:
            raise AutofocusError(f"{where}: {key}", repr(value), str(error), f"correct {key}= in the spec") from error
    return head.strip(), options


def body_of(spec: str, what: str) -> str:
    """What stands after "transformers:" in a spec of `what`; AutofocusError for any other kind."""
    kind, _, body = spec.partition(":")
    if kind != "transformers" or not body.strip():
        allowed = "transformers:MODEL_OR_FOLDER[@REVISION][,KEY=VALUE ...]"
        raise AutofocusError(what, repr(spec[:200]), allowed, f"name a model of the transformers library for {what}")
    return body


def number(low: float, high: float, whole: bool = False) -> Callable[[str], float]:
    """A parser for a number (whole: an integer) from low to high, both included."""

    def parse(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"a {'whole ' if whole else ''}number from {low:g} to {high:g}")
        return value

    return parse


def one_of(*allowed: str) -> Callable[[str], str]:
    """A parser for one of the allowed words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(" | ".join(allowed))
        return text

    return parse


def need(module: str, extra: str) -> ModuleType:
    """The imported module; AutofocusError that names the extra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise AutofocusError(
            f"Python package {module}", f"it cannot be imported: {error}", f"saliency_server with its extra {extra!r}",
            f"pip install 'saliency_server[{extra}]'",
        ) from error
