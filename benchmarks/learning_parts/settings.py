"""What each method gets beside the common settings: its own best, chosen on tuning seeds (docs/learning.md)."""

from __future__ import annotations

OVERRIDES: dict[str, tuple[str, ...]] = {
    "gated": ("saliency_weight=0.3",),
    "gated-union": ("saliency_weight=0.3",),
    "reg-share": ("saliency_weight=1.0",),
    "reg-mse": ("saliency_weight=5.0", "saliency_beta=1.0"),  # as in the paper
    "reg-l1": ("saliency_weight=5.0", "saliency_beta=1.0"),
    "reg-kl": ("saliency_weight=1.0", "saliency_beta=10.0"),
    "reg-js": ("saliency_weight=1.0", "saliency_beta=10.0"),
    "reg-tv": ("saliency_weight=1.0", "saliency_beta=10.0"),
    "gril": ("saliency_weight=3.0",),
}


def overrides(method: str) -> tuple[str, ...]:
    """`key=value` for the training config."""
    return OVERRIDES.get(method, ())
