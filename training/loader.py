"""Batches for the training loop: which samples, augmented how, is a function of (seed, step) alone (see draws.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed
from autofocus_training.ahead import killed, made_ahead
from autofocus_training.augment import Frames, augment, swap_background
from autofocus_training.batch import Batch, Targets
from autofocus_training.config import Config
from autofocus_training.draws import Draws, seed_of
from autofocus_training.images import to_unit
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
    samples: Samples, normaliser: Normaliser, config: Config, first: int, last: int, share: Share, workers: int = 0
) -> Iterator[Iterator[Batch]]:
    """The batches of steps first .. last - 1, while the block lasts: made by `workers` processes ahead of who takes
    them, or with 0 in this process. They are the same, to the bit, whoever makes them."""
    def make(step: int) -> Batch:
        return prepare(samples, normaliser, config, step, share)

    if workers:
        rows = share.rows(min(config.batch_size, len(samples)))
        shape = (rows.stop - rows.start, *samples.images.shape[1:])
        stream = made_ahead(make, shape, first, last, workers)
    else:
        stream = map(make, range(first, last))
    finished = (finish(batch) for batch in stream)
    try:
        yield finished
    except RuntimeError as error:  # also in the midst of a step: the loader says so by a signal
        if not str(error).startswith("DataLoader worker"):
            raise
        raise killed(str(error).split("\n")[0]) from error
    finally:
        finished.close()
        if workers:
            stream.close()  # ends the processes


def make_batch(samples: Samples, normaliser: Normaliser, config: Config, step: int, share: Share) -> Batch:
    """One step's batch, or this process's share of it."""
    return finish(prepare(samples, normaliser, config, step, share))


def prepare(samples: Samples, normaliser: Normaliser, config: Config, step: int, share: Share) -> Batch:
    """As `make_batch`, with images as bytes, (B, N, h, w, 3): a quarter of what has to go from process to process."""
    index = indices(len(samples), config.batch_size, config.seed, step)
    rows = share.rows(len(index))
    draws = Draws(config.seed, step, rows, len(index))
    taken = samples.take(index[rows])
    frames = taken.frames()
    if config.background_swap:
        chosen = draws.uniform() < config.background_swap
        other = draws.integers(0, len(samples))
        others = samples.take(torch.where(chosen, other, index[rows])).frames()
        frames = swap_background(frames, others, chosen, config.paste_margin_px)
    frames = augment(frames, config, draws)
    state = normaliser.states(taken.states)
    if config.gripper_noise:
        # When to close is to be read from the scene, not from having begun to.
        gripper = normaliser.relative == 0 if taken.gripper is None else taken.gripper
        noise = draws.normal(state.shape[1]) * config.gripper_noise
        state = state + noise * gripper.repeat(state.shape[1] // len(gripper))
    actions = normaliser.actions(taken.actions, taken.states)
    maps = targets(frames, config)
    if config.saliency_share < 1.0:
        used = torch.isin(taken.episodes, mapped_episodes(samples.episodes, config.saliency_share, config.seed))
        maps = replace(maps, valid=maps.valid & used[:, None, None, None])
    return Batch(frames.images, state, actions, maps, step / config.steps)


def finish(batch: Batch) -> Batch:
    """What is left to do on a batch of `prepare`: images (B, N, 3, h, w) float32 in [0, 1]."""
    return replace(batch, images=to_unit(batch.images))


def targets(frames: Frames, config: Config) -> Targets:
    """The maps of `frames`, as configured."""
    half = (frames.boxes_px[..., 2:] - frames.boxes_px[..., :2]) / 2.0
    return Targets(
        torch.cat([frames.centres_px()[:, :, :, None], frames.earlier_px], dim=3), half,
        torch.cat([frames.valid[..., None], frames.earlier_valid], dim=3), config.sigma_px, config.image_size,
        config.saliency_shape, config.saliency_alpha,
    )  # fmt: skip


def mapped_episodes(episodes: Tensor, share: float, seed: int) -> Tensor:
    """Which of the episodes that occur in `episodes` (M,) have their maps used: `share` of them, rounded, and at least
    one where that is not 0. Those of a smaller share are among those of a larger one."""
    names = torch.unique(episodes)
    count = max(round(share * len(names)), 1) if share else 0
    return names[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed_of("maps", seed)))[:count]]


def indices(count: int, size: int, seed: int, step: int) -> Tensor:
    """(size,) int64, the samples of a step: each epoch is a fresh permutation, a short rest is dropped."""
    size = min(size, count)
    per_epoch = count // size
    epoch, place = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed_of("epoch", seed, epoch))
    return torch.randperm(count, generator=generator)[place * size : (place + 1) * size]
