"""The methods: which vision, pooling and objective each is made of. Any of them goes with any policy and, but for IGMD
with a pretrained encoder, with any encoder.

What a method needs at test time is in its network: no map, no annotator, no detector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from autofocus_core.errors import AutofocusError
from autofocus_training.batch import Shapes
from autofocus_training.config import Config
from autofocus_training.losses import MAP_DISTANCES
from autofocus_training.methods.guided import AgilVision, GmdVision, IgmdVision, MaskVision, VisarlVision
from autofocus_training.methods.network import Actor, Network
from autofocus_training.methods.objectives import Contrastive, Gate, Gril, MapDistance, Share, UnionGate
from autofocus_training.methods.oreo import OreoVision
from autofocus_training.methods.vision import BlindVision, PlainVision
from autofocus_training.policies import HeadShapes, build_policy
from autofocus_training.pooling import GatedKeypoints, Keypoints
from torch import nn


@dataclass(frozen=True, slots=True)
class Method:
    """vision: images to features; gates(shapes): number of maps that gate the keypoints of an image, 0 for none; tight:
    see GatedKeypoints; objective(config, shapes, numbers in a sample's tokens), None for none."""

    vision: Callable[[Config], nn.Module] = PlainVision
    gates: Callable[[Shapes], int] = lambda shapes: 0
    objective: Callable[[Config, Shapes, int], nn.Module] | None = None
    tight: bool = False


METHODS: dict[str, Method] = {
    "none": Method(),
    "state-only": Method(BlindVision),
    **{name: Method(objective=MapDistance) for name in MAP_DISTANCES},
    "reg-share": Method(objective=Share),
    "gated": Method(gates=lambda shapes: shapes.objects, objective=Gate),
    "gated-tight": Method(partial(PlainVision, local=True), lambda shapes: shapes.objects, Gate, tight=True),
    "gated-union": Method(gates=lambda shapes: 1, objective=UnionGate),
    "mask": Method(MaskVision),
    "visarl": Method(VisarlVision),
    "agil": Method(AgilVision),
    "gmd": Method(GmdVision),
    "igmd": Method(IgmdVision),
    "gril": Method(objective=Gril),
    "contrastive": Method(objective=Contrastive),
    "oreo": Method(OreoVision),
}


def build_network(config: Config, shapes: Shapes) -> Network:
    """The method's network, freshly initialised, channels-last (the faster layout for convolutions on CPUs).

    Raises AutofocusError where method and encoder do not go together.
    """
    if config.method == "igmd" and config.encoder == "pretrained":
        raise AutofocusError(
            "method igmd", "encoder pretrained", "an encoder that is trained from scratch",
            "it drops early feature maps, which a pretrained model does not show: choose gmd, or another encoder",
        )  # fmt: skip
    method = METHODS[config.method]
    vision = method.vision(config)
    gates = method.gates(shapes)
    pooling = GatedKeypoints(vision.channels, gates, method.tight) if gates else Keypoints(vision.channels)
    head_shapes = HeadShapes(
        shapes.cameras * pooling.tokens, pooling.width, shapes.joints * config.state_history, shapes.joints,
        config.horizon,
    )  # fmt: skip
    actor = Actor(vision, pooling, build_policy(config, head_shapes))
    width = head_shapes.tokens * head_shapes.width
    objective = method.objective(config, shapes, width) if method.objective else None
    return Network(actor, objective, config).to(memory_format=torch.channels_last)
