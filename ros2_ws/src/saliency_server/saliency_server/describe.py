"""Describers: `instruction` takes the objects that the task names, `vlm` asks a vision-language model what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Task

from saliency_server import prompts
from saliency_server.answers import CheckAnswer, DescribeAnswer, check_answer
from saliency_server.ask import Asker, NoAnswer, Question
from saliency_server.models.chat import Chat
from saliency_server.phrases import ObjectPhrase, parse_instruction, parse_phrase
from saliency_server.values import Description, Scene

DESCRIBE_FRAMES = 25  # as published
CHECK_FRAMES = 6


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a description fits an episode; notes: what it lacks, in words; problem: why nobody could say."""

    fits: bool
    notes: str = ""
    problem: str = ""


class InstructionDescriber:
    """Takes the task's `objects`, or else the noun phrases of its instruction; looks at no image, asks no model."""

    name = "instruction"
    version = "1"
    frames_wanted = 0
    check_frames = 0

    def describe(
        self, scene: Scene | Sequence[np.ndarray], task: Task, asker: Asker | None = None, notes: str = ""
    ) -> Description:
        """The task's objects with the roles that the instruction gives them; AutofocusError if it names none."""
        spoken = {phrase.name: phrase for phrase in parse_instruction(task.instruction)}
        objects = tuple(spoken.get(name) or parse_phrase(name) for name in task.objects) or tuple(spoken.values())
        if not objects:
            raise AutofocusError(
                f"task {task.name}",
                f"instruction {task.instruction!r} and no objects",
                "an instruction that names things, such as 'lift the red cube', or a list of objects",
                "add `objects: [red cube]` to the task YAML",
            )
        return Description(objects=objects, sentence=task.instruction, queries=0)

    def check(
        self, sheets: Sequence[np.ndarray], task: Task, description: Description, asker: Asker | None = None
    ) -> Verdict:
        """The task names the objects of every episode."""
        return Verdict(True)


class VlmDescriber:
    """Asks a model once what a demonstration deals with, and of each further one whether that fits.

    The robot's own gripper is never asked for: it comes from the task's objects, if they name it.
    """

    name = "vlm"
    frames_wanted = DESCRIBE_FRAMES
    check_frames = CHECK_FRAMES

    def __init__(self, chat: Chat) -> None:
        self.version = f"1 {chat.name} {chat.version}"

    def describe(self, scene: Scene, task: Task, asker: Asker, notes: str = "") -> Description:
        """One question. Raises NoAnswer: no object is ever made up."""
        if not scene.images:
            raise NoAnswer("question (describe)", "no usable image", "at least one", "leave this recording out")
        text = prompts.describe_prompt(task.instruction, scene.times_s, scene.motion, notes)
        answer = asker.ask(Question("describe", text, scene.images, DescribeAnswer))
        things = [thing for thing in answer.objects if parse_phrase(thing.name).role != "robot"]
        own = robot_phrases(task)
        return Description(
            objects=(*(parse_phrase(thing.name, thing.role) for thing in things), *own),
            sentence=answer.sentence,
            queries=1,
            affordances=(*(thing.affordance for thing in things), *("" for _ in own)),
            phases=(*(tuple(thing.phases) for thing in things), *(() for _ in own)),
        )

    def check(self, sheets: Sequence[np.ndarray], task: Task, description: Description, asker: Asker) -> Verdict:
        """One cheap question over contact sheets, one for each camera. No answer: the description stays, unchecked."""
        things = [thing for thing in description.objects if thing.role != "robot"]
        if not sheets or not things:
            return Verdict(True, problem="nothing to check it with")
        text = prompts.check_prompt(task.instruction, [{"name": t.name, "role": t.role} for t in things])
        try:
            answer: CheckAnswer = asker.ask(
                Question("check", text, tuple(sheets), check_answer([thing.name for thing in things]))
            )
        except NoAnswer as error:
            return Verdict(True, problem=error.reason)
        lacks = [f"absent: {', '.join(answer.absent)}"] if answer.absent else []
        lacks += [f"missing: {', '.join(answer.missing)}"] if answer.missing else []
        return Verdict(answer.fits, "; ".join(lacks))


def robot_phrases(task: Task) -> tuple[ObjectPhrase, ...]:
    """The robot's own parts among the objects that the task names."""
    return tuple(phrase for phrase in map(parse_phrase, task.objects) if phrase.role == "robot")
