"""Do the numbers of a board say what they promise? Simulated boards whose truth is known.

    python benchmarks/simulate_boards.py                       1,000 boards a case, some minutes
    python benchmarks/simulate_boards.py --boards 200 --output simulated.json

Every board has methods that are measured with the same seeds on the same items: five tasks of 24 pairs, in clusters of
one to three. A method's true score moves from seed to seed by a given number of points, in part alike for all methods;
whether a pair is answered right depends on that, on how hard its cluster and the pair itself are, alike for all
methods and seeds, for all seeds of one method, or for one run. Printed and written as JSON:

- false claims: how many of the boards of ten equal methods name a better one, by rule: the one in use, and others;
- unequal seeds: the same where some methods have more seeds than others, by the rule in use;
- power: how often a method that is 10 points better is found to be, beside a test that knows the variances;
- coverage: how often 95 % intervals hold the truth, of every kind that is published;
- plan: how often a difference is found that the planner says is found 80 times in 100.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from lifealign_bench.results.clusters import independent
from lifealign_bench.results.inference import p_value, seeds_share
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Estimate, PairedRuns, holm
from lifealign_bench.results.power import Components, Design, components, detectable
from lifealign_bench.results.spread import Parts, spread_of_differences
from lifealign_bench.results.statistics import metric_intervals

Array = NDArray[np.float64]
LEVEL = 0.05
TASKS, PAIRS = 5, 24
BETTER = 10.0  # points
_MIDDLE = 60.0  # percent: far from 100 for methods that are better by what three seeds can find


@dataclass(frozen=True)
class Truth:
    """What a board is drawn from.

    Args:
        seeds: of every method.
        spread: standard deviation of a method's true score over seeds, in points.
        wild: that of the last method, where it is another one.
        methods: on the board.
        lead: by how many points the first method is better than all others.
        level: the others' true score, in percent.
        together: correlation over seeds between methods.
        pairs: of each task.
        largest: pairs of the largest cluster.
    """

    seeds: int
    spread: float
    wild: float | None = None
    methods: int = 10
    lead: float = 0.0
    level: float = 75.0
    together: float = 0.36
    pairs: int = PAIRS
    largest: int = 3


# Shares of the variance of how hard an answer is: its cluster for all, the pair for all, the cluster for one method,
# the pair for one method; what is left is a run's own.
_HARD = {"cluster": 0.3, "pair": 0.1, "method's cluster": 0.2, "method's pair": 0.1, "run's cluster": 0.1}


def clusters_of(truth: Truth, rng: np.random.Generator) -> dict[str, NDArray[np.intp]]:
    """Clusters of one pair to the largest, drawn alike."""
    found = {}
    for task in range(TASKS):
        sizes = rng.integers(1, truth.largest + 1, size=truth.pairs)
        found[f"t{task}"] = np.repeat(np.arange(truth.pairs), sizes)[: truth.pairs].astype(np.intp)
    return found


def answers(
    truth: Truth, clusters: Mapping[str, NDArray[np.intp]], rng: np.random.Generator, correlated: int = 1
) -> list[list[dict[str, Array]]]:
    """Method to seed to task to answers (rows, pairs), 1 for a right one; the last row has the true score, those
    before it another one, of answers that are as hard.

    Args:
        correlated: number of rows.
    """
    spreads = np.full(truth.methods, truth.spread)
    if truth.wild is not None:
        spreads[-1] = truth.wild
    level = np.full(truth.methods, truth.level)
    level[0] += truth.lead
    common, own = rng.normal(size=(1, truth.seeds)), rng.normal(size=(truth.methods, truth.seeds))
    moved = np.sqrt(truth.together) * common + np.sqrt(1 - truth.together) * own
    share = np.clip((level[:, None] + spreads[:, None] * moved) / 100, 0.001, 0.999)
    bar = ndtri(share)
    runs: list[list[dict[str, Array]]] = [[{} for _ in range(truth.seeds)] for _ in range(truth.methods)]
    for task, labels in clusters.items():
        for_all = (1, 1, 1)
        drawn = {
            "cluster": rng.normal(size=(*for_all, labels.max() + 1))[..., labels],
            "pair": rng.normal(size=(*for_all, len(labels))),
            "method's cluster": rng.normal(size=(truth.methods, 1, 1, labels.max() + 1))[..., labels],
            "method's pair": rng.normal(size=(truth.methods, 1, 1, len(labels))),
            "run's cluster": rng.normal(size=(truth.methods, truth.seeds, 1, labels.max() + 1))[..., labels],
        }
        rest = rng.normal(size=(truth.methods, truth.seeds, correlated, len(labels)))
        hard = sum(np.sqrt(_HARD[name]) * value for name, value in drawn.items())
        right = (hard + np.sqrt(1 - sum(_HARD.values())) * rest < bar[:, :, None, None]).astype(np.float64)
        for method in range(truth.methods):
            for seed in range(truth.seeds):
                runs[method][seed][task] = right[method, seed]
    return runs


def last(matrices: Array) -> Any:
    """The metric: the mean over the tasks of the last row."""
    return matrices[..., -1, :].mean(axis=-1)


def names(methods: int) -> list[str]:
    """Of the methods of a board."""
    return [f"m{i}" for i in range(methods)]


def board(truth: Truth, rng: np.random.Generator) -> PairedRuns:
    """A board drawn from ``truth``."""
    clusters = clusters_of(truth, rng)
    runs = dict(zip(names(truth.methods), answers(truth, clusters, rng), strict=True))
    return PairedRuns(runs, 100.0, clusters=clusters, bounded=True)


@dataclass(frozen=True)
class Comparisons:
    """The differences of one board and what their errors are made of, (comparisons,)."""

    values: Array
    parts: Parts
    own: tuple[Array, Array]  # the seeds' variance of the mean of either method
    methods: int
    exchanged: Callable[[], Array]  # p-values of the exchange of pairs, which ignores the seeds
    pooled: Array  # the variance of the difference over seeds, if all methods had one spread


def comparisons(drawn: PairedRuns, methods: int) -> Comparisons:
    """Of every two methods."""
    found = [drawn.contributions(name, last) for name in names(methods)]
    pairs = list(combinations(range(methods), 2))
    first, second = np.array(pairs).T
    values = np.array([c.values.mean() for c in found])
    variance = np.array([c.values.var(ddof=1) / len(c.values) for c in found])
    singles = np.stack([_items(drawn, name) for name in names(methods)])

    def exchanged() -> Array:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(singles.shape[1], 9000))
        apart = singles[first] - singles[second]
        moved = np.abs(apart @ signs)
        extreme = (moved >= np.abs(apart.sum(axis=1))[:, None] - 1e-9).sum(axis=1)
        found: Array = (extreme + 1) / (signs.shape[1] + 1)
        return found

    return Comparisons(
        values[first] - values[second],
        spread_of_differences(found, pairs),
        (variance[first], variance[second]),
        methods,
        exchanged,
        variance[first] + variance[second],
    )


def _items(drawn: PairedRuns, name: str) -> Array:
    """What each pair adds to the mean over the seeds, (pairs,)."""
    alone = {task: np.arange(len(labels)) for task, labels in drawn.clusters.items()}
    runs = drawn._scores[name]
    return np.concatenate([100 * array.mean(axis=0)[-1] / len(alone[t]) / len(alone) for t, array in runs.items()])


# Rules: from comparisons to p-values that are then corrected, or to which of them are claimed.


def _student(c: Comparisons, variance: Array, degrees: Array) -> Array:
    found: Array = 2 * stdtr(degrees, -np.abs(c.values) / np.sqrt(np.maximum(variance, 1e-12)))
    return found


def _in_use(c: Comparisons) -> Array:
    share = seeds_share(c.parts, c.methods)
    ratio = c.values / np.sqrt(c.parts.total)
    return p_value(ratio, share, c.parts.seed_degrees, c.parts.item_degrees)


def _own_share(c: Comparisons) -> Array:
    """The same, with each comparison's own share of the seeds."""
    share = c.parts.own / np.maximum(c.parts.own + np.maximum(c.parts.shared, c.parts.floor), 1e-12)
    return p_value(c.values / np.sqrt(c.parts.total), share, c.parts.seed_degrees, c.parts.item_degrees)


