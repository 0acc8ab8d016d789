"""From the stages' artefacts to `summary.json`, the table in the terminal and the rows of benchmarks/results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from autofocus_cli.demo.settings import CELLS, METHODS, TITLES
from autofocus_cli.demo.stats import proportion
from autofocus_core.results import record
from rich import box
from rich.table import Table

COMMAND = "make demo ARGS=--record-results"
ARTEFACTS = ("setup", "record", "annotate", "train", "offline", "evaluate", "deploy")


def read_artefacts(stages: Path) -> dict[str, dict]:
    """What the finished stages left: {stage: its JSON}."""
    return {name: json.loads((stages / f"{name}.json").read_text()) for name in ARTEFACTS}


def success_block(rollouts: Iterable[Mapping], method: str, cell: str) -> dict:
    """{successes, rollouts, success, ci95, per_seed} of one method in one cell; per_seed is keyed by training seed.

    `ci95` treats rollouts as independent. Training seeds differ by more than that, so `per_seed` belongs to it.
    """
    mine = [r for r in rollouts if r["method"] == method and r["cell"] == cell]
    seeds = sorted({r["train_seed"] for r in mine})
    per_seed = {str(seed): _count(r for r in mine if r["train_seed"] == seed) for seed in seeds}
    return {**_count(mine), "per_seed": per_seed}


def _count(rollouts: Iterable[Mapping]) -> dict:
    outcomes = [bool(r["success"]) for r in rollouts]
    return proportion(sum(outcomes), len(outcomes))


def histogram_percentile(histogram: Mapping, percent: float) -> float | None:
    """Percentile of {"bin_ms": width, "counts": {"bin": count}}: an upper bin edge, None if empty."""
    counts = sorted((int(index), int(count)) for index, count in histogram["counts"].items())
    total = sum(count for _, count in counts)
    seen = 0
    for index, count in counts:
        seen += count
        if seen >= total * percent / 100.0:
            return (index + 1) * float(histogram["bin_ms"])
    return None


def build(artefacts: Mapping[str, Mapping], wall_s: Mapping[str, float]) -> dict:
    """The summary: figures only, every one of them from a file under stages/."""
    recorded, annotated, deployed = artefacts["record"], artefacts["annotate"], artefacts["deploy"]
    policies = {}
    for method in METHODS:
        policies[method] = {cell: success_block(artefacts["evaluate"]["rollouts"], method, cell) for cell in CELLS}
        policies[method]["deployed"] = {cell: success_block(deployed["rollouts"], method, cell) for cell in CELLS}
    latency, period = deployed["latency_ms"], deployed["period_ms"]
    outcomes = [episode["outcome"] for episode in recorded["episodes"]]
    return {
        "demos": len(outcomes),
        "demos_failed": outcomes.count("failure"),
        "demos_trained_on": len(artefacts["train"]["episodes"]),
        "policies": policies,
        "annotation": {key: annotated[key] for key in
                       ("coverage", "centre_error_px_p50", "centre_error_px_p95", "spurious", "objects")},
        "policy_node": {
            "latency_ms_p50": histogram_percentile(latency, 50), "latency_ms_p99": histogram_percentile(latency, 99),
            "period_ms_p50": histogram_percentile(period, 50), "period_ms_p99": histogram_percentile(period, 99),
            "load": deployed["load"],
        },
        "joint_error": artefacts["offline"]["joint_error"],
        "wall_s": {**{name: round(value, 1) for name, value in wall_s.items()},
                   "total": round(sum(wall_s.values()), 1)},
        "settings": artefacts["setup"]["settings"],
        "commit": artefacts["setup"]["commit"],
        "date": artefacts["setup"]["date"],
        "machine": artefacts["setup"]["machine"],
    }


def expectations(summary: Mapping) -> list[tuple[str, float | None, str, str, bool]]:
    """(name, value, unit, target, met) of what a full run is expected to reach."""
    policies = summary["policies"]

    def rate(method: str, cell: str) -> float:
        return policies[method][cell]["success"] or 0.0

    rows = []
    for method in METHODS:
        for cell in CELLS:
            target, met = "", True
            if method == "autofocus" and cell == "nominal":
                target = f">= 0.90 and above plain BC ({rate('bc', cell):.3f})"
                met = rate(method, cell) >= 0.90 and rate(method, cell) > rate("bc", cell)
            if method == "autofocus" and cell == "confounded":
                target = f">= 0.85 and at least twice plain BC ({rate('bc', cell):.3f})"
                met = rate(method, cell) >= 0.85 and rate(method, cell) >= 2 * rate("bc", cell)
            runs = policies[method][cell]["rollouts"]
            rows.append((f"{TITLES[method]}, {cell}, in-process, {runs} rollouts", rate(method, cell), "success",
                         target or "(compared with)", met))
            deployed = policies[method]["deployed"][cell]
            rows.append((f"{TITLES[method]}, {cell}, deployed over ROS 2, {deployed['rollouts']} rollouts",
                         deployed["success"], "success", "(12 rollouts: no target)", True))
    annotation, node, wall = summary["annotation"], summary["policy_node"], summary["wall_s"]
    rows.append(("demonstrations recorded", summary["demos"], "episodes", ">= 30", summary["demos"] >= 30))
    rows.append(("annotation coverage", annotation["coverage"], "of visible objects", "(no target)", True))
    for q in ("p50", "p95"):
        value = annotation[f"centre_error_px_{q}"]
        rows.append((f"annotation centre error {q}", value, "px at 320x240", "(no target)", True))
    control_period_ms = 1e3 / float(summary["settings"]["control_rate_hz"])
    for key, limit in (("latency_ms_p50", None), ("latency_ms_p99", control_period_ms),
                       ("period_ms_p99", 1.2 * control_period_ms)):
        value = node[key]
        met = limit is None or (value is not None and value <= limit)
        rows.append((f"policy node {key}", value, "ms", "(no target)" if limit is None else f"<= {limit:g}", met))
    rows.append(("whole demo, without set-up", wall["total"], "s", "<= 1050", wall["total"] <= 1050))
    return rows


def record_results(summary: Mapping) -> None:
    """Write every figure to benchmarks/results/demo.json. None (not measured) is never written as a number."""
    for name, value, unit, target, met in expectations(summary):
        if value is not None:
            record("demo", name, value, unit, target, met, COMMAND)


def terminal_table(summary: Mapping) -> Table:
    """Success by method and cell, in-process and deployed."""
    table = Table(box=box.SIMPLE_HEAD, title=f"success over {len(summary['settings']['train_seeds'])} training seeds, "
                                             f"95 % interval")
    for column in ("policy", "scene", "in-process", "per seed", "deployed over ROS 2"):
        table.add_column(column)
    for method in METHODS:
        for cell in CELLS:
            inside, outside = summary["policies"][method][cell], summary["policies"][method]["deployed"][cell]
            per_seed = "  ".join(f"{100 * s['success']:.0f} %" for s in inside["per_seed"].values())
            table.add_row(TITLES[method], cell, _rate(inside), per_seed, _rate(outside))
    return table


def _rate(block: Mapping) -> str:
    if not block["rollouts"]:
        return "not run"
    low, high = block["ci95"]
    return (f"{100 * block['success']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]  "
            f"{block['successes']}/{block['rollouts']}")
