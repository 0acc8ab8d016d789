"""Names that a config may choose from. What each stands for is in encoders.py, policies/ and methods/, whose tables are
held to these by a test; here, so that reading a config needs no torch."""

from __future__ import annotations

METHODS = (
    "none", "state-only", "reg-mse", "reg-l1", "reg-kl", "reg-js", "reg-tv", "reg-share", "gated", "gated-tight",
    "gated-union", "mask", "visarl", "agil", "gmd", "igmd", "gril", "contrastive", "oreo",
)  # fmt: skip
POLICIES = ("mlp", "act", "diffusion")
ENCODERS = ("fast", "resnet", "resnet18", "pretrained")

#: What a method wants changed in the config, as `key=value`: what did best on tuning seeds (docs/learning_results.md).
#: `--method` applies them; a method without an entry has no such knob.
METHOD_DEFAULTS: dict[str, tuple[str, ...]] = {
    "reg-mse": ("saliency_weight=5.0", "saliency_beta=10.0"),  # the paper, on a robot: beta 1
    "reg-l1": ("saliency_weight=5.0", "saliency_beta=10.0"),
    "reg-kl": ("saliency_weight=1.0", "saliency_beta=10.0"),
    "reg-js": ("saliency_weight=5.0", "saliency_beta=10.0"),
    "reg-tv": ("saliency_weight=5.0", "saliency_beta=10.0"),
    "reg-share": ("saliency_weight=1.0",),
    "gated": ("saliency_weight=0.3",),
    "gated-tight": ("saliency_weight=0.3",),
    "gated-union": ("saliency_weight=1.0",),
    "gril": ("saliency_weight=3.0",),
    "contrastive": ("saliency_weight=0.3",),
}

#: Methods that cannot be trained without maps.
NEEDS_MAPS = frozenset(METHODS) - {"none", "state-only", "oreo"}
