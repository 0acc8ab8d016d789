"""The `vlm` filter: which of the numbered boxes matter, asked at a few triggers; the choice holds until the next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from autofocus_core.errors import AutofocusError

from saliency_server import prompts
from saliency_server.answers import ChooseAnswer, choose_answer
from saliency_server.ask import Asker, NoAnswer, Question
from saliency_server.draw import numbered_boxes
from saliency_server.models.chat import Chat
from saliency_server.phrases import parse_phrase
from saliency_server.triggers import Trigger, triggers
from saliency_server.values import Selection, TrackResult
from saliency_server.views import CameraView, Episode, Thing

LOOK_AHEAD_S = 0.7  # the picture for a question is the clearest within this time after its trigger
MAX_NEW_NAMES = 3  # names looked for anew, per episode


@dataclass(slots=True)
class _Notes:
    """What the choosing leaves behind for one camera. keep: per thing (N,) bool."""

    keep: list[np.ndarray]
    undecided: list[str]
    notes: list[str] = field(default_factory=list)


class VlmFilter:
    """Draws a number on every thing in view and asks which matter now; at most `most` times per episode, for all
    cameras together.

    A question without a valid answer leaves its frames undecided, with the reason. A thing that the model misses is
    looked for under its new name, once per episode, and taken in if it is found; if not, the frames for which it is
    missed are undecided. The robot's own parts are always kept and never asked about.
    """

    name = "vlm"
    chooses = True

    def __init__(self, chat: Chat) -> None:
        self.version = f"1 {chat.name} {chat.version}"

    def select(self, episode: Episode, asker: Asker, most: int) -> list[Selection]:
        """See `backends.Filter`."""
        state = [
            _Notes(
                [np.full(len(view.stamps_ns), thing.phrase.role == "robot") for thing in view.things],
                [""] * len(view.stamps_ns),
            )
            for view in episode.cameras
        ]
        lead = episode.cameras[0]
        found = triggers(episode.motion.phases, _on_lead(episode.cameras), lead.looker.stamps_s, most)
        if not found:
            for each in state:
                each.undecided = ["not chosen: no question left to ask"] * len(each.undecided)
        looked_for: set[str] = set()
        starts = [0, *(trigger.frame for trigger in found[1:]), len(lead.stamps_ns)]
        for trigger, (first, end) in zip(found, itertools.pairwise(starts), strict=True):
            self._ask_at(episode, asker, trigger, first, end, state, looked_for)
        return [
            Selection(np.stack(each.keep) if each.keep else np.zeros((0, len(each.undecided)), dtype=bool),
                      tuple(each.undecided), tuple(each.notes))
            for each in state
        ]

    def _ask_at(
        self, episode: Episode, asker: Asker, trigger: Trigger, first: int, end: int, state: list[_Notes],
        looked_for: set[str],
    ) -> None:
        """Ask at one trigger and write the choice into the frames [first, end) of the first camera, and into those of
        the others at the same times."""
        lead = episode.cameras[0]
        spans = [_span(lead, view, first, end) for view in episode.cameras]
        frame = _clearest(lead, trigger.frame, end)
        pictures, boxes, drawn = _pictures(episode.cameras, int(lead.stamps_ns[frame]))
        told = f"{trigger.why} at {lead.looker.stamps_s[trigger.frame]:.2f} s"
        if not boxes:
            for each in state:
                each.notes.append(f"{told}: nothing in view, not asked")
            return
        now = {"phase": episode.motion.at(frame), "time_s": round(float(lead.looker.stamps_s[frame]), 2)}
        text = prompts.choose_prompt(episode.task.instruction, boxes, now, episode.description.sentence)
        try:
            answer: ChooseAnswer = asker.ask(
                Question("choose", text, tuple(pictures), choose_answer([box["number"] for box in boxes]))
            )
        except NoAnswer as error:
            for each, span in zip(state, spans, strict=True):
                _undecide(each, span, f"not chosen: {error.reason}")
                each.notes.append(f"{told}: no answer")
            return
        for number in answer.keep:
            camera, thing = drawn[number]
            state[camera].keep[thing][spans[camera]] = True
        kept = ", ".join(str(number) for number in answer.keep) or "none"
        for each in state:
            each.notes.append(f"{told}: kept {kept} of {len(boxes)}")
        lacking = [name for name in answer.missing if not _keep_unseen(name, episode.cameras, drawn, spans, state)]
        self._look_for(lacking, episode.cameras, spans, state, looked_for)

    def _look_for(
        self, names: Sequence[str], cameras: Sequence[CameraView], spans: Sequence[slice], state: list[_Notes],
        looked_for: set[str],
    ) -> None:
        """Detect and follow things under names that were not looked for before; undecided where they are not found."""
        for name in names:
            if name not in looked_for and len(looked_for) < MAX_NEW_NAMES:
                looked_for.add(name)
                for view, each in zip(cameras, state, strict=True):
                    each.notes.append(f"{name}: named as missing, {self._take_in(name, view, each)}")
            for view, span, each in zip(cameras, spans, state, strict=True):
                taken = [k for k, thing in enumerate(view.things) if thing.phrase.name == name]
                for k in taken[:1]:  # the best instance: a later question can choose another by its number
                    each.keep[k][span] = True
            if not any(thing.phrase.name == name for view in cameras for thing in view.things):
                for each, span in zip(state, spans, strict=True):
                    _undecide(each, span, f"{name}: named as missing and not found")

    def _take_in(self, name: str, view: CameraView, each: _Notes) -> str:
        """Follow a new thing in one camera; what became of it, in words."""
        try:
            found = view.find((parse_phrase(name),))
        except AutofocusError as error:
            return f"not looked for: {error.got}"
        found = [thing for thing in found if thing.phrase.role != "robot" and thing.track.valid.any()]
        view.things += found
        each.keep += [np.zeros(len(view.stamps_ns), dtype=bool) for _ in found]
        return "found" if found else "not found"


def _pictures(
    cameras: Sequence[CameraView], stamp_ns: int
) -> tuple[list[np.ndarray], list[dict[str, object]], dict[int, tuple[int, int]]]:
    """Each camera's image at a time with numbered boxes, what is drawn, and number -> (camera, thing)."""
    pictures, boxes = [], []
    drawn: dict[int, tuple[int, int]] = {}
    for c, view in enumerate(cameras):
        frame = view.nearest(stamp_ns)
        image = dict(view.looker.images([frame])).get(frame)
        if image is None:
            continue
        on_image = []
        for k, thing in enumerate(view.things):
            if thing.phrase.role != "robot" and thing.track.valid[frame]:
                number = len(drawn) + 1
                drawn[number] = (c, k)
                on_image.append((number, thing.track.boxes_px[frame]))
                boxes.append({"number": number, "name": thing.phrase.name, "image": len(pictures) + 1})
        pictures.append(numbered_boxes(image, on_image))
    return pictures, boxes, drawn


