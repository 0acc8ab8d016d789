"""What a run says while it goes: a progress bar, JSON lines for programs, curves for history.json, TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autofocus_core.errors import AutofocusError
from autofocus_training.config import Config
from torch import Tensor
from tqdm import tqdm

EVERY = 20  # steps between two points of the curve
#: What a point of the curve has besides losses.
NOT_LOSSES = ("step", "learning_rate", "gradient_norm")


class Journal:
    """A context manager; `step` is called after every step. curve: [{"step", losses by name, the other NOT_LOSSES,
    maybe "held_out"}]."""

    def __init__(
        self, config: Config, done: int = 0, curve: list[dict[str, float]] | None = None, json_lines: bool = False,
        tensorboard: Path | None = None, quiet: bool = False,
    ) -> None:  # fmt: skip
        self.curve = list(curve or [])
        self._config = config
        self._json_lines = json_lines
        self._writer = None if tensorboard is None else _summary_writer(tensorboard)
        self._bar = tqdm(
            total=config.steps, initial=done, desc=f"{config.method} seed {config.seed}", unit="step",
            disable=True if quiet else None,
        )  # fmt: skip
        self.began_s, self._first = time.monotonic(), done

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def due(self, step: int) -> bool:
        """Whether step number `step` (from 0) is a point of the curve."""
        return step % EVERY == 0 or step == self._config.steps - 1

    def step(self, step: int, parts: Mapping[str, float | Tensor], held_out: float | None = None) -> None:
        """Hear of what `fit.advance` says of a step, and of the held-out loss where it was just measured."""
        self._bar.update()
        if not self.due(step):
            return
        point = {"step": step} | {name: float(value) for name, value in parts.items()}
        point |= {} if held_out is None else {"held_out": held_out}
        self.curve.append(point)
        losses = {name: value for name, value in point.items() if name not in NOT_LOSSES}
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items() if name != "total"})
        if self._json_lines:
            print(json.dumps({"step": step + 1, "loss": point["total"]}), flush=True)
        if self._writer is not None:
            for name, value in point.items():
                if name != "step":
                    self._writer.add_scalar(f"loss/{name}" if name in losses else name, value, step)

    def samples_per_s(self, steps: int) -> float:
        """Of this start of the run, whose last step was number `steps`."""
        seconds = max(time.monotonic() - self.began_s, 1e-9)
        return (steps - self._first) * self._config.batch_size / seconds


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        fix = "pip install 'autofocus-il[tensorboard]'"
        raise AutofocusError("--tensorboard", f"not importable: {error}", "the package tensorboard", fix) from error
    return SummaryWriter(str(folder))
