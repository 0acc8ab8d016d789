"""Checkpoints: a trained network with everything that says what it is. Loaded without unpickling code."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import Manifest, parse_manifest
from autofocus_training.batch import Shapes
from autofocus_training.config import Config, parse_config
from autofocus_training.methods import build_network
from autofocus_training.samples import Normaliser
from torch import Tensor, nn

FORMAT = 2
KIND = "autofocus-checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """network in eval mode; manifest as the policy file will carry it; probe_images (P, N, H, W, 3) uint8 at the
    cameras' own size and probe_states (P, A) float32: real samples that an export is checked on."""

    network: nn.Module
    normaliser: Normaliser
    config: Config
    manifest: Manifest
    probe_images: Tensor
    probe_states: Tensor


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write in one step: a run that is interrupted leaves no half a checkpoint."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(
        {
            "kind": KIND, "format": FORMAT, "config": checkpoint.config.as_dict(),
            "manifest": checkpoint.manifest.to_json(), "network": checkpoint.network.state_dict(),
            "normaliser": checkpoint.normaliser.state_dict(), "probe_images": checkpoint.probe_images,
            "probe_states": checkpoint.probe_states,
        },
        partial,
    )  # fmt: skip
    os.replace(partial, path)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Raises AutofocusError where the file is missing, damaged or something else."""
    path = Path(path)
    where, fix = f"checkpoint {path}", "give the checkpoint.pt that `autofocus train` wrote"
    if not path.is_file():
        raise AutofocusError(where, "no such file", "a checkpoint", fix)
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise AutofocusError(where, f"not readable: {error}".split("\n")[0], "a checkpoint", fix) from error
    if not isinstance(raw, dict) or raw.get("kind") != KIND or raw.get("format") != FORMAT:
        keys = ("kind", "format")
        found = str({key: raw.get(key) for key in keys}) if isinstance(raw, dict) else type(raw).__name__
        raise AutofocusError(where, found, f"kind {KIND!r}, format {FORMAT}", fix)
    config = parse_config(raw["config"], f"{where}: config")
    manifest = parse_manifest(raw["manifest"], f"{where}: manifest")
    objects = len(manifest.objects)
    shapes = Shapes(len(manifest.cameras), objects, len(manifest.joints), config.image_size)
    network = build_network(config, shapes)
    network.load_state_dict(raw["network"])
    normaliser = Normaliser(**raw["normaliser"])
    return Checkpoint(
        network.eval(), normaliser, config, manifest, raw["probe_images"], raw["probe_states"]
    )  # fmt: skip
