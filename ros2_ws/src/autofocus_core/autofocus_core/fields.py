"""Strict reading of mappings: each key is known, each value has its type, each error says what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from autofocus_core.errors import AutofocusError


class Fields:
    """One mapping of a YAML or JSON document, read key by key.

    `where` names the place for error messages, e.g. ``robot.yaml: joints[2]``. Call :meth:`done` after the
    last key: whatever was not asked for is an error, so that a typing mistake never becomes a default.
    """

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, Mapping):
            raise AutofocusError(
                where, f"{type(raw).__name__}: {raw!r}", "a mapping (key: value)", f"write {where} as key: value lines"
            )
        self.raw = raw
        self.where = where
        self._asked: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the optional `key` is there (and not null)."""
        self._asked.append(key)
        return self.raw.get(key) is not None

    def take(self, key: str, expected: str = "a value") -> Any:
        """The raw value of the mandatory `key`; raises AutofocusError where it is missing."""
        self._asked.append(key)
        if self.raw.get(key) is None:
            raise AutofocusError(
                self.where, f"no {key!r}", f"{key}: {expected}", f"add `{key}:` ({expected}) to {self.where}"
            )
        return self.raw[key]

    def version(self, *readable: int) -> int:
        """The format's version, under `schema`: one of those that can be read."""
        version = self.integer("schema", minimum=1)
        if version not in readable:
            raise AutofocusError(
                f"{self.where}: schema",
                str(version),
                " or ".join(map(str, readable)),
                "update AutoFocus-IL, or make the file anew with this version",
            )
        return version

    def text(self, key: str, *, empty: bool = False) -> str:
        """A string, non-empty unless `empty` is allowed."""
        value = self.take(key, "a text")
        if not isinstance(value, str) or not (empty or value.strip()):
            raise self._wrong(key, value, "a text" if empty else "a non-empty text")
        return value

    def flag(self, key: str) -> bool:
        """True or false; no number or text stands for either."""
        value = self.take(key, "true | false")
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true | false")
        return value

    def number(self, key: str, *, minimum: float | None = None, above: float | None = None) -> float:
        """A finite number, at least `minimum`, greater than `above`."""
        expected = "a finite number"
        if minimum is not None:
            expected += f" >= {minimum:g}"
        if above is not None:
            expected += f" > {above:g}"
        return self._check_number(key, self.take(key, expected), expected, minimum, above)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of exactly `count` finite numbers."""
        expected = f"a list of {count} finite numbers"
        values = self.take(key, expected)
        if not isinstance(values, (list, tuple)) or len(values) != count:
            raise self._wrong(key, values, expected)
        return tuple(self._check_number(key, value, expected, None, None) for value in values)

    def integer(self, key: str, *, minimum: int) -> int:
        """A whole number, at least `minimum`."""
        expected = f"a whole number >= {minimum}"
        value = self.take(key, expected)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self._wrong(key, value, expected)
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of the `allowed` texts."""
        value = self.take(key, " | ".join(allowed))
        if value not in allowed:
            raise self._wrong(key, value, " | ".join(allowed))
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of non-empty strings without duplicates."""
        values = self.take(key, "a list of texts")
        if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
            raise self._wrong(key, values, "a list of non-empty texts")
        require_unique(values, f"{self.where}: {key}")
        return tuple(values)

    def items(self, key: str, *, empty: bool = False) -> list[Fields]:
        """A list of mappings, non-empty unless `empty` is allowed."""
        expected = "a list of mappings" if empty else "a non-empty list of mappings"
        values = self.take(key, expected)
        if not isinstance(values, list) or not (values or empty):
            raise self._wrong(key, values, expected)
        return [Fields(value, f"{self.where}: {key}[{i}]") for i, value in enumerate(values)]

    def sub(self, key: str) -> Fields:
        """A nested mapping."""
        return Fields(self.take(key, "a mapping"), f"{self.where}: {key}")

    def done(self) -> None:
        """Raise AutofocusError if the mapping has keys that nobody asked for."""
        unknown = sorted(set(map(str, self.raw)) - set(self._asked))
        if unknown:
            raise AutofocusError(
                self.where,
                f"unknown key {', '.join(map(repr, unknown))}",
                ", ".join(dict.fromkeys(self._asked)),
                "remove it, or correct its spelling",
            )

    def _wrong(self, key: str, value: object, expected: str) -> AutofocusError:
        return AutofocusError(f"{self.where}: {key}", repr(value), expected, f"set `{key}` to {expected}")

    def _check_number(
        self, key: str, value: object, expected: str, minimum: float | None, above: float | None
    ) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._wrong(key, value, expected)
        if (minimum is not None and value < minimum) or (above is not None and value <= above):
            raise self._wrong(key, value, expected)
        return float(value)


def require_unique(names: list[str] | tuple[str, ...], where: str) -> None:
    """Raise AutofocusError if a name stands twice in `names`."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise AutofocusError(where, f"{', '.join(twice)} twice", "each name once", "rename or remove the duplicate")


def load_yaml(path: str | Path, what: str) -> Fields:
    """The mapping in a YAML file; raises AutofocusError where it is missing, unreadable or not a mapping."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AutofocusError(
            str(path),
            error.strerror or str(error),
            f"a readable {what} YAML file",
            f"give the path of a {what} YAML file",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AutofocusError(str(path), f"no YAML: {error}", "valid YAML", "correct the syntax there") from error
    return Fields(raw, str(path))
