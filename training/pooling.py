"""From feature maps to tokens: keypoints. Every policy gets these and nothing else of an image.

M images, C channels, (h, w) feature cells, K objects.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TOKENS = 8  # into how many tokens the keypoints of an image are grouped, where no object groups them


def expected_position(probability: Tensor) -> Tensor:
    """(M, C, h, w), each map sums to 1 -> (M, C, 2): mean x and y in [-1, 1] (outer edges of the image)."""
    height, width = probability.shape[-2], probability.shape[-1]
    y = (torch.arange(height, device=probability.device) + 0.5) * (2.0 / height) - 1.0
    x = (torch.arange(width, device=probability.device) + 0.5) * (2.0 / width) - 1.0
    return torch.stack([(probability.sum(-2) * x).sum(-1), (probability.sum(-1) * y).sum(-1)], dim=-1)


def spatial_softmax(logits: Tensor) -> Tensor:
    """(M, C, h, w) -> the same shape, softmax over the cells."""
    return torch.softmax(logits.flatten(2), dim=-1).view(logits.shape)


def log_share(z: Tensor) -> Tensor:
    """(M, C, h, w) -> (M, 1, h, w): log of sum_c |z_c| over its sum over the cells; each map's exp sums to 1."""
    activation = z.abs().sum(1, keepdim=True) + 1e-6
    return torch.log(activation / activation.sum((-2, -1), keepdim=True))


class Keypoints(nn.Module):
    """A spatial softmax over each channel. tokens, width: shape of what comes out of an image; maps: 1 an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(channels, 1, 1))
        self.tokens = math.gcd(TOKENS, channels)
        self.width = 2 * channels // self.tokens

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(M, C, h, w) -> keypoints (M, tokens, width), log attention (M, 1, h, w): `log_share`."""
        points = expected_position(spatial_softmax(z * self.temperature))
        return points.reshape(-1, self.tokens, self.width), log_share(z)


class GatedKeypoints(nn.Module):
    """Saliency-gated keypoints: K small heads say where each object is (P_k); the channels are split into K groups,
    and a keypoint of group k is drawn to where P_k is. Drawn, not held: logits that outweigh log P take it elsewhere,
    which long tasks have learnt to do (docs/learning.md, "The gate is not tight").

    tight: logits are bounded, so that they move a keypoint on its object and not away from it; and what the policy
    would like P_k to be does not train P_k, so that it cannot come to say more than where the object is."""

    def __init__(self, channels: int, objects: int, tight: bool = False) -> None:
        super().__init__()
        self.tight = tight
        self.bound = 2.0
        self.objects = objects
        self.per_object = channels // objects
        # Of log P in the gate: a cell that P rules out can still come back through the gradient. (Not a global:
        # TorchScript cannot see those.)
        self.log_floor = -20.0 if tight else -12.0
        self.temperature = nn.Parameter(torch.ones(objects * self.per_object, 1, 1))
        hidden = 16 * objects
        self.locate = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, objects, 1, groups=objects)
        )
        self.tokens = objects
        self.width = 2 * (self.per_object + 1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(M, C, h, w) -> keypoints (M, K, width), those of object k and the mean of P_k; log P (M, K, h, w)."""
        height, width = z.shape[2], z.shape[3]
        log_p = torch.log_softmax(self.locate(z).flatten(2), dim=-1).view(-1, self.objects, height, width)
        used = z[:, : self.objects * self.per_object] * self.temperature
        gate = log_p
        if self.tight:
            used = self.bound * torch.tanh(used / self.bound)
            gate = log_p.detach()
        logits = used + gate.clamp(min=self.log_floor).repeat_interleave(self.per_object, dim=1)
        points = expected_position(spatial_softmax(logits)).view(-1, self.objects, self.per_object, 2)
        where = expected_position(gate.exp())
        return torch.cat([points, where[:, :, None]], dim=2).flatten(2), log_p
