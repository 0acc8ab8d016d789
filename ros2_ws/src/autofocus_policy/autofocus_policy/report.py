"""The report of `autofocus evaluate`: one HTML file with everything in it, the verdict first."""
# ruff: noqa: E501 (sentences of a page, easier to read in one piece)

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
from autofocus_core.schema import Robot

from autofocus_policy import charts, pictures, report_traces
from autofocus_policy.charts import Line, colour, legend
from autofocus_policy.evaluation import ROWS, Evaluation, left_out
from autofocus_policy.looks import Frame
from autofocus_policy.verdict import WORDS, judge

#: Frames shown, from different episodes where there are several.
SHOWN_FRAMES = 3


def build(found: Sequence[Evaluation], robot: Robot, extra: str = "", who: str = "") -> str:
    """The page as text. `extra`: a section (HTML) to follow the verdict; `who` is evaluated, "": so many policies.

    Of policies that failed the verdict alone is there."""
    who = who or (f"{len(found)} policies" if len(found) > 1 else "one policy")
    failed, found = [e for e in found if e.failed], [e for e in found if not e.failed]
    sections = (
        _header(found, failed, robot, who), extra, _table(found), _moves(found), _errors(found), report_traces.section(found, robot),
        _gripper(found), _limits(found), _settings(found),
    )
    style = files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Evaluation: {escape(', '.join(e.name for e in (*found, *failed)))}</title><style>{style}</style></head><body><main>"
            + "\n".join(sections) + "</main></body></html>\n")


def percent(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:.2g} %"


def _header(found: Sequence[Evaluation], failed: Sequence[Evaluation], robot: Robot, who: str) -> str:
    episodes = list(found[0].traces)
    cards = []
    for i, each in enumerate(found):
        level, words, reasons = judge(each.summary)
        items = "".join(f'<li class="{mark}">{escape(text)}</li>' for mark, text in reasons)
        cards.append(f'<div class="card {level}"><h3><i class="tag {colour(i)}"></i>{escape(each.name)}</h3>'
                     f'<p class="note">method {escape(each.summary["method"])}</p>'
                     f'<p class="verdict">{escape(words)}</p><ul>{items}</ul></div>')
    cards += [f'<div class="card bad"><h3>{escape(each.name)}</h3><p class="note">method {escape(each.summary["method"])}</p>'
              f'<p class="verdict">{escape(WORDS["bad"])}</p><ul><li class="bad">It failed: {escape(each.failed)}</li></ul></div>'
              for each in failed]
    return (f"<header><h1>Before anything moves: {who} on {len(episodes)} recording{'s' if len(episodes) > 1 else ''}</h1>"
            f"<p class='lead'>What they would have asked of {escape(robot.name)} at {found[0].summary['observations']} recorded "
            "moments, against what the operator did. A small error does not promise success; a large one, or an eye on "
            f"the wrong thing, promises failure.</p><div class='cards'>{''.join(cards)}</div></header>")


def _table(found: Sequence[Evaluation]) -> str:
    head = "".join(f'<th class="n"><i class="tag {colour(i)}"></i>{escape(e.name)}</th>' for i, e in enumerate(found))
    rows = []
    for label, unit, value in ROWS:
        cells = [value(e.summary) for e in found]
        if all(cell is None for cell in cells):
            continue
        shown = [percent(c) if unit == "%" else "–" if c is None else f"{charts.number(c)} {unit}" for c in cells]
        css = ' class="sub"' if label.startswith(" ") else ""
        rows.append(f"<tr><td{css}>{escape(label.strip())}</td>" + "".join(f'<td class="n">{s}</td>' for s in shown) + "</tr>")
    return ("<section><h2>Side by side</h2><div class='scroll'><table><tr><th></th>" + head + "</tr>" + "".join(rows)
            + "</table></div></section>")


