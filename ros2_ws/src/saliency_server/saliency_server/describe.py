"""The `instruction` describer: the objects are those that the task names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Task

from saliency_server.phrases import parse_instruction, parse_phrase
from saliency_server.values import Description


class InstructionDescriber:
    """Takes the task's `objects`, or else the noun phrases of its instruction; looks at no image, asks no model."""

    name = "instruction"
    version = "1"
    frames_wanted = 0

    def describe(self, images: Sequence[np.ndarray], task: Task) -> Description:
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
