"""Oreo (Park et al., arXiv 2110.14118): against what a policy takes for a cause, drop whole things from its features.

A VQ-VAE gives each cell of an image one of 512 codes, so that like cells, wherever they are, have the same code. In
training each sample is seen four times, each time without a random half of the codes; when deployed, with all.

The VQ-VAE is trained along, by reconstructing the images, from the first step to the last, and apart from the policy:
no gradient passes between them. The reference, where the file of a trained VQ-VAE is missing, warns and goes on with a
random codebook. Its codes here are compared by angle, in 16 dimensions, which keeps most of them in use (Yu et al.,
arXiv 2110.04627).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from autofocus_training.batch import Batch
from autofocus_training.config import Config
from autofocus_training.encoders import FROM_SCRATCH, build_encoder
from autofocus_training.images import standardise
from autofocus_training.methods.vision import Seen
from torch import Tensor, nn

CODES = 512
CODE_WIDTH = 16
DROPPED = 0.5
MASKS = 4
COMMITMENT = 0.25  # van den Oord et al., arXiv 1711.00937


class VqVae(nn.Module):
    """Images (M, 3, H, W) in [0, 1] -> codes on a grid of stride 8. Without `forward`: it is not deployed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = FROM_SCRATCH["fast"](3)
        self.into = nn.Conv2d(self.encoder.channels, CODE_WIDTH, 1)
        self.book = nn.Parameter(F.normalize(torch.randn(CODES, CODE_WIDTH), dim=1))
        self.decoder = nn.Sequential(
            nn.Conv2d(CODE_WIDTH, 64, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2.0),
            nn.Conv2d(64, 32, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2.0),
            nn.Conv2d(32, 3, 3, padding=1),
        )  # fmt: skip

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(codes (M, h, w) int64, loss: reconstruction of the standardised image at half size, and the codebook's)."""
        x = standardise(images)
        found = F.normalize(self.into(self.encoder(x)), dim=1)  # (M, 16, h, w)
        book = F.normalize(self.book, dim=1)
        codes = torch.einsum("mdhw,kd->mkhw", found, book).argmax(1)
        taken = book[codes].permute(0, 3, 1, 2)
        fit = F.mse_loss(taken, found.detach()) + COMMITMENT * F.mse_loss(found, taken.detach())
        again = self.decoder(found + (taken - found).detach())
        small = F.interpolate(x, size=again.shape[2:], mode="bilinear", antialias=True, align_corners=False)
        return codes, F.mse_loss(again, small) + fit


def code_masks(codes: Tensor, samples: int, size: tuple[int, int]) -> Tensor:
    """(4 * M, 1, *size): 0 where a cell's code is dropped, 1 / (1 - p) elsewhere. Which codes: drawn for each copy and
    sample, the same for all cameras of a sample, which are neighbours in codes (M, h, w)."""
    cameras = len(codes) // samples
    keep = (torch.rand(MASKS, samples, CODES, device=codes.device) >= DROPPED).float() / (1.0 - DROPPED)
    keep = keep.repeat_interleave(cameras, dim=1).view(MASKS * len(codes), CODES)
    masks = keep.gather(1, codes.flatten(1).repeat(MASKS, 1)).view(-1, 1, *codes.shape[1:])
    return F.interpolate(masks, size=size, mode="nearest")


class OreoVision(nn.Module):
    """The encoder; in training, four copies of its features, each without half of the codes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = build_encoder(config)
        self.vqvae = VqVae()
        self.channels: int = self.encoder.channels

    def forward(self, images: Tensor) -> Tensor:
        """See vision.py."""
        return self.encoder(standardise(images))

    def see(self, batch: Batch) -> Seen:
        """See vision.py; "vqvae": loss of the VQ-VAE. Maps are not used."""
        images = batch.images.flatten(0, 1)
        z = self(images)
        codes, loss = self.vqvae.look(images)
        masks = code_masks(codes, len(batch.images), (z.shape[2], z.shape[3]))
        return Seen(z.repeat(MASKS, 1, 1, 1) * masks, {"vqvae": loss}, MASKS)
