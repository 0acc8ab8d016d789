"""The training loop. A step is a function of (state, step number) alone, so a run that was stopped goes on exactly, and
two processes do what one would have done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from autofocus_core.errors import AutofocusError
from autofocus_training.batch import Batch, Shapes
from autofocus_training.config import Config
from autofocus_training.draws import seed_of
from autofocus_training.images import to_unit
from autofocus_training.loader import Share, batches
from autofocus_training.losses import action_error
from autofocus_training.methods import build_network
from autofocus_training.methods.network import Network
from autofocus_training.names import NEEDS_MAPS
from autofocus_training.samples import Normaliser, Samples
from torch import Tensor, nn

HELD_OUT_BATCH = 256
#: What is known of a step, by name: numbers, or tensors of one number.
Parts = dict[str, float | Tensor]


@dataclass(slots=True)
class Run:
    """A run between two steps: `step` steps are done. average: exponential mean of the weights, empty without."""

    network: Network
    normaliser: Normaliser
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to go on as if nothing had happened; tensors and plain values only."""
        return {
            "step": self.step, "network": self.network.state_dict(), "normaliser": self.normaliser.state_dict(),
            "optimizer": self.optimizer.state_dict(), "average": self.average,
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, which is of a run with the same config and data."""
        self.network.load_state_dict(state["network"])
        self.normaliser.load_state_dict(state["normaliser"])
        self.optimizer.load_state_dict(state["optimizer"])
        device = next(self.network.parameters()).device  # the file was read to the CPU
        self.average = {name: value.to(device) for name, value in state["average"].items()}
        self.step = state["step"]

    def result(self) -> Network:
        """The network to deploy, in eval mode: with the averaged weights where there is an average."""
        if self.average:
            self.network.load_state_dict(self.average)
        return self.network.eval()


class Step(nn.Module):
    """The losses as a forward pass: what DistributedDataParallel must be called with, or gradients never meet."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """As `Network.losses`."""
        return self.network.losses(batch)


def begin(samples: Samples, relative: Tensor, config: Config, device: str | torch.device = "cpu") -> Run:
    """A run before its first step.

    relative (A,): 1 for joints predicted relative to the state, 0 for absolute ones. Raises AutofocusError where there
    are too few samples or objects for the configured method.
    """
    check_objects(config, samples)
    torch.manual_seed(config.seed)
    shapes = Shapes(*samples.valid.shape[1:3], samples.actions.shape[-1], config.image_size)
    network = build_network(config, shapes).to(device)
    optimizer = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad], lr=config.learning_rate,
        weight_decay=config.weight_decay, fused=True,
    )  # fmt: skip
    return Run(network.train(), Normaliser.fit(samples.states, samples.actions, relative), optimizer)


def advance(
    run: Run, samples: Samples, config: Config, until: int | None = None,
    on_step: Callable[[int, Parts], None] = lambda step, parts: None, share: Share | None = None,
    workers: int = 0,
) -> None:  # fmt: skip
    """Train from `run.step` up to step `until` (default: all). `on_step` hears of each step's losses, its
    "learning_rate", and the "gradient_norm" before it was clipped. `workers`: processes that make batches ahead; they
    change nothing but the time.

    Raises AutofocusError where the loss is no longer finite: the run's state is then that before the step.
    """
    share = share or Share()
    device = next(run.network.parameters()).device
    model: nn.Module = Step(run.network)
    if config.compile:
        model = torch.compile(model)
    if share.world > 1:
        model = nn.parallel.DistributedDataParallel(model)
    weights = [p for p in run.network.parameters() if p.requires_grad]
    last = config.steps if until is None else min(until, config.steps)
    with batches(samples, run.normaliser, config, run.step, last, share, workers) as stream:
        for batch in stream:
            torch.manual_seed(seed_of("step", config.seed, run.step, share.rank))
            for group in run.optimizer.param_groups:
                group["lr"] = config.learning_rate * warmup_cosine(run.step, config)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                losses = model(batch.to(device))
            parts = {name: value.item() for name, value in share.mean(losses).items()}
            check_finite(run.step, parts)
            run.optimizer.zero_grad(set_to_none=True)
            losses["total"].backward()
            norm = nn.utils.clip_grad_norm_(weights, config.grad_clip_norm)
            run.optimizer.step()
            run.step += 1
            if config.ema_decay:
                update_average(run.average, run.network, config.ema_decay, run.step)
            # The norm stays where it is: only who looks at it waits for the device.
            rate = run.optimizer.param_groups[0]["lr"]
            on_step(run.step - 1, parts | {"learning_rate": rate, "gradient_norm": norm.detach()})


def fit(
    samples: Samples, relative: Tensor, config: Config,
    on_step: Callable[[int, Parts], None] = lambda step, parts: None,
) -> tuple[Network, Normaliser]:  # fmt: skip
    """A whole run in one call: the network (in eval mode) and the normaliser. Raises as `begin` and `advance` do."""
    run = begin(samples, relative, config)
    advance(run, samples, config, on_step=on_step)
    return run.result(), run.normaliser


@torch.no_grad()
def update_average(average: dict[str, Tensor], network: nn.Module, decay: float, step: int) -> None:
    """average <- d average + (1 - d) weights, with d = min(decay, (1 + step) / (10 + step)): the first steps count
    little. Whole numbers (counters) are taken as they are."""
    decay = min(decay, (1 + step) / (10 + step))
    for name, value in network.state_dict().items():
        if name in average and value.is_floating_point():
            average[name].lerp_(value, 1.0 - decay)
        else:
            average[name] = value.clone()


def check_finite(step: int, parts: Mapping[str, float]) -> None:
    """Raise AutofocusError, with all parts of the loss, where one is not finite."""
    if not all(map(math.isfinite, parts.values())):
        raise AutofocusError(
            f"training step {step}", "loss " + ", ".join(f"{name} {value:g}" for name, value in parts.items()),
            "finite losses", "lower learning_rate, or look for broken values in the episodes",
        )  # fmt: skip


def warmup_cosine(step: int, config: Config) -> float:
    """Factor of the learning rate: linear to 1 over warmup_steps, then half a cosine to 0 at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def check_objects(config: Config, samples: Samples) -> None:
    """Raise AutofocusError where a saliency method or an augmentation has no annotated objects to work with."""
    if not len(samples):
        raise AutofocusError("training samples", "none", "at least one", "give episodes that hold frames and actions")
    needs = f"method {config.method}" if config.method in NEEDS_MAPS else ""
    needs = needs or ("paste_shapes" if config.paste_shapes else "background_swap" if config.background_swap else "")
    if needs and not samples.valid.any():
        raise AutofocusError(
            needs, "episodes without one valid annotated object", "annotated objects",
            "run `autofocus annotate` on the episodes and look at its report, or use --method none, paste_shapes=0 "
            "and background_swap=0",
        )  # fmt: skip


@torch.no_grad()
def held_out_loss(network: nn.Module, normaliser: Normaliser, samples: Samples, config: Config) -> float | None:
    """Imitation loss on samples without augmentation; None where there are none."""
    if not len(samples):
        return None
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    total = 0.0
    for index in torch.arange(len(samples)).split(HELD_OUT_BATCH):
        batch = samples.take(index)
        actions, _ = network(to_unit(batch.images).to(device), normaliser.states(batch.states).to(device))
        wanted = normaliser.actions(batch.actions, batch.states).to(device)
        total += action_error(actions, wanted, config.action_loss).item() * len(index)
    network.train(training)
    return total / len(samples)