def _satterthwaite(c: Comparisons) -> Array:
    """Student's with Satterthwaite's degrees of freedom, paired by seed."""
    total = c.parts.total
    below = c.parts.seeds**2 / c.parts.seed_degrees + c.parts.shared**2 / c.parts.item_degrees
    return _student(c, total, total**2 / np.maximum(below, 1e-12))


def _welch(c: Comparisons) -> Array:
    """The same, the seeds of two methods taken as independent."""
    first, second = c.own
    total = np.maximum(first + second + c.parts.shared, c.parts.items)
    below = (first**2 + second**2) / c.parts.seed_degrees + c.parts.shared**2 / c.parts.item_degrees
    return _student(c, total, total**2 / np.maximum(below, 1e-12))


def _cochran(c: Comparisons) -> Array:
    """Margins added in squares, each with its own quantile (Cochran), turned into a p-value."""
    levels = np.exp(np.linspace(np.log(1e-6), 0, 400))
    seeds = stdtrit(c.parts.seed_degrees, levels / 2) ** 2
    items = ndtri(levels / 2) ** 2
    margin = seeds[:, None] * c.parts.seeds + items[:, None] * c.parts.shared
    enough = c.values**2 >= margin
    return np.where(enough.any(axis=0), levels[enough.argmax(axis=0)], 1.0)


