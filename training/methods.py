"""The saliency methods: which policy each trains and which loss it adds to behaviour cloning.

Targets are per sample, camera and object; a sample without a valid object adds nothing to the saliency loss and still
counts for behaviour cloning. B batch, N cameras, K objects, (H, W) image, (h, w) feature cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from autofocus_training.config import Config
from autofocus_training.encoders import ENCODERS
from autofocus_training.policies import GatedPolicy, KeypointPolicy
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Targets:
    """centres_px (B, N, K, 2) x, y in the resized image; valid (B, N, K) bool; sigma_px of the Gaussians;
    image_size (H, W) px."""

    centres_px: Tensor
    valid: Tensor
    sigma_px: float
    image_size: tuple[int, int]

    def log_gaussians(self, height: int, width: int) -> Tensor:
        """(B, N, K, height, width): -d^2 / (2 sigma^2) at the cell centres of a grid laid over the image; finite."""
        centres = torch.where(self.valid[..., None], self.centres_px, torch.zeros_like(self.centres_px))
        y = (torch.arange(height) + 0.5) * (self.image_size[0] / height)
        x = (torch.arange(width) + 0.5) * (self.image_size[1] / width)
        dy = (y - centres[..., 1:2]).square()
        dx = (x - centres[..., 0:1]).square()
        return -(dy[..., :, None] + dx[..., None, :]) / (2.0 * self.sigma_px**2)

    def union_map(self, height: int, width: int) -> Tensor:
        """(B, N, height, width) in [0, 1]: the sum of the valid objects' Gaussians, min-max normalised."""
        maps = self.log_gaussians(height, width).exp() * self.valid[..., None, None]
        return minmax(maps.sum(2))


def minmax(maps: Tensor) -> Tensor:
    """(..., h, w) -> each map scaled to [0, 1]; a flat map becomes zeros."""
    low = maps.amin((-2, -1), keepdim=True)
    return (maps - low) / (maps.amax((-2, -1), keepdim=True) - low + 1e-8)


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of `values` where `valid` (same shape); 0 where there is none, with zero gradient."""
    return (values * valid).sum() / valid.sum().clamp(min=1)


def predicted_map(features: Tensor, beta: float, size: tuple[int, int]) -> Tensor:
    """METHOD: G_hat = minmax(upsample(softmax(sum_c |z_c| / beta))); (B, N, C, h, w) -> (B, N, H, W) in [0, 1]."""
    activation = features.abs().sum(2)
    p = torch.softmax(activation.flatten(2) / beta, dim=-1).view_as(activation)
    return minmax(F.interpolate(p, size=list(size), mode="bilinear", align_corners=False))


def sum_normalised(maps: Tensor) -> Tensor:
    """(B, N, H, W) -> (B, N, H * W), each sums to 1."""
    flat = maps.flatten(2)
    return flat / flat.sum(-1, keepdim=True).clamp(min=1e-8)


def reg_mse(features: Tensor, log_attention: Tensor, targets: Targets, beta: float) -> Tensor:
    """The paper's form: mean squared difference between G and G_hat (arXiv 2511.18617)."""
    guess = predicted_map(features, beta, targets.image_size)
    error = (guess - targets.union_map(*targets.image_size)).square().mean((-2, -1))
    return mean_where(error, targets.valid.any(2))


def reg_kl(features: Tensor, log_attention: Tensor, targets: Targets, beta: float) -> Tensor:
    """The paper's KL: sum G log((G + 1e-6) / (G_hat + 1e-6)) on sum-normalised maps."""
    g = sum_normalised(targets.union_map(*targets.image_size))
    guess = sum_normalised(predicted_map(features, beta, targets.image_size))
    divergence = (g * torch.log((g + 1e-6) / (guess + 1e-6))).sum(-1)
    return mean_where(divergence, targets.valid.any(2))


def reg_l1(features: Tensor, log_attention: Tensor, targets: Targets, beta: float) -> Tensor:
    """KL(G, a / sum a) with a = sum_c |z_c| on the feature grid: no softmax, so that activation off the objects
    has nowhere to hide."""
    batch, cameras, _, height, width = features.shape
    maps = targets.log_gaussians(height, width).exp() * targets.valid[..., None, None]
    g = sum_normalised(maps.sum(2) + 1e-8)
    divergence = (g * (torch.log(g) - log_attention.view(batch, cameras, -1))).sum(-1)
    return mean_where(divergence, targets.valid.any(2))


def gated(features: Tensor, log_attention: Tensor, targets: Targets, beta: float) -> Tensor:
    """KL(G_k, P_k), object by object, over the objects that are valid."""
    batch, cameras, _, height, width = features.shape
    log_g = torch.log_softmax(targets.log_gaussians(height, width).flatten(3), dim=-1)
    log_p = log_attention.view(batch, cameras, -1, height * width)
    divergence = (log_g.exp() * (log_g - log_p)).sum(-1)
    return mean_where(divergence, targets.valid)


SaliencyLoss = Callable[[Tensor, Tensor, Targets, float], Tensor]

#: Loss of each method, given (features, log_attention, targets, beta); "none" has no loss.
LOSSES: dict[str, SaliencyLoss] = {"reg-mse": reg_mse, "reg-kl": reg_kl, "reg-l1": reg_l1, "gated": gated}


def build_network(config: Config, cameras: int, objects: int, joints: int) -> nn.Module:
    """The method's network, freshly initialised, channels-last (the faster layout for convolutions on CPUs)."""
    policy = GatedPolicy if config.method == "gated" else KeypointPolicy
    network = policy(ENCODERS[config.encoder](), cameras, objects, joints, config.horizon)
    return network.to(memory_format=torch.channels_last)
