"""`autofocus export`: a checkpoint becomes a policy file. Everything TorchScript is here: torch calls it deprecated.

The file holds preprocessing, network and de-normalisation in one graph, and the manifest, so that whoever runs it needs
torch and not this package. It is only written where it gives the same actions as the checkpoint on real samples.
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

import torch
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import Manifest
from autofocus_core.names import MANIFEST_FILE
from autofocus_training.checkpoint import Checkpoint, load_checkpoint
from autofocus_training.images import resize_frames
from autofocus_training.pretrained import with_traced_backbones
from autofocus_training.samples import Normaliser
from torch import Tensor, nn

TOLERANCE = 1e-4  # rad or m: largest difference allowed between the policy file and the checkpoint


class DeployedPolicy(nn.Module):
    """What is exported: frames of the camera's size and joint positions in, absolute joint positions out."""

    def __init__(self, network: nn.Module, normaliser: Normaliser, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.normaliser = normaliser
        self.height, self.width = image_size

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, N, H, W, 3) uint8 rgb; state float32, rad or m, (B, A), or (B, P, A) with the earlier ones ->
        actions (B, T, A) float32, absolute, rad or m; attention (B, M, h, w) float32, each map sums to 1: one per
        camera and object, or one per camera."""
        small = resize_frames(images, self.height, self.width)
        unit = small.permute(0, 1, 4, 2, 3).float().div(255.0)
        seen = (state - self.normaliser.state_mean) / self.normaliser.state_std
        actions, log_attention = self.network(unit, seen.flatten(1))
        present = state if state.dim() == 2 else state[:, 0]
        relative = present[:, None] * self.normaliser.relative
        absolute = actions * self.normaliser.action_std + self.normaliser.action_mean + relative
        return absolute, log_attention.exp()


def export_policy(checkpoint: Checkpoint, path: str | Path) -> float:
    """Write `path` (replacing it in one step) and return the largest difference to the checkpoint, rad or m.

    Raises AutofocusError, and writes nothing, where that difference on the checkpoint's probe samples is beyond
    TOLERANCE, or where there is no probe to compare on.
    """
    path = Path(path)
    eager = DeployedPolicy(checkpoint.network, checkpoint.normaliser, checkpoint.config.image_size).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit: see the top of this file
        scripted = torch.jit.freeze(torch.jit.script(with_traced_backbones(eager, checkpoint.config.image_size)))
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(scripted, str(partial), _extra_files={MANIFEST_FILE: checkpoint.manifest.to_json()})
        loaded = torch.jit.load(str(partial))
    difference = largest_difference(eager, loaded, checkpoint.probe_images, checkpoint.probe_states)
    if not difference <= TOLERANCE:
        partial.unlink()
        raise AutofocusError(
            f"export to {path}", f"actions differ by {difference:g} from the checkpoint's", f"at most {TOLERANCE:g}",
            "report this with the versions of torch and Python: nothing was written",
        )  # fmt: skip
    os.replace(partial, path)
    return difference


@torch.no_grad()
def largest_difference(eager: nn.Module, exported: nn.Module, images: Tensor, states: Tensor) -> float:
    """Over single samples, as deployed, and over all of them as one batch; nan where an action is not finite."""
    if not len(states):
        return float("nan")
    wanted = eager(images, states)[0]
    batch = (exported(images, states)[0] - wanted).abs().max()
    single = torch.cat([exported(images[i : i + 1], states[i : i + 1])[0] for i in range(len(states))])
    return torch.maximum(batch, (single - wanted).abs().max()).item()


def main(argv: list[str]) -> int:
    """`autofocus export CHECKPOINT [--out FILE]`."""
    parser = argparse.ArgumentParser(prog="autofocus export", description="Write a policy file from a checkpoint.")
    parser.add_argument("checkpoint", type=Path, help="checkpoint.pt, or the directory of a run")
    parser.add_argument("--out", type=Path, help="policy file to write (default: policy.pt beside the checkpoint)")
    args = parser.parse_args(argv)
    source = args.checkpoint / "checkpoint.pt" if args.checkpoint.is_dir() else args.checkpoint
    target = args.out or source.with_name("policy.pt")
    checkpoint = load_checkpoint(source)
    difference = export_policy(checkpoint, target)
    print(f"{target}: {describe(checkpoint.manifest)}; largest difference to the checkpoint {difference:.1e}")
    return 0


def describe(manifest: Manifest) -> str:
    """One line for people."""
    return f"{manifest.method} policy for {manifest.robot_name}, {manifest.horizon} points {manifest.dt_s:g} s apart"
