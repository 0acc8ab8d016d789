"""Measured figures: one row per name, replaced when measured again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.results import ROW_KEYS, record, table


def test_rows_are_replaced_and_sorted(tmp_path: Path) -> None:
    record("part", "b", 1.0, "s", "<= 2", True, "make bench", folder=tmp_path)
    record("part", "a", 3, "count", "0", False, "make bench", folder=tmp_path)
    record("part", "b", 1.5, "s", "<= 2", True, "make bench", folder=tmp_path)
    rows = json.loads((tmp_path / "part.json").read_text())
    assert [(row["name"], row["value"]) for row in rows] == [("a", 3), ("b", 1.5)]
    assert tuple(rows[0]) == ROW_KEYS


def test_table_shows_what_is_not_met(tmp_path: Path) -> None:
    record("part", "a", 3, "count", "0", False, "make bench", folder=tmp_path)
    assert "| part | a | 3 count | 0 | **no** |" in table(folder=tmp_path)
    with pytest.raises(AutofocusError, match="measure it first"):
        table(["other"], folder=tmp_path)


def test_recorders_at_a_time_lose_no_row(tmp_path: Path) -> None:
    """Tests run in several processes; each reads the file, adds its row, and writes the file."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: record("part", f"{i:02}", i, "s", "", True, "make bench", folder=tmp_path), range(24)))
    assert [row["value"] for row in json.loads((tmp_path / "part.json").read_text())] == list(range(24))
