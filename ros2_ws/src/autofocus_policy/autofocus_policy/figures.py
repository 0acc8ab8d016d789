"""The figures of an evaluation, from traces and looks: what goes into the JSON, the table and the report."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from autofocus_core.schema import Robot

from autofocus_policy import gripper
from autofocus_policy.lockstep import NS, Trace
from autofocus_policy.looks import Looks
from autofocus_policy.runner import PolicyRunner

#: Width of the intervals in which the drift of roll-outs is averaged.
DRIFT_BIN_S = 0.25


def summarise(traces: Mapping[str, Trace], robot: Robot, runner: PolicyRunner) -> dict[str, object]:
    """Errors, drift, gripper timing and latency over all episodes, ready for JSON; a mean over nothing is None.

    relative_error: error / that of standing still, both summed over joints in shares of the velocity limits.
    """
    policy = np.concatenate([t.policy for t in traces.values()])
    still = np.concatenate([t.still for t in traces.values()])
    counts = sum((t.counts for t in traces.values()), Counter())
    latency_ms = np.concatenate([t.latency_ms for t in traces.values()])
    return {
        "method": runner.manifest.method,
        "joints": list(robot.joint_names), "units": [j.unit for j in robot.all_joints],
        "dt_s": runner.manifest.dt_s,
        "observations": len(policy), "compared": int(np.isfinite(policy).all(2).sum()),
        "relative_error": _ratio(policy, still, robot.velocity),
        "mean_error": _mean(policy, (0, 1)), "mean_error_standing_still": _mean(still, (0, 1)),
        "p95_error": _numbers(_quiet(np.nanquantile, policy, 0.95, axis=(0, 1))),
        "mean_error_by_step": [_mean(policy[:, k], (0,)) for k in range(policy.shape[1])],
        "mean_error_standing_still_by_step": [_mean(still[:, k], (0,)) for k in range(policy.shape[1])],
        "drift": _drift(list(traces.values()), robot.velocity),
        "gripper": _gripper(traces, robot, runner.manifest.dt_s),
        "episodes": {name: {"observations": len(t.policy), "mean_error": _mean(t.policy, (0, 1)),
                            "relative_error": _ratio(t.policy, t.still, robot.velocity), "without": t.without}
                     for name, t in traces.items()},
        "counts": dict(sorted(counts.items())),
        "latency_ms": {"p50": float(np.quantile(latency_ms, 0.5)), "p99": float(np.quantile(latency_ms, 0.99)),
                       "max": float(latency_ms.max())},
    }


def attention(looks: Sequence[Looks]) -> dict[str, object] | None:
    """Means over observations and cameras of share, chance, pointing hits and KL; None where nothing was measured."""
    found = [a for each in looks for a in each.attention]
    if not found:
        return None
    return {"observations": len(found), "share_on_objects": float(np.mean([a.share for a in found])),
            "share_by_chance": float(np.mean([a.chance for a in found])),
            "pointing_hits": float(np.mean([a.hit for a in found])), "kl_nats": float(np.mean([a.kl for a in found]))}


def covering(looks: Sequence[Looks]) -> dict[str, object] | None:
    """What moves the action: by thing the mean change and that of background as large, and the scan; None where no
    frame was examined.

    scan.share_on_objects: of the changes summed over all patches, the part of patches that overlap an object;
    scan.area_of_objects: the share of such patches; scan.elsewhere_first: share of frames in which the strongest patch
    overlaps none.
    """
    frames = [f for each in looks for f in each.frames]
    if not frames:
        return None
    groups: dict[tuple[str, str], list[float]] = {}
    for each in (c for one in looks for c in one.covered):
        groups.setdefault((each.what, each.kind), []).append(each.change)
    things = {}
    for (what, kind), changes in groups.items():
        if kind != "background":
            around = groups.get((what, "background"), [])
            things[what] = {"kind": kind, "change": float(np.mean(changes)), "frames": len(changes),
                            "background": float(np.mean(around)) if around else None}
    total = sum(float(f.scan.sum()) for f in frames)
    return {
        "frames": len(frames), "things": things,
        "objects": _mean_of(v["change"] for v in things.values() if v["kind"] == "object"),
        "background": _mean_of(v["background"] for v in things.values() if v["kind"] == "object"),
        "distractors": _mean_of(v["change"] for v in things.values() if v["kind"] == "distractor"),
        "scan": {
            "share_on_objects": sum(float(f.scan[f.on_objects].sum()) for f in frames) / total if total > 0 else None,
            "area_of_objects": float(np.mean([f.on_objects.mean() for f in frames])),
            "elsewhere_first": float(np.mean([not f.on_objects.reshape(-1)[f.scan.argmax()] for f in frames])),
        },
    }


def table(summary: Mapping) -> str:
    """The summary for a terminal: one row for each step ahead, one column for each joint."""
    names = [f"{name} [{unit}]" for name, unit in zip(summary["joints"], summary["units"], strict=True)]
    width = max(len(n) for n in names) + 2

    def row(label: str, values: Sequence[float | None]) -> str:
        return f"{label:<16}" + "".join(f"{'-' if v is None else f'{v:.4f}':>{width}}" for v in values)

    lines = [f"mean |error| over {summary['observations']} observations of {len(summary['episodes'])} episodes",
             f"{'ahead':<16}" + "".join(f"{n:>{width}}" for n in names)]
    lines += [row(f"{(k + 1) * summary['dt_s']:.2f} s", v) for k, v in enumerate(summary["mean_error_by_step"])]
    lines += [row("all", summary["mean_error"]), row("all, p95", summary["p95_error"]),
              row("standing still", summary["mean_error_standing_still"])]
    refused = {k: v for k, v in summary["counts"].items() if k != "observations" and v}
    lines += [f"left out: {refused}"] if refused else []
    return "\n".join(lines)


def gripper_series(t: Trace, robot: Robot, dt_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(times s (M,), positions (M,)) of the operator, and (N,), (N,) of the policy's next step, from the episode's
    first observation on."""
    g, base = len(robot.all_joints) - 1, t.stamps_ns[0]
    return ((t.action_ns - base) / NS, t.actions[:, g], (t.stamps_ns - base) / NS + dt_s, t.predicted[:, 0, g])


