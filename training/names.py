"""Names that a config may choose from. What each stands for is in encoders.py, policies/ and methods/, whose tables are
held to these by a test; here, so that reading a config needs no torch."""

from __future__ import annotations

METHODS = (
    "none", "state-only", "reg-mse", "reg-l1", "reg-kl", "reg-js", "reg-tv", "reg-share", "gated", "gated-union",
    "mask", "visarl", "agil", "gmd", "igmd", "gril", "contrastive", "oreo",
)  # fmt: skip
POLICIES = ("mlp", "act", "diffusion")
ENCODERS = ("fast", "resnet", "resnet18", "pretrained")

#: Methods that cannot be trained without maps.
NEEDS_MAPS = frozenset(METHODS) - {"none", "state-only", "oreo"}
