"""The page docs/learning_results.md and its pictures, of however much there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from learning_parts.again import Repetition, again_part
from learning_parts.coverage import coverage, tray_sides
from learning_parts.jobs import AUGMENTATIONS, DEMONSTRATIONS, LEADERS, MAPS, ROLLOUTS, SEEDS, SWEEP
from learning_parts.plots import plot_conditions, plot_sweep
from learning_parts.scenes import TASKS
from learning_parts.tables import Record, looks, markdown, name_of, progress, select
from learning_parts.tuning import ROLLOUTS as TRIAL_ROLLOUTS
from learning_parts.tuning import tuning_table
from learning_parts.verdicts import VERDICTS, Comparison, Target, comparison_table, comparisons, targets

CONDITIONS_PICTURE, SWEEP_PICTURE = "learning_lift.png", "learning_sweep.png"
PLAIN_UNITS = ("success", "difference")  # which the target's name says already
LEADERS_PICTURE = "learning_leaders.png"  # for the README


def write_report(
    records: Sequence[Record], docs: Path, tried: Sequence[Record] = (), repeated: Sequence[Repetition] = ()
) -> list[Target]:
    """Write learning_results.md and images/learning_*.png in `docs`; the targets, those not measured yet, too. tried:
    records of the trials of methods' own settings; repeated: policies that were trained once more.

    A picture that there is nothing for yet is not written, and an old one of that name taken away.
    """
    images = docs / "images"
    drawn = []
    for name, done in (
        (CONDITIONS_PICTURE, plot_conditions(records, "lift", DEMONSTRATIONS, images / CONDITIONS_PICTURE)),
        (LEADERS_PICTURE, plot_conditions(records, "lift", DEMONSTRATIONS, images / LEADERS_PICTURE, LEADERS)),
        (SWEEP_PICTURE, plot_sweep(records, "lift", images / SWEEP_PICTURE)),
    ):
        if done:
            drawn.append(name)
        else:
            (images / name).unlink(missing_ok=True)
    promised = {kind: targets(records, kind) for kind in AUGMENTATIONS}
    parts = [_head(records), _target_list(promised), coverage("lift", records), tray_sides(records)]
    parts += _rival_parts({kind: comparisons(select(records, augmentation=kind)) for kind in AUGMENTATIONS})
    parts += _pictures(drawn)
    for task, maps, count, kind in product(TASKS, MAPS, sorted({*SWEEP, DEMONSTRATIONS}), AUGMENTATIONS):
        parts += _group(records, task=task, maps=maps, demonstrations=count, augmentation=kind)
    parts += [again_part(repeated), *_tuning_part(tried)]
    (docs / "learning_results.md").write_text("\n".join(part for part in parts if part))
    return [replace(t, name=f"{t.name}, {kind} augmentation") for kind, those in promised.items() for t in those]


def _head(records: Sequence[Record]) -> str:
    done, planned = progress(records)
    text = (
        "# Results of the learning benchmark\n\n"
        "Written by `python benchmarks/learning.py report` from `benchmarks/results/learning_runs.jsonl`; nothing here "
        "is typed by hand. What is asked of whom, and on which seeds: [learning.md](learning.md), "
        "[simulation.md](simulation.md).\n\n"
        f"Success of closed-loop rollouts, pooled over training seeds, with 95 % Wilson intervals: {ROLLOUTS} rollouts "
        "of each policy in each condition, the same scenes for all, on seeds that nothing was tuned on. `confounded` "
        "is mate broken and lamp broken together. An interval is of the rollouts: it does not know how much another "
        "training seed would have changed, and seeds are few (3 at most).\n\n"
        "Augmentation is the same for all methods: `common` is shift, colours and light; `annotated` also pastes "
        "distractors and swaps backgrounds, which needs to know where the objects are, so that plain cloning profits "
        "from the annotations, too.\n\n"
    )
    text += f"**{done} of {planned} planned policies are done"
    text += ".**" if done == planned else ": `-` is not measured yet, and a verdict on a part of the seeds may turn.**"
    commits = Counter(record["commit"] for record in records)
    listed = ", ".join(f"`{name}` ({count})" for name, count in commits.most_common())
    text += f" The records are from {len(commits)} commits: {listed}." if len(commits) > 1 else f" Commit {listed}."
    machines = Counter(record["machine"] for record in records)
    text += f" Machine: {'; '.join(machines)}. Seconds of training are wall-clock time of one thread, shared machine."
    return text + _settings(records) + "\n"


def _settings(records: Sequence[Record]) -> str:
    """Which methods were trained for one task with more than one setting of one kind of augmentation."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for record in records:
        found.setdefault((record["task"], record["method"], record["augmentation"]), set()).add(record["settings"])
    mixed = [f"{name_of(method)} ({task}, {kind})" for (task, method, kind), kinds in found.items() if len(kinds) > 1]
    return f" **Trained with more than one setting: {', '.join(mixed)}.**" if mixed else ""


