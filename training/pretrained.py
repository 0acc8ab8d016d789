"""Encoder "pretrained": any image backbone that transformers knows, by name or path, fine-tuned.

transformers is an extra: it is loaded when such an encoder is built, and TorchScript cannot compile its code, so the
export traces it (`with_traced_backbones`) and then checks the file against the checkpoint as always.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import torch
from autofocus_core.errors import AutofocusError
from autofocus_training.images import STANDARD_MEAN, STANDARD_STD
from torch import Tensor, nn

CHANNELS = 64  # what the backbone's channels are projected to: enough for keypoints, and the heads stay small
NORM_GROUPS = 8
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FeatureMap(nn.Module):
    """A transformers model as a function from images to its last feature map."""

    def __init__(self, model: nn.Module, patch_px: int) -> None:
        super().__init__()
        self.model = model
        self.patch_px = patch_px

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) as the model wants it normalised -> (B, C, h, w)."""
        z = self.model(x, return_dict=True).last_hidden_state
        if z.dim() == 4:
            return z
        height, width = x.shape[-2] // self.patch_px, x.shape[-1] // self.patch_px
        patches = z[:, z.shape[1] - height * width :]  # after a class token and registers, if any
        return patches.transpose(1, 2).reshape(z.shape[0], z.shape[2], height, width)


class Pretrained(nn.Module):
    """A backbone, its own normalisation of images, and a projection of its features to 64 channels.

    Statistics of batch normalisation stay as they came: batches of robot frames are small and alike, and what a sample
    gets must not depend on its batch mates. It has no `early` half: method igmd refuses it.
    """

    def __init__(self, name: str, image_size: tuple[int, int], inputs: int = 3) -> None:
        super().__init__()
        if not name:
            raise AutofocusError(
                "encoder pretrained", 'pretrained: ""', "a model's name or path", "set pretrained, e.g. to a folder "
                "with config.json and model.safetensors", )  # fmt: skip
        self.backbone, mean, std = _load(name)
        channels = _channels(self.backbone, name, image_size)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.adapt: nn.Module = nn.Identity()
        if inputs != 3:  # a model trained on three channels starts out not seeing the others
            self.adapt = nn.Conv2d(inputs, 3, 1, bias=False)
            with torch.no_grad():
                self.adapt.weight.copy_(torch.eye(3, inputs)[..., None, None])
        self.project = nn.Sequential(nn.Conv2d(channels, CHANNELS, 1), nn.GroupNorm(NORM_GROUPS, CHANNELS), nn.ReLU())
        self.channels = CHANNELS
        self.standard_mean, self.standard_std = STANDARD_MEAN, STANDARD_STD  # TorchScript sees no globals
        self.freeze_statistics()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) float32, standardised as for every encoder -> features z (B, 64, h, w), >= 0."""
        unit = self.adapt(x) * self.standard_std + self.standard_mean
        return self.project(self.backbone((unit - self.mean) / self.std))

    @torch.jit.ignore
    def freeze_statistics(self) -> None:
        """Batch normalisation in eval mode, whatever the mode of the rest."""
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    @torch.jit.ignore
    def train(self, mode: bool = True) -> Pretrained:
        """As of every module, but see `freeze_statistics`."""
        super().train(mode)
        self.freeze_statistics()
        return self


def with_traced_backbones(module: nn.Module, image_size: tuple[int, int]) -> nn.Module:
    """`module`, or where it has pretrained encoders a copy in which their backbones are traced for `image_size`."""
    if not any(isinstance(part, Pretrained) for part in module.modules()):
        return module
    module = copy.deepcopy(module)
    for part in module.modules():
        if isinstance(part, Pretrained):
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes become constants: they are constant
                part.backbone = torch.jit.trace(part.backbone, torch.zeros(2, 3, *image_size), check_trace=False)
    return module


def _load(name: str) -> tuple[FeatureMap, Sequence[float], Sequence[float]]:
    """(model, mean and standard deviation of the images that it was trained on, by channel)."""
    try:
        import transformers
    except ImportError as error:
        raise AutofocusError(
            "encoder pretrained", "the package transformers is not installed", "transformers",
            "pip install 'saliency_server[transformers]', or choose another encoder",
        ) from error  # fmt: skip
    try:
        # Not AutoBackbone: it asks the hub, even about a folder.
        model = transformers.AutoModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise AutofocusError(
            "encoder pretrained", f"{name!r}: {str(error).splitlines()[0]}", "an image model of transformers",
            "give the name of a model on the hub, or a folder that `save_pretrained` wrote",
        ) from error  # fmt: skip
    model = getattr(model, "vision_model", model)  # of a model of images and words
    # Parts that no feature passes through would have no gradient.
    if hasattr(model, "pooler"):
        model.pooler = nn.Identity()
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    try:
        processor, _ = transformers.ImageProcessingMixin.get_image_processor_dict(name)
        mean, std = processor.get("image_mean", mean), processor.get("image_std", std)
    except OSError:
        pass  # no preprocessor_config.json: ImageNet's
    patch = getattr(model.config, "patch_size", None)
    return FeatureMap(model, patch if isinstance(patch, int) else 1), mean, std


@torch.no_grad()
def _channels(backbone: FeatureMap, name: str, image_size: tuple[int, int]) -> int:
    """Channels of its feature map; AutofocusError where it makes none of images of this size."""
    try:
        return backbone.eval()(torch.zeros(1, 3, *image_size)).shape[1]
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise AutofocusError(
            "encoder pretrained", f"{name!r}: {str(error).splitlines()[0]}",
            f"a model that makes a feature map of {image_size[1]}x{image_size[0]} px",
            "set image_height_px and image_width_px to what it was trained with, or choose another model",
        ) from error  # fmt: skip
