"""What a policy answered when a recording was played to its node, compared with lockstep, and the report of it.

Equal observations must give equal answers on both routes. The live one may miss some: a machine that is too slow, a
frame that got lost on the way. These are counted, never made up.
"""
# ruff: noqa: E501 (sentences of a page, easier to read in one piece)

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from autofocus_core.episode import Episode
from autofocus_core.schema import Robot

from autofocus_policy.answers import read_answers
from autofocus_policy.ensemble import Blending
from autofocus_policy.evaluation import FRAMES, Evaluation
from autofocus_policy.lockstep import ROLLOUT_S, trace
from autofocus_policy.looks import Examiner
from autofocus_policy.report import build
from autofocus_policy.runner import PolicyRunner


@dataclass(frozen=True, slots=True)
class Agreement:
    """asked: observations in lockstep; answered: of these, those that the node answered; elsewhere: its answers at
    other images (after a lost frame it goes on with the next one); largest: greatest difference of an answer from what
    the policy file gives for the same observation, rad or m; latency_ms (p50, p99): from stamp to request; holds: how
    often it asked the guard to hold."""

    asked: int
    answered: int
    elsewhere: int
    largest: float
    latency_ms: tuple[float, float]
    holds: int

    @property
    def missed(self) -> int:
        """Observations of the lockstep route that the node did not answer."""
        return self.asked - self.answered

    def __str__(self) -> str:
        return (f"replay: {self.answered} of {self.asked} observations answered, {self.elsewhere} at other images; "
                f"largest difference from lockstep {self.largest:.3g} rad or m; stamp to request "
                f"{self.latency_ms[0]:.0f} ms (p50), {self.latency_ms[1]:.0f} ms (p99); asked to hold {self.holds} "
                f"time{'' if self.holds == 1 else 's'}")


def compare(policy: Path, episode: Episode, recorded: Path, robot: Robot, *, blending: Blending | None = None,
            rollout_s: float = ROLLOUT_S, frames: int = FRAMES, threads: int = 1,
            offset_s: float = 0.0) -> tuple[list[Evaluation], Agreement]:
    """Both routes as evaluations, "lockstep" and "replay", and how they agree. `offset_s`: start_offset_s of the replay.
    """
    found = read_answers(recorded, robot)
    answers = found.positions
    episode = Episode(episode.path, None)  # all of it was played, whatever is trimmed
    runner = PolicyRunner(policy, robot, threads)
    lockstep, replay = Evaluation("lockstep", policy, runner), Evaluation("replay", policy, runner)
    name, examiner = str(episode.path), Examiner(episode, runner, robot, frames)
    lockstep.traces[name] = trace(episode, runner, robot, blending=blending, rollout_s=rollout_s, looker=examiner,
                                  offset_s=offset_s)
    lockstep.looks[name] = examiner.looks()
    replay.traces[name] = trace(episode, runner, robot, blending=blending, rollout_s=rollout_s, replayed=answers)
    for each in (lockstep, replay):
        each.summarise(robot)
    there, here = lockstep.traces[name], replay.traces[name]
    expected = dict(zip(there.stamps_ns.tolist(), there.predicted, strict=True))
    # At an image that lockstep did not take, what the file gives without what was blended in before.
    expected = {**dict(zip(here.stamps_ns.tolist(), here.answered, strict=True)), **expected}
    differences = [float(np.abs(answers[stamp] - expected[stamp]).max()) for stamp in here.stamps_ns.tolist()]
    asked = set(there.stamps_ns.tolist())
    both = len(asked & answers.keys())
    agreement = Agreement(len(asked), both, len(answers) - both, max(differences),
                          (float(np.quantile(found.latency_ms, 0.5)), float(np.quantile(found.latency_ms, 0.99))),
                          found.holds)
    replay.summary["replay"] = {"asked": agreement.asked, "missed": agreement.missed, "elsewhere": agreement.elsewhere,
                                "largest_difference": agreement.largest, "latency_ms_p50": agreement.latency_ms[0],
                                "latency_ms_p99": agreement.latency_ms[1], "holds": agreement.holds}
    return [lockstep, replay], agreement


def page(found: list[Evaluation], agreement: Agreement, robot: Robot) -> str:
    """The same report as that of `autofocus evaluate`, with how the two routes agree."""
    words = "agree" if agreement.largest < 1e-6 else "differ"
    missed = f"{agreement.missed} of {agreement.asked}"
    section = (
        f"<section><h2>Replayed through the real graph: the two routes {words}</h2><p>The recording was played to the policy "
        "node over ROS 2, on the recording’s clock, with its commands out of any robot’s reach; and the same policy file was "
        "asked in lockstep. Equal observations must give equal answers.</p><table>"
        f"<tr><td>observations answered</td><td class='n'>{agreement.answered} of {agreement.asked}</td></tr>"
        f"<tr><td>missed by the live route</td><td class='n'>{missed}</td></tr>"
        f"<tr><td>answered at other images</td><td class='n'>{agreement.elsewhere}</td></tr>"
        f"<tr><td>largest difference of an answer</td><td class='n'>{escape(f'{agreement.largest:.2g}')} rad or m</td></tr>"
        f"<tr><td>stamp to request, p50 and p99</td><td class='n'>{agreement.latency_ms[0]:.0f} ms, "
        f"{agreement.latency_ms[1]:.0f} ms</td></tr>"
        f"<tr><td>asked to hold</td><td class='n'>{agreement.holds} times</td></tr></table></section>")
    return build(found, robot, section, "one policy, by two routes,")
