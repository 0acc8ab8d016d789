"""Frames with what a policy looks at, and with what moves it, as data URIs for a page."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from autofocus_policy.looks import Frame

WIDTH_PX = 360
JPEG_QUALITY = 82
#: RGB of the boxes of objects, and of what should not matter.
OBJECT, DISTRACTOR = (60, 220, 245), (255, 120, 220)


def uri(image: np.ndarray) -> str:
    """rgb uint8 (H, W, 3) as a data URI of a JPEG."""
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def overlay(frame: Frame, heat: np.ndarray | None, smooth: bool = True) -> np.ndarray:
    """The frame greyed, `heat` (h, w) in [0, 1] over it, boxes over that; rgb uint8, WIDTH_PX wide."""
    image = frame.image
    scale = WIDTH_PX / image.shape[1]
    size = (WIDTH_PX, round(image.shape[0] * scale))
    base = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC).astype(np.float32)
    if heat is not None:
        grey = base.mean(axis=2, keepdims=True)
        spread = cv2.resize(heat.astype(np.float32), size,
                            interpolation=cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST)
        spread = np.clip(spread, 0.0, 1.0)
        colours = cv2.applyColorMap((255 * spread).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        weight = 0.85 * np.sqrt(spread)[..., None]
        base = (0.55 * grey + 0.45 * base) * (1 - weight) + colours * weight
    canvas = np.ascontiguousarray(base.clip(0, 255).astype(np.uint8))
    for boxes, colour in ((frame.boxes, OBJECT), (frame.distractors, DISTRACTOR)):
        for box in boxes.values():
            x0, y0, x1, y1 = (round(float(v) * scale) for v in box)
            cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, 2, cv2.LINE_AA)
    return canvas
