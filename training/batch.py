"""What a training step is given: a batch, augmented and normalised, and the maps that go with it.

B samples, N cameras, K objects, A joints, T horizon, P joint states, W frames of the saliency window, (h, w) px.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

#: Of the standard deviation of a Gaussian shaped by a box, in half widths of the box.
BOX_SIGMA = 0.5


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the objects are, and so what the maps look like.

    centres_px (B, N, K, W, 2): x, y in the resized image; [..., 0, :] is the image's own frame, then the frames before
    it. half_px (B, N, K, 2): half widths and heights of the boxes. valid (B, N, K, W) bool: nothing else may be used.
    sigma_px: standard deviation of a Gaussian; shape: "centre" (round) or "box" (stretched as the box is, never
    narrower than sigma_px); alpha: weight of the frame before (METHOD: H_s = minmax(sum_j alpha^(s-j) h_j)).
    image_size: (H, W) px.
    """

    centres_px: Tensor
    half_px: Tensor
    valid: Tensor
    sigma_px: float
    image_size: tuple[int, int]
    shape: str = "centre"
    alpha: float = 0.0

    @property
    def now(self) -> Tensor:
        """(B, N, K) bool: the object's place in the image's own frame can be trusted."""
        return self.valid[..., 0]

    def log_maps(self, height: int, width: int) -> Tensor:
        """(B, N, K, height, width): log of each object's map at the cell centres of a grid laid over the image; finite.

        One Gaussian, -d^2 / (2 sigma^2), or log sum_j alpha^j exp(-d_j^2 / (2 sigma^2)) over the window's valid frames.
        Where `now` is false the values mean nothing.
        """
        known = self.valid[..., None]
        centres = torch.where(known, self.centres_px, torch.zeros_like(self.centres_px))
        y = (torch.arange(height, device=centres.device) + 0.5) * (self.image_size[0] / height)
        x = (torch.arange(width, device=centres.device) + 0.5) * (self.image_size[1] / width)
        sigma = torch.full_like(self.half_px, self.sigma_px)
        if self.shape == "box":
            half = torch.where(self.now[..., None], self.half_px, torch.zeros_like(self.half_px))
            sigma = torch.maximum(sigma, half * BOX_SIGMA)
        sigma = sigma[..., None, :]  # the same for all frames of the window
        dx = ((x - centres[..., 0:1]) / sigma[..., 0:1]).square()  # (B, N, K, W, width)
        dy = ((y - centres[..., 1:2]) / sigma[..., 1:2]).square()
        logs = -0.5 * (dy[..., :, None] + dx[..., None, :])  # (B, N, K, W, height, width)
        if logs.shape[3] == 1 or self.alpha == 0.0:
            return logs[:, :, :, 0]
        ages = torch.arange(logs.shape[3], device=centres.device, dtype=logs.dtype)
        logs = logs + ages[:, None, None] * torch.log(torch.tensor(self.alpha, dtype=logs.dtype))
        earlier = self.valid.clone()
        earlier[..., 0] = True  # keeps the sum finite; `now` says whether it means anything
        return logs.masked_fill(~earlier[..., None, None], -torch.inf).logsumexp(3)

    def object_maps(self, height: int, width: int) -> Tensor:
        """(B, N, K, height, width), >= 0: each object's map, zeros where it is not valid."""
        return self.log_maps(height, width).exp() * self.now[..., None, None]

    def union_map(self, height: int, width: int) -> Tensor:
        """(B, N, height, width) in [0, 1]: the sum of the valid objects' maps, min-max normalised."""
        return minmax(self.object_maps(height, width).sum(2))


@dataclass(frozen=True, slots=True)
class Batch:
    """images (B, N, 3, h, w) float32 in [0, 1], augmented; state (B, P * A) z-scores, the present one first;
    actions (B, T, A) z-scores; targets: of these images, with nothing valid for samples whose maps are not to be used;
    progress: share of the training done, 0 to 1."""

    images: Tensor
    state: Tensor
    actions: Tensor
    targets: Targets
    progress: float = 0.0

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        return self.each(Tensor, lambda tensor: tensor.to(device, non_blocking=True))

    def each(self, kind: type, change: Callable[[Any], Any]) -> Batch:
        """The same batch with `change` made to everything in it that is of a kind: Tensor, or np.ndarray."""

        def changed(value: Any) -> Any:
            return change(value) if isinstance(value, kind) else value

        targets = Targets(**{f.name: changed(getattr(self.targets, f.name)) for f in dataclasses.fields(Targets)})
        return Batch(changed(self.images), changed(self.state), changed(self.actions), targets, self.progress)


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a network is built for: numbers of cameras, objects, joints, and (h, w) of the images, px."""

    cameras: int
    objects: int
    joints: int
    image_size: tuple[int, int]


def minmax(maps: Tensor) -> Tensor:
    """(..., h, w) -> each map scaled to [0, 1]; a flat map becomes zeros."""
    low = maps.amin((-2, -1), keepdim=True)
    return (maps - low) / (maps.amax((-2, -1), keepdim=True) - low + 1e-8)


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of `values` where `valid` (same shape); 0 where there is none, with zero gradient.

    Where a batch is shared among processes the count is that of the whole batch (over the number of processes, because
    gradients are averaged): the same weights come out as in one process.
    """
    total = torch.where(valid, values, torch.zeros_like(values)).sum()
    count = valid.sum().to(values.dtype)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        count = count / torch.distributed.get_world_size()
    return torch.where(count > 0, total / count.clamp(min=1e-6), total * 0.0)
