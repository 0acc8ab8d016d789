"""Objects out of an instruction's words: a noun-phrase chunker for imperative sentences, without a language model."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Colour words and their synonyms -> the term that `colours.TERMS` grounds.
COLOUR_WORDS: dict[str, str] = {
    "red": "red", "crimson": "red", "scarlet": "red",
    "orange": "orange", "yellow": "yellow", "golden": "yellow",
    "green": "green", "lime": "green",
    "cyan": "cyan", "turquoise": "cyan", "teal": "cyan",
    "blue": "blue", "navy": "blue",
    "purple": "purple", "violet": "purple", "magenta": "pink", "pink": "pink",
    "brown": "brown",
    "white": "white", "grey": "grey", "gray": "grey", "silver": "grey", "black": "black",
}

#: Things whose colour people do not say because everyone knows it.
KNOWN_COLOURS: dict[str, str] = {
    "carrot": "orange", "pumpkin": "orange",
    "banana": "yellow", "lemon": "yellow", "corn": "yellow",
    "tomato": "red", "strawberry": "red", "cherry": "red",
    "cucumber": "green", "broccoli": "green", "lettuce": "green",
    "eggplant": "purple", "aubergine": "purple",
}

ROBOT_NOUNS = frozenset({"gripper", "finger", "fingers", "fingertip", "fingertips", "claw", "jaw", "jaws", "hand"})


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DETERMINERS = _word_set(
    "a an the this that these those each every any some both all its your my one two three another other"
)
_GOAL_PREPOSITIONS = _word_set(
    "on onto in into inside to toward towards beside next over above under near behind at"
)
_OTHER_PREPOSITIONS = _word_set(
    "with using from of off out by for through along across around between up down away"
)
_VERBS = _word_set(
    "lift pick put place push pull move grasp grab take bring set drop stack slide open close turn press hold carry "
    "raise lower release reach touch insert remove pour rotate flip wipe fold hang throw give pass get go return "
    "keep find sort clear arrange lay leave align tip hand lean pack"
)
_FILLERS = _word_set(
    "and then or while until before after so but "
    "it them itself there here please carefully slowly gently quickly again back left right top bottom side middle "
    "centre center front rear edge end air together apart is are be"
)


@dataclass(frozen=True, slots=True)
class ObjectPhrase:
    """An object to look for.

    name: as the task or instruction says it ("red cube"); noun: its last word; colour: a basic colour term or None;
    role: "target" (acted upon), "goal" (where to), "robot" (the robot's own part) or "object".
    """

    name: str
    noun: str
    colour: str | None
    role: str


def parse_phrase(name: str, role: str = "object") -> ObjectPhrase:
    """Split one object name, such as "light red cube", into noun and colour; robot nouns get role "robot".

    "orange" as the last word is the fruit, and its own colour; otherwise it is an adjective.
    """
    words = _words(name)
    noun = words[-1] if words else name
    adjectives = words[:-1] if len(words) > 1 else words
    colour = next((COLOUR_WORDS[word] for word in adjectives if word in COLOUR_WORDS), None)
    if colour is None:
        colour = KNOWN_COLOURS.get(noun, KNOWN_COLOURS.get(noun.removesuffix("s")))
    if noun in ROBOT_NOUNS:
        role = "robot"
    return ObjectPhrase(name=name, noun=noun, colour=colour, role=role)


def parse_instruction(instruction: str) -> tuple[ObjectPhrase, ...]:
    """Noun phrases of an imperative sentence, in order, each name once.

    "put the red cube on the white plate" -> red cube (target), white plate (goal). A phrase after a preposition of
    place is a goal, one after "with" a plain object (or the robot's own part), all others are targets.
    A word that is neither determiner, preposition, conjunction, filler nor known verb belongs to a phrase; an unknown
    first word that a determiner follows is taken for the verb. `tests/unit/test_saliency_phrases.py` shows the reach.
    """
    found: dict[str, ObjectPhrase] = {}
    for sentence in re.split(r"[.;,!?\n]+", instruction):
        _parse_clause(_words(sentence), found)
    return tuple(found.values())


def _parse_clause(words: list[str], found: dict[str, ObjectPhrase]) -> None:
    if len(words) > 1 and words[1] in _DETERMINERS:
        words = words[1:]
    role, before = "target", "verb"
    phrase: list[str] = []

    for word in [*words, ""]:
        kind = _kind(word, before, inside_phrase=bool(phrase))
        if kind == "name":
            phrase.append(word)
        elif phrase:
            parsed = parse_phrase(" ".join(phrase), role)
            found.setdefault(parsed.name, parsed)
            phrase = []
        if kind == "verb":
            role = "target"
        elif kind == "goal":
            role = "goal"
        elif kind == "preposition" and before != "verb":  # "pick up the carrot" stays with the verb
            role = "object"
        if kind != "filler" or before != "determiner":  # "the left hand" is a name, as "the hand" is
            before = kind


def _kind(word: str, before: str, inside_phrase: bool) -> str:
    """What a word does. After a determiner or inside a name, verbs and sides are names: "the hand", "left box"."""
    if not word:
        return "end"
    if word in _DETERMINERS:
        return "determiner"
    if word in _GOAL_PREPOSITIONS:
        return "goal"
    if word in _OTHER_PREPOSITIONS:
        return "preposition"
    if word in _VERBS and before != "determiner" and not inside_phrase:
        return "verb"
    return "filler" if word in _FILLERS else "name"


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower())
