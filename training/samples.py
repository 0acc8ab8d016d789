"""What training reads: aligned samples in memory, and the normalisation that goes with them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from autofocus_training.augment import Frames
from torch import Tensor, nn

STD_FLOOR = 1e-3  # rad or m: a joint that never moves in the demonstrations must not be divided by nothing


@dataclass(frozen=True, slots=True)
class Samples:
    """M samples; one per anchor frame. N cameras, K objects, A joints, T horizon.

    images (M, N, h, w, 3) uint8; states (M, A) float32, rad or m; actions (M, T, A) float32, absolute, rad or m;
    boxes_px (M, N, K, 4) float32 in the resized image, NaN where absent; valid (M, N, K) bool;
    episodes (M,) int64: index of the episode that each sample is from; stamps_ns (M,) int64 of the anchor frames.
    """

    images: Tensor
    states: Tensor
    actions: Tensor
    boxes_px: Tensor
    valid: Tensor
    episodes: Tensor
    stamps_ns: Tensor

    def __len__(self) -> int:
        return len(self.states)

    def take(self, index: Tensor) -> Samples:
        """The samples at `index` (int64, or bool over all), in that order."""
        if index.dtype == torch.bool:
            index = index.nonzero()[:, 0]
        # index_select copies whole images; plain indexing goes byte by byte.
        return Samples(
            *(getattr(self, field.name).index_select(0, index) for field in dataclasses.fields(self))
        )

    def frames(self) -> Frames:
        """The part that augmentation works on."""
        return Frames(self.images, self.boxes_px, self.valid)

    def split(self, held_out_episodes: int, seed: int) -> tuple[Samples, Samples]:
        """(training, held out): whole episodes, drawn by `seed`; at least one episode stays for training."""
        names = torch.unique(self.episodes)
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
        held = names[order[: min(held_out_episodes, len(names) - 1)]]
        mask = torch.isin(self.episodes, held)
        return self.take(~mask), self.take(mask)


class Normaliser(nn.Module):
    """States are z-scored by joint. Actions are taken relative to the state (absolute where `relative` is 0: the
    gripper, whose command says open or closed whatever its present opening) and z-scored by joint and chunk step, so
    that the first, small steps count as much as the last ones."""

    def __init__(
        self, state_mean: Tensor, state_std: Tensor, action_mean: Tensor, action_std: Tensor, relative: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("state_mean", state_mean)  # (A,)
        self.register_buffer("state_std", state_std)
        self.register_buffer("action_mean", action_mean)  # (T, A)
        self.register_buffer("action_std", action_std)
        self.register_buffer("relative", relative)  # (A,) 1 or 0

    @classmethod
    def fit(cls, states: Tensor, actions: Tensor, relative: Tensor) -> Normaliser:
        """Statistics of the training split: states (M, A), actions (M, T, A) absolute, relative (A,) 1 or 0."""
        delta = actions - states[:, None] * relative
        return cls(
            states.mean(0), states.std(0, correction=0).clamp(min=STD_FLOOR),
            delta.mean(0), delta.std(0, correction=0).clamp(min=STD_FLOOR), relative.float(),
        )  # fmt: skip

    def states(self, state: Tensor) -> Tensor:
        """(B, A) rad or m -> (B, A) z-scores."""
        return (state - self.state_mean) / self.state_std

    def actions(self, action: Tensor, state: Tensor) -> Tensor:
        """(B, T, A) absolute -> (B, T, A) z-scores."""
        return (action - state[:, None] * self.relative - self.action_mean) / self.action_std

    def absolute(self, action: Tensor, state: Tensor) -> Tensor:
        """(B, T, A) z-scores -> (B, T, A) absolute rad or m: the inverse of `actions`."""
        return action * self.action_std + self.action_mean + state[:, None] * self.relative

    def as_dict(self) -> dict[str, list]:
        """Plain numbers, for the manifest."""
        return {name: np.round(buffer.numpy().astype(float), 9).tolist() for name, buffer in self.named_buffers()}
