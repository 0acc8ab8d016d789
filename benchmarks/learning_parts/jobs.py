"""What the learning benchmark does: one job is one trained policy and its rollouts. The order is that of interest, so
that a run that is stopped has answered the most important questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from autofocus_training.names import NEEDS_MAPS

from learning_parts.scenes import TASKS, TRAINING_SETS

SEEDS = (0, 1, 2)
#: Each training seed has demonstrations of its own, so that what differs between seeds is also whose luck it was to be
#: shown the right corner of the table. Their scenes' first seeds are this far apart.
SEEDS_APART = 1000
ROLLOUTS = 50  # of each policy in each condition
DEMONSTRATIONS = 30
SWEEP = (5, 10, 15, 20, 60)
#: "automatic": maps from the project's own annotator; "privileged": the simulator's truth.
MAPS = ("automatic", "privileged")
#: "common": shift, colours and light, which need no annotation. "annotated": also distractors and swapped backgrounds,
#: which are safe only where it is known where the objects are. Whichever it is, every method gets the same.
AUGMENTATIONS = {"common": ("paste_shapes=0", "background_swap=0.0"), "annotated": ()}
#: Plain cloning, the paper's regulariser, ours, and the strongest of the rivals: what the claim stands on.
LEADERS = ("none", "gated", "reg-mse", "gril", "reg-share")
#: The strongest rivals with automatic maps: what they do with better ones is asked before the rest.
STRONGEST = ("reg-share", "mask", "igmd", "gril", "reg-mse")
#: Methods once more with settings that are not what did best for them: (method, settings). The paper's regulariser as
#: the paper has it, so that its claim is looked at, too.
ABLATIONS = {"reg-mse-paper": ("reg-mse", ("saliency_weight=5.0", "saliency_beta=1.0"))}
SWEPT = ("none", "reg-mse", "gated")
#: Settings that a task has of its own, the same for every method: the longer ones have four and nine times the frames.
TASK_SETTINGS = {"lift": (), "place": ("steps=4000",), "pack": ("steps=8000",)}


@dataclass(frozen=True, slots=True)
class Job:
    """One policy. shown: the condition of its demonstrations (scenes.TRAINING_SETS); method: the training's, or one of
    ABLATIONS; maps: see MAPS; augmentation: see AUGMENTATIONS."""

    task: str
    shown: str
    method: str
    maps: str
    demonstrations: int
    seed: int
    augmentation: str

    @property
    def key(self) -> str:
        """Its name in the records."""
        asked = (self.task, self.shown, self.method, self.maps, self.augmentation, self.demonstrations, self.seed)
        return "/".join(map(str, asked))


def needs_maps(method: str) -> bool:
    """Whether a method, or one of ABLATIONS, cannot be trained without maps."""
    return ABLATIONS.get(method, (method,))[0] in NEEDS_MAPS


def tests_of(shown: str) -> tuple[str, ...]:
    """The simulator's conditions that a policy trained on `shown` is rolled out in."""
    return ("nominal", "unseen") if shown == "nominal" else (shown, f"{shown}_broken")


def plan(methods: tuple[str, ...]) -> Iterator[Job]:
    """Every job of the benchmark, the most telling ones first; `methods`: all that there are."""
    done: set[str] = set()
    others = tuple(m for m in methods if m not in LEADERS)

    def group(tasks, shown, chosen, maps, augmentations, counts, seeds=SEEDS) -> Iterator[Job]:
        # Seeds outermost: a table of one seed says something before the next seed begins.
        for seed, task, count, condition, augmentation, method in product(
            seeds, tasks, counts, shown, augmentations, chosen
        ):
            job = Job(task, condition, method, maps, count, seed, augmentation)
            if job.key not in done:
                done.add(job.key)
                yield job

    lift, others_two, both = ("lift",), ("place", "pack"), tuple(AUGMENTATIONS)
    with_maps = tuple(m for m in methods if needs_maps(m))  # the others would be trained once more, to the last bit
    broken_first = ("mate", "lamp", "nominal")

    def leading(seed: int) -> Iterator[Job]:
        yield from group(lift, broken_first, LEADERS, "automatic", both, (DEMONSTRATIONS,), (seed,))
        yield from group(lift, broken_first, tuple(ABLATIONS), "automatic", ("common",), (DEMONSTRATIONS,), (seed,))

    def others_too(seed: int) -> Iterator[Job]:
        yield from group(lift, ("mate",), others, "automatic", ("common",), (DEMONSTRATIONS,), (seed,))

    def fewer(seed: int) -> Iterator[Job]:  # ours with a quarter of the demonstrations of plain cloning
        yield from group(lift, ("nominal",), ("gated",), "automatic", both, (15,), (seed,))
        yield from group(lift, ("nominal",), ("none",), "automatic", both, (60,), (seed,))

    def other_tasks(seed: int) -> Iterator[Job]:
        yield from group(others_two, broken_first, SWEPT, "automatic", ("annotated",), (60,), (seed,))

    def ours_there_alone(seed: int) -> Iterator[Job]:  # a promise is made of ours there with any augmentation
        yield from group(others_two, broken_first, ("gated",), "automatic", ("common",), (60,), (seed,))

    def sweep(seed: int) -> Iterator[Job]:
        yield from group(lift, ("mate", "nominal"), SWEPT, "automatic", ("common",), SWEEP, (seed,))

    def others_lamp(seed: int) -> Iterator[Job]:
        yield from group(lift, ("lamp",), others, "automatic", ("common",), (DEMONSTRATIONS,), (seed,))

    def other_conditions(seed: int) -> Iterator[Job]:
        yield from group(lift, broken_first, others, "automatic", ("common",), (DEMONSTRATIONS,), (seed,))

    def better_maps(seed: int) -> Iterator[Job]:
        yield from group(lift, ("mate", "lamp"), STRONGEST, "privileged", ("common",), (DEMONSTRATIONS,), (seed,))

    def privileged(seed: int) -> Iterator[Job]:
        yield from group(lift, broken_first, with_maps, "privileged", ("common",), (DEMONSTRATIONS,), (seed,))

    for part, chosen in ((leading, (0,)), (others_too, (0,)), (leading, SEEDS), (fewer, SEEDS), (others_too, SEEDS),
                         (other_tasks, (0,)), (sweep, (0,)), (better_maps, SEEDS), (others_lamp, SEEDS),
                         (other_conditions, SEEDS), (ours_there_alone, (0,)), (sweep, SEEDS), (other_tasks, SEEDS),
                         (privileged, SEEDS)):  # fmt: skip
        for seed in chosen:
            yield from part(seed)
    for seed in SEEDS:
        yield from group(lift, broken_first, others, "automatic", ("annotated",), (DEMONSTRATIONS,), (seed,))
        yield from group(others_two, broken_first, SWEPT, "automatic", ("common",), (60,), (seed,))
    yield from group(lift, broken_first, with_maps, "privileged", ("annotated",), (DEMONSTRATIONS,))
    yield from group(TASKS, TRAINING_SETS, methods, "automatic", both, (60,))
    yield from group(TASKS, TRAINING_SETS, SWEPT, "automatic", both, SWEEP)
