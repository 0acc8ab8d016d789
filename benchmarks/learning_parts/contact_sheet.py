"""A picture of what the learning benchmark shows in demonstrations and asks in tests.

    python benchmarks/learning_parts/contact_sheet.py       # writes docs/images/learning_scenes.png
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that this file is a script, too

import numpy as np
from autofocus_sim.cell import Cell
from autofocus_sim.demos import demonstration_rng
from autofocus_sim.expert import PERIOD_S, Expert
from autofocus_sim.seeds import OPERATOR
from PIL import Image, ImageDraw, ImageFont

from learning_parts.scenes import CONDITIONS, TASKS

OUT = Path(__file__).parents[2] / "docs/images/learning_scenes.png"
SEEDS = OPERATOR.take(2, skip=20)
TILE = (200, 150)  # px
GAP, HEADER, MARGIN = 6, 40, 84
#: Operator's ticks at which the pictures of a pair are taken: at the start and on the way.
TICKS = (0, 14)


def columns() -> list[tuple[str, str, str]]:
    """(condition, what the column is, the simulator's condition); nominal's demonstrations stand for unseen's."""
    found = []
    for condition in CONDITIONS.values():
        if condition.name == condition.demonstrated:
            found.append((condition.name, "demonstrated", condition.demonstrated))
        found += [
            (condition.name, f"test: {cell}", tested)
            for cell, tested in condition.tests.items() if tested != condition.demonstrated
        ]
    return found


def pictures(cell: Cell, task: str, condition: str) -> list[np.ndarray]:
    """One picture of each of SEEDS: uint8 (240, 320, 3), the operator at work."""
    shown = []
    for seed, stop in zip(SEEDS, TICKS, strict=True):
        cell.reset(seed, condition, task)
        expert = Expert(task)
        expert.reset(demonstration_rng(seed))
        for _ in range(stop):
            action = expert.act(cell.truth(boxes=False), cell.joint_positions())
            cell.operator_phase = int(action.phase)
            cell.follow(action.noisy, PERIOD_S)
        shown.append(cell.render())
    return shown


def main() -> int:
    """Draw and write the sheet."""
    heads, cell = columns(), Cell()
    width = MARGIN + len(heads) * (TILE[0] + GAP)
    height = HEADER + len(TASKS) * (len(SEEDS) * (TILE[1] + 2) + 2 * GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for column, (name, what, _) in enumerate(heads):
        x = MARGIN + column * (TILE[0] + GAP)
        draw.text((x, 2), name, "black", font)
        draw.text((x, 20), what, "#a02020" if "broken" in what else "#205080", font)
    for row, task in enumerate(TASKS):
        y = HEADER + row * (len(SEEDS) * (TILE[1] + 2) + 2 * GAP)
        draw.text((8, y + TILE[1] - 8), task, "black", font)
        for column, (_, _, condition) in enumerate(heads):
            x = MARGIN + column * (TILE[0] + GAP)
            for number, picture in enumerate(pictures(cell, task, condition)):
                tile = Image.fromarray(picture).resize(TILE, Image.Resampling.BOX)
                sheet.paste(tile, (x, y + number * (TILE[1] + 2)))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size // 1024} KiB, seeds {', '.join(map(str, SEEDS))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
