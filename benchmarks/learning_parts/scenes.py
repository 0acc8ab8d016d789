"""What the learning benchmark asks: tasks, conditions, what each is trained on and what it is tested on.

What varies in every scene: where the cubes, plate or tray stand (12 to 18 cm either way), the cubes' turn (15 degrees
to both sides), place, shape, turn and shade of two distractors, the operator's noise (6 mm, of one tick's memory 0.4).
Camera, robot and start pose stay. The table and the light change in `unseen` only.
"""

from __future__ import annotations

from dataclasses import dataclass

from autofocus_sim.phases import TASKS

__all__ = ["CONDITIONS", "TASKS", "TRAINING_SETS", "Condition"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One question to a policy. demonstrated: the simulator's condition of the demonstrations; tests: the simulator's
    conditions of the rollouts by the name of the cell; says: what is asked."""

    name: str
    demonstrated: str
    tests: dict[str, str]
    says: str


#: By name. `unseen` is asked of the policies that `nominal` trained: there are three training sets for a task.
CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("nominal", "nominal", {"as demonstrated": "nominal"}, "new places, nothing else new"),
        Condition("unseen", "nominal", {"broken": "unseen"},
                  "four distractors of unseen colours, another table, another light"),
        Condition("mate", "mate", {"as demonstrated": "mate", "broken": "mate_broken"},
                  "a big blue box always stood beside the red cube; now it stands somewhere else"),
        Condition("lamp", "lamp", {"as demonstrated": "lamp", "broken": "lamp_broken"},
                  "a lamp always showed the operator's phase; now it changes at random"),
    )
}
TRAINING_SETS: tuple[str, ...] = tuple(dict.fromkeys(condition.demonstrated for condition in CONDITIONS.values()))
