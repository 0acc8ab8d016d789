"""Masks out of boxes, by SAM 2 of the transformers library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saliency_server.models.hub import ModelRef, load, load_weights, parse_ref
from saliency_server.models.spec import body_of

WHERE = "masks transformers"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # SAM 2's, where its files do not say


def open_masks(spec: str) -> BoxMasks:
    """SAM 2 by `transformers:MODEL_OR_FOLDER[@REVISION][,device=..][,dtype=..]`; errors as for `open_detector`."""
    return BoxMasks.from_spec(body_of(spec, "masks"))


@dataclass(frozen=True, slots=True)
class Masks:
    """mask: (K, H, W) bool, all False where the box was NaN or the model sees nothing in it; score: (K,) float32, the
    model's own estimate of its overlap with the thing, 0.0 where the box was NaN."""

    mask: np.ndarray
    score: np.ndarray


class BoxMasks:
    """SAM 2 asked for the thing in each box.

    Images are scaled and normalised here and not by SAM 2's own processor: that one needs torchvision, which does not
    fit every torch. A test holds the two together where torchvision is there.
    """

    def __init__(self, ref: ModelRef) -> None:
        self._ref = ref
        self.name = ref.name
        self.version = ref.version("code 1")

    @classmethod
    def from_spec(cls, body: str) -> BoxMasks:
        """By `MODEL_OR_FOLDER[@REVISION][,device=..][,dtype=..]`, such as facebook/sam2.1-hiera-tiny."""
        return cls(parse_ref(WHERE, body, {})[0])

    def masks(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[Masks]:
        """images: rgb uint8 (H, W, 3) each; boxes: for each image (K, 4) x0, y0, x1, y1 in px, NaN where there is
        none. Returns the masks of each image; every image has its own K."""
        import torch
        import torch.nn.functional as F

        if len(images) != len(boxes):
            raise ValueError(f"{len(images)} images and boxes for {len(boxes)}")
        model, side, mean, std = load(self._ref, "SAM 2 model", self._load)
        results = []
        for image, asked in zip(images, boxes, strict=True):
            height, width = image.shape[:2]
            mask, score = np.zeros((len(asked), height, width), dtype=bool), np.zeros(len(asked), dtype=np.float32)
            there = np.flatnonzero(np.isfinite(asked).all(axis=1)) if len(asked) else np.array([], dtype=int)
            if len(there):
                pixels = prepared(image, side, mean, std).to(model.device, model.dtype)
                scaled = np.asarray(asked, dtype=np.float64)[there] * (side / np.array([width, height] * 2))
                wanted = torch.from_numpy(scaled)[None].to(model.device, model.dtype)
                with torch.inference_mode():
                    output = model(pixel_values=pixels, input_boxes=wanted, multimask_output=False)
                    logits = output.pred_masks[0].float()
                    full = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
                mask[there] = (full[:, 0] > 0.0).cpu().numpy()
                score[there] = output.iou_scores[0, :, 0].float().cpu().numpy()
            results.append(Masks(mask, score))
        return results

    def _load(self, folder: Path, arguments: dict[str, Any]) -> tuple[Any, int, tuple[float, ...], tuple[float, ...]]:
        from transformers import Sam2Model

        model = load_weights(self._ref, Sam2Model, folder, arguments)
        said: dict[str, Any] = {}
        for name in ("preprocessor_config.json", "processor_config.json"):
            if (folder / name).is_file():
                read = json.loads((folder / name).read_text(encoding="utf-8"))
                said = read.get("image_processor", read)
                break
        mean, std = tuple(said.get("image_mean", MEAN)), tuple(said.get("image_std", STD))
        return model, int(model.config.prompt_encoder_config.image_size), mean, std


def prepared(image: np.ndarray, side: int, mean: Sequence[float], std: Sequence[float]) -> Any:
    """An rgb uint8 (H, W, 3) image as SAM 2 wants it: float32 (1, 3, side, side), squeezed, normalised by channel."""
    import torch
    import torch.nn.functional as F

    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    pixels = pixels.round().clamp(0, 255) / 255.0  # SAM 2's own processor scales bytes
    return (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
