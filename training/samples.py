"""What training reads: aligned samples, in memory or mapped from a cache, and the normalisation that goes with them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from autofocus_training.augment import Frames
from torch import Tensor, nn

STD_FLOOR = 1e-3  # rad or m: a joint that never moves in the demonstrations must not be divided by nothing


@dataclass(frozen=True, slots=True)
class StoredImages:
    """Rows of an array of images that lies on disk: what is asked for is read, nothing else is in memory.

    store (S, N, h, w, 3) uint8, a memory map; rows (M,) int64: which of them these are.
    """

    store: np.ndarray
    rows: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, N, h, w, 3)."""
        return (len(self.rows), *self.store.shape[1:])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """A copy in memory of the images at `index` (int64), as a tensor has it; `dim` is 0."""
        if dim:
            raise ValueError("images are stored one sample after the other")
        return torch.from_numpy(self.store[self.rows[index].numpy()])

    def only(self, index: Tensor) -> StoredImages:
        """Those at `index` (int64), still on disk."""
        return StoredImages(self.store, self.rows[index])


@dataclass(frozen=True, slots=True)
class Samples:
    """M samples; one per anchor frame. N cameras, K objects, A joints, T horizon, P joint states, W frames of a window.

    images (M, N, h, w, 3) uint8, a tensor or, from a cache, StoredImages: `take` gives tensors of both; states
    (M, P, A) float32, rad or m, the present one first ((M, A) where P is 1); actions (M, T, A) float32, absolute, rad
    or m; boxes_px (M, N, K, 4) float32 in the resized image, NaN where absent; valid (M, N, K) bool; episodes (M,)
    int64: index of the episode that each sample is from; stamps_ns (M,) int64 of the anchor frames; earlier_px
    (M, N, K, W - 1, 2) float32 the objects' centres in the camera's frames before, the newest first, earlier_valid
    (M, N, K, W - 1) bool (None: W is 1); gripper (A,) bool: which joints are the gripper's (None: those that are
    predicted as they are).
    """

    images: Tensor | StoredImages
    states: Tensor
    actions: Tensor
    boxes_px: Tensor
    valid: Tensor
    episodes: Tensor
    stamps_ns: Tensor
    earlier_px: Tensor | None = None
    earlier_valid: Tensor | None = None
    gripper: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def take(self, index: Tensor) -> Samples:
        """The samples at `index` (int64, or bool over all), in that order, in memory."""
        return self._at(index, in_memory=True)

    def frames(self) -> Frames:
        """The part that augmentation works on; of samples in memory."""
        return Frames(self.images, self.boxes_px, self.valid, self.earlier_px, self.earlier_valid)

    def split(self, held_out_episodes: int, seed: int) -> tuple[Samples, Samples]:
        """(training, held out): whole episodes, drawn by `seed`; at least one episode stays for training."""
        names = torch.unique(self.episodes)
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
        held = names[order[: min(held_out_episodes, len(names) - 1)]]
        mask = torch.isin(self.episodes, held)
        return self._at(~mask, in_memory=False), self._at(mask, in_memory=False)

    def _at(self, index: Tensor, in_memory: bool) -> Samples:
        if index.dtype == torch.bool:
            index = index.nonzero()[:, 0]

        def chosen(name: str):
            value = getattr(self, name)
            if value is None or name == "gripper":
                return value
            if isinstance(value, StoredImages) and not in_memory:
                return value.only(index)
            # index_select copies whole images; plain indexing goes byte by byte.
            return value.index_select(0, index)

        return Samples(**{field.name: chosen(field.name) for field in dataclasses.fields(self)})


class Normaliser(nn.Module):
    """States are z-scored by joint. Actions are taken relative to the state (absolute where `relative` is 0: the
    gripper, whose command says open or closed whatever its present opening) and z-scored by joint and chunk step, so
    that the first, small steps count as much as the last ones.

    States are (B, P, A) everywhere, the present one first, or (B, A) where P is 1.
    """

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
        """Statistics of the training split: states (M, P, A) or (M, A), actions (M, T, A) absolute, relative (A,) 1 or
        0."""
        present = _present(states)
        delta = actions - present[:, None] * relative
        return cls(
            present.mean(0), present.std(0, correction=0).clamp(min=STD_FLOOR),
            delta.mean(0), delta.std(0, correction=0).clamp(min=STD_FLOOR), relative.float(),
        )  # fmt: skip

    def states(self, state: Tensor) -> Tensor:
        """rad or m -> (B, P * A) z-scores."""
        return ((state - self.state_mean) / self.state_std).flatten(1)

    def actions(self, action: Tensor, state: Tensor) -> Tensor:
        """(B, T, A) absolute -> (B, T, A) z-scores."""
        return (action - _present(state)[:, None] * self.relative - self.action_mean) / self.action_std

    def absolute(self, action: Tensor, state: Tensor) -> Tensor:
        """(B, T, A) z-scores -> (B, T, A) absolute rad or m: the inverse of `actions`."""
        return action * self.action_std + self.action_mean + _present(state)[:, None] * self.relative

    def as_dict(self) -> dict[str, list]:
        """Plain numbers, for the manifest."""
        return {name: np.round(buffer.numpy().astype(float), 9).tolist() for name, buffer in self.named_buffers()}


def _present(state: Tensor) -> Tensor:
    """(B, P, A) or (B, A) -> (B, A), the state at the time of the observation."""
    return state if state.ndim == 2 else state[:, 0]