def _moves(found: Sequence[Evaluation]) -> str:
    if not any(e.summary["covering"] for e in found):
        return ""
    things: dict[str, str] = {}
    for each in found:
        things |= {what: v["kind"] for what, v in ((each.summary["covering"] or {}).get("things", {})).items()}
    rows = {}
    for what, kind in things.items():
        row = []
        for i, each in enumerate(found):
            thing = (each.summary["covering"] or {}).get("things", {}).get(what, {})
            for key, words, pale in (("change", what, ""), ("background", "background as large", " pale")):
                value = thing.get(key)
                row.append((f"{each.name}: {words}", colour(i) + pale, None if value is None else 100 * value))
        rows[what + (" ✕" if kind == "distractor" else "")] = row
    return ("<section><h2>What moves them, and where they look</h2><p>A thing is painted over with the colour around it; the bar "
            "says how far the action moves, in shares of what the joints can do in one step. Pale: background patches of the "
            "same size. The task’s objects should move it; nothing else should"
            + ("; ✕: no part of the task" if "distractor" in things.values() else "") + ".</p>" + legend([e.name for e in found])
            + charts.bars(rows, "%", "change of the action by what is covered") + _frames(found)
            + "<p class='note'>“Attention” is the map that the policy file gives with every answer. “What moves it” asks without "
              "trusting it: a patch slides over the picture, and each tile shows how far the action moves, each picture in its own scale. "
              f"Boxes: <b style='color:rgb{pictures.OBJECT}'>■</b> the task’s objects, as annotated"
            + (f"; <b style='color:rgb{pictures.DISTRACTOR}'>■</b> things beside them that only the simulator knows of"
               if "distractor" in things.values() else "") + ".</p></section>")


def _frames(found: Sequence[Evaluation]) -> str:
    shown = _chosen(found[0])
    if not shown:
        return ""
    rows = []
    for i, each in enumerate(found):
        mine = {(name, f.stamp_ns, f.camera): f for name, looks in each.looks.items() for f in looks.frames}
        for kind in ("attention", "what moves it"):
            cells = []
            for key in shown:
                frame = mine.get(key)
                heat = None if frame is None else frame.attention if kind == "attention" else frame.scan / max(float(frame.scan.max()), 1e-12)
                cells.append('<p class="missing">none</p>' if frame is None or heat is None else
                             f'<figure><img src="{pictures.uri(pictures.overlay(frame, heat, kind == "attention"))}" '
                             f'alt="{escape(each.name)}: {kind}"></figure>')
            rows.append(f'<div class="row"><i class="tag {colour(i)}"></i>{escape(each.name)}<small>{kind}</small></div>' + "".join(cells))
    head = "<div></div>" + "".join(
        f"<figcaption>{escape(Path(name).name)}, {(stamp - int(found[0].traces[name].stamps_ns[0])) / 1e9:.1f} s</figcaption>"
        for name, stamp, _ in shown)
    return f'<div class="frames" style="grid-template-columns: minmax(70px, 130px) repeat({len(shown)}, minmax(0, 1fr))">{head}{"".join(rows)}</div>'


