"""Figures and picture of a soak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from recorder_parts.meters import Memory
from recorder_parts.soak_plan import KILL, NORMAL, Episode
from recorder_parts.summary import Figure
from recorder_parts.workloads import MB

#: Episodes of a recorder's life in which caches and pools may still fill, and those that make a trend after that.
WARM_UP_EPISODES, TREND_EPISODES = 5, 6
#: "Flat": what the trend of the episodes' memory peaks adds up to over the whole soak.
MAX_GROWTH_MB, MAX_TAIL_S = 10.0, 1.0
MAX_PAUSE_S = 2.5
Samples = Sequence[tuple[float, Memory]]  # seconds since the soak began


def figures(episodes: Sequence[Episode], samples: Samples, disk_peak: int, seconds: float) -> list[Figure]:
    """Rows for the results."""
    ordinary = [episode for episode in episodes if episode.kind == NORMAL]
    killed = [episode for episode in episodes if episode.kind == KILL]
    grades = Counter(episode.grade for episode in ordinary)
    said = ", ".join(f"{grades[grade]} {grade}" for grade in ("good", "usable", "bad") if grades[grade])
    messages = sum(episode.messages for episode in episodes)
    problems = sum(len(episode.problems) for episode in episodes)
    unreported = sum(episode.unreported for episode in episodes)
    wrong = sum(episode.wrong for episode in episodes)
    tail_s = max((episode.tail_s for episode in killed), default=0.0)
    biggest = max((episode.bytes for episode in episodes), default=0)
    handles = max((episode.files for episode in ordinary), default=0) - min((e.files for e in ordinary), default=0)
    found = [
        Figure("soak: length", seconds / 60, "min"),
        Figure("soak: episodes", len(episodes), f"({said} of {len(ordinary)} ordinary ones)"),
        Figure("soak: recorded", sum(episode.bytes for episode in episodes) / 1e9, f"GB in {messages} messages"),
        Figure("soak: file splits", sum(episode.splits for episode in episodes), ""),
        Figure("soak: messages lost", sum(episode.missing for episode in episodes), f"of {messages}"),
        Figure("soak: published before a new publisher was found", sum(e.unmatched for e in episodes), "messages"),
        Figure("soak: messages lost, not reported", unreported, f"of {messages}", "0", unreported == 0),
        Figure("soak: messages doubled or foreign", wrong, "", "0", wrong == 0),
        Figure("soak: things not as they must be", problems, "(verdicts, checks, files)", "0", problems == 0),
        Figure("soak: lost by SIGKILL, worst stream", tail_s, "s", f"<= {MAX_TAIL_S:g}", tail_s <= MAX_TAIL_S),
        Figure("soak: memory peak", max((m.private for _, m in samples), default=0) / MB, "MB private"),
        Figure("soak: open files of the recorder, most - least", handles, "", "<= 3", handles <= 3),
        Figure("soak: disk in use, peak", disk_peak / MB, f"MB (biggest episode {biggest / MB:.0f} MB)"),
    ]  # fmt: skip
    slope = trend(episodes, samples)
    if slope is not None:
        growth_mb = slope * seconds
        unit = f"MB private ({slope * 3600:+.1f} MB/h)"
        found.append(
            Figure("soak: memory trend over all of it", growth_mb, unit, f"<= {MAX_GROWTH_MB:g}",
                   growth_mb <= MAX_GROWTH_MB)
        )  # fmt: skip
    return found


def trend(episodes: Sequence[Episode], samples: Samples) -> float | None:
    """How the private memory grows, in MB per s, by each episode's highest sample; None where the soak was too short.

    It is the median of the slopes between all pairs of episodes of one recorder's life (Theil-Sen), after its first
    WARM_UP_EPISODES; of the lives, the worst.
    """
    times_s = np.array([time_s for time_s, _ in samples])
    sizes_mb = np.array([memory.private / MB for _, memory in samples])
    slopes = []
    for life in {episode.life for episode in episodes}:
        peaks = []
        for episode in [e for e in episodes if e.life == life and e.kind != KILL][WARM_UP_EPISODES:]:
            inside = (times_s >= episode.start_s) & (times_s <= episode.end_s)
            if inside.any():
                peaks.append((episode.start_s, float(sizes_mb[inside].max())))
        if len(peaks) >= TREND_EPISODES:
            pairs = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(peaks) for b in peaks[i + 1 :]]
            slopes.append(float(np.median(pairs)))
    return max(slopes, default=None)


def draw(path: Path, episodes: Sequence[Episode], samples: Samples) -> None:
    """Memory over time, with what was done to the recorder; PNG or SVG."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(9, 3.2))
    seconds = np.array([time_s for time_s, _ in samples])
    lines = (("total", "with shared memory and files", "#9a9a9a"), ("private", "private", "#2a78b5"))
    for field, label, colour in lines:
        sizes_mb = np.array([getattr(memory, field) / MB for _, memory in samples])
        sizes_mb[1:][np.diff(seconds) > MAX_PAUSE_S] = np.nan  # no line from a killed recorder to the next
        panel.plot(seconds / 60, sizes_mb, color=colour, lw=0.9, label=label)
    panel.set_ylim(bottom=0)
    top = panel.get_ylim()[1]
    for episode in episodes:
        if episode.kind != NORMAL:
            minute = episode.start_s / 60
            panel.axvline(minute, color="#d9822b", lw=0.8, ls=":")
            panel.text(minute, top, " " + episode.kind, rotation=90, va="top", fontsize=7, color="#a05a10")
        elif episode.problems:
            panel.axvspan(episode.start_s / 60, episode.end_s / 60, color="#c0392b", alpha=0.2, lw=0)
    panel.set_xlabel("minutes", fontsize=8)
    panel.set_ylabel("memory of the recorder, MB", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.legend(fontsize=7, loc="lower right")
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
