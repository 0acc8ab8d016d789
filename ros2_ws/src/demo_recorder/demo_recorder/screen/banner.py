"""The state of the session in large: what it is, what it means, what to do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from demo_recorder.screen.bigtext import big
from demo_recorder.screen.live import LEVELS, troubles, worst
from demo_recorder.screen.parts import FILLED, INKS, MARGIN, Line, Piece, Tone, clock, line, span_s, wrapped
from demo_recorder.screen.snapshot import Link, Snapshot
from demo_recorder.screen.status import Level

GRADE_TONES = {"good": Tone.GOOD, "usable": Tone.WARN, "bad": Tone.BAD}


@dataclass(frozen=True, slots=True)
class Banner:
    """The state: large, what it means, and what to do. `filled`: a band over the whole width, which only a running
    recording and alarms have."""

    large: str
    captions: tuple[str, ...]
    tone: Tone
    filled: bool = False


def banner(snapshot: Snapshot) -> Banner:
    """The state of the session. A recorder that does not answer is never shown as recording."""
    status = snapshot.live
    if status is None:
        return _no_status(snapshot)
    # Of an episode that is over, what matters is below; the recorder's own words are for what goes on, or is wrong.
    captions = [status.message] if status.level is not Level.OK or status.state in ("idle", "countdown") else []
    if status.state == "recording":
        tone, what = troubles(status.streams, snapshot.rules)
        limit = ""
        if status.max_duration_s is not None:
            left_s = max(status.max_duration_s - status.elapsed_s, 0.0)
            limit = f", stops by itself at {clock(status.max_duration_s, tenths=False)} (in {left_s:.0f} s)"
        captions = [status.episode + limit, what or (status.message if status.level is not Level.OK else "")]
        tone = worst(LEVELS[status.level], tone)
        tone = Tone.GOOD if tone is Tone.PLAIN else tone
        made = Banner(f"recording {clock(status.elapsed_s)}", (), tone, filled=True)
    elif status.state == "countdown":
        made = Banner(f"starts in {max(math.ceil(status.countdown_s), 1)}", (), Tone.ACTIVE, filled=True)
    elif status.state == "stopped":
        judged = status.last_outcome in ("success", "failure")
        asked = f", {status.last_outcome}" if judged else ": success (s) or failure (f)?"
        captions[:0] = [(status.last_episode or status.episode) + asked]
        made = Banner(status.last_grade or "stopped", (), GRADE_TONES.get(status.last_grade, Tone.PLAIN))
    elif status.state == "discarded":
        made = Banner("discarded", (), Tone.PLAIN)
    else:
        made = Banner("idle", (), LEVELS[status.level])
    if snapshot.pending:
        captions[:0] = [f"{snapshot.pending}: waiting for the recorder's answer"]
    return Banner(made.large, tuple(caption for caption in captions if caption), made.tone, made.filled)


def _no_status(snapshot: Snapshot) -> Banner:
    log = f" l: its log ({snapshot.log_path})." if snapshot.log_path else ""
    if snapshot.link is Link.STARTING:
        return Banner("starting", ("Waiting for the recorder's first status.",), Tone.ACTIVE)
    if snapshot.link is Link.ENDED:
        last = snapshot.status
        cut = f" It ended while recording {last.episode}." if last is not None and last.busy else ""
        folder = last.output if last is not None else "the output folder"
        return Banner("recorder ended", (
            f"The recorder has ended by itself, status {snapshot.exit_code}: nothing is recorded.{cut}",
            f"q: leave. Then `autofocus episodes recover {folder}`, and start again.{log}",
        ), Tone.BAD, filled=True)  # fmt: skip
    if snapshot.link is Link.GARBLED:
        return Banner("not understood", (snapshot.garbled,), Tone.BAD, filled=True)
    if snapshot.status is None:
        where = "Is it running, with the same ROS_DOMAIN_ID?" if snapshot.attached else f"q: leave.{log}"
        return Banner("no recorder", (f"No status for {span_s(snapshot.age_s)}. {where}",), Tone.BAD, filled=True)
    what = f"It was recording {snapshot.status.episode}; nobody knows" if snapshot.status.busy else "Nobody knows"
    mend = "Look whether it is running, and the network." if snapshot.attached else "q: end it and keep the episode."
    return Banner("no answer", (
        f"The recorder has been silent for {span_s(snapshot.age_s)}. {what} whether it still records.", mend + log,
    ), Tone.BAD, filled=True)  # fmt: skip


def banner_lines(made: Banner, width: int) -> list[Line]:
    """The banner on `width` columns: large letters, captions below; a filled one is coloured to both edges."""
    captions = [row for caption in made.captions for row in wrapped(caption, width - 2 * len(MARGIN))]
    texts = ["", *big(made.large, width - 2 * len(MARGIN)), *(row[0].text for row in captions)]
    if made.filled:
        return [line(Piece((MARGIN + text).ljust(width), FILLED[made.tone])) for text in [*texts, ""]]
    # Large letters are their own ink: a badge's background would fill the blocks' gaps.
    ink = Tone.STRONG if made.tone is Tone.PLAIN else INKS.get(made.tone, made.tone)
    tones = [ink] * (len(texts) - len(captions)) + [Tone.PLAIN] * len(captions)
    return [line(MARGIN, Piece(text, tone)) for text, tone in zip(texts, tones)]