def _chosen(evaluation: Evaluation) -> list[tuple[str, int, str]]:
    """(episode, stamp, camera) of the frames to show: one of each episode, at different moments; more of the first if few."""
    groups: list[list[tuple[str, Frame]]] = [[(name, f) for f in looks.frames] for name, looks in evaluation.looks.items()
                                             if looks.frames]
    picked = [group[(k * len(group)) // max(len(groups), 1) % len(group)] for k, group in enumerate(groups)][:SHOWN_FRAMES]
    for pair in (groups[0] if groups else []):
        if len(picked) < SHOWN_FRAMES and pair not in picked:
            picked.append(pair)
    return [(name, f.stamp_ns, f.camera) for name, f in picked]


def _errors(found: Sequence[Evaluation]) -> str:
    if all(e.summary["relative_error"] is None for e in found):
        return ""
    horizon, drift = [], []
    for unit, shown in (("rad", "mrad"), ("m", "mm")):
        columns = [i for i, u in enumerate(found[0].summary["units"]) if u == unit]
        if not columns:
            continue
        words = f"{shown}, mean of {', '.join(found[0].summary['joints'][i] for i in columns)}" if len(columns) < 3 else f"{shown}, mean of {len(columns)} joints"
        for charts_of, keys, title, x_label in (
            (horizon, ("mean_error_by_step", "mean_error_standing_still_by_step"), "error over the horizon", "s"),
            (drift, ("mean", "standing_still"), "drift of a roll-out", "s")):
            series = []
            for i, each in enumerate(found):
                s = each.summary if charts_of is horizon else each.summary["drift"]
                xs = (np.arange(len(s[keys[0]])) + 1) * each.summary["dt_s"] if charts_of is horizon else s["elapsed_s"]
                if i == 0:
                    series.append(Line("standing still", "still", xs, _rows(s[keys[1]], columns)))
                series.append(Line(each.name, colour(i), xs, _rows(s[keys[0]], columns)))
            charts_of.append(charts.lines(series, x_label, words, title))
    rollouts = found[0].summary["drift"]["rollouts"]
    return ("<section><h2>Error, and where it leads</h2>" + legend([e.name for e in found], ("still", "staying where the arm is"))
            + "<div class='two'><div><h3>Error over the horizon</h3>" + "".join(horizon)
            + "</div><div><h3>Drift of a roll-out</h3>" + "".join(drift) + "</div></div>"
            "<p class='note'><b>Error</b>: mean |asked for − done| at each step of a chunk. <b>Drift</b>: the policy is fed with "
            f"its own answers instead of the recorded joints, from {rollouts} starting points; distance to what the operator asked for. "
            "Its pictures stay the recorded ones, which show the arm where the operator had it: a policy that reads the arm from the "
            "picture is pulled back, one that trusts both is told two things at once. It compares policies; it does not replace a roll-out "
            "on the robot.</p></section>")


def _rows(values: Sequence[Sequence[float | None]], columns: Sequence[int]) -> np.ndarray:
    """Mean over columns, in thousandths."""
    table = np.array([[np.nan if row[c] is None else row[c] for c in columns] for row in values], float)
    return 1e3 * table.mean(axis=1)


def _gripper(found: Sequence[Evaluation]) -> str:
    if not any(e.summary["gripper"] for e in found):
        return ""
    head = "".join(f'<th class="n"><i class="tag {colour(i)}"></i>{escape(e.name)}</th>' for i, e in enumerate(found))
    late = [{(t["episode"], t["kind"], t["at_s"]): t["late_ms"] for t in (e.summary["gripper"] or {}).get("events", [])}
            for e in found]
    rows = []
    for key in dict.fromkeys(k for each in late for k in each):
        cells = "".join('<td class="n">–</td>' if key not in each else
                        '<td class="n"><b class="bad">not done</b></td>' if each[key] is None else
                        f'<td class="n">{charts.number(round(each[key]))} ms</td>' for each in late)
        rows.append(f"<tr><td>{escape(Path(key[0]).name)}</td><td>{key[1]} at {key[2]:.2f} s</td>{cells}</tr>")
    extra = " · ".join(f"{escape(e.name)}: {e.summary['gripper']['spurious']}" for e in found if e.summary["gripper"])
    return ("<section><h2>Gripper</h2><p>When the operator’s gripper command crosses the middle of its travel, and how much later "
            "(negative: sooner) the policy’s next step does.</p><div class='scroll'><table><tr><th>episode</th><th>operator</th>" + head
            + "</tr>" + "".join(rows) + f"</table></div><p class='note'>Done by the policy and not by the operator: {extra}.</p></section>")


def _limits(found: Sequence[Evaluation]) -> str:
    missing = left_out(found)
    items = "".join(f"<li>{escape(line)}</li>" for line in missing)
    counts = {e.name: {k: v for k, v in e.summary["counts"].items() if k != "observations" and v} for e in found}
    refused = "".join(f"<li>{escape(name)}: {escape(json.dumps(c))}</li>" for name, c in counts.items() if c)
    return ("<section><h2>What is not said here</h2>" + (f"<p>Left out:</p><ul>{items}</ul>" if items else "<p>No measure was left out.</p>")
            + (f"<details><summary>moments that gave no observation</summary><ul>{refused}</ul></details>" if refused else "")
            + "<p class='note'>At every recorded moment a policy sees the arm where the operator had it. Its own mistakes never "
              "add up in front of the camera, as they do on the robot; a policy that is only ever shown perfect situations can look "
              "better than it is. So this page can rule a policy out and say what to look at; it cannot promise success.</p></section>")


def _settings(found: Sequence[Evaluation]) -> str:
    keep = ("name", "policy", "method", "observations", "compared", "counts")
    text = json.dumps([{k: e.summary[k] for k in keep} for e in found], indent=1)
    return ("<section><h2>Settings</h2><details><summary>policies and counts</summary><pre>" + escape(text)
            + "</pre></details></section>")
