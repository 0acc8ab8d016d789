"""Reading teleoperation YAMLs: what all of them share."""

from __future__ import annotations

from pathlib import Path

from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields, load_yaml

SCHEMA_VERSION = 1


def load(path: str | Path, what: str) -> Fields:
    """The mapping in a YAML file of the version that is understood; raises AutofocusError."""
    fields = load_yaml(path, what)
    fields.version(SCHEMA_VERSION)
    return fields


def number(
    fields: Fields,
    key: str,
    default: float,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
) -> float:
    """An optional number in its range."""
    if not fields.has(key):
        return default
    value = fields.number(key, minimum=minimum, above=above)
    if maximum is not None and value > maximum:
        raise AutofocusError(f"{fields.where}: {key}", f"{value:g}", f"at most {maximum:g}", f"lower `{key}`")
    return value


def topic(fields: Fields, key: str, default: str) -> str:
    """An optional absolute topic name."""
    name = fields.text(key) if fields.has(key) else default
    if not name.startswith("/"):
        raise AutofocusError(f"{fields.where}: {key}", repr(name), "an absolute name, e.g. /joy", "add the slash")
    return name
