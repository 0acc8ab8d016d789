"""Checkpoints: a trained network with everything that says what it is. Loaded without unpickling code."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import Manifest, parse_manifest
from autofocus_training.batch import Shapes
from autofocus_training.config import Config, parse_config
from autofocus_training.fit import Run
from autofocus_training.methods import build_network
from autofocus_training.samples import Normaliser
from torch import Tensor, nn

FORMAT = 2
KIND = "autofocus-checkpoint"
STATE_KIND = "autofocus-run"
STATE_FILE = "run.pt"  # in a run's folder, of a run that is under way or was interrupted


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
    _write(
        {
            "kind": KIND, "format": FORMAT, "config": checkpoint.config.as_dict(),
            "manifest": checkpoint.manifest.to_json(), "network": checkpoint.network.state_dict(),
            "normaliser": checkpoint.normaliser.state_dict(), "probe_images": checkpoint.probe_images,
            "probe_states": checkpoint.probe_states,
        },
        Path(path),
    )  # fmt: skip


def save_state(path: Path, run: Run, config: Config, dataset_hash: str, curve: list[dict[str, float]]) -> None:
    """Where a run stands, so that it can go on exactly; written in one step."""
    state = {
        "kind": STATE_KIND, "format": FORMAT, "config": config.as_dict(), "dataset_hash": dataset_hash,
        "curve": curve, "run": run.state(),
    }  # fmt: skip
    _write(state, path)


def load_state(path: Path, run: Run, config: Config, dataset_hash: str) -> list[dict[str, float]]:
    """Bring `run` to where the saved one stood; its curve. Raises AutofocusError where config or data are others."""
    where, fix = f"interrupted run {path}", "start anew with --restart, or give the same arguments and episodes"
    raw = _read(path, where, STATE_KIND, fix)
    mine, theirs = config.as_dict(), raw["config"]
    other = [f"{key} {theirs.get(key)!r}" for key in mine if mine[key] != theirs.get(key)]
    if other or raw["dataset_hash"] != dataset_hash:
        allowed = ", ".join(f"{key} {mine[key]!r}" for key in mine if mine[key] != theirs.get(key))
        got = ", ".join(other) or "other episodes, annotations or review decisions"
        raise AutofocusError(where, got, allowed or "the same data", fix)
    run.load(raw["run"])
    return raw["curve"]


def read_curve(path: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """(config, curve) of a run that was interrupted. Raises AutofocusError where the file is none."""
    raw = _read(path, f"interrupted run {path}", STATE_KIND, "go on with the run by --resume, or --restart it")
    return raw["config"], raw["curve"]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Raises AutofocusError where the file is missing, damaged or something else."""
    path = Path(path)
    where = f"checkpoint {path}"
    raw = _read(path, where, KIND, "give the checkpoint.pt that `autofocus train` wrote")
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


def _write(content: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _read(path: Path, where: str, kind: str, fix: str) -> dict[str, Any]:
    if not path.is_file():
        raise AutofocusError(where, "no such file", "a file that `autofocus train` wrote", fix)
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise AutofocusError(where, f"not readable: {error}".split("\n")[0], "an undamaged file", fix) from error
    if not isinstance(raw, dict) or raw.get("kind") != kind or raw.get("format") != FORMAT:
        keys = ("kind", "format")
        found = str({key: raw.get(key) for key in keys}) if isinstance(raw, dict) else type(raw).__name__
        raise AutofocusError(where, found, f"kind {kind!r}, format {FORMAT}", fix)
    return raw
