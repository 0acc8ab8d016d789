"""Policies: frames and proprioception to a chunk of normalised actions. Both pool the feature map into keypoints.

Shapes: B batch, N cameras, K objects, C channels, (h, w) feature cells, A joints, T horizon.
"""

from __future__ import annotations

import torch
from autofocus_training.encoders import Encoder
from autofocus_training.images import standardise
from torch import Tensor, nn


def cell_centres(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the cells in [-1, 1], y (h,) and x (w,)."""
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * (2.0 / height) - 1.0
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) * (2.0 / width) - 1.0
    return y, x


def expected_position(probability: Tensor) -> Tensor:
    """(M, C, h, w), each map sums to 1 -> (M, 2 C): mean x of every map, then mean y, in [-1, 1]."""
    y, x = cell_centres(probability.shape[-2], probability.shape[-1], probability)
    return torch.cat([(probability.sum(-2) * x).sum(-1), (probability.sum(-1) * y).sum(-1)], dim=1)


def spatial_softmax(logits: Tensor) -> Tensor:
    """(M, C, h, w) -> the same shape, softmax over the cells."""
    return torch.softmax(logits.flatten(2), dim=-1).view_as(logits)


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    """The head of every policy: 1024-512-256."""
    return nn.Sequential(
        nn.Linear(inputs, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(),
        nn.Linear(256, outputs),
    )  # fmt: skip


class KeypointPolicy(nn.Module):
    """Behaviour cloning: spatial softmax over each channel; used by "none" and by the reg-* losses."""

    def __init__(self, encoder: Encoder, cameras: int, objects: int, joints: int, states: int, horizon: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = nn.Parameter(torch.ones(encoder.channels, 1, 1))
        self.head = mlp(cameras * 2 * encoder.channels + states, horizon * joints)
        self.horizon = horizon

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, N, 3, H, W) float32 in [0, 1], state (B, P * A) normalised -> (actions (B, T, A) normalised,
        log attention (B, N, h, w): log of sum_c z_c over its sum)."""
        actions, _, log_attention = self.look(images, state)
        return actions, log_attention

    def look(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, with the features (B, N, C, h, w) >= 0 between."""
        batch, cameras = images.shape[0], images.shape[1]
        z = self.encoder(standardise(images.flatten(0, 1)))
        points = expected_position(spatial_softmax(z * self.temperature)).view(batch, -1)
        actions = self.head(torch.cat([points, state], dim=1)).view(batch, self.horizon, -1)
        activation = z.sum(1).flatten(1) + 1e-6
        log_attention = torch.log(activation / activation.sum(1, keepdim=True))
        log_attention = log_attention.view(batch, cameras, z.shape[2], z.shape[3])
        return actions, z.view(batch, cameras, z.shape[1], z.shape[2], z.shape[3]), log_attention


class GatedPolicy(nn.Module):
    """Saliency-gated keypoints: K small heads say where each object is (P_k); the channels are split into K groups,
    and a keypoint of group k can only lie where P_k is. What P_k leaves out cannot reach the action."""

    def __init__(self, encoder: Encoder, cameras: int, objects: int, joints: int, states: int, horizon: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.objects = objects
        self.per_object = encoder.channels // objects
        # Of log P in the gate: a cell that P rules out can still come back through the gradient. (Not a global:
        # TorchScript cannot see those.)
        self.log_floor = -12.0
        self.temperature = nn.Parameter(torch.ones(objects * self.per_object, 1, 1))
        hidden = 16 * objects
        self.locate = nn.Sequential(
            nn.Conv2d(encoder.channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, objects, 1, groups=objects)
        )
        points = objects * self.per_object + objects
        self.head = mlp(cameras * 2 * points + states, horizon * joints)
        self.horizon = horizon

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As KeypointPolicy, but log attention is (B, N * K, h, w), log P_k, camera by camera."""
        actions, _, log_attention = self.look(images, state)
        return actions, log_attention

    def look(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, with the features (B, N, C, h, w) >= 0 between."""
        batch, cameras = images.shape[0], images.shape[1]
        z = self.encoder(standardise(images.flatten(0, 1)))
        height, width = z.shape[2], z.shape[3]
        log_p = torch.log_softmax(self.locate(z).flatten(2), dim=-1).view(-1, self.objects, height, width)
        used = z[:, : self.objects * self.per_object] * self.temperature
        gate = log_p.clamp(min=self.log_floor).repeat_interleave(self.per_object, dim=1)
        points = expected_position(spatial_softmax(used + gate)).view(batch, -1)
        where = expected_position(log_p.exp()).view(batch, -1)
        actions = self.head(torch.cat([points, where, state], dim=1)).view(batch, self.horizon, -1)
        return (
            actions,
            z.view(batch, cameras, z.shape[1], height, width),
            log_p.reshape(batch, cameras * self.objects, height, width),
        )
