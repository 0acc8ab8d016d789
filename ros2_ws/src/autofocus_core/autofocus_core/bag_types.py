"""Message types from the definitions that a bag brings."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from autofocus_core import messages as standard

#: Encodings of message definitions, as bags name them.
FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


def store_of(connections: Iterable[Connection], distro: str) -> Typestore:
    """Types from the definitions in the bag; the distribution's own for those that it does not bring.

    Raises TypesysError or KeyError for definitions that make no sense.
    """
    found = {(c.msgtype, c.msgdef.format, c.msgdef.data) for c in connections}
    defined = tuple(sorted((t, f.value, d) for t, f, d in found if f != MessageDefinitionFormat.NONE))
    undefined = {t for t, f, _ in found if f == MessageDefinitionFormat.NONE} - {t for t, _, _ in defined}
    return _store(defined, distro if distro in standard.DISTROS else standard.PYPI_DISTRO, bool(undefined))


@lru_cache(maxsize=64)
def _store(defined: tuple[tuple[str, int, str], ...], distro: str, with_standard: bool) -> Typestore:
    # Parsing definitions costs some 5 ms a type, and the episodes of a dataset all have the same ones.
    store = get_typestore(standard.DISTROS[distro] if with_standard else Stores.EMPTY)
    separator = "=" * 80 + "\n"
    types: dict[str, Any] = {}
    for msgtype, form, text in defined:
        if form == MessageDefinitionFormat.MSG.value:
            types.update(get_types_from_msg(text, msgtype))
        elif text.startswith(f"{separator}IDL: "):
            for part in text.split(separator)[1:]:
                types.update(get_types_from_idl(part.split("\n", 1)[1]))
        else:
            types.update(get_types_from_idl(text))
    store.register({name: fields for name, fields in types.items() if name not in store.fielddefs})
    return store
