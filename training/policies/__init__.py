"""Policies: how a chunk of actions comes out of keypoints and proprioception. One file each, one interface:

- `forward(tokens (B, L, D), state (B, P * A) z-scores) -> actions (B, T, A) z-scores`: what is deployed; compiled by
  TorchScript, and a function of its input alone, so that a rollout can be repeated and an exported file compared;
- `errors(tokens, state, actions, kind) -> {"imitation": ..., own terms}`: what is trained; kind as in `action_error`.
"""

from __future__ import annotations

from autofocus_training.config import Config
from autofocus_training.policies.act import ActPolicy
from autofocus_training.policies.diffusion import DiffusionPolicy
from autofocus_training.policies.mlp import MlpPolicy
from autofocus_training.policies.shapes import HeadShapes
from torch import nn

POLICIES = {"mlp": MlpPolicy, "act": ActPolicy, "diffusion": DiffusionPolicy}


def build_policy(config: Config, shapes: HeadShapes) -> nn.Module:
    """The configured policy, freshly initialised."""
    return POLICIES[config.policy](config, shapes)
