"""Artefacts of a demo run as the stages leave them, with made-up figures."""

from __future__ import annotations

METHODS = ("bc", "autofocus")
RATES = {("bc", "nominal"): 0.7, ("bc", "confounded"): 0.3, ("autofocus", "nominal"): 0.96,
         ("autofocus", "confounded"): 0.94}


def rollouts(per_seed: int, seeds: tuple[int, ...] = (0, 1, 2)) -> list[dict]:
    """Rollouts with the success rates of RATES, the same for each training seed."""
    return [
        {"method": method, "train_seed": seed, "cell": cell, "seed": i, "condition": cell,
         "success": i < rate * per_seed, "time_s": 3.0, "holds": 0, "faults": 0, "limited": 0, "refused": 0}
        for (method, cell), rate in RATES.items() for seed in seeds for i in range(per_seed)
    ]


def artefacts() -> dict[str, dict]:
    """One JSON for each stage."""
    joints = [("waist", "rad"), ("shoulder", "rad"), ("elbow", "rad"), ("gripper", "m")]
    errors = {
        method: {"joints": [{"name": name, "unit": unit, "mean_abs": 0.02 * (1 + i) if unit == "rad" else 0.001,
                             "per_seed": [0.02] * 3, "standing_still": 0.1} for i, (name, unit) in enumerate(joints)]}
        for method in METHODS
    }
    shares = {method: {cell: {"on_objects": 0.6, "on_confounder": 0.2} for cell in ("nominal", "confounded")}
              for method in METHODS}
    quality = {"visible": 1000, "found": 980, "spurious": 1, "coverage": 0.98, "centre_error_px_p50": 0.7,
               "centre_error_px_p95": 2.1}
    return {
        "setup": {
            "settings": {"task": "lift", "confounder": "lamp", "demos": 40, "train_seeds": [0, 1, 2],
                         "instruction": "lift the red cube", "control_rate_hz": 10.0, "deployed_per_seed": 4,
                         "rollouts_per_seed": 30},
            "commit": "abc1234", "date": "2026-01-01T00:00:00+00:00",
            "machine": {"processor": "a processor", "cores": 2},
        },
        "record": {"episodes": [{"seed": i, "outcome": "failure" if i == 7 else "success", "path": f"/e/{i}"}
                                for i in range(40)]},
        "annotate": {**quality, "objects": {"red cube": quality, "orange gripper": quality},
                     "centre_errors_px": [0.1 * i for i in range(30)]},
        "train": {"runs": [], "episodes": [f"/e/{i}" for i in range(35)], "held_out": ["/e/36"]},
        "offline": {
            "joint_error": {**errors, "episodes": 4}, "sensitivity": shares, "sensitivity_frames": 12,
            "picture_seed": 0, "demonstration_captions": ["0.1 s", "1.5 s", "2.4 s", "3.3 s"],
        },
        "evaluate": {"rollouts": rollouts(30), "latency_ms": 20.0},
        "deploy": {
            "rollouts": rollouts(4), "load": "Measured with 2 cells on 2 cores.",
            "latency_ms": {"bin_ms": 0.5, "counts": {str(20 + i): 100 - 8 * i for i in range(12)}},
            "period_ms": {"bin_ms": 0.5, "counts": {str(190 + i): 10 * (10 - abs(i - 10)) for i in range(1, 20)}},
            "filmstrip": {"times_s": [0.0, 0.6, 1.2, 1.8, 2.4, 3.0], "caption": "AutoFocus, training seed 0"},
        },
    }
