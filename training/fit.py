"""The training loop, on samples in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from autofocus_core.errors import AutofocusError
from autofocus_training.augment import augment
from autofocus_training.config import Config
from autofocus_training.images import to_unit
from autofocus_training.methods import LOSSES, Targets, build_network
from autofocus_training.samples import Normaliser, Samples
from torch import Tensor, nn

HELD_OUT_BATCH = 256


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of one step's loss: imitation on normalised actions, saliency before its weight, and their sum."""

    imitation: float
    saliency: float
    total: float


def fit(
    samples: Samples, relative: Tensor, config: Config,
    on_step: Callable[[int, Losses], None] = lambda step, parts: None,
) -> tuple[nn.Module, Normaliser]:  # fmt: skip
    """Train the configured method on `samples`; the network (in eval mode) and the normaliser.

    relative (A,): 1 for joints predicted relative to the state, 0 for absolute ones. `on_step` hears about each step.
    Raises AutofocusError where there are too few samples or objects, or where the loss is no longer finite.
    """
    cameras, objects = samples.valid.shape[1:]
    check_objects(config, samples)
    torch.manual_seed(config.seed)
    rng = torch.Generator().manual_seed(config.seed)
    network = build_network(config, cameras, objects, samples.states.shape[1])
    normaliser = Normaliser.fit(samples.states, samples.actions, relative)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, config))
    network.train()
    for step, index in zip(range(config.steps), batches(len(samples), config.batch_size, rng), strict=False):
        batch = samples.take(index)
        images, frames = augment(batch.frames(), config, rng)
        targets = Targets(frames.centres_px(), frames.valid, sigma_px(config), config.image_size)
        states = normaliser.states(batch.states)
        if config.gripper_noise:
            # On what is predicted absolutely: when to close is to be read from the scene, not from having begun to.
            states = states + torch.randn(states.shape, generator=rng) * config.gripper_noise * (1.0 - relative)
        actions, features, log_attention = network(images, states)
        imitation = action_loss(actions, normaliser.actions(batch.actions, batch.states), config.action_loss)
        loss, saliency = imitation, torch.zeros(())
        if config.method in LOSSES:
            saliency = LOSSES[config.method](features, log_attention, targets, config.saliency_beta)
            loss = imitation + config.saliency_weight * saliency
        parts = Losses(imitation.item(), saliency.item(), loss.item())
        if not math.isfinite(parts.total):
            raise AutofocusError(
                f"training step {step}", f"loss {parts.total}: imitation {parts.imitation}, saliency {parts.saliency}",
                "finite losses", "lower learning_rate, or look for broken values in the episodes",
            )  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip_norm)
        optimizer.step()
        schedule.step()
        on_step(step, parts)
    return network.eval(), normaliser


def action_loss(predicted: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """Mean over everything, of normalised actions (B, T, A)."""
    return (predicted - wanted).abs().mean() if kind == "l1" else (predicted - wanted).square().mean()


def sigma_px(config: Config) -> float:
    """Standard deviation of an object's Gaussian in the resized image."""
    return config.saliency_sigma * config.image_height_px


def warmup_cosine(step: int, config: Config) -> float:
    """Factor of the learning rate: linear to 1 over warmup_steps, then half a cosine to 0 at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def batches(count: int, size: int, rng: torch.Generator):
    """Endless batches of indices (size,) int64: each epoch a fresh permutation, short rests are dropped."""
    size = min(size, count)
    while True:
        order = torch.randperm(count, generator=rng)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def check_objects(config: Config, samples: Samples) -> None:
    """Raise AutofocusError where a saliency method or the distractor paste has no annotated objects to work with."""
    if not len(samples):
        raise AutofocusError("training samples", "none", "at least one", "give episodes that hold frames and actions")
    needs = f"method {config.method}" if config.method != "none" else "paste_shapes" if config.paste_shapes else ""
    if needs and not samples.valid.any():
        raise AutofocusError(
            needs, "episodes without one valid annotated object", "annotated objects",
            "run `autofocus annotate` on the episodes and look at its report, or use --method none and paste_shapes=0",
        )  # fmt: skip


@torch.no_grad()
def held_out_loss(network: nn.Module, normaliser: Normaliser, samples: Samples, config: Config) -> float | None:
    """Imitation loss on samples without augmentation; None where there are none."""
    if not len(samples):
        return None
    total = 0.0
    for index in torch.arange(len(samples)).split(HELD_OUT_BATCH):
        batch = samples.take(index)
        actions, _, _ = network(to_unit(batch.images), normaliser.states(batch.states))
        wanted = normaliser.actions(batch.actions, batch.states)
        total += action_loss(actions, wanted, config.action_loss).item() * len(index)
    return total / len(samples)
