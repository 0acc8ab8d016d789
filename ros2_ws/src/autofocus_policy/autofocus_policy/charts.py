"""Small charts as inline SVG text: no library, no script; colours come from the page's style, light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

#: Policies that have a colour of their own.
COLOURS = 6


@dataclass(frozen=True, slots=True)
class Line:
    """xs, ys (N,), gaps where NaN; css: the style's class for its colour; breaks (N,) bool: no line before it."""

    name: str
    css: str
    xs: np.ndarray
    ys: np.ndarray
    breaks: np.ndarray | None = None


def lines(series: Sequence[Line], x_label: str, y_label: str, label: str, *, width: float = 500.0,
          height: float = 220.0, from_zero: bool = True) -> str:
    """Lines over common axes. `x_label`: unit of x; `y_label`: what y is, and its unit."""
    series = [Line(s.name, s.css, np.asarray(s.xs, float), np.asarray(s.ys, float), s.breaks) for s in series]
    known = [s.ys[np.isfinite(s.ys)] for s in series]
    if not sum(map(len, known)):
        return '<p class="missing">nothing was measured</p>'
    low, high = min(k.min() for k in known if len(k)), max(k.max() for k in known if len(k))
    ys = ticks(min(0.0, low) if from_zero else low, max(high, low + 1e-9))
    x_low, x_high = min(s.xs.min() for s in series), max(s.xs.max() for s in series)
    x_low = 0.0 if 0.0 < x_low < 0.25 * x_high else x_low
    xs = [x for x in ticks(x_low, max(x_high, x_low + 1e-9)) if x_low - 1e-9 <= x <= x_high + 1e-9]
    left, right, top, bottom = 52.0, 24.0, 20.0, 24.0

    def at(x: float, y: float) -> tuple[float, float]:
        return (left + (x - x_low) / max(x_high - x_low, 1e-9) * (width - left - right),
                height - bottom - (y - ys[0]) / (ys[-1] - ys[0]) * (height - top - bottom))

    parts = [_text(left - 46, 12, y_label, "tick", "start")]
    for y in ys:
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{at(x_low, y)[1]:.1f}" y2="{at(x_low, y)[1]:.1f}" '
                     'class="grid"/>')
        parts.append(_text(left - 7, at(x_low, y)[1] + 4, number(y), "tick", "end"))
    parts += [_text(at(x, ys[0])[0], height - bottom + 16, number(x) + (f" {x_label}" if x == xs[-1] else ""), "tick")
              for x in xs]
    for s in series:
        parts.append(f'<path d="{_path(s, at)}" class="line {s.css}"><title>{escape(s.name)}</title></path>')
    return svg(width, height, label, parts)


def bars(rows: Mapping[str, Sequence[tuple[str, str, float | None]]], unit: str, label: str) -> str:
    """Horizontal bars: for each row some of (name, css class, value); None: not measured."""
    values = [value for row in rows.values() for _, _, value in row if value is not None]
    if not values:
        return '<p class="missing">nothing was measured</p>'
    longest, left, width, bar = max(*values, 1e-9), 190.0, 620.0, 15.0
    parts, y = [], 4.0
    for name, row in rows.items():
        parts.append(_text(left - 10, y + bar * len(row) / 2 + 4, name, "label", "end"))
        for series, css, value in row:
            length = 0.0 if value is None else (width - left - 80) * value / longest
            parts.append(f'<rect x="{left}" y="{y:.1f}" width="{max(length, 1.0):.1f}" height="{bar - 3}" rx="2" '
                         f'class="bar {css}"><title>{escape(series)}</title></rect>')
            parts.append(_text(left + length + 6, y + bar - 4.5, "–" if value is None else f"{value:.2g} {unit}",
                               "tick", "start"))
            y += bar
        y += 11
    return svg(width, y, label, parts)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from at or below `low` to at or above `high`: 1, 2, 2.5 or 5 times a power of ten apart."""
    rough = (high - low) / max(about - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, max(last, first + 1) + 1)]


def number(value: float) -> str:
    """Three digits, without an exponent where it is avoidable."""
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return "0" if text in ("-0", "0") else text.replace("-", "−")


def colour(index: int) -> str:
    """The style's class for the colour of the policy number `index`."""
    return f"p{index % COLOURS}"


def legend(names: Sequence[str], *more: tuple[str, str]) -> str:
    """Policies by their colours, after other (css class, words)."""
    entries = [*more, *((colour(i), name) for i, name in enumerate(names))]
    return '<div class="legend">' + "".join(
        f'<span><i class="tag {css}"></i>{escape(words)}</span>' for css, words in entries) + "</div>"


def svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return (f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(label)}">'
            + "".join(parts) + "</svg>")


def _text(x: float, y: float, text: str, css: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>'


def _path(line: Line, at) -> str:
    out, pen = [], False
    for i, (x, y) in enumerate(zip(line.xs, line.ys, strict=True)):
        if not np.isfinite(y):
            pen = False
            continue
        px, py = at(x, y)
        out.append(f"{'L' if pen and not (line.breaks is not None and line.breaks[i]) else 'M'}{px:.1f} {py:.1f}")
        pen = True
    return "".join(out)
