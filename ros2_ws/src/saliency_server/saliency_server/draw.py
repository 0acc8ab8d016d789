"""Pictures for questions: numbered boxes on an image, and many small images on one sheet. No words are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

LEAST_HEIGHT_PX = 480  # smaller images are enlarged, so that a number hides little of a thing and can be read
SHEET_COLUMNS = 3
CELL_WIDTH_PX = 320
_COLOURS = ((255, 0, 0), (0, 200, 0), (0, 90, 255), (255, 0, 255), (0, 200, 200), (255, 140, 0))


def numbered_boxes(image: np.ndarray, boxes: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """The image, rgb uint8 (H, W, 3), enlarged to at least LEAST_HEIGHT_PX, with each (number, box (4,) px) on it.

    The number stands on a plate of the box's colour above it (below it at the upper edge), where no other plate is.
    """
    scale = max(1.0, LEAST_HEIGHT_PX / image.shape[0])
    picture = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else image.copy()
    height, width = picture.shape[:2]
    taken: list[tuple[int, int, int, int]] = []
    for place, (number, box) in enumerate(boxes):
        colour = _COLOURS[place % len(_COLOURS)]
        x0, y0, x1, y1 = (round(float(v) * scale) for v in box)
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 2, cv2.LINE_AA)
        (text_w, text_h), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 2)
        plate_w, plate_h = text_w + 8, text_h + 8
        left = min(max(x0, 0), width - plate_w)
        top = y0 - plate_h if y0 >= plate_h else min(y1, height - plate_h)
        while any(_overlap((left, top, plate_w, plate_h), other) for other in taken) and left + 2 * plate_w <= width:
            left += plate_w
        taken.append((left, top, plate_w, plate_h))
        cv2.rectangle(picture, (left, top), (left + plate_w, top + plate_h), colour, -1)
        cv2.putText(
            picture, str(number), (left + 4, top + plate_h - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2,
            cv2.LINE_AA,
        )
    return picture


def contact_sheet(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images of one size, in order of time, in rows of SHEET_COLUMNS, each CELL_WIDTH_PX wide; unused cells black."""
    height, width = images[0].shape[:2]
    cell_w, cell_h = CELL_WIDTH_PX, max(1, round(CELL_WIDTH_PX * height / width))
    columns = min(SHEET_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * cell_h, columns * cell_w, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        small = cv2.resize(image, (cell_w, cell_h), interpolation=cv2.INTER_AREA)
        sheet[row * cell_h : (row + 1) * cell_h, column * cell_w : (column + 1) * cell_w] = small
    return sheet


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
