"""What a model may answer: the schemas, and the rules by which an answer is cleaned."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    create_model,
    field_validator,
    model_validator,
)

from saliency_server.phrases import ROBOT_NOUNS

#: Motion of an arm, in words: what a phase of a demonstration is called in questions and answers.
PHASES = ("reaching", "closing", "lifting", "carrying", "placing", "opening", "retreating", "waiting")
MAX_OBJECTS = 8  # of a description; the rest of a longer list is left out, so a model is asked for the important first
MAX_KEEP = 3  # objects that matter at a time, as published
MAX_LIST = 64  # a list beyond this is no answer
MAX_NAME = 60  # characters
MAX_WORDS = 6

_NAME = re.compile(r"[^\W_]+(?:[ '’-][^\W_]+)*")
_ROBOT_WORDS = ROBOT_NOUNS | {"robot", "arm", "manipulator", "effector", "grippers"}


def clean_name(value: object) -> str:
    """A name in small letters with single spaces; ValueError for what is no name of a thing.

    Letters, digits, spaces, hyphens and apostrophes, at most MAX_NAME characters and MAX_WORDS words. What stands
    around a name (quotes, a full stop) is taken off, what stands inside (a slash, markup) makes it no name: a path with
    its slashes removed would be a thing that nobody named.
    """
    if not isinstance(value, str) or len(value) > 4 * MAX_NAME:
        raise ValueError(f"a name is a text of at most {MAX_NAME} characters")
    name = " ".join(unicodedata.normalize("NFKC", value).replace("_", " ").casefold().split()).strip(" .,;:'\"`")
    if not name or len(name) > MAX_NAME or len(name.split()) > MAX_WORDS:
        raise ValueError(f"a name has 1 to {MAX_WORDS} words and at most {MAX_NAME} characters")
    if not _NAME.fullmatch(name):
        raise ValueError("a name has letters, digits, spaces and hyphens only")
    return name


def is_robot_part(name: str) -> bool:
    """Whether a cleaned name is the robot's own part: its last word says so ("gripper", "robot arm"), or it is
    something of the robot's ("robot finger tips")."""
    words = name.split()
    return words[-1] in _ROBOT_WORDS or words[0] == "robot"


def _clean_text(value: object) -> object:
    """A sentence on one line, without control characters; other types are left to the validation."""
    if not isinstance(value, str):
        return value
    return " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in value).split())


def _whole(value: object) -> object:
    """A number that a model wrote as a text or with a point."""
    if isinstance(value, bool):
        raise ValueError("a box has a number")
    try:
        return int(value) if isinstance(value, str) or (isinstance(value, float) and value.is_integer()) else value
    except ValueError:
        return value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


Name = Annotated[str, BeforeValidator(clean_name), StringConstraints(min_length=1, max_length=MAX_NAME)]
Names = Annotated[list[Name], Field(max_length=MAX_LIST)]
Text = Annotated[str, BeforeValidator(_clean_text)]
Role = Annotated[Literal["target", "goal", "tool", "obstacle", "object"], BeforeValidator(_lower)]
PhaseWord = Annotated[Literal[PHASES], BeforeValidator(_lower)]


