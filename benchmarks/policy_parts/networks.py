"""The networks that are timed: random weights, since time does not depend on them. Answers stay near the joints."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from autofocus_core.manifest import Manifest, ManifestCamera
from autofocus_core.names import MANIFEST_FILE
from autofocus_core.schema import Robot
from autofocus_training.encoders import FROM_SCRATCH
from autofocus_training.images import resize_frames, standardise
from torch import Tensor, nn

HORIZON, DT_S = 8, 0.1
REACH = 1e-3  # rad or m: the arm hardly moves, so that no limit comes into it
ENCODERS = {"own": "our own encoder", "resnet18": "ResNet-18"}
SIZES_PX = (96, 224)


class Core(nn.Module):
    """(B, 3, h, w) in [0, 1] and joints (B, A) -> joint targets (B, HORIZON, A)."""

    def __init__(self, encoder: str, joints: int) -> None:
        super().__init__()
        if encoder == "own":
            self.encoder, channels = FROM_SCRATCH["resnet"](3), 64
        else:
            from transformers import ResNetConfig, ResNetModel

            config = ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")
            self.encoder, channels = ResNetModel(config), 512
        self.head = nn.Sequential(nn.Linear(channels + joints, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(),
                                  nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, HORIZON * joints))

    def forward(self, unit: Tensor, state: Tensor) -> Tensor:
        z = self.encoder(standardise(unit))
        z = z if isinstance(z, Tensor) else z[0]  # transformers gives an output object, traced a tuple
        found = self.head(torch.cat([z.mean((2, 3)), state], dim=1)).view(-1, HORIZON, state.shape[1])
        return state[:, None] + REACH * torch.tanh(found)


class Deployed(nn.Module):
    """As `autofocus export` writes it: bytes of the camera's size in, the resize in the graph."""

    def __init__(self, core: Core, size_px: int) -> None:
        super().__init__()
        self.core, self.size_px = core, size_px

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        small = resize_frames(images[:, 0], self.size_px, self.size_px)
        unit = small.permute(0, 3, 1, 2).float().div(255.0)
        return self.core(unit, state), torch.zeros(1, 1, 4, 4)


def core(encoder: str, joints: int) -> Core:
    """The same weights every time."""
    torch.manual_seed(0)
    return Core(encoder, joints).eval()


def write_policy(path: Path, encoder: str, size_px: int, robot: Robot) -> Path:
    """A policy file for `robot`, traced and frozen."""
    camera = robot.cameras[0]
    manifest = Manifest(
        robot_name=robot.name, robot_hash=robot.hash(), joints=robot.joint_names,
        units=tuple(j.unit for j in robot.all_joints),
        cameras=(ManifestCamera(camera.name, camera.width_px, camera.height_px),), image_size=(size_px, size_px),
        control_rate_hz=robot.control_rate_hz, horizon=HORIZON, dt_s=DT_S, objects=(), method="benchmark", config={},
        normalisation={}, dataset_hash="none", code_version="benchmark", created="2026-01-01T00:00:00Z")
    joints = len(robot.joint_names)
    example = (torch.zeros(1, 1, camera.height_px, camera.width_px, 3, dtype=torch.uint8), torch.zeros(1, joints))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.freeze(torch.jit.trace(Deployed(core(encoder, joints), size_px).eval(), example))
        torch.jit.save(traced, str(path), _extra_files={MANIFEST_FILE: manifest.to_json()})
    return path
