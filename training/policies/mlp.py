"""The plain policy: an MLP 1024-512-256 that gives the whole chunk at once."""

from __future__ import annotations

import torch
from autofocus_training.config import Config
from autofocus_training.losses import action_error
from autofocus_training.policies.shapes import HeadShapes
from torch import Tensor, nn


class MlpPolicy(nn.Module):
    """Behaviour cloning by regression, as in the paper's robot experiments."""

    def __init__(self, config: Config, shapes: HeadShapes) -> None:
        super().__init__()
        self.horizon = shapes.horizon
        self.layers = nn.Sequential(
            nn.Linear(shapes.context, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(),
            nn.Linear(256, shapes.horizon * shapes.joints),
        )  # fmt: skip

    def forward(self, tokens: Tensor, state: Tensor) -> Tensor:
        """See policies/__init__.py."""
        return self.layers(torch.cat([tokens.flatten(1), state], dim=1)).view(state.shape[0], self.horizon, -1)

    def errors(self, tokens: Tensor, state: Tensor, actions: Tensor, kind: str) -> dict[str, Tensor]:
        """Imitation alone."""
        return {"imitation": action_error(self(tokens, state), actions, kind)}