class Answer(BaseModel):
    """What every answer has: no field but its own, and notes that state what a rule changed."""

    model_config = ConfigDict(extra="forbid", str_max_length=2000)
    _notes: list[str] = PrivateAttr(default_factory=list)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the answer, and by which rule; empty where it was taken as it came."""
        return tuple(self._notes)

    def _once(self, names: Sequence[str], what: str) -> list[str]:
        """Each name once, in order."""
        kept = list(dict.fromkeys(names))
        if len(kept) < len(names):
            self._notes.append(f"{what}: {len(names) - len(kept)} named twice")
        return kept


class DescribedObject(BaseModel):
    """One thing that the robot deals with."""

    model_config = ConfigDict(extra="forbid")
    name: Name = Field(description="colour, material and kind of the thing, such as 'red wooden cube'")
    role: Role = Field(description="what it is for the robot in this task")
    affordance: Text = Field(default="", max_length=200, description="what can be done with it, a few words")
    phases: list[PhaseWord] = Field(
        default_factory=list, max_length=MAX_LIST, description="the phases of the motion in which it matters"
    )

    @field_validator("phases")
    @classmethod
    def _each_once(cls, phases: list[str]) -> list[str]:
        return list(dict.fromkeys(phases))


class DescribeAnswer(Answer):
    """The things of a demonstration and a sentence about it.

    Rules, each stated in `notes`: the robot's own parts are left out, a name counts once (the first), and of more than
    MAX_OBJECTS the first are taken. An answer that names nothing else is not valid.
    """

    objects: list[DescribedObject] = Field(
        max_length=MAX_LIST, description=f"at most {MAX_OBJECTS}, the most important first; not the robot itself"
    )
    sentence: Text = Field(max_length=400, description="one sentence: what is done with what")

    @model_validator(mode="after")
    def _apply_rules(self) -> DescribeAnswer:
        own = [thing.name for thing in self.objects if is_robot_part(thing.name)]
        things = {thing.name: thing for thing in reversed(self.objects) if not is_robot_part(thing.name)}
        names = self._once([thing.name for thing in self.objects if thing.name in things], "objects")
        self._notes += [f"{name}: the robot's own part, left out" for name in dict.fromkeys(own)]
        if not names:
            raise ValueError("no object is named besides the robot itself")
        if len(names) > MAX_OBJECTS:
            self._notes.append(f"{len(names)} objects, the first {MAX_OBJECTS} taken")
        # Past the validation of assignments: this is the validation.
        self.__dict__["objects"] = [things[name] for name in names[:MAX_OBJECTS]]
        return self


class CheckAnswer(Answer):
    """Whether a description fits an episode: names that are not there, and things that matter but have no name yet.

    Rules: the robot's own parts are never missing; an answer that fits and yet names something does not fit.
    """

    fits: bool = Field(description="true if the listed things are there and none that matters is missing")
    absent: Names = Field(default_factory=list, description="listed names of which nothing is to be seen")
    missing: Names = Field(default_factory=list, description="things that matter for the task and are not listed")

    @model_validator(mode="after")
    def _apply_rules(self) -> CheckAnswer:
        self.__dict__["absent"] = self._once(self.absent, "absent")
        self.__dict__["missing"] = _new_things(self, self.missing)
        if self.fits and (self.absent or self.missing):
            self._notes.append("said to fit, but names something: does not fit")
            self.__dict__["fits"] = False
        return self


class ChooseAnswer(Answer):
    """Which of the numbered boxes matter now, and things that matter but have no box.

    Rules: each number once, the first MAX_KEEP taken; the robot's own parts are never missing.
    """

    keep: list[Annotated[int, BeforeValidator(_whole), Field(ge=0)]] = Field(
        max_length=MAX_LIST, description=f"numbers of the boxes that matter, at most {MAX_KEEP}, most important first"
    )
    missing: Names = Field(default_factory=list, description="things that matter now and have no box")

    @model_validator(mode="after")
    def _apply_rules(self) -> ChooseAnswer:
        numbers = list(dict.fromkeys(self.keep))
        if len(numbers) > MAX_KEEP:
            self._notes.append(f"{len(numbers)} boxes, the first {MAX_KEEP} taken")
        self.__dict__["keep"] = numbers[:MAX_KEEP]
        self.__dict__["missing"] = _new_things(self, self.missing)
        return self


def choose_answer(numbers: Sequence[int]) -> type[ChooseAnswer]:
    """A ChooseAnswer that takes no number but those drawn on the image."""
    if not numbers:
        raise ValueError("no box is drawn: there is nothing to choose from")
    return _choose_answer(tuple(numbers))


def check_answer(names: Sequence[str]) -> type[CheckAnswer]:
    """A CheckAnswer in which only the names that were asked about can be absent; they come back as they were given."""
    if not names:
        raise ValueError("no name is given: there is nothing to check")
    return _check_answer(tuple(names))


@lru_cache(maxsize=64)
def _choose_answer(numbers: tuple[int, ...]) -> type[ChooseAnswer]:
    number = Annotated[Literal[numbers], BeforeValidator(_whole)]
    field = Field(max_length=MAX_LIST, description=ChooseAnswer.model_fields["keep"].description)
    return create_model("ChooseAnswer", __base__=ChooseAnswer, keep=(list[number], field))


@lru_cache(maxsize=64)
def _check_answer(names: tuple[str, ...]) -> type[CheckAnswer]:
    known = {_key(name): name for name in names}
    name = Annotated[Literal[tuple(known.values())], BeforeValidator(lambda value: known.get(_key(value), value))]
    description = CheckAnswer.model_fields["absent"].description
    field = Field(default_factory=list, max_length=MAX_LIST, description=description)
    return create_model("CheckAnswer", __base__=CheckAnswer, absent=(list[name], field))


def _key(value: object) -> str:
    """What two spellings of a name have in common; a task may call its things as it likes."""
    try:
        return clean_name(value)
    except ValueError:
        return str(value).strip().casefold()


def _new_things(answer: Answer, names: Sequence[str]) -> list[str]:
    """Names of missing things, without the robot's own parts, at most MAX_OBJECTS."""
    things = [name for name in names if not is_robot_part(name)]
    if len(things) < len(names):
        answer._notes.append("missing: the robot's own parts left out")
    return answer._once(things, "missing")[:MAX_OBJECTS]