def _clearest(view: CameraView, frame: int, end: int) -> int:
    """Of the frames within LOOK_AHEAD_S of one, the first usable one with most things in view."""
    late = np.searchsorted(view.looker.stamps_s, view.looker.stamps_s[frame] + LOOK_AHEAD_S, side="right")
    among = slice(frame, max(min(int(late), end), frame + 1))
    usable = np.array([not why for why in view.looker.frames.unusable[among]])
    seen = [thing.track.valid[among] for thing in view.things if thing.phrase.role != "robot"]
    return frame + int(((np.sum(seen, axis=0) if seen else 0) + usable).argmax())


def _keep_unseen(
    name: str, cameras: Sequence[CameraView], drawn: dict[int, tuple[int, int]], spans: Sequence[slice],
    state: list[_Notes],
) -> bool:
    """Keep a thing that is followed under this name but had no box at the question's frame; whether there is one."""
    shown = set(drawn.values())
    known = False
    for c, view in enumerate(cameras):
        same = [k for k, thing in enumerate(view.things) if _same(thing, name)]
        known |= bool(same)
        for k in [k for k in same if (c, k) not in shown][:1]:
            state[c].keep[k][spans[c]] = True
    return known


def _same(thing: Thing, name: str) -> bool:
    """Whether a name is another wording for a thing: the same words, or its noun in its colour."""
    other = parse_phrase(name)
    alike = (thing.phrase.noun, thing.phrase.colour) == (other.noun, other.colour) and other.colour is not None
    return thing.phrase.name.casefold() == name.casefold() or alike


def _span(lead: CameraView, view: CameraView, first: int, end: int) -> slice:
    """A camera's frames at the times of the lead's frames [first, end)."""
    if view is lead:
        return slice(first, end)
    low = 0 if first == 0 else int(np.searchsorted(view.stamps_ns, lead.stamps_ns[first]))
    n = len(view.stamps_ns)
    high = n if end >= len(lead.stamps_ns) else int(np.searchsorted(view.stamps_ns, lead.stamps_ns[end]))
    return slice(low, max(high, low))


def _undecide(each: _Notes, span: slice, why: str) -> None:
    for i in range(*span.indices(len(each.undecided))):
        each.undecided[i] = each.undecided[i] or why


def _on_lead(cameras: Sequence[CameraView]) -> list[TrackResult]:
    """All things but the robot's parts, on the first camera's frames: each camera's nearest frame in time."""
    tracks = []
    for view in cameras:
        at = [view.nearest(stamp) for stamp in cameras[0].stamps_ns.tolist()] if view is not cameras[0] else None
        for thing in view.things:
            if thing.phrase.role == "robot":
                continue
            t = thing.track
            tracks.append(
                t if at is None
                else TrackResult(t.boxes_px[at], t.score[at], t.valid[at], tuple(t.reason[i] for i in at))
            )
    return tracks