def _gripper(traces: Mapping[str, Trace], robot: Robot, dt_s: float) -> dict[str, object] | None:
    """Events of all episodes; None where the robot has no gripper or none moves."""
    if robot.gripper is None:
        return None
    timings, spurious = [], 0
    for name, t in traces.items():
        done_s, done, policy_s, policy = gripper_series(t, robot, dt_s)
        limits = gripper.band(done, robot.gripper.lower, robot.gripper.upper)
        if limits is not None:
            # What the operator did before the first and after the last answer, no policy was asked about.
            inside = (done_s >= policy_s[0]) & (done_s <= policy_s[-1])
            pairs, left = gripper.compare(gripper.events(done_s[inside], done[inside], limits),
                                          gripper.events(policy_s, policy, limits))
            timings += [{"episode": name, "kind": p.kind, "at_s": p.at_s, "late_ms": p.late_ms} for p in pairs]
            spurious += len(left)
    if not timings and not spurious:
        return None
    late = np.array([t["late_ms"] for t in timings if t["late_ms"] is not None])
    return {"events": timings, "done": len(timings), "missed": len(timings) - len(late), "spurious": spurious,
            "median_late_ms": float(np.median(late)) if len(late) else None,
            "mean_abs_ms": float(np.abs(late).mean()) if len(late) else None,
            "worst_abs_ms": float(np.abs(late).max()) if len(late) else None}


def _drift(traces: Sequence[Trace], scale: np.ndarray) -> dict[str, object]:
    """Means over roll-outs, by time since their beginning."""
    elapsed_s = np.concatenate([t.elapsed_s for t in traces])
    drift, still = (np.concatenate([getattr(t, key) for t in traces]) for key in ("drift", "drift_still"))
    bins = np.round(elapsed_s / DRIFT_BIN_S).astype(int)
    rows = [(k, drift[bins == k], still[bins == k]) for k in range(int(bins.max()) + 1) if (bins == k).any()]
    late = elapsed_s >= 1.0 if (elapsed_s >= 1.0).any() else elapsed_s >= 0.0
    return {"rollouts": int(sum((t.started == np.arange(len(t.started))).sum() for t in traces)),
            "elapsed_s": [k * DRIFT_BIN_S for k, _, _ in rows], "mean": [_mean(d, (0,)) for _, d, _ in rows],
            "standing_still": [_mean(s, (0,)) for _, _, s in rows],
            "relative_after_1_s": _ratio(drift[late], still[late], scale)}


def _ratio(mine: np.ndarray, yardstick: np.ndarray, scale: np.ndarray) -> float | None:
    known = np.isfinite(mine) & np.isfinite(yardstick)
    below = float(np.where(known, yardstick / scale, 0.0).sum())
    return float(np.where(known, mine / scale, 0.0).sum()) / below if below > 0 else None


def _mean_of(values) -> float | None:
    found = [v for v in values if v is not None]
    return float(np.mean(found)) if found else None


def _mean(values: np.ndarray, axes: tuple[int, ...]) -> list[float | None]:
    return _numbers(_quiet(np.nanmean, values, axis=axes))


def _quiet(function, *args, **kwargs) -> np.ndarray:
    """numpy's nan functions warn of slices without a number; these become None here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*args, **kwargs)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
