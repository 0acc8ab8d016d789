"""What methods add to imitation: one term, "saliency", from what was seen and the batch's targets.

Every objective is given (look, batch, vision) and averages over what is valid alone (`mean_where`): a sample without a
valid map adds nothing and takes nothing away. In the reference one such sample switches the loss off for its batch, and
a map that is all zero, because a model's answer failed, is learned as if it meant that nothing matters.

B samples, N cameras, K objects, M = B * N images, (H, W) image, (h, w) feature cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from autofocus_training.batch import Batch, Shapes, mean_where
from autofocus_training.config import Config
from autofocus_training.losses import MAP_DISTANCES, predicted_map, sum_normalised
from torch import Tensor, nn

GRIL_WIDTH = 256
RELEVANT = 0.1  # contrastive: a pixel is relevant where the union map is above this (2.1 standard deviations)
MARGIN = 1.0  # contrastive; of squared distances of feature vectors, averaged over the cells


@dataclass(frozen=True, slots=True)
class Look:
    """z (M, C, h, w); tokens (B, L, D); log_attention (B, N * maps, h, w)."""

    z: Tensor
    tokens: Tensor
    log_attention: Tensor


class Objective(nn.Module):
    """width: numbers in a sample's tokens."""

    def __init__(self, config: Config, shapes: Shapes, width: int) -> None:
        super().__init__()

    def loss(self, look: Look, batch: Batch, vision: nn.Module) -> Tensor:
        """The term, a scalar."""
        raise NotImplementedError


class MapDistance(Objective):
    """reg-mse, reg-l1, reg-kl, reg-js, reg-tv: the paper's D(G, G_hat) (arXiv 2511.18617)."""

    def __init__(self, config: Config, shapes: Shapes, width: int) -> None:
        super().__init__(config, shapes, width)
        self.distance = MAP_DISTANCES[config.method]
        self.beta = config.saliency_beta

    def loss(self, look: Look, batch: Batch, vision: nn.Module) -> Tensor:
        """Mean over the images with a valid object."""
        size = batch.targets.image_size
        guess = predicted_map(look.z, self.beta, size)
        found = self.distance(batch.targets.union_map(*size).flatten(0, 1), guess)
        return mean_where(found, batch.targets.now.any(2).flatten())


class Share(Objective):
    """reg-share: KL(G, a / sum a) with a = sum_c |z_c| on the feature grid; no softmax and no min-max, so that
    activation off the objects has nowhere to hide."""

    def loss(self, look: Look, batch: Batch, vision: nn.Module) -> Tensor:
        """Mean over the images with a valid object."""
        height, width = look.z.shape[2:]
        g = sum_normalised(batch.targets.object_maps(height, width).sum(2).flatten(0, 1) + 1e-8)
        log_share = look.log_attention.reshape(len(g), -1)
        return mean_where((g * (torch.log(g) - log_share)).sum(-1), batch.targets.now.any(2).flatten())


class Gate(Objective):
    """gated: KL(G_k, P_k), object by object."""

    def loss(self, look: Look, batch: Batch, vision: nn.Module) -> Tensor:
        """Mean over the objects that are valid."""
        height, width = look.log_attention.shape[2:]
        log_g = torch.log_softmax(batch.targets.log_maps(height, width).flatten(3), dim=-1)
        log_p = look.log_attention.view(log_g.shape)
        return mean_where((log_g.exp() * (log_g - log_p)).sum(-1), batch.targets.now)


class UnionGate(Objective):
    """gated-union: KL(G, P) with G the sum of the objects' maps, each of the same mass."""

    def loss(self, look: Look, batch: Batch, vision: nn.Module) -> Tensor:
        """Mean over the images with a valid object."""
        height, width = look.log_attention.shape[2:]
        each = torch.softmax(batch.targets.log_maps(height, width).flatten(3), dim=-1)
        union = (each * batch.targets.now[..., None]).sum(2) + 1e-8
        g = union / union.sum(-1, keepdim=True)
        log_p = look.log_attention.view(g.shape)
        return mean_where((g * (torch.log(g) - log_p)).sum(-1), batch.targets.now.any(2))


class Gril(Objective):
    """gril: a head on the policy's tokens regresses where the objects are; mean squared error, image in [-1, 1]."""

    def __init__(self, config: Config, shapes: Shapes, width: int) -> None:
        super().__init__(config, shapes, width)
        self.shape = (shapes.cameras, shapes.objects, 2)
        outputs = shapes.cameras * shapes.objects * 2
        self.head = nn.Sequential(nn.Linear(width, GRIL_WIDTH), nn.ReLU(), nn.Linear(GRIL_WIDTH, outputs))

    def loss(self, look: Look, batch: Batch, vision: nn.Module) -> Tensor:
        """Mean over the objects that are valid."""
        guess = self.head(look.tokens.flatten(1)).view(-1, *self.shape)
        height, width = batch.targets.image_size
        centres = batch.targets.centres_px[:, :, :, 0]  # NaN where an object is not seen
        size = torch.tensor([width, height], device=centres.device)
        valid = batch.targets.now
        wanted = torch.where(valid[..., None], centres / size * 2.0 - 1.0, torch.zeros_like(centres))
        return mean_where((guess - wanted).square().mean(-1), valid)


class Contrastive(Objective):
    """contrastive: max(0, |z - z+|^2 - |z - z-|^2 + m); z+ from the image with all but the objects blanked, z- with the
    objects blanked, both with the image's mean colour.

    The reference takes its positive and negative images from channels that do not exist: slices of no channel at all.
    """

    def loss(self, look: Look, batch: Batch, vision: nn.Module) -> Tensor:
        """Mean over the images with a valid object."""
        images = batch.images.flatten(0, 1)
        relevant = batch.targets.union_map(*batch.targets.image_size).flatten(0, 1)[:, None] > RELEVANT
        positive, negative = blanked(images, relevant)
        near, far = (
            (look.z - vision(other)).square().sum(1).mean((-2, -1)) for other in (positive, negative)
        )  # fmt: skip
        return mean_where(torch.relu(near - far + MARGIN), batch.targets.now.any(2).flatten())


def blanked(images: Tensor, relevant: Tensor) -> tuple[Tensor, Tensor]:
    """images (M, 3, H, W), relevant (M, 1, H, W) bool -> (the relevant alone, all but that); the rest is filled with
    each image's mean colour."""
    fill = images.mean((-2, -1), keepdim=True)
    return torch.where(relevant, images, fill), torch.where(relevant, fill, images)
