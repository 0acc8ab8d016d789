"""Diffusion policy (Chi et al., arXiv 2303.04137), small: an MLP denoises the whole chunk, given keypoints and state.

It predicts the clean chunk and not the noise, because then few steps of DDIM (Song et al., arXiv 2010.02502) suffice.
When deployed it starts from one stored draw of noise and not from a fresh one: the same observation gives the same
actions, so that rollouts can be repeated and an exported file compared with its checkpoint. What is lost is only the
choice between the ways in which a thing could be done; the policy always takes the same one.
"""

from __future__ import annotations

import math

import torch
from autofocus_training.config import Config
from autofocus_training.losses import action_error
from autofocus_training.policies.shapes import HeadShapes
from torch import Tensor, nn

LEVELS = 100  # of noise in training, squared cosine schedule (Nichol and Dhariwal, arXiv 2102.09672)
STEPS = 8  # of DDIM when deployed
DRAWS = 4  # of noise for each sample of a batch: the images are encoded once, and the denoiser is cheap
TIME_WIDTH = 64
WIDER = 4  # hidden width, in model_width


class Film(nn.Module):
    """A residual block whose hidden units are scaled and shifted by a condition."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, width)
        self.film = nn.Linear(condition, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, W), (B, C) -> (B, W)."""
        scale, shift = self.film(condition).chunk(2, dim=-1)
        return x + self.out(torch.relu(self.into(self.norm(x)) * (1.0 + scale) + shift))


class DiffusionPolicy(nn.Module):
    """Levels run from 0 (hardly any noise) to 99 (nothing but noise)."""

    def __init__(self, config: Config, shapes: HeadShapes) -> None:
        super().__init__()
        width = WIDER * config.model_width
        size = shapes.horizon * shapes.joints
        self.horizon = shapes.horizon
        self.condition = nn.Sequential(
            nn.Linear(shapes.context, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.into = nn.Linear(size, width)
        self.blocks = nn.ModuleList([Film(width, width + TIME_WIDTH) for _ in range(config.model_layers)])
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))
        t = torch.arange(LEVELS + 1) / LEVELS
        kept = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
        self.register_buffer("kept", (kept[1:] / kept[0]).clamp(min=1e-4))  # share of the signal's variance left
        angles = torch.arange(LEVELS)[:, None] * torch.exp(torch.linspace(0.0, -math.log(1e3), TIME_WIDTH // 2))
        self.register_buffer("time", torch.cat([angles.sin(), angles.cos()], dim=1))
        self.register_buffer("noise", torch.randn(1, size))
        self.levels = torch.linspace(LEVELS - 1, 0, STEPS).round().int().tolist()

    def denoise(self, noisy: Tensor, level: Tensor, condition: Tensor) -> Tensor:
        """The clean chunk (B, T * A), guessed from the noisy one; level (B,) int64, condition (B, W)."""
        given = torch.cat([condition, self.time[level]], dim=1)
        x = self.into(noisy)
        for block in self.blocks:
            x = block(x, given)
        return self.out(x)

    def forward(self, tokens: Tensor, state: Tensor) -> Tensor:
        """See policies/__init__.py; 8 steps of DDIM from the stored noise."""
        batch = state.shape[0]
        condition = self.condition(torch.cat([tokens.flatten(1), state], dim=1))
        x = self.noise.expand(batch, -1)
        clean = x
        for i, level in enumerate(self.levels):
            clean = self.denoise(x, torch.full([batch], level, device=x.device), condition)
            if i + 1 < len(self.levels):
                now, then = self.kept[level], self.kept[self.levels[i + 1]]
                noise = (x - now.sqrt() * clean) / (1.0 - now).sqrt()
                x = then.sqrt() * clean + (1.0 - then).sqrt() * noise
        return clean.view(batch, self.horizon, -1)

    def errors(self, tokens: Tensor, state: Tensor, actions: Tensor, kind: str) -> dict[str, Tensor]:
        """Imitation: error of the clean chunk guessed from noisy ones, at levels drawn evenly."""
        condition = self.condition(torch.cat([tokens.flatten(1), state], dim=1)).repeat(DRAWS, 1)
        clean = actions.flatten(1).repeat(DRAWS, 1)
        level = torch.randint(LEVELS, (len(clean),), device=clean.device)
        kept = self.kept[level][:, None]
        noisy = kept.sqrt() * clean + (1.0 - kept).sqrt() * torch.randn_like(clean)
        return {"imitation": action_error(self.denoise(noisy, level, condition), clean, kind)}
