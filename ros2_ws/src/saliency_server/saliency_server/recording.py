"""A recording that may be damaged: all of it where it is whole, else what is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from autofocus_core.bags import Bag, DamagedBagError, open_bag

T = TypeVar("T")


def read_recording(path: Path, read: Callable[[Bag], T]) -> T:
    """What `read` makes of a recording. Where damage is met, `read` begins anew on what is whole of it (`bag.lossy` is
    set then): looking at every byte beforehand would cost each sound bag a second reading.

    Raises AutofocusError where nothing can be read.
    """
    try:
        with open_bag(path) as bag:
            return read(bag)
    except DamagedBagError:
        with open_bag(path, allow_truncated=True) as bag:
            return read(bag)


def losses_record(bag: Bag) -> dict[str, object]:
    """What the provenance says of damage: "lossy", "losses" as `Bag` has them; "dropped": messages that could not be
    decoded, by topic, and of the first of each topic the stamps and reasons."""
    return {
        "lossy": bag.lossy,
        "losses": list(bag.losses),
        "dropped": dict(sorted(bag.dropped.counts.items())),
        "dropped_first": [
            {"topic": each.topic, "header_ns": each.header_ns, "receive_ns": each.receive_ns, "reason": each.reason}
            for each in bag.dropped.first
        ],
    }