def _target_list(promised: Mapping[str, Sequence[Target]]) -> str:
    words = {True: "met", False: "**missed**", None: "not measured yet"}
    rows = [(kind, target) for kind, those in promised.items() for target in those]
    counted = {
        kind: ", ".join(f"{sum(t.met is met for t in those)} {words[met].strip('*')}" for met in words)
        for kind, those in promised.items()
    }
    lines = [
        "## What was promised\n",
        "; ".join(f"{kind} augmentation: {said}" for kind, said in counted.items()) + ". Point estimates decide.\n",
        "| | augmentation | target | measured | |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for kind, target in sorted(rows, key=lambda row: (False, True, None).index(row[1].met)):
        value = "-" if target.met is None else f"{target.value:.2f} {'' if target.unit in PLAIN_UNITS else target.unit}"
        lines.append(f"| {target.name} | {kind} | {target.text} | {value.strip()} | {words[target.met]} |")
    return "\n".join(lines) + "\n"


def _rival_parts(found: Mapping[str, Sequence[Comparison]]) -> list[str]:
    measured = {kind: those for kind, those in found.items() if those}
    if not measured:
        return []
    head = (
        f"## Ours against each rival: lift, {DEMONSTRATIONS} demonstrations, confounded\n\n"
        "Ours has the annotator's maps. Compared on the training seeds and conditions that both have: their rollouts "
        "pooled, interval of Newcombe (1998), Fisher's exact test, two-sided, and the same corrected for the number of "
        "rivals (Holm). All policies meet the same scenes, but not every record says in which it failed, so this "
        "is the unpaired test: somewhat wide for the scenes. It is too narrow for the training: rollouts of one policy "
        f"are not independent, and there are at most {len(SEEDS)} seeds, so look at the pairs, too (one training seed, "
        "one condition).\n"
    )
    return [head, *(_rival_part(kind, those) for kind, those in measured.items())]


def _rival_part(kind: str, found: Sequence[Comparison]) -> str:
    by_verdict = {verdict: [c.rival for c in found if c.verdict == verdict] for verdict in VERDICTS}
    said = " ".join(
        f"**{verdict[0].upper() + verdict[1:]}** ({len(those)} of {len(found)}): {', '.join(those)}."
        for verdict, those in by_verdict.items() if those
    )  # fmt: skip
    return f"With {kind} augmentation. {said}\n\n{comparison_table(found)}"


def _pictures(drawn: Sequence[str]) -> list[str]:
    said = {
        CONDITIONS_PICTURE: f"Success by method and condition, lift, {DEMONSTRATIONS} demonstrations: who holds on to "
        "the right where the confounder is broken?",
        SWEEP_PICTURE: "Success against the number of demonstrations, lift: how far to the left does a curve begin?",
    }
    return [f"![{said[name]}](images/{name})\n\n*{said[name]}*\n" for name in drawn if name in said]


def _group(records: Sequence[Record], **fields: Any) -> list[str]:
    chosen = select(records, **fields)
    if not chosen:
        return []
    done, planned = progress(records, **fields)
    head = "## {task}, {demonstrations} demonstrations, {maps} maps, {augmentation} augmentation".format(**fields)
    head += f"\n\n{done} of {planned} planned policies.\n\n{markdown(chosen)}"
    seen = looks(chosen)
    if seen:
        head += "\nDoes it look? Held-out demonstrations; means over policies, whatever their demonstrations showed. "
        head += f"Moved: change of the action, in what the arm can do in one step.\n\n{seen}"
    return [head]


def _tuning_part(records: Sequence[Record]) -> list[str]:
    table = tuning_table(records)
    if not table:
        return []
    return [
        "## Each method's own settings\n\n"
        f"`python benchmarks/learning.py tune`: `lift` under the mate, {DEMONSTRATIONS} demonstrations, common "
        f"augmentation, training seed 0, {TRIAL_ROLLOUTS} rollouts in each condition, on seeds that are used for "
        "nothing else. In bold what the benchmark uses. The last rows: how long the longer tasks are trained, all "
        f"methods alike; {max(SWEEP)} demonstrations, annotated augmentation.\n\n{table}"
    ]
