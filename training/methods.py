"""The saliency methods: which policy each trains and which loss it adds to behaviour cloning.

Targets are per sample, camera and object; a sample without a valid object adds nothing to the saliency loss and still
counts for behaviour cloning. B batch, N cameras, K objects, (H, W) image, (h, w) feature cells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from autofocus_training.batch import Batch, Shapes, Targets, mean_where, minmax
from autofocus_training.config import Config
from autofocus_training.encoders import ENCODERS
from autofocus_training.policies import GatedPolicy, KeypointPolicy
from torch import Tensor, nn


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
    return mean_where(error, targets.now.any(2))


def reg_kl(features: Tensor, log_attention: Tensor, targets: Targets, beta: float) -> Tensor:
    """The paper's KL: sum G log((G + 1e-6) / (G_hat + 1e-6)) on sum-normalised maps."""
    g = sum_normalised(targets.union_map(*targets.image_size))
    guess = sum_normalised(predicted_map(features, beta, targets.image_size))
    divergence = (g * torch.log((g + 1e-6) / (guess + 1e-6))).sum(-1)
    return mean_where(divergence, targets.now.any(2))


def reg_share(features: Tensor, log_attention: Tensor, targets: Targets, beta: float) -> Tensor:
    """KL(G, a / sum a) with a = sum_c |z_c| on the feature grid: no softmax, so that activation off the objects
    has nowhere to hide."""
    batch, cameras, _, height, width = features.shape
    g = sum_normalised(targets.object_maps(height, width).sum(2) + 1e-8)
    divergence = (g * (torch.log(g) - log_attention.view(batch, cameras, -1))).sum(-1)
    return mean_where(divergence, targets.now.any(2))


def gated(features: Tensor, log_attention: Tensor, targets: Targets, beta: float) -> Tensor:
    """KL(G_k, P_k), object by object, over the objects that are valid."""
    batch, cameras, _, height, width = features.shape
    log_g = torch.log_softmax(targets.log_maps(height, width).flatten(3), dim=-1)
    log_p = log_attention.view(batch, cameras, -1, height * width)
    divergence = (log_g.exp() * (log_g - log_p)).sum(-1)
    return mean_where(divergence, targets.now)


SaliencyLoss = Callable[[Tensor, Tensor, Targets, float], Tensor]

#: Loss of each method, given (features, log_attention, targets, beta); "none" has no loss.
LOSSES: dict[str, SaliencyLoss] = {
    "reg-mse": reg_mse, "reg-kl": reg_kl, "reg-share": reg_share, "gated": gated,
}  # fmt: skip


#: Methods that cannot be trained without maps.
NEEDS_MAPS = frozenset(LOSSES)


class Network(nn.Module):
    """A policy and what it is trained for. `forward` is what is deployed; `losses` is what is trained.

    forward(images (B, N, 3, h, w) float32 in [0, 1], state (B, P * A) z-scores) -> actions (B, T, A) z-scores,
    log attention (B, M, h', w'): M maps, each summing to 1, one for each camera or for each camera and object.
    """

    def __init__(self, policy: nn.Module, config: Config) -> None:
        super().__init__()
        self.policy = policy
        self.method = config.method
        self.action_loss = config.action_loss
        self.beta = config.saliency_beta
        self.weight = config.saliency_weight
        self.schedule = config.saliency_schedule

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy(images, state)

    @torch.jit.unused
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars: "imitation", the method's own terms before their weights, and "total", which is to be minimised.
        Random draws come from torch's default generator, which the loop seeds for every step."""
        actions, features, log_attention = self.policy.look(batch.images, batch.state)
        imitation = action_error(actions, batch.actions, self.action_loss)
        if self.method not in LOSSES:
            return {"imitation": imitation, "total": imitation}
        saliency = LOSSES[self.method](features, log_attention, batch.targets, self.beta)
        weight = self.weight * scheduled(self.schedule, batch.progress)
        return {"imitation": imitation, "saliency": saliency, "total": imitation + weight * saliency}


def action_error(predicted: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """Mean over everything, of normalised actions (B, T, A)."""
    return (predicted - wanted).abs().mean() if kind == "l1" else (predicted - wanted).square().mean()


def scheduled(schedule: str, progress: float) -> float:
    """Factor of the saliency weight at `progress` (0 to 1): 1; linear down to 0; or linear up to 1 over a tenth."""
    return {"constant": 1.0, "decay": 1.0 - progress, "warmup": min(1.0, progress * 10.0)}[schedule]


def build_network(config: Config, shapes: Shapes) -> Network:
    """The method's network, freshly initialised, channels-last (the faster layout for convolutions on CPUs)."""
    policy = GatedPolicy if config.method == "gated" else KeypointPolicy
    states = shapes.joints * config.state_history
    network = policy(
        ENCODERS[config.encoder](), shapes.cameras, shapes.objects, shapes.joints, states, config.horizon
    )
    return Network(network.to(memory_format=torch.channels_last), config)
