"""Definitions of message types for the bag: standard ones as the core knows them, a lab's own from the installation."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.errors import AutofocusError
from autofocus_core.messages import default_distro, definition, starts_with_header, typestore

#: rosbag2 and MCAP put this line between a type and those that it is made of.
_LINE = "=" * 80
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(<=\d+)?(\[[^\]]*\])?\s+[A-Za-z]\w*")
_PRIMITIVES = {
    "bool", "byte", "char", "float32", "float64", "string", "wstring",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}  # fmt: skip
_HEADER = "std_msgs/Header"


@dataclass(frozen=True, slots=True)
class Definition:
    """`text` and `type_hash` are empty for a standard type: the writer has them. `has_header`: it begins with one."""

    has_header: bool
    text: str = ""
    type_hash: str = ""


def define(msgtype: str, type_hash: str, prefixes: Sequence[Path] | None = None) -> Definition:
    """What is known of ``package/msg/Name``; `type_hash` is what its publisher says, RIHS01_...

    Standard types come from the core. Others from the .msg files below `prefixes` (default: those of the ROS
    installation and of this Python). Raises AutofocusError where a file is missing.
    """
    if msgtype in typestore(default_distro()).fielddefs:
        definition(msgtype, default_distro())
        return Definition(starts_with_header(msgtype))
    package, _, name = msgtype.split("/")
    places = _prefixes() if prefixes is None else prefixes
    first = f"{package}/{name}"
    texts: dict[str, str] = {}
    waiting = [first]
    while waiting:
        short = waiting.pop(0)
        if short not in texts:
            texts[short] = _read(short, places, msgtype)
            waiting += _parts(short, texts[short])
    rest = [f"{_LINE}\nMSG: {short}\n{text}" for short, text in texts.items() if short != first]
    parts = _parts(first, texts[first], only_first=True)
    return Definition(parts == [_HEADER], "\n".join([texts[first], *rest]), type_hash)


def _prefixes() -> list[Path]:
    named = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [*(Path(prefix) for prefix in named if prefix), Path(sys.prefix)]


def _read(short: str, prefixes: Sequence[Path], wanted: str) -> str:
    package, name = short.split("/")
    places = [prefix / "share" / package / "msg" / f"{name}.msg" for prefix in prefixes]
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise AutofocusError(
        f"message type {wanted}",
        f"no definition of {short}",
        " or ".join(map(str, places)),
        f"install {package}, source its workspace, or leave the topic out of extra_topics",
    )


def _parts(short: str, text: str, *, only_first: bool = False) -> list[str]:
    """The types, other than primitive ones, that a definition is made of (`only_first`: its first field alone)."""
    found = []
    for line in text.splitlines():
        line = line.split("#", 1)[0]
        match = _FIELD.match(line)
        if match is None or ("=" in line and not match.group(2) and "<=" not in line):  # a constant
            continue
        kind = match.group(1)
        if kind not in _PRIMITIVES:
            package, _, name = kind.replace("/msg/", "/").rpartition("/")
            found.append(f"{package or (_HEADER.split('/')[0] if name == 'Header' else short.split('/')[0])}/{name}")
        if only_first:
            return found
    return found