def _two_tests(c: Comparisons) -> Array:
    """The rule until now, as a p-value: the exchange of pairs corrected, and an interval of each that leaves out 0."""
    degrees = 2 * c.parts.seed_degrees
    margin = np.sqrt(stdtrit(degrees, 0.975) ** 2 * c.pooled + ndtri(0.975) ** 2 * c.parts.shared)
    corrected = np.array(holm(c.exchanged().tolist()))
    return np.where(np.abs(c.values) > margin, corrected, 1.0)


RULES: dict[str, Callable[[Comparisons], Array]] = {
    "in use": _in_use,
    "own share of the seeds": _own_share,
    "Satterthwaite, paired": _satterthwaite,
    "Satterthwaite, not paired": _welch,
    "Cochran's margins": _cochran,
    "exchange of pairs alone": lambda c: c.exchanged(),
    "until now: exchange corrected, interval not": _two_tests,
}
_CORRECTED = "until now: exchange corrected, interval not"  # by itself
_ALL_SEEDS = 5  # of the methods with more
CASES = [
    Truth(seeds, spread, wild)
    for seeds in (3, 5)
    for spread, wild in ((2.0, None), (4.0, None), (7.0, None), (2.7, 7.6))
]


def label(truth: Truth) -> str:
    """Of a case, for the table."""
    return f"{truth.seeds} seeds, spread {truth.spread:g}{'' if truth.wild is None else f', one {truth.wild:g}'}"


def draws(truth: Truth, boards: int, seed: int) -> Iterator[Comparisons]:
    """The comparisons of many boards."""
    rng = np.random.default_rng([seed, truth.seeds, round(10 * truth.spread), round(10 * truth.lead)])
    for _ in range(boards):
        yield comparisons(board(truth, rng), truth.methods)


def false_claims(truth: Truth, boards: int, rules: Sequence[str], seed: int = 1) -> dict[str, dict[str, float]]:
    """Rule to its shares of false claims on boards of equal methods: of one comparison, on a board whose comparisons
    are all corrected for, and on one that compares all methods with the first alone."""
    counted = {rule: np.zeros(3) for rule in rules}
    planned = truth.methods - 1
    for c in draws(truth, boards, seed):
        for rule in rules:
            p = RULES[rule](c)
            corrected = p if rule == _CORRECTED else np.array(holm(p.tolist()))
            few = p[:planned] if rule == _CORRECTED else np.array(holm(p[:planned].tolist()))
            counted[rule] += [(p < LEVEL).mean(), (corrected < LEVEL).any(), (few < LEVEL).any()]
    return {
        rule: dict(zip(("one comparison", "board", "board, planned"), (n / boards).tolist(), strict=True))
        for rule, n in counted.items()
    }


