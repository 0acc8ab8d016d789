"""Does it look? Where a trained network's attention lies on held-out samples, and what really moves its action."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from autofocus_core import looking
from autofocus_training.images import to_unit
from autofocus_training.samples import Normaliser, Samples
from torch import Tensor, nn

MOST = 64  # samples looked at, spread evenly
BACKGROUND_PATCHES = 3  # for each covered object


@dataclass(frozen=True, slots=True)
class Looking:
    """Means over samples, cameras and objects, NaN where there was nothing to measure (see autofocus_core.looking).

    attention_share: of the attention, on objects; chance: the same for a map that is equal everywhere. pointing: share
    of maps whose peak is on target. kl: nats, to the annotated map. moved_by_objects, moved_by_background: change of
    the chunk when an object, or an equally large patch elsewhere, is covered, in shares of what the arm can move in one
    step.
    """

    samples: int
    attention_share: float
    chance: float
    pointing: float
    kl: float
    moved_by_objects: float
    moved_by_background: float


def look(network: nn.Module, normaliser: Normaliser, samples: Samples, step_limit: np.ndarray) -> Looking | None:
    """Measure on up to MOST of `samples`; None where there are none or nothing is annotated.

    step_limit (A,): what each joint can move in one step of a chunk, rad or m: velocity limit * dt_s.
    """
    if not len(samples) or not samples.valid.any():
        return None
    chosen = samples.take(torch.linspace(0, len(samples) - 1, min(MOST, len(samples))).round().long())
    found: dict[str, list[float]] = {name: [] for name in Looking.__slots__ if name != "samples"}
    for i in range(len(chosen)):
        for name, value in _one(network, normaliser, chosen.take(torch.tensor([i])), step_limit):
            found[name].append(value)
    means = {name: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for name, v in found.items()}
    return Looking(len(chosen), **means)


def _one(
    network: nn.Module, normaliser: Normaliser, sample: Samples, step_limit: np.ndarray
) -> Iterator[tuple[str, float]]:
    frames = sample.images[0].numpy()  # (N, h, w, 3)
    actions, attention = answer(network, normaliser, sample.images, sample.states)
    size = frames.shape[1:3]
    maps = attention[0].reshape(len(frames), -1, *attention.shape[-2:])
    for camera, frame in enumerate(frames):
        boxes, valid = sample.boxes_px[0, camera].numpy(), sample.valid[0, camera].numpy()
        if not valid.any():
            continue
        yield "attention_share", looking.attention_share(maps[camera], boxes, valid, size)
        yield "chance", looking.chance(maps.shape[-2:], boxes, valid, size)
        hit = looking.pointing_hit(maps[camera], boxes, valid, size)
        yield "pointing", float("nan") if hit is None else float(hit)
        yield "kl", looking.kl_to_map(maps[camera], boxes, valid, size)
        inside = valid & (boxes[:, 2:] > 0).all(1) & (boxes[:, 0] < size[1]) & (boxes[:, 1] < size[0])
        patches = [("moved_by_objects", box) for box in boxes[inside]] + [
            ("moved_by_background", patch)
            for x0, y0, x1, y1 in boxes[inside]
            for patch in looking.background_boxes((x1 - x0, y1 - y0), boxes, size, BACKGROUND_PATCHES)
        ]
        covered = sample.images.repeat(len(patches), 1, 1, 1, 1)
        for row, (_, box) in enumerate(patches):
            covered[row, camera] = torch.from_numpy(looking.blank(frame, box))
        changed, _ = answer(network, normaliser, covered, sample.states.expand(len(patches), *sample.states.shape[1:]))
        for (name, _), chunk in zip(patches, changed, strict=True):
            yield name, looking.action_change(actions[0], chunk, step_limit)


@torch.no_grad()
def answer(
    network: nn.Module, normaliser: Normaliser, images: Tensor, states: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Absolute actions (B, T, A), rad or m, and attention (B, M, h, w), each map sums to 1, of samples: images
    (B, N, h, w, 3) uint8 and states as in `Samples`."""
    device = next(network.parameters()).device
    actions, log_attention = network(to_unit(images).to(device), normaliser.states(states).to(device))
    return normaliser.absolute(actions.cpu(), states).numpy(), log_attention.exp().cpu().numpy()
