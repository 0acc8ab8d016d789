"""What a training run is: one frozen dataclass, read from YAML, changed by `key=value`, kept in the checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields, load_yaml

CONFIG_DIR = Path(__file__).parent / "configs"
METHODS = ("none", "reg-mse", "reg-kl", "reg-l1", "gated")
ENCODERS = ("fast", "resnet")


@dataclass(frozen=True, slots=True)
class Config:
    """Every knob of a run. A YAML states all of them but `seed`: there are no defaults to forget about.

    method: "none" is plain behaviour cloning; see methods.py for the others.
    encoder: see encoders.py. image_*_px: size inside the network; frames are resized to it once.
    horizon, dt_s: the policy predicts joint positions at dt_s, 2 dt_s ... horizon * dt_s after the observation.
    anchor_stride: every n-th camera frame is a sample. held_out_episodes: kept out of training, for the loss curve.
    saliency_weight: factor of the method's loss (lambda); saliency_beta: softmax temperature of reg-mse and reg-kl;
    saliency_sigma: standard deviation of an object's Gaussian as a fraction of the image's height.
    gripper_noise: standard deviation of noise on the gripper's position as the policy sees it in training, in z-scores.
    jitter: strength of colour jitter, 0 is off. shift_px: largest random shift. paste_shapes: distractors per frame
    at most, each with paste_probability, never within paste_margin_px of an annotated object (px of the resized image).
    action_loss: "mse" or "l1" on normalised actions.
    """

    method: str
    encoder: str
    image_height_px: int
    image_width_px: int
    horizon: int
    dt_s: float
    anchor_stride: int
    held_out_episodes: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    grad_clip_norm: float
    action_loss: str
    saliency_weight: float
    saliency_beta: float
    saliency_sigma: float
    gripper_noise: float
    jitter: float
    shift_px: int
    paste_shapes: int
    paste_probability: float
    paste_margin_px: float
    seed: int = 0

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the resized image, px."""
        return self.image_height_px, self.image_width_px

    def as_dict(self) -> dict[str, object]:
        """Plain values, for a checkpoint or a manifest; `parse_config` gives an equal Config back."""
        return dataclasses.asdict(self)


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """A Config from `configs/NAME.yaml` or from a file, with `key=value` overrides (values read as YAML).

    Raises AutofocusError for an unknown name, an unknown or missing key, or a value out of range.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = CONFIG_DIR / f"{name_or_path}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in CONFIG_DIR.glob("*.yaml")))
            allowed = f"{known}, or the path of a .yaml"
            raise AutofocusError("--config", repr(name_or_path), allowed, "choose one of them")
    raw = dict(load_yaml(path, "training config").raw)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise AutofocusError("--set", repr(text), "key=value, e.g. steps=200", "write it that way")
        raw[key.strip()] = _value(value)
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, object], where: str) -> Config:
    """A Config from a mapping with exactly its keys (`seed` may be absent); raises AutofocusError."""
    fields = Fields(raw, where)
    config = Config(
        method=fields.choice("method", METHODS),
        encoder=fields.choice("encoder", ENCODERS),
        image_height_px=fields.integer("image_height_px", minimum=16),
        image_width_px=fields.integer("image_width_px", minimum=16),
        horizon=fields.integer("horizon", minimum=1),
        dt_s=fields.number("dt_s", above=0.0),
        anchor_stride=fields.integer("anchor_stride", minimum=1),
        held_out_episodes=fields.integer("held_out_episodes", minimum=0),
        steps=fields.integer("steps", minimum=1),
        batch_size=fields.integer("batch_size", minimum=1),
        learning_rate=fields.number("learning_rate", above=0.0),
        weight_decay=fields.number("weight_decay", minimum=0.0),
        warmup_steps=fields.integer("warmup_steps", minimum=0),
        grad_clip_norm=fields.number("grad_clip_norm", above=0.0),
        action_loss=fields.choice("action_loss", ("mse", "l1")),
        saliency_weight=fields.number("saliency_weight", minimum=0.0),
        saliency_beta=fields.number("saliency_beta", above=0.0),
        saliency_sigma=fields.number("saliency_sigma", above=0.0),
        gripper_noise=fields.number("gripper_noise", minimum=0.0),
        jitter=fields.number("jitter", minimum=0.0),
        shift_px=fields.integer("shift_px", minimum=0),
        paste_shapes=fields.integer("paste_shapes", minimum=0),
        paste_probability=_probability(fields, "paste_probability"),
        paste_margin_px=fields.number("paste_margin_px", minimum=0.0),
        seed=fields.integer("seed", minimum=0) if fields.has("seed") else 0,
    )
    fields.done()
    return config


def _value(text: str) -> object:
    """As YAML reads it, but 3e-4 is a number (YAML 1.1 wants 3.0e-4)."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _probability(fields: Fields, key: str) -> float:
    value = fields.number(key, minimum=0.0)
    if value > 1.0:
        raise AutofocusError(f"{fields.where}: {key}", f"{value:g}", "0 to 1", f"set `{key}` to a probability")
    return value
