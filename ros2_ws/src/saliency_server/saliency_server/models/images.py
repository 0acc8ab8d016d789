"""Camera images as data URLs."""

from __future__ import annotations

import base64

import cv2
import numpy as np

#: How an image is sent -> what OpenCV is asked for: the same bytes for the same image.
IMAGE_FORMATS: dict[str, tuple[str, list[int]]] = {
    "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 92]),
    "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 3]),
}


def data_url(image: np.ndarray, kind: str) -> str:
    """An rgb uint8 (H, W, 3) image as `data:image/KIND;base64,...`; ValueError for another shape or type."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an image of {image.shape} {image.dtype} instead of rgb uint8 (H, W, 3)")
    suffix, settings = IMAGE_FORMATS[kind]
    done, encoded = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise ValueError(f"an image of {image.shape} could not be encoded as {kind}")
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