def unequal(truth: Truth, boards: int, more: int = 4, fewer: int = 3, seed: int = 5) -> dict[str, float]:
    """The share of boards of equal methods that name a better one, where the first ``more`` have all seeds and the
    others ``fewer``: of all pairs, of all but those of two methods with all seeds, each compared on the seeds that both
    have, and of the latter by themselves, as a plan is."""
    rng = np.random.default_rng([seed, truth.seeds, round(10 * truth.spread)])
    every = names(truth.methods)
    planned = list(combinations(every[:more], 2))
    rest = [pair for pair in combinations(every, 2) if pair not in planned]
    counted = np.zeros(3)
    for _ in range(boards):
        clusters = clusters_of(truth, rng)
        whole = dict(zip(every, answers(truth, clusters, rng), strict=True))
        runs = {name: own if name in every[:more] else own[:fewer] for name, own in whole.items()}
        drawn = PairedRuns(runs, 100.0, clusters=clusters, bounded=True)
        plan = PairedRuns({name: whole[name] for name in every[:more]}, 100.0, clusters=clusters, bounded=True)
        for place, (own, pairs) in enumerate(((drawn, planned + rest), (drawn, rest), (plan, planned))):
            p = holm([difference.p for difference in own.differences(pairs, last)])
            counted[place] += min(p) < LEVEL
    return dict(zip(("board", "without the plan", "plan"), (counted / boards).tolist(), strict=True))


def power_of(truth: Truth, boards: int, rules: Sequence[str], seed: int = 2) -> dict[str, dict[str, float]]:
    """Rule to how often the first method is found better than one of the others, and the same of a test that knows the
    variances: of one comparison, planned ones, all. The wild method, if there is one, is not counted."""
    planned = truth.methods - 1
    counted = planned - (truth.wild is not None)
    found: dict[str, list[Array]] = {rule: [] for rule in rules}
    values = []
    for c in draws(truth, boards, seed):
        values.append(c.values)
        for rule in rules:
            found[rule].append(RULES[rule](c))
    stacked = np.stack(values)
    known = 2 * ndtr(-np.abs(stacked) / stacked.std(axis=0))
    shares = {}
    for rule, p in {**{r: np.stack(v) for r, v in found.items()}, "knows the variances": known}.items():
        few = np.array([holm(row[:planned].tolist()) for row in p])
        every = np.array([holm(row.tolist()) for row in p])
        right = stacked[:, :counted] > 0
        shares[rule] = {
            "one comparison": float(((p[:, :counted] < LEVEL) & right).mean()),
            "planned": float(((few[:, :counted] < LEVEL) & right).mean()),
            "board": float(((every[:, :counted] < LEVEL) & right).mean()),
        }
    return shares


# Coverage


def coverage(
    boards: int, seed: int = 3, seeds: Sequence[int] = (3, 5, 10), spreads: Sequence[float] = (2.0, 4.0, 7.0)
) -> dict[str, float]:
    """Kind of interval to how often it holds the truth."""
    found: dict[str, float] = {}
    for level in (75.0, 95.0):
        rng = np.random.default_rng([seed, round(level)])
        held = {"one run": 0, "one run, by pair": 0}
        truth = Truth(1, 0.0, methods=1, level=level)
        for _ in range(boards):
            clusters = clusters_of(truth, rng)
            ((run,),) = answers(truth, clusters, rng)
            for kind, labels in (("one run", clusters), ("one run, by pair", None)):
                (interval,) = metric_intervals(run, 100.0, {"m": last}, clusters=labels, bounded=True).values()
                held[kind] += interval.low <= level <= interval.high
        found |= {f"{kind}, {level:g} %": count / boards for kind, count in held.items()}
    for count in seeds:
        for spread in spreads:
            truth = Truth(count, spread, methods=4)
            rng = np.random.default_rng([seed, count, round(10 * spread)])
            mean, apart = 0, 0.0
            for _ in range(boards):
                drawn = board(truth, rng)
                own = drawn.estimate("m0", last)
                mean += own.low <= truth.level <= own.high
                pairs = list(combinations(names(truth.methods), 2))
                apart += sum(d.low <= 0 <= d.high for d in drawn.differences(pairs, last)) / len(pairs)
            found[f"mean of {count} seeds, spread {spread:g}"] = mean / boards
            found[f"difference, {count} seeds, spread {spread:g}"] = apart / boards
    return found | _metric_coverage(boards, seed)


