"""What a training run is: one frozen dataclass, read from YAML, changed by `key=value`, kept in the checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields, load_yaml
from autofocus_training.names import ENCODERS, METHODS, POLICIES

CONFIG_DIR = Path(__file__).parent / "configs"


def _key(read: Callable[[Fields, str], Any]) -> Any:
    return field(metadata={"read": read})


def _whole(minimum: int) -> Any:
    return _key(lambda fields, key: fields.integer(key, minimum=minimum))


def _above(bound: float) -> Any:
    return _key(lambda fields, key: fields.number(key, above=bound))


def _least(bound: float) -> Any:
    return _key(lambda fields, key: fields.number(key, minimum=bound))


def _choice(*allowed: str) -> Any:
    return _key(lambda fields, key: fields.choice(key, allowed))


def _share(*, below_one: bool = False) -> Any:
    """A number from 0 to 1."""
    allowed = "0 to below 1" if below_one else "0 to 1"

    def read(fields: Fields, key: str) -> float:
        value = fields.number(key, minimum=0.0)
        if value > 1.0 or (below_one and value == 1.0):
            raise AutofocusError(f"{fields.where}: {key}", f"{value:g}", allowed, f"set `{key}` to {allowed}")
        return value

    return _key(read)


def _yes_or_no() -> Any:
    return _key(lambda fields, key: fields.flag(key))


def _text() -> Any:
    """A text that may be empty."""
    return _key(lambda fields, key: fields.text(key, empty=True))


def _names() -> Any:
    return _key(lambda fields, key: fields.texts(key))


@dataclass(frozen=True, slots=True)
class Config:
    """Every knob of a run. A YAML states all of them but `seed`, itself or by its `base`: there are no defaults to
    forget about. What a knob does is said where it stands."""

    # What is trained.
    method: str = _choice(*METHODS)  # how the maps are used: see methods/; "none" is plain behaviour cloning
    policy: str = _choice(*POLICIES)  # what makes a chunk of actions out of features: see policies/
    encoder: str = _choice(*ENCODERS)  # see encoders.py
    pretrained: str = _text()  # with encoder "pretrained": a transformers model's name or path, else ""
    model_width: int = _whole(8)  # of act's transformer; diffusion's denoiser is four times as wide
    model_layers: int = _whole(1)  # of act's encoder and decoder each; diffusion's blocks
    image_height_px: int = _whole(16)  # inside the network; frames are resized to it once
    image_width_px: int = _whole(16)

    # What is learned from.
    horizon: int = _whole(1)  # the policy predicts joint positions at dt_s, 2 dt_s ... horizon * dt_s
    dt_s: float = _above(0.0)
    state_history: int = _whole(1)  # joint states the policy sees: at t, t - dt_s, ... (1: the present one)
    joint_targets: str = _choice("relative", "absolute")  # the arm's; the gripper's are always absolute
    anchor_stride: int = _whole(1)  # every n-th camera frame is a sample
    held_out_episodes: int = _whole(0)  # kept out of training, for the loss curve and the metrics
    objects: tuple[str, ...] = _names()  # annotated objects whose maps are used; [] is all of them

    # How.
    steps: int = _whole(1)
    batch_size: int = _whole(1)  # over all processes
    learning_rate: float = _above(0.0)
    weight_decay: float = _least(0.0)
    warmup_steps: int = _whole(0)
    grad_clip_norm: float = _above(0.0)
    ema_decay: float = _share(below_one=True)  # 0: no average of the weights; the average is what is exported
    precision: str = _choice("float32", "bfloat16")  # of the forward pass; weights are float32
    compile: bool = _yes_or_no()  # torch.compile: where steps are many and a compiler is there
    action_loss: str = _choice("mse", "l1")  # on normalised actions

    # The maps.
    saliency_weight: float = _least(0.0)  # factor of the method's loss (lambda)
    saliency_schedule: str = _choice("constant", "decay", "warmup")  # of that factor: decay to 0, warm up from 0
    saliency_share: float = _share()  # share of the episodes whose maps are used
    saliency_beta: float = _above(0.0)  # softmax temperature of reg-mse, reg-l1, reg-kl, reg-js, reg-tv
    saliency_sigma: float = _above(0.0)  # standard deviation of an object's Gaussian, as a fraction of the height
    saliency_shape: str = _choice("centre", "box")  # box: the Gaussian is stretched as the box is
    saliency_alpha: float = _share(below_one=True)  # weight of the frame before; 0: the present frame alone
    saliency_window: int = _whole(1)  # frames, the present one included, that saliency_alpha reaches over

    # Augmentation.
    gripper_noise: float = _least(0.0)  # standard deviation of noise on the gripper's position as seen, in z-scores
    jitter: float = _least(0.0)  # strength of colour jitter
    light: float = _least(0.0)  # strength of a change of light: gamma and a slope over the image
    shift_px: int = _whole(0)  # largest random shift (pad and crop)
    zoom: float = _share(below_one=True)  # largest random change of scale
    paste_shapes: int = _whole(0)  # distractors per frame at most, each with paste_probability,
    paste_probability: float = _share()
    paste_margin_px: float = _least(0.0)  # never nearer than this to an annotated object (px of the resized image)
    background_swap: float = _share()  # probability that what lies outside the objects is another sample's
    seed: int = 0

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the resized image, px."""
        return self.image_height_px, self.image_width_px

    @property
    def sigma_px(self) -> float:
        """Standard deviation of an object's Gaussian in the resized image."""
        return self.saliency_sigma * self.image_height_px

    def as_dict(self) -> dict[str, object]:
        """Plain values, for a checkpoint or a manifest; `parse_config` gives an equal Config back."""
        return dataclasses.asdict(self) | {"objects": list(self.objects)}


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """A Config from `configs/NAME.yaml` or from a file, with `key=value` overrides (values read as YAML).

    A YAML with `base: NAME` (or a path beside it) states only what differs from that one. Raises AutofocusError for an
    unknown name, an unknown or missing key, or a value out of range.
    """
    path = _find(name_or_path, CONFIG_DIR, "--config")
    raw = _with_base(path, ())
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise AutofocusError("--set", repr(text), "key=value, e.g. steps=200", "write it that way")
        raw[key.strip()] = _value(value)
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, object], where: str) -> Config:
    """A Config from a mapping with exactly its keys (`seed` may be absent); raises AutofocusError."""
    fields = Fields(raw, where)
    read = {f.name: f.metadata["read"] for f in dataclasses.fields(Config) if f.name != "seed"}
    values = {name: reader(fields, name) for name, reader in read.items()}
    seed = fields.integer("seed", minimum=0) if fields.has("seed") else 0
    fields.done()
    return Config(**values, seed=seed)


def _find(name_or_path: str, beside: Path, where: str) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path if path.is_absolute() or where == "--config" else beside / path
    path = CONFIG_DIR / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIG_DIR.glob("*.yaml")))
        raise AutofocusError(where, repr(name_or_path), f"{known}, or the path of a .yaml", "choose one of them")
    return path


def _with_base(path: Path, seen: tuple[Path, ...]) -> dict[str, object]:
    raw = dict(load_yaml(path, "training config").raw)
    base = raw.pop("base", None)
    if base is None:
        return raw
    if path in seen:
        raise AutofocusError(f"{path}: base", repr(base), "a config that does not lead back here", "remove one `base`")
    return _with_base(_find(str(base), path.parent, f"{path}: base"), (*seen, path)) | raw


def _value(text: str) -> object:
    """As YAML reads it, but 3e-4 is a number (YAML 1.1 wants 3.0e-4)."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value
