"""The losses as functions of tensors: of actions, and of maps by METHOD's formulas (arXiv 2511.18617).

M images, (H, W) px, (h, w) feature cells. Each of maps gives one value for each image: what counts is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from autofocus_training.batch import minmax
from torch import Tensor

EPS = 1e-6  # METHOD's, in the logarithms


def action_error(predicted: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """Mean over everything, of normalised actions (B, T, A); kind: "mse" or "l1"."""
    return (predicted - wanted).abs().mean() if kind == "l1" else (predicted - wanted).square().mean()


def scheduled(schedule: str, progress: float) -> float:
    """Factor of the saliency weight at `progress` (0 to 1): 1; linear down to 0; or linear up to 1 over a tenth."""
    return {"constant": 1.0, "decay": 1.0 - progress, "warmup": min(1.0, progress * 10.0)}[schedule]


def predicted_map(z: Tensor, beta: float, size: tuple[int, int]) -> Tensor:
    """G_hat = minmax(upsample(softmax(sum_c |z_c| / beta))); z (M, C, h, w) -> (M, H, W) in [0, 1]."""
    activation = z.abs().sum(1, keepdim=True)
    p = torch.softmax(activation.flatten(2) / beta, dim=-1).view_as(activation)
    return minmax(F.interpolate(p, size=list(size), mode="bilinear", align_corners=False))[:, 0]


def sum_normalised(maps: Tensor) -> Tensor:
    """(M, H, W) -> (M, H * W), each sums to 1 (zeros where the map is zero)."""
    flat = maps.flatten(1)
    return flat / flat.sum(-1, keepdim=True).clamp(min=1e-8)


def kl(g: Tensor, guess: Tensor) -> Tensor:
    """sum G log((G + 1e-6) / (G_hat + 1e-6)) of sum-normalised maps (M, H * W) -> (M,)."""
    return (g * torch.log((g + EPS) / (guess + EPS))).sum(-1)


def mse_of_maps(g: Tensor, guess: Tensor) -> Tensor:
    """mean (G - G_hat)^2: the paper's default; (M, H, W) in [0, 1] -> (M,)."""
    return (g - guess).square().mean((-2, -1))


def l1_of_maps(g: Tensor, guess: Tensor) -> Tensor:
    """mean |G - G_hat|: the paper's other option."""
    return (g - guess).abs().mean((-2, -1))


def kl_of_maps(g: Tensor, guess: Tensor) -> Tensor:
    """KL(G, G_hat) on sum-normalised maps."""
    return kl(sum_normalised(g), sum_normalised(guess))


def tv_of_maps(g: Tensor, guess: Tensor) -> Tensor:
    """sum |G - G_hat| on sum-normalised maps."""
    return (sum_normalised(g) - sum_normalised(guess)).abs().sum(-1)


def js_of_maps(g: Tensor, guess: Tensor) -> Tensor:
    """1/2 KL(G, M) + 1/2 KL(G_hat, M), M the mean of both, on sum-normalised maps."""
    g, guess = sum_normalised(g), sum_normalised(guess)
    mean = (g + guess) / 2.0
    return kl(g, mean) / 2.0 + kl(guess, mean) / 2.0


#: D(G, G_hat) of the reg-* methods: maps (M, H, W) in [0, 1] -> (M,).
MAP_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "reg-mse": mse_of_maps, "reg-l1": l1_of_maps, "reg-kl": kl_of_maps, "reg-js": js_of_maps, "reg-tv": tv_of_maps,
}  # fmt: skip
