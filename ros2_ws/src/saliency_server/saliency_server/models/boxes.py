"""Boxes of a zero-shot detector, in numpy: which phrase a box belongs to, and which boxes are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from saliency_server.values import Detection

MIN_SIDE_PX = 1.0


def phrase_scores(
    token_scores: np.ndarray, phrases: Sequence[Sequence[int]], nouns: Sequence[Sequence[int]], text_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The phrase of each box, and its score, from how well the box fits each token of the prompt.

    token_scores: (Q, T), 0 to 1; phrases: for each of K phrases the indices of its tokens; nouns: those of its last
    word. Returns phrase (Q,) int, -1 where there is none, and score (Q,), the best token of the phrase.

    "red cube" and "red bowl" share a word, and a red thing fits this word in both: so a box belongs to the phrase whose
    tokens it fits best on average, and to none unless it fits the noun of that phrase by `text_threshold`.
    """
    if not phrases:
        raise ValueError("no phrase")
    mean = np.stack([token_scores[:, list(tokens)].mean(axis=1) for tokens in phrases], axis=1)
    best = np.stack([token_scores[:, list(tokens)].max(axis=1) for tokens in phrases], axis=1)
    noun = np.stack([token_scores[:, list(tokens)].max(axis=1) for tokens in nouns], axis=1)
    rows = np.arange(len(token_scores))
    phrase = mean.argmax(axis=1)
    fits = noun[rows, phrase] >= text_threshold
    return np.where(fits, phrase, -1), best[rows, phrase]


def detections(
    boxes: np.ndarray,
    scores: np.ndarray,
    phrase: np.ndarray,
    count: int,
    size_px: tuple[int, int],
    *,
    threshold: float,
    nms_iou: float,
    most: int,
    dropped: Counter[str],
) -> tuple[tuple[Detection, ...], ...]:
    """The candidates of one image, for each of `count` phrases, best first.

    boxes: (Q, 4) x0, y0, x1, y1 in px; scores (Q,); phrase (Q,), -1 for none; size_px: height, width. Boxes are clipped
    to the image; those with a number that is not finite, or less than MIN_SIDE_PX wide or high, are left out and
    counted in `dropped`; of boxes of one phrase that overlap by more than `nms_iou` the best is kept, and of these at
    most `most`.
    """
    wanted = (phrase >= 0) & ~(scores < threshold)  # NaN is looked at, and counted below
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    dropped["not finite"] += int((wanted & ~finite).sum())
    wanted &= finite
    height, width = size_px
    clipped = np.clip(np.where(finite[:, None], boxes, 0.0), 0.0, [width, height, width, height]).astype(np.float64)
    large = (clipped[:, 2:] - clipped[:, :2] >= MIN_SIDE_PX).all(axis=1)
    dropped["no area in the image"] += int((wanted & ~large).sum())
    wanted &= large
    found = []
    for k in range(count):
        of_k = np.flatnonzero(wanted & (phrase == k))
        # A tie goes to the earlier box: the same on every machine.
        of_k = of_k[np.lexsort((of_k, -scores[of_k]))]
        kept = of_k[suppress(clipped[of_k], nms_iou)[:most]]
        dropped["overlaps a better one"] += len(of_k) - len(kept)
        found.append(tuple(_detection(clipped[i], float(scores[i])) for i in kept))
    return tuple(found)


def suppress(boxes: np.ndarray, iou: float) -> list[int]:
    """Indices of the boxes (N, 4), given best first, that overlap no better one by more than `iou`."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for i in range(len(boxes)):
        if kept:
            low = np.maximum(boxes[kept, :2], boxes[i, :2])
            high = np.minimum(boxes[kept, 2:], boxes[i, 2:])
            both = np.clip(high - low, 0.0, None).prod(axis=1)
            if (both / (area[kept] + area[i] - both) > iou).any():
                continue
        kept.append(i)
    return kept


def _detection(box: np.ndarray, score: float) -> Detection:
    x0, y0, x1, y1 = (float(v) for v in box)
    return Detection((x0, y0, x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2), min(score, 1.0), (x1 - x0) * (y1 - y0))
