"""Names that a config may choose from. What each stands for is in encoders.py, policies.py and methods.py, whose
tables are held to these by a test; here, so that reading a config needs no torch."""

from __future__ import annotations

METHODS = ("none", "reg-mse", "reg-kl", "reg-share", "gated")
POLICIES = ("mlp",)
ENCODERS = ("fast", "resnet")
