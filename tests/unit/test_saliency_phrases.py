"""What an instruction names."""

import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Task
from saliency_server.describe import InstructionDescriber
from saliency_server.phrases import parse_instruction, parse_phrase


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("lift the red cube", [("red cube", "target")]),
        ("put the red cube on the white plate", [("red cube", "target"), ("white plate", "goal")]),
        ("Pick up the carrot and put it in the pot.", [("carrot", "target"), ("pot", "goal")]),
        ("pull the blue pot to the left", [("blue pot", "target")]),
        ("stack the yellow block on top of the wooden block", [("yellow block", "target"), ("wooden block", "object")]),
        ("open the drawer, then take the cup off the table",
         [("drawer", "target"), ("cup", "target"), ("table", "object")]),
        ("push red box and blue ball next to the cup",
         [("red box", "target"), ("blue ball", "target"), ("cup", "goal")]),
        ("frobnicate the green sponge", [("green sponge", "target")]),
        ("turn off the lamp", [("lamp", "target")]),
        ("move the left hand to the bell", [("hand", "robot"), ("bell", "goal")]),
        ("lift", []),
    ],
)  # fmt: skip
def test_objects_and_roles_of_an_instruction(instruction, expected):
    found = [(phrase.name, phrase.role) for phrase in parse_instruction(instruction)]
    assert found == expected


@pytest.mark.parametrize(
    ("name", "noun", "colour", "role"),
    [
        ("red cube", "cube", "red", "object"),
        ("small gray box", "box", "grey", "object"),
        ("orange gripper", "gripper", "orange", "robot"),
        ("orange", "orange", "orange", "object"),
        ("carrots", "carrots", "orange", "object"),
        ("blue carrot", "carrot", "blue", "object"),
        ("pot", "pot", None, "object"),
    ],
)
def test_noun_colour_and_role_of_a_name(name, noun, colour, role):
    phrase = parse_phrase(name)
    assert (phrase.noun, phrase.colour, phrase.role) == (noun, colour, role)


def task(instruction, objects=()):
    return Task("t", instruction, objects, ("camera",), 5.0)


def test_the_tasks_objects_win_and_take_their_role_from_the_instruction():
    spoken = task("put the red cube on the plate", ("red cube", "orange gripper"))
    described = InstructionDescriber().describe([], spoken)
    assert [(o.name, o.role) for o in described.objects] == [("red cube", "target"), ("orange gripper", "robot")]
    assert described.queries == 0


def test_a_task_that_names_nothing_is_refused_with_a_remedy():
    with pytest.raises(AutofocusError, match="objects:"):
        InstructionDescriber().describe([], task("go on"))