def _metric_coverage(boards: int, seed: int) -> dict[str, float]:
    """Of the other metrics: three tasks, five seeds; the truth is the mean over very many boards."""
    wanted = ("average_performance", "backward_transfer", "forgetting", "learning", "gain")
    rng = np.random.default_rng([seed, 99])
    truth = Truth(5, 3.0, methods=2)
    values: dict[str, list[Estimate]] = {name: [] for name in wanted}
    for _ in range(boards):
        clusters = {task: labels for task, labels in clusters_of(truth, rng).items() if task in ("t0", "t1", "t2")}
        runs = answers(truth, clusters, rng, correlated=4)
        for own in runs:
            for run in own:
                for column, task in enumerate(run):
                    # A task is learned in its own stage, and a little of it is lost in each stage that follows.
                    kept = [0.55, *(0.8 if row <= column else 1.0 - 0.1 * (row - column - 1) for row in range(1, 4))]
                    run[task] = run[task] * (rng.random(run[task].shape) < np.array(kept)[:, None])
        drawn = PairedRuns(dict(zip(names(2), runs, strict=True)), 100.0, clusters=clusters, bounded=True)
        for name in wanted:
            values[name].append(drawn.estimate("m0", METRICS[name].function))
    found = {}
    for name, estimates in values.items():
        truth_is = float(np.mean([e.value for e in estimates]))
        found[f"{name} of 5 seeds"] = float(np.mean([e.low <= truth_is <= e.high for e in estimates]))
    return found


# The planner


def realised(truth: Truth, boards: int, seed: int = 4) -> dict[str, float]:
    """The difference that the planner says is found 80 times in 100 on boards like these, and how often it is.

    The planner knows the variances from other boards, as it would from published records.
    """
    truth = replace(truth, level=_MIDDLE)
    rng = np.random.default_rng([seed, truth.seeds, round(10 * truth.spread)])
    known, items = [], []
    pairs = list(combinations(range(truth.methods), 2))
    for _ in range(boards):
        drawn = board(truth, rng)
        count = independent(drawn.clusters)
        known.append(components([drawn.contributions(n, last) for n in names(truth.methods)], pairs, count))
        items.append(count)
    mean = Components(*(float(np.mean([getattr(c, f) for c in known])) for f in ("seeds", "items", "rest")))
    design = Design(truth.seeds, round(float(np.mean(items))), TASKS, truth.methods)
    difference = detectable(mean, design)
    # Half up and half down, so that the spread is that of the boards the plan is made from.
    moved = replace(truth, lead=difference, level=truth.level - difference / 2)
    shares = power_of(moved, boards, ["in use"], seed)
    return {"difference": difference, "power": shares["in use"]["one comparison"]}


def simulate(boards: int, rules: Sequence[str]) -> dict[str, Any]:
    """Everything, by case."""
    with_lead = [replace(t, lead=BETTER, level=70.0) for t in CASES]
    return {
        "boards": boards,
        "false claims": {label(t): false_claims(t, boards, rules) for t in CASES},
        "unequal seeds": {label(t): unequal(t, boards) for t in CASES if t.seeds == _ALL_SEEDS},
        "power": {label(t): power_of(t, boards, ["in use"]) for t in with_lead},
        "coverage": coverage(boards),
        "plan": {label(t): realised(t, boards) for t in CASES if t.wild is None},
    }


def show(found: Mapping[str, Any]) -> None:
    """As tables of plain text."""
    print(f"{found['boards']} boards a case\n\nFalse claims on boards of ten equal methods, by rule")
    print("(share of comparisons; of boards, all corrected for; of boards, nine planned comparisons)")
    for case, rules in found["false claims"].items():
        print(f"  {case}")
        for rule, shares in rules.items():
            print(f"    {rule:45s} " + "  ".join(f"{share:.3f}" for share in shares.values()))
    print("\nFalse claims where four of ten methods have five seeds and the others three (all; others; the four)")
    for case, shares in found["unequal seeds"].items():
        print(f"  {case:30s} " + "  ".join(f"{share:.3f}" for share in shares.values()))
    print(f"\nPower for {BETTER:g} points (one comparison; planned; all)")
    for case, rules in found["power"].items():
        for rule, shares in rules.items():
            print(f"  {case:30s} {rule:22s} " + "  ".join(f"{share:.3f}" for share in shares.values()))
    print("\nCoverage of 95 % intervals")
    for kind, share in found["coverage"].items():
        print(f"  {kind:40s} {share:.3f}")
    print("\nThe difference that is said to be found with 80 %, and how often it is")
    for case, plan in found["plan"].items():
        print(f"  {case:30s} {plan['difference']:5.1f} points  {plan['power']:.3f}")


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=1000)
    parser.add_argument("--output", type=Path, help="write the numbers to this file")
    words = parser.parse_args()
    found = simulate(words.boards, list(RULES))
    show(found)
    if words.output is not None:
        words.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
