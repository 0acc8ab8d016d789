"""What was promised against what was measured, and ours against each rival."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autofocus_cli.demo.stats import wilson_interval

from learning_parts.jobs import ABLATIONS, DEMONSTRATIONS, MAPS, SWEEP, needs_maps
from learning_parts.tables import CLONING, COLUMNS, CONFOUNDED, OURS, Record, mean_success, name_of, select, success

#: Rows that are no rivals.
VARIANTS = (OURS, "gated-tight", "gated-union")
(PAPER,) = ABLATIONS
NOMINAL = ("nominal", "nominal")
LEVEL = 0.05
PAPERS_CLAIMS = (("confounded", CONFOUNDED), ("all conditions", COLUMNS))
VERDICTS = ("the rival is better", "not told apart", "ours is better")


@dataclass(frozen=True, slots=True)
class Target:
    """value: NaN where it is not measured yet; bound: what it must reach; strict: and exceed."""

    name: str
    value: float
    unit: str
    bound: float
    strict: bool = False

    @property
    def text(self) -> str:
        """The bound, as text."""
        return f"{'>' if self.strict else '>='} {self.bound:g}"

    @property
    def met(self) -> bool | None:
        """None where it is not measured yet."""
        if math.isnan(self.value):
            return None
        return self.value > self.bound if self.strict else self.value >= self.bound


def targets(records: Sequence[Record], augmentation: str) -> list[Target]:
    """Everything that was promised, measured or not, of records with one kind of augmentation; maps are the
    annotator's. The paper's own direction is asked of the common augmentation, which is nearest to the paper's."""
    records = select(records, augmentation=augmentation)
    automatic = select(records, maps="automatic")

    def of(method: str, task: str = "lift", demonstrations: int = DEMONSTRATIONS) -> list[Record]:
        return select(automatic, task=task, demonstrations=demonstrations, method=method)

    ours, cloning, paper = of(OURS), of(CLONING), of(PAPER)
    where = f"lift, {DEMONSTRATIONS} demonstrations"
    few = max(count for count in SWEEP if count <= 15)
    most = max(SWEEP)
    found = [
        Target(f"{where}: ours over BC, confounded", _ratio(ours, cloning, CONFOUNDED), "ratio", 2.04),
        Target(f"{where}: ours over BC, all conditions", _ratio(ours, cloning, COLUMNS), "ratio", 1.5),
        Target(f"{where}: ours, nominal", mean_success(ours, [NOMINAL]), "success", 0.95),
        Target(f"{where}: ours, unseen", mean_success(ours, [("nominal", "unseen")]), "success", 0.85),
        Target(f"{where}: ours, mate broken", mean_success(ours, CONFOUNDED[:1]), "success", 0.90),
        Target(f"{where}: ours, lamp broken", mean_success(ours, CONFOUNDED[1:]), "success", 0.90),
        Target(f"lift: ours with {few} demonstrations less BC with {most}, nominal",
               mean_success(of(OURS, demonstrations=few), [NOMINAL])
               - mean_success(of(CLONING, demonstrations=most), [NOMINAL]), "difference", 0.0),
    ]  # fmt: skip
    for task in ("place", "pack"):
        mine = of(OURS, task, most)
        found.append(Target(f"{task}, {most} demonstrations: ours, nominal", mean_success(mine, [NOMINAL]), "success",
                            0.8))  # fmt: skip
        found.append(Target(f"{task}, {most} demonstrations: ours, confounded", mean_success(mine, CONFOUNDED),
                            "success", 0.8))  # fmt: skip
    for words, columns in PAPERS_CLAIMS if augmentation == "common" else ():
        difference = mean_success(paper, columns) - mean_success(cloning, columns)
        found.append(Target(f"{where}: reg-mse, the paper's settings, less BC, {words}", difference, "difference",
                            0.0, strict=True))  # fmt: skip
    found.append(_against_best(records, ours, CONFOUNDED, f"{where}: ours less the best rival, confounded", True))
    found.append(_against_best(records, ours, [NOMINAL], f"{where}: ours less the best rival, nominal", False))
    return found


def _ratio(ours: Sequence[Record], theirs: Sequence[Record], columns: Iterable[tuple[str, str]]) -> float:
    """NaN where one is not measured, infinite where theirs is nothing at all."""
    columns = list(columns)
    over, under = mean_success(ours, columns), mean_success(theirs, columns)
    if math.isnan(over) or math.isnan(under):
        return math.nan
    return over / under if under else math.inf


def _against_best(
    records: Sequence[Record], ours: Sequence[Record], columns: Iterable[tuple[str, str]], name: str, strict: bool
) -> Target:
    columns = list(columns)
    best = {
        (method, maps): share
        for method, maps, theirs in rivals(records)
        if math.isfinite(share := mean_success(theirs, columns))
    }
    mine = mean_success(ours, columns)
    if not best or math.isnan(mine):
        return Target(name, math.nan, "difference", 0.0, strict)
    method, maps = max(best, key=best.__getitem__)
    # Who is best may change: the name, by which a figure is kept, does not say it.
    return Target(name, mine - best[method, maps], f"to {method}, {maps} maps", 0.0, strict)


