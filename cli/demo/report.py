"""`report.html`: one file with everything in it (pictures, charts, style), from a run's summary and artefacts."""
# ruff: noqa: E501 (sentences of a page, easier to read in one piece)
from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path

from autofocus_cli.demo import svg
from autofocus_cli.demo.pictures import BOX_COLOURS
from autofocus_cli.demo.settings import CELLS, METHODS, TITLES, Paths
from autofocus_cli.demo.summary import expectations, read_artefacts

CONFOUNDERS = {
    "lamp": ("a signal lamp that shows what the operator is doing",
             "In the demonstrations a lamp's colour follows the operator's phase: whoever looks at it knows what to do next, "
             "without looking at the cube. In the <b>confounded</b> scenes the lamp changes at random."),
    "mate": ("a blue box that always stands beside the cube",
             "In the demonstrations a large blue box always stands beside the cube: whoever looks for it finds the cube. "
             "In the <b>confounded</b> scenes it stands elsewhere."),
}


def build(paths: Paths) -> str:
    """The page as text. Every figure comes from summary.json and stages/, every picture from pictures/."""
    summary = json.loads(paths.summary.read_text())
    artefacts = read_artefacts(paths.stages)
    pictures = Pictures(paths.run / "pictures")
    sections = (
        _header(summary), _success(summary), _expected(summary), _demonstrations(summary, artefacts, pictures),
        _attention(summary, artefacts, pictures), _deployed(summary, artefacts, pictures), _errors(summary),
        _times(summary), _settings(summary),
    )
    style = (Path(__file__).parent / "report.css").read_text()
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>AutoFocus-IL demo</title><style>{style}</style></head><body><main>"
            + "\n".join(sections) + "</main></body></html>\n")


