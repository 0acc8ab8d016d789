"""Batches for the training loop: which samples, augmented how, is a function of (seed, step) alone (see draws.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
from autofocus_training.augment import Frames, augment
from autofocus_training.batch import Batch, Targets
from autofocus_training.config import Config
from autofocus_training.draws import Draws, seed_of
from autofocus_training.samples import Normaliser, Samples
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch this process works on: `rank` of `world` processes."""

    rank: int = 0
    world: int = 1

    def rows(self, batch: int) -> slice:
        """Its rows of a batch of `batch` samples, which `world` divides."""
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def mean(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each loss's mean over the processes."""
        if self.world == 1:
            return dict(losses)
        values = torch.stack([value.detach() for value in losses.values()])
        torch.distributed.all_reduce(values)
        return dict(zip(losses, values / self.world))

    def any(self, mine: bool) -> bool:
        """Whether it is so in any of the processes; each of them must ask."""
        if self.world == 1:
            return mine
        found = torch.tensor([float(mine)])
        torch.distributed.all_reduce(found)
        return bool(found > 0)


@contextmanager
def batches(
    samples: Samples, normaliser: Normaliser, config: Config, first: int, last: int, share: Share
) -> Iterator[Iterator[Batch]]:
    """The batches of steps first .. last - 1, while the block lasts."""
    yield (make_batch(samples, normaliser, config, step, share) for step in range(first, last))


def make_batch(samples: Samples, normaliser: Normaliser, config: Config, step: int, share: Share) -> Batch:
    """One step's batch, or this process's share of it."""
    index = indices(len(samples), config.batch_size, config.seed, step)
    rows = share.rows(len(index))
    draws = Draws(config.seed, step, rows, len(index))
    taken = samples.take(index[rows])
    images, frames = augment(taken.frames(), config, draws)
    state = normaliser.states(taken.states)
    if config.gripper_noise:
        # On what is predicted absolutely: when to close is to be read from the scene, not from having begun to.
        absolute = 1.0 - normaliser.relative
        state = state + draws.normal(state.shape[1]) * config.gripper_noise * absolute
    actions = normaliser.actions(taken.actions, taken.states)
    return Batch(images, state, actions, targets(frames, config), step / config.steps)


def targets(frames: Frames, config: Config) -> Targets:
    """The maps of `frames`, as configured."""
    half = (frames.boxes_px[..., 2:] - frames.boxes_px[..., :2]) / 2.0
    return Targets(
        frames.centres_px()[:, :, :, None], half, frames.valid[..., None], config.sigma_px, config.image_size,
        config.saliency_shape, config.saliency_alpha,
    )  # fmt: skip


def indices(count: int, size: int, seed: int, step: int) -> Tensor:
    """(size,) int64, the samples of a step: each epoch is a fresh permutation, a short rest is dropped."""
    size = min(size, count)
    per_epoch = count // size
    epoch, place = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed_of("epoch", seed, epoch))
    return torch.randperm(count, generator=generator)[place * size : (place + 1) * size]