def rivals(records: Sequence[Record]) -> list[tuple[str, str, list[Record]]]:
    """(method, maps, its records) of lift at DEMONSTRATIONS: all but ours and its variants; those that use no maps
    once."""
    chosen = select(records, task="lift", demonstrations=DEMONSTRATIONS)
    return [
        (method, maps, select(chosen, method=method, maps=maps))
        for maps in MAPS
        for method in dict.fromkeys(r["method"] for r in select(chosen, maps=maps))
        if method not in VARIANTS and (needs_maps(method) or maps == MAPS[0])
    ]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours against a rival, on the training seeds and confounded conditions that both have.

    difference: ours less theirs, with its 95 % interval low, high (Newcombe 1998, method 10); p: Fisher's exact test,
    two-sided; p_holm: corrected for the number of rivals (Holm 1979); ahead, policies: in how many pairs of policies
    with one training seed and condition ours has more successes, of how many.
    """

    method: str
    maps: str
    ours: tuple[int, int]
    theirs: tuple[int, int]
    low: float
    high: float
    p: float
    ahead: int
    policies: int
    p_holm: float = math.nan

    @property
    def difference(self) -> float:
        """Ours less theirs."""
        return self.ours[0] / self.ours[1] - self.theirs[0] / self.theirs[1]

    @property
    def rival(self) -> str:
        """The rival and its maps, in words."""
        return f"{name_of(self.method)} ({self.maps} maps)" if needs_maps(self.method) else name_of(self.method)

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
        if self.p_holm >= LEVEL:
            return VERDICTS[1]
        return VERDICTS[2] if self.difference > 0 else VERDICTS[0]


def comparisons(records: Sequence[Record]) -> list[Comparison]:
    """Ours with automatic maps against every rival with any maps, confounded, the best rival first; of records with one
    kind of augmentation."""
    ours = select(records, task="lift", demonstrations=DEMONSTRATIONS, method=OURS, maps="automatic")
    found = [c for method, maps, theirs in rivals(records) if (c := _compare(method, maps, ours, theirs)) is not None]
    found.sort(key=lambda c: c.p)
    corrected, largest = [], 0.0
    for rank, comparison in enumerate(found):
        largest = max(largest, min(1.0, (len(found) - rank) * comparison.p))
        corrected.append(replace(comparison, p_holm=largest))
    return sorted(corrected, key=lambda c: c.difference)


def _compare(method: str, maps: str, ours: Sequence[Record], theirs: Sequence[Record]) -> Comparison | None:
    from scipy.stats import fisher_exact

    pairs = []
    for shown, tested in CONFOUNDED:
        for mine in select(ours, shown=shown):
            for other in select(theirs, shown=shown, seed=mine["seed"]):
                pairs.append([success([record], shown, tested)[:2] for record in (mine, other)])
    if not pairs:
        return None
    a, n = (sum(mine[i] for mine, _ in pairs) for i in (0, 1))
    b, m = (sum(other[i] for _, other in pairs) for i in (0, 1))
    low, high = newcombe_interval(a, n, b, m)
    p = float(fisher_exact([[a, n - a], [b, m - b]]).pvalue)
    ahead = sum(mine[0] / mine[1] > other[0] / other[1] for mine, other in pairs)
    return Comparison(method, maps, (a, n), (b, m), low, high, p, ahead, len(pairs))


def newcombe_interval(a: int, n: int, b: int, m: int) -> tuple[float, float]:
    """95 % interval of a/n - b/m from their Wilson intervals (Newcombe 1998, Statistics in Medicine 17, method 10)."""
    p, q = a / n, b / m
    (low_p, high_p), (low_q, high_q) = wilson_interval(a, n), wilson_interval(b, m)
    return (
        p - q - math.hypot(p - low_p, high_q - q),
        p - q + math.hypot(high_p - p, q - low_q),
    )


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def comparison_table(found: Sequence[Comparison]) -> str:
    """Markdown; empty where there is nothing to compare."""
    if not found:
        return ""
    lines = [
        "| | rival | ours | ours less rival [95 %] | p | p, Holm | ours ahead in | verdict |",
        "|---" * 8 + "|",
    ]
    for c in found:
        lines.append(
            f"| {c.rival} | {c.theirs[0]}/{c.theirs[1]} | {c.ours[0]}/{c.ours[1]} "
            f"| {c.difference:+.2f} [{c.low:+.2f}, {c.high:+.2f}] | {_p(c.p)} | {_p(c.p_holm)} "
            f"| {c.ahead} of {c.policies} pairs | {c.verdict} |"
        )
    return "\n".join(lines) + "\n"
