"""From figures to words: what a person should do with a policy, and why. The rules are few and written down here."""
# ruff: noqa: E501 (sentences of a page, easier to read in one piece)

from __future__ import annotations

from collections.abc import Mapping

#: Error, as a share of that of standing still: below the first it follows the operator, from the second on it is
#: worse than an arm that does not move.
FOLLOWS, USELESS = 0.6, 1.0
#: The task's objects should move the action this many times as much as background of the same size.
CLEARLY = 3.0
#: Share of frames in which something beside the objects moves the action most.
OFTEN = 0.5
#: A gripper that is later, or sooner, than this drops what it holds or closes on nothing.
LATE_MS = 300.0
#: Share of the observations that a replay may miss before its figures stand for too little.
MISSED = 0.1

WORDS = {"good": "Nothing speaks against it here", "warn": "Look closer before it moves anything",
         "bad": "Do not run it"}
Reason = tuple[str, str]


def judge(summary: Mapping) -> tuple[str, str, list[Reason]]:
    """("good", "warn" or "bad", in words, reasons as (level, sentence)); the worst reason decides."""
    reasons = [*_error(summary), *_moved(summary["covering"]), *_gripper(summary["gripper"]),
               *_replay(summary.get("replay"))]
    levels = [level for level, _ in reasons]
    level = next((each for each in ("bad", "warn", "good") if each in levels), "warn")
    words = "Too little is known" if not reasons else WORDS[level]
    return level, words, reasons


def _error(summary: Mapping) -> list[Reason]:
    error = summary["relative_error"]
    if error is None:
        return [("warn", "No operator’s action in these recordings: errors are not known.")]
    if error >= USELESS:
        return [("bad", f"Error {100 * error:.0f} % of that of an arm that stands still: it does not follow the operator.")]
    words = f"Error {100 * error:.0f} % of that of an arm that stands still"
    if error >= FOLLOWS:
        return [("warn", f"{words}: it follows the operator only roughly.")]
    return [("good", f"{words}: it follows the operator.")]


def _moved(covering: Mapping | None) -> list[Reason]:
    if covering is None:
        return []
    objects, background, distractors = covering["objects"], covering["background"], covering["distractors"]
    elsewhere = covering["scan"]["elsewhere_first"]
    if objects is None:
        return []
    reasons: list[Reason] = []
    if distractors is not None and distractors > objects:
        name = max((w for w, v in covering["things"].items() if v["kind"] == "distractor"),
                   key=lambda w: covering["things"][w]["change"])
        reasons.append(("bad", f"Covering “{name}”, which is no part of the task, moves the action "
                               f"{distractors / max(objects, 1e-9):.1f} times as much as covering the task’s objects."))
    elif background is not None and objects < CLEARLY * background:
        reasons.append(("warn", f"Covering the task’s objects moves the action only {objects / max(background, 1e-9):.1f} "
                                "times as much as covering background of the same size."))
    elif background is not None:
        times = objects / background if background > 0 else float("inf")
        words = f"{times:.0f} times as much as" if times < 1000 else "far more than"
        reasons.append(("good", f"Covering the task’s objects moves the action {words} covering background."))
    if elsewhere > OFTEN:
        reasons.append(("warn", f"In {100 * elsewhere:.0f} % of the examined frames, what moves it most is none of the "
                                "task’s objects."))
    return reasons


def _gripper(gripper: Mapping | None) -> list[Reason]:
    if gripper is None:
        return []
    if gripper["missed"]:
        return [("warn", f"The gripper does not do {gripper['missed']} of the operator’s {gripper['done']} movements.")]
    if gripper["worst_abs_ms"] is not None and gripper["worst_abs_ms"] > LATE_MS:
        return [("warn", f"The gripper is up to {gripper['worst_abs_ms']:.0f} ms off.")]
    if gripper["spurious"]:
        return [("warn", f"The gripper moves {gripper['spurious']} times where the operator’s does not.")]
    return [("good", f"The gripper does what the operator’s did, {gripper['mean_abs_ms']:.0f} ms off on average.")]


def _replay(replay: Mapping | None) -> list[Reason]:
    if replay is None:
        return []
    reasons: list[Reason] = []
    if replay["missed"] > MISSED * replay["asked"]:
        reasons.append(("warn", f"The live route missed {replay['missed']} of {replay['asked']} observations: too slow a machine, or "
                                "too busy?"))
    if replay["largest_difference"] > 1e-6:
        return [*reasons, ("warn", f"An answer differs from lockstep by {replay['largest_difference']:.2g} rad or m.")]
    return [*reasons, ("good", "Every answer is the one that lockstep gives for the same observation.")]