class Pictures:
    """Images of a folder as data URIs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def img(self, name: str, alt: str) -> str:
        """An <img>, or a note in its place where the file is missing."""
        for suffix, kind in ((".jpg", "jpeg"), (".png", "png")):
            path = self.folder / (name + suffix)
            if path.exists():
                data = base64.b64encode(path.read_bytes()).decode()
                return f'<img src="data:image/{kind};base64,{data}" alt="{escape(alt)}">'
        return f'<p class="missing">no picture: {escape(name)}</p>'

    def figure(self, name: str, caption: str) -> str:
        return f"<figure>{self.img(name, caption)}<figcaption>{caption}</figcaption></figure>"


def percent(value: float | None) -> str:
    """A share as a whole per cent."""
    return "–" if value is None else f"{100 * value:.0f} %"


def number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _header(summary: Mapping) -> str:
    policies, confounder = summary["policies"], summary["settings"]["confounder"]
    cards = []
    for method in ("autofocus", "bc"):
        for cell, words in (("confounded", "when the coincidence is broken"), ("nominal", "as demonstrated")):
            block = policies[method][cell]
            low, high = block["ci95"]
            cards.append(f'<div class="card {method}"><b>{percent(block["success"])}</b><span>{TITLES[method]}, {words}'
                         f"<br>95 %: {percent(low)} to {percent(high)}</span></div>")
    return (f"<header><h1>A policy that looks at what matters</h1><p class='lead'>{summary['demos']} demonstrations of "
            f"“{escape(summary['settings']['instruction'])}”, recorded next to {CONFOUNDERS[confounder][0]}. Nobody drew "
            "a box or wore an eye tracker: the objects were found from the instruction. Two policies learned from the "
            "same demonstrations, with the same network head, augmentation and number of steps; one of them was shown "
            f"where to look.</p><div class='cards'>{''.join(cards)}</div></header>")


def _success(summary: Mapping) -> str:
    policies, settings = summary["policies"], summary["settings"]
    groups = {}
    for kind, words in (("in-process", ""), ("deployed", ", over ROS 2")):
        for cell in CELLS:
            bars = []
            for method in METHODS:
                block = policies[method][cell] if kind == "in-process" else policies[method]["deployed"][cell]
                seeds = tuple(s["success"] for s in block["per_seed"].values() if s["success"] is not None)
                bars.append(svg.SuccessBar(method, block["success"], tuple(block["ci95"]), seeds))
            groups[cell + words] = bars
    rows = []
    for method in METHODS:
        for cell in CELLS:
            inside, outside = policies[method][cell], policies[method]["deployed"][cell]
            per_seed = " · ".join(percent(s["success"]) for s in inside["per_seed"].values())
            rows.append(f'<tr><td class="nowrap"><span class="tag {method}"></span>{TITLES[method]}</td><td>{cell}</td>'
                        f"<td>{_rate(inside)}</td><td class='nowrap'>{per_seed}</td><td>{_rate(outside)}</td></tr>")
    seeds = len(settings["train_seeds"])
    return (f"<section><h2>Success</h2><p>{CONFOUNDERS[settings['confounder']][1]}</p>"
            + _legend("<span>○ one training seed</span><span>┬ 95 % interval</span>")
            + svg.success_chart(groups, "success by policy and scene")
            + "<table><tr><th>policy</th><th>scene</th><th>in-process rollouts</th><th>per training seed</th>"
              "<th>deployed over ROS 2</th></tr>" + "".join(rows) + "</table>"
            f'<p class="note">Bars: all {seeds} training seeds together, with the 95 % Wilson interval of independent '
            "rollouts. Dots: each training seed by itself; their spread is what another training run may bring. Scenes "
            "are the same for both policies and were used for nothing else.</p></section>")


def _legend(more: str = "") -> str:
    tags = "".join(f'<span><i class="tag {method}"></i>{TITLES[method]}</span>' for method in METHODS)
    return f'<div class="legend">{tags}{more}</div>'


def _rate(block: Mapping) -> str:
    if not block["rollouts"]:
        return "not run"
    low, high = block["ci95"]
    return (f"<b>{percent(block['success'])}</b> <span class='ci'>{percent(low)} to {percent(high)}, "
            f"{block['successes']}/{block['rollouts']}</span>")


def _expected(summary: Mapping) -> str:
    rows = []
    for name, value, unit, target, met in expectations(summary):
        if not target.startswith("("):
            word = '<span class="met">yes</span>' if met else '<span class="unmet">no</span>'
            shown = "–" if value is None else f"{value:.4g}"
            rows.append(f"<tr><td>{escape(name)}</td><td>{shown} {escape(unit)}</td><td>{escape(target)}</td>"
                        f"<td>{word}</td></tr>")
    return ("<section><h2>Against what was expected</h2><table><tr><th>figure</th><th>measured</th><th>expected</th>"
            "<th>met</th></tr>" + "".join(rows) + "</table></section>")


def _demonstrations(summary: Mapping, artefacts: Mapping, pictures: Pictures) -> str:
    annotated = summary["annotation"]
    frames = "".join(pictures.figure(f"demonstration_{i}", caption) for i, caption in
                     enumerate(artefacts["offline"]["demonstration_captions"]))
    rows = "".join(
        f"<tr class='nowrap'><td>{escape(name)}</td><td>{percent(o['coverage'])}</td><td>{number(o['centre_error_px_p50'])} px</td>"
        f"<td>{number(o['centre_error_px_p95'])} px</td><td>{o['visible']}</td></tr>"
        for name, o in annotated["objects"].items())
    errors = artefacts["annotate"]["centre_errors_px"]
    marks = {"p50": annotated["centre_error_px_p50"], "p95": annotated["centre_error_px_p95"]} if errors else {}
    chart = svg.histogram(errors, "px", "annotation centre error", marks,
                          upper=None if not errors else max(6.0, 1.6 * annotated["centre_error_px_p95"]))
    failed = summary["demos_failed"]
    return ("<section><h2>Demonstrations and what was found in them</h2>"
            f"<p>{summary['demos']} demonstrations by a scripted operator over ROS 2, through the command guard; {failed} "
            f"failed (recorded as such, not trained on), {summary['demos_trained_on']} were trained on. Boxes and maps "
            "below are the annotator's own, from the words of the instruction; the simulator's truth was used only to "
            f'measure them.</p><div class="legend">{_object_legend(annotated["objects"])}</div><div class="grid4">{frames}</div><div class="two"><div><h3>Against the simulator’s truth'
            "</h3><table><tr><th>object</th><th>found</th><th>error, median</th><th>95 %</th>"
            f"<th>frames where visible</th></tr>{rows}</table><p class='note'>Found although not visible: {annotated['spurious']} "
            f"boxes.</p></div><div><h3>Distance between box centres</h3>{chart}</div></div></section>")


def _object_legend(objects: Mapping) -> str:
    return "".join(f'<span><i class="tag" style="background:rgb{BOX_COLOURS[i % len(BOX_COLOURS)]}"></i>{escape(name)}</span>'
                   for i, name in enumerate(objects))


def _attention(summary: Mapping, artefacts: Mapping, pictures: Pictures) -> str:
    sensitivity = artefacts["offline"]["sensitivity"]
    rows = []
    for method in METHODS:
        cells = [f'<div class="row"><span class="tag {method}"></span>{TITLES[method]}</div>']
        for cell in CELLS:
            for kind in ("attention", "sensitivity"):
                cells.append(pictures.figure(f"{kind}_{method}_{cell}", ""))
        rows.append("".join(cells))
    head = "<div></div>" + "".join(f'<div class="head">{cell}: {kind}</div>' for cell in CELLS
                                  for kind in ("its own map", "what moves it"))
    share = "".join(
        f'<tr><td class="nowrap"><span class="tag {method}"></span>{TITLES[method]}</td>'
        + "".join(f"<td>{percent(sensitivity[method][cell]['on_objects'])}</td>"
                  f"<td>{percent(sensitivity[method][cell]['on_confounder'])}</td>" for cell in CELLS) + "</tr>"
        for method in METHODS)
    return ("<section><h2>Where do they look?</h2><p><b>Its own map</b> is the attention that the policy file gives with "
            "every action. <b>What moves it</b> asks the policy without trusting it: a grey patch slides over the picture, "
            "and the map shows where it changes the action most. Same scene, same moment, training seed "
            f"{artefacts['offline']['picture_seed']}.</p><div class='attention'>{head}{''.join(rows)}</div>"
            "<h3>Share of what moves the action</h3><table><tr><th>policy</th>"
            + "".join(f"<th>{cell}: on cube and gripper</th><th>{cell}: on the {summary['settings']['confounder']}</th>"
                      for cell in CELLS)
            + f"</tr>{share}</table><p class='note'>Mean over {artefacts['offline']['sensitivity_frames']} frames for "
            "each policy and scene.</p></section>")


def _deployed(summary: Mapping, artefacts: Mapping, pictures: Pictures) -> str:
    deployed, node = artefacts["deploy"], summary["policy_node"]
    strip = "".join(pictures.figure(f"filmstrip_{i}", f"{t:.1f} s") for i, t in
                    enumerate(deployed["filmstrip"]["times_s"]))
    latency = _values(deployed["latency_ms"])
    period = _values(deployed["period_ms"])
    control_ms = 1e3 / summary["settings"]["control_rate_hz"]
    charts = (
        "<div><h3>Latency of the policy node</h3>" + svg.histogram(
            latency, "ms from image to chunk", "latency of the policy node",
            {"p50": node["latency_ms_p50"], "p99": node["latency_ms_p99"]} if latency else {},
            upper=None if not latency else 1.5 * node["latency_ms_p99"]) + "</div>"
        "<div><h3>Period between chunks</h3>" + svg.histogram(
            period, "ms", "period of the policy node",
            {"p50": node["period_ms_p50"], "p99": node["period_ms_p99"]} if period else {},
            upper=None if not period else max(1.5 * control_ms, 1.1 * node["period_ms_p99"])) + "</div>")
    held = sum(r["holds"] for r in deployed["rollouts"])
    return ("<section><h2>Deployed over ROS 2</h2><p>Simulator, command guard and policy node as processes of their own; "
            "the arm starts, moves and stops through the guard’s limits and watchdogs, as a real one would. "
            f"{len(deployed['rollouts'])} rollouts, during which the guard held the arm {held} times because the policy "
            f"was late or silent.</p><h3>{escape(deployed['filmstrip']['caption'])}</h3><div class='grid6'>{strip}</div>"
            f"<div class='two'>{charts}</div><p class='note'>{escape(deployed['load'])}</p></section>")


def _values(histogram: Mapping, most: int = 20_000) -> list[float]:
    """Bin centres repeated as often as they were counted, thinned to `most`."""
    counts = {int(index): int(count) for index, count in histogram["counts"].items()}
    thin = max(1.0, sum(counts.values()) / most)
    return [(index + 0.5) * histogram["bin_ms"] for index, count in sorted(counts.items())
            for _ in range(round(count / thin))]


def _errors(summary: Mapping) -> str:
    errors = summary["joint_error"]
    charts = []
    for unit, title in (("rad", "Arm joints"), ("m", "Gripper")):
        scale, shown = (1e3, "mrad") if unit == "rad" else (1e3, "mm")
        rows: dict[str, dict[str, float]] = {}
        for method in METHODS:
            for joint in errors[method]["joints"]:
                if joint["unit"] == unit:
                    rows.setdefault(joint["name"], {})[method] = scale * joint["mean_abs"]
        charts.append(f"<div><h3>{title}</h3>{svg.paired_bars(rows, shown, title)}</div>")
    return ("<section><h2>Joint error on demonstrations kept from training</h2><p>Mean absolute difference between "
            f"the policy’s next action and the operator’s, on {errors['episodes']} held-out episodes, over the training "
            f"seeds. A small error here does not mean success: compare with the rollouts above.</p>{_legend()}"
            f'<div class="two">{"".join(charts)}</div></section>')


def _times(summary: Mapping) -> str:
    wall_s = {name: seconds for name, seconds in summary["wall_s"].items() if name != "total"}
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{seconds:.1f} s</td></tr>" for name, seconds in wall_s.items())
    machine = summary["machine"]
    return (f"<section><h2>Time</h2><p>{summary['wall_s']['total'] / 60:.1f} minutes on {machine['cores']} cores "
            f"({escape(machine['processor'])}), without building the environment.</p>"
            + svg.timeline(wall_s, "wall time by stage") + f"<details><summary>as a table</summary><table>{rows}</table>"
            "</details></section>")


def _settings(summary: Mapping) -> str:
    text = json.dumps({"settings": summary["settings"], "machine": summary["machine"]}, indent=1)
    return (f"<section><h2>Settings</h2><p class='note'>Commit <code>{escape(summary['commit'])}</code>, "
            f"{escape(summary['date'])}.</p><details><summary>everything</summary><pre>{escape(text)}</pre></details>"
            "</section>")


