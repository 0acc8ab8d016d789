"""Small charts as inline SVG text: no library, no script, crisp at every size. Colours come from the page's CSS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np


@dataclass(frozen=True, slots=True)
class SuccessBar:
    """One bar: a success rate in [0, 1] (None: not measured), its 95 % interval and the seeds' own rates."""

    series: str
    success: float | None
    ci95: tuple[float, float]
    per_seed: tuple[float, ...]


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return (f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(label)}">'
            + "".join(parts) + "</svg>")


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>'


def success_chart(groups: Mapping[str, Sequence[SuccessBar]], label: str) -> str:
    """Grouped bars of success (0 to 100 %), whiskers for the interval, one dot per training seed."""
    bar, gap, group_gap, left, top, plot = 58.0, 12.0, 46.0, 48.0, 22.0, 210.0
    parts, x = [], left + group_gap / 2
    for percent in (0, 25, 50, 75, 100):
        y = top + plot * (1 - percent / 100)
        parts.append(f'<line x1="{left}" x2="100%" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(_text(left - 8, y + 4, f"{percent} %", "tick", "end"))
    for group, bars in groups.items():
        start = x
        for item in bars:
            if item.success is None:
                parts.append(_text(x + bar / 2, top + plot - 6, "not run", "tick"))
            else:
                y = top + plot * (1 - item.success)
                parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar}" height="{top + plot - y:.1f}" rx="3" '
                             f'class="series-{item.series}"/>')
                low, high = (top + plot * (1 - bound) for bound in item.ci95)
                mid = x + bar / 2
                parts.append(f'<path d="M{mid} {high:.1f}V{low:.1f}M{mid - 7} {high:.1f}h14M{mid - 7} {low:.1f}h14" '
                             f'class="whisker"/>')
                for i, rate in enumerate(item.per_seed):
                    dot_x = x + bar * (i + 1) / (len(item.per_seed) + 1)
                    parts.append(f'<circle cx="{dot_x:.1f}" cy="{top + plot * (1 - rate):.1f}" r="3.6" class="dot">'
                                 f"<title>training seed {i}: {100 * rate:.0f} %</title></circle>")
                parts.append(_text(mid, top + plot + 17, f"{100 * item.success:.0f} %", "value"))
            x += bar + gap
        parts.append(_text((start + x - gap) / 2, top + plot + 38, group, "label"))
        x += group_gap - gap
    return _svg(x - group_gap / 2, top + plot + 48, label, parts)


def histogram(values: Sequence[float], unit: str, label: str, marks: Mapping[str, float],
              upper: float | None = None, bins: int = 48) -> str:
    """Histogram of `values` up to `upper` (what is beyond goes into the last bin), with named vertical marks."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    if not array.size:
        return '<p class="missing">nothing was measured</p>'
    highest = upper if upper is not None else float(array.max())
    lowest = 0.0 if array.min() < 0.4 * highest else float(array.min())
    highest = max(highest, lowest + 1e-6, *(value * 1.02 for value in marks.values()))
    counts, edges = np.histogram(np.clip(array, lowest, highest), bins=bins, range=(lowest, highest))
    width, left, top, plot = 430.0, 14.0, 34.0, 120.0
    scale = (width - 2 * left) / (highest - lowest)
    parts = []
    for count, edge in zip(counts, edges):
        if count:
            height = plot * count / counts.max()
            parts.append(f'<rect x="{left + (edge - lowest) * scale:.1f}" y="{top + plot - height:.1f}" '
                         f'width="{(width - 2 * left) / bins - 0.6:.2f}" height="{height:.1f}" class="hist">'
                         f"<title>{edge:.2f} {unit}: {count}</title></rect>")
    parts.append(f'<line x1="{left}" x2="{width - left}" y1="{top + plot}" y2="{top + plot}" class="axis"/>')
    for value in np.linspace(lowest, highest, 5):
        parts.append(_text(left + (value - lowest) * scale, top + plot + 16, f"{value:.3g}", "tick"))
    parts.append(_text(width - left, top + plot + 32, unit, "tick", "end"))
    for i, (name, value) in enumerate(marks.items()):
        mark_x = left + (value - lowest) * scale
        anchor = "end" if mark_x > width - 90 else "start"
        parts.append(f'<line x1="{mark_x:.1f}" x2="{mark_x:.1f}" y1="{top - 12}" y2="{top + plot}" class="mark"/>')
        parts.append(_text(mark_x + (4 if anchor == "start" else -4), 12 + 12 * (i % 2), f"{name} {value:.3g}",
                           "marktext", anchor))
    return _svg(width, top + plot + 36, label, parts)


def paired_bars(rows: Mapping[str, Mapping[str, float]], unit: str, label: str) -> str:
    """Horizontal bars: for each row one bar per series ({row: {series: value}})."""
    values = [value for series in rows.values() for value in series.values()]
    if not values:
        return '<p class="missing">nothing was measured</p>'
    longest, left, width, bar = max(*values, 1e-9), 118.0, 430.0, 11.0
    parts, y = [], 4.0
    for name, series in rows.items():
        parts.append(_text(left - 8, y + bar * len(series) / 2 + 4, name, "tick", "end"))
        for key, value in series.items():
            length = (width - left - 64) * value / longest
            parts.append(f'<rect x="{left}" y="{y:.1f}" width="{length:.1f}" height="{bar - 1.5}" rx="2" '
                         f'class="series-{key}"/>')
            parts.append(_text(left + length + 6, y + bar - 2.5, f"{value:.3g} {unit}", "tick", "start"))
            y += bar
        y += 9
    return _svg(width, y, label, parts)


def timeline(wall_s: Mapping[str, float], label: str) -> str:
    """Stages one after the other, to scale."""
    total = sum(wall_s.values()) or 1.0
    width, left = 900.0, 0.0
    parts = []
    for i, (name, seconds) in enumerate(wall_s.items()):
        length = width * seconds / total
        parts.append(f'<rect x="{left:.1f}" y="6" width="{max(length - 1.5, 0.5):.1f}" height="30" rx="3" '
                     f'class="stage-{i % 6}"><title>{escape(name)}: {seconds:.1f} s</title></rect>')
        if length > 62:
            parts.append(_text(left + length / 2, 25, name, "ontop"))
            parts.append(_text(left + length / 2, 52, f"{seconds:.0f} s", "tick"))
        left += length
    return _svg(width, 58, label, parts)
