"""`autofocus results [PART ...]`: the measured figures of benchmarks/results as a Markdown table."""

from __future__ import annotations

import argparse
from pathlib import Path

from autofocus_core.results import table


def main(argv: list[str]) -> int:
    """Print the table; AutofocusError for a part that was never measured."""
    parser = argparse.ArgumentParser(prog="autofocus results", description=__doc__)
    parser.add_argument("part", nargs="*", help="which parts; without any: all that have been measured")
    parser.add_argument("--folder", type=Path, help="where the .json files lie (default: benchmarks/results)")
    args = parser.parse_args(argv)
    print(table(args.part or None, args.folder), end="")
    return 0
