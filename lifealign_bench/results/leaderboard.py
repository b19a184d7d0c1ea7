"""The leaderboard: what each method of a stream and model reached, and which are significantly better than which.

A pure function of published records and their per-pair scores. A run that is not complete, or that cannot be compared
with the others, has no rank and takes part in no mean; it is listed apart with the reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.budgets import NOT_TRAINING, OPERATIONS, budget_of, budget_text, elsewhere_text, range_text
from lifealign_bench.results.checks import metric_problems, whole_problems
from lifealign_bench.results.columns import BoardRuns, columns
from lifealign_bench.results.comparison import METRIC, metric_function, paired_runs, ranking_score
from lifealign_bench.results.computed import Computed, computed_rows
from lifealign_bench.results.costs import Cost, cost_of
from lifealign_bench.results.firsttask import learned_nothing
from lifealign_bench.results.folder import record_file
from lifealign_bench.results.inference import ENOUGH_SEEDS
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Difference, Estimate, PairedRuns, holm
from lifealign_bench.results.planned import ComparisonPlan, choose, plan_beside
from lifealign_bench.results.power import Design, Precision
from lifealign_bench.results.published import digest_file, digest_problem, published_records
from lifealign_bench.results.rankcorrelation import RankAgreement, score_agreement
from lifealign_bench.results.ranksets import RankSet, rank_sets, undecided
from lifealign_bench.results.sameness import OF_TUNE, difference_of, method_key, run_key
from lifealign_bench.results.single import Neighbours
from lifealign_bench.results.statistics import mean_and_se
from lifealign_bench.results.view import SCORE, WIN_RATE, RunView
from lifealign_bench.util.registry import unknown_name

__all__ = [
    "BASELINES",
    "ENOUGH_SEEDS",
    "LEVEL",
    "METRIC",
    "NOT_TRAINING",
    "SCORE",
    "WIN_RATE",
    "Apart",
    "Board",
    "Compared",
    "Cost",
    "Entry",
    "corrected_for",
    "make_boards",
    "of_groups",
    "open_apart",
    "open_published",
]

LEVEL = 0.05
# What a stream's methods are held against, where a board has them: plain training, and the simplest thing that helps.
BASELINES = ("dpo", "replay")


@dataclass(frozen=True)
class Entry:
    """One method on a board.

    Args:
        method: its name.
        seeds: of its runs, sorted.
        ranks: that it may have, with the methods that are significantly better and worse; None for a bound, for a
            method with fewer than three seeds, and for one that did not learn its first task.
        bound: it trains all tasks at once and is no method for a stream.
        learned: False where its first stage did not bring its task above the base model, in preference accuracy; it has
            no rank and counts for no other's.
        estimates: column to its mean over the seeds with interval; see ``results.columns``.
        cost: of training.
        learning_rate: the one setting that methods may differ in: of the preference phase, or what was tuned.
        commits: of this repository, shortened; with ``+`` where there were changes that were not committed.
        date: when the last of the runs was finished (ISO).
    """

    method: str
    seeds: tuple[int, ...]
    ranks: RankSet | None
    bound: bool
    learned: bool
    estimates: dict[str, Estimate]
    cost: Cost
    learning_rate: float
    commits: tuple[str, ...]
    date: str


@dataclass(frozen=True)
class Apart:
    """A record that is on no board, and why."""

    place: str
    method: str
    reason: str


@dataclass(frozen=True)
class Compared:
    """A difference of two methods and its p-value after Holm's correction for all those of its table.

    Args:
        first, second: the methods; ``difference`` is first minus second.
        corrected: NaN where the difference has no p-value.
        better: which of them is significantly better; empty for neither.
    """

    first: str
    second: str
    difference: Difference
    corrected: float
    better: str


@dataclass(frozen=True)
class Board:
    """The methods of one stream, model and budget.

    Args:
        stream, model: their names.
        score, metric: what is ranked by.
        unit: of the score.
        entries: best mean first; bounds (all tasks trained at once) among them, without a rank.
        apart: what could not be ranked.
        differences: of every two methods that are no bounds, the one with the better mean first, corrected for all.
        planned: the comparisons that are planned (see ``planned``), corrected for these alone.
        screened: with a plan, all other comparisons of a method and a baseline, corrected for these; else none.
        plan: what ``planned`` was taken from; None: every method is compared with the baselines.
        pairs: test pairs in all tasks.
        items: independent ones; as many where no clusters are known.
        clustered: whether the records say which pairs belong together.
        precision: of a comparison of two ranked methods, or where fewer than two are, of two with enough seeds for a
            rank; None where fewer than two have these.
        planned_precision: of one of the plan's; None without a plan, or where fewer than two of its methods are there.
        computed: rows that were not trained, see ``computed``; they have no rank.
        older: whether a run was made under older rules: before lengths were written down, logits of scores were in
            float32 and single tokens were CPPO's.
        notes: what a reader should know.
        budget: of all its runs, see ``budgets.budget_name``; empty where they have none.
        spent: what that means, and how much training they had, in words.
        protocol: what a stage of its runs consists of; empty where it has none.
        agreement: of the order by win rate with that by preference accuracy, over the methods that learned their first
            task and are no bounds; None where none has both.
    """

    stream: str
    model: str
    score: str
    metric: str
    unit: str
    entries: tuple[Entry, ...]
    apart: tuple[Apart, ...]
    differences: tuple[Compared, ...] = ()
    planned: tuple[Compared, ...] = ()
    screened: tuple[Compared, ...] = ()
    plan: ComparisonPlan | None = None
    pairs: int = 0
    items: int = 0
    clustered: bool = False
    precision: Precision | None = None
    planned_precision: Precision | None = None
    computed: tuple[Computed, ...] = ()
    older: bool = False
    notes: tuple[str, ...] = ()
    budget: str = ""
    spent: str = ""
    protocol: str = ""
    agreement: RankAgreement | None = None

    @property
    def name(self) -> str:
        """Stream and model, the phases of a stage, and the budget where there is one."""
        budget = f"budget of {self.budget}" if self.budget else ""
        return ", ".join(filter(None, (f"{self.stream} on {self.model}", self.protocol, budget)))

    @property
    def corrected_planned(self) -> int:
        """For how many comparisons the planned ones are corrected."""
        return len(corrected_for(self.planned)) if self.plan is None else len(self.plan.comparisons)

    @property
    def ranked(self) -> tuple[Entry, ...]:
        """The methods that have a set of ranks, best mean first."""
        return tuple(entry for entry in self.entries if entry.ranks is not None)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The methods that may be best: those than which none is surely better."""
        return undecided({entry.method: entry.ranks for entry in self.entries if entry.ranks is not None})


@dataclass
class _Group:
    """The runs of a board while it is made: method to its comparable runs, and the others."""

    methods: dict[str, list[RunView]] = field(default_factory=dict)
    apart: list[Apart] = field(default_factory=list)


def open_published(folders: Sequence[Path]) -> tuple[list[RunView], list[Apart]]:
    """The published records in folders, and those that cannot be read.

    Raises:
        BenchError: no such folder; no record in them.
    """
    views, broken, neighbours = [], [], Neighbours()
    for folder in folders:
        if not folder.is_dir():
            raise BenchError(f"There is no folder {folder}.", "Name a folder of published records.")
        for file in published_records(folder):
            place = file.relative_to(folder).as_posix()
            found = open_apart(file, place, neighbours)
            if isinstance(found, Apart):
                broken.append(found)
            else:
                views.append(found)
    if not views and not broken:
        raise BenchError(
            f"There are no records in {', '.join(map(str, folders))}.", "Publish one: lifealign-bench submit RUN."
        )
    return views, broken


def open_apart(path: Path, place: str, neighbours: Neighbours | None = None) -> RunView | Apart:
    """A run among several, or why it cannot be read: one of them does not stand in the way of the others.

    Args:
        path: a record's file or a run's folder.
        place: what it is called where it is listed apart.
        neighbours: shared by the runs that are read together.
    """
    try:
        view = RunView.open(path, neighbours)
        _learning_rate(view)
    except BenchError as error:
        file = record_file(path)
        return Apart(place, "", error.message.replace(str(file), file.name).rstrip("."))
    except (KeyError, TypeError, ValueError):
        return Apart(place, "", "its configuration lacks the learning rate")
    return view


def of_groups(views: Sequence[RunView], streams: Sequence[str] = (), models: Sequence[str] = ()) -> list[RunView]:
    """The runs of these streams and models; none named: of all.

    Raises:
        UsageError: no run is of one that is named.
    """
    found = list(views)
    for what, wanted, position in (("stream", streams, 0), ("model", models, 1)):
        known = {view.group[position] for view in found}
        for name in wanted:
            if name not in known:
                raise unknown_name(f"{what} of these records", name, sorted(known))
        found = [view for view in found if not wanted or view.group[position] in wanted]
    return found


def make_boards(
    views: Sequence[RunView], score: str | None = None, metric: str = METRIC, baselines: Sequence[str] | None = None
) -> list[Board]:
    """One board for each stream, model and budget: what another budget does is no method's merit.

    They are in the order of the streams' names, of each the model with the most runs first.

    Args:
        score: what is ranked; None: each board by what its runs are judged by first, see ``ranking_score``.
        baselines: methods that all others are compared with, whatever was planned; None: the comparisons of the plan
            beside the records, and with those of :data:`BASELINES` that a board has.

    Raises:
        UsageError: an unknown metric; a score or a baseline that no record has.
        BenchError: the same seed of a method twice; a plan that cannot be read.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    known = {name for view in views for name in view.record.metrics}
    if views and score is not None and score not in known:
        raise unknown_name("score of these records", score, sorted(known))
    groups: dict[tuple[str, str, str], list[RunView]] = {}
    for view in views:
        groups.setdefault((*view.group, budget_of(view.record.config)), []).append(view)
    methods = sorted({view.name for view in views})
    for name in baselines or ():
        if name not in methods:
            raise unknown_name("method of these records", name, methods)
    if len(set(baselines or ())) < len(baselines or ()):
        raise UsageError("A baseline is named twice.", "Name each once.")
    wanted = BASELINES if baselines is None else tuple(baselines)
    boards = []
    runs = Counter(view.group for view in views)
    for *group, budget in sorted(groups, key=lambda place: (place[0], -runs[place[0], place[1]], *place[1:])):
        stream, model = group
        others = [other for *there, other in sorted(groups) if there == group and other != budget]
        own = groups[stream, model, budget]
        ranked = score or ranking_score(own)
        plan = plan_beside(own) if baselines is None else None
        if plan is not None and (plan.score, plan.metric) != (ranked, metric):
            plan = None
        board = _board((stream, model), own, ranked, metric, wanted, plan)
        notes = (*elsewhere_text(budget, others), *board.notes)
        boards.append(replace(board, budget=budget, spent=_spent(board, budget), notes=notes))
    return boards


def _spent(board: Board, budget: str) -> str:
    units = ("steps", "pairs", "tokens", OPERATIONS)
    spent = {name: [getattr(entry.cost, name.lower()) for entry in board.entries] for name in units}
    return f"{budget_text(budget)} {range_text(spent, budget.partition(' ')[0])}" if board.entries else ""


def _board(
    group: tuple[str, str],
    views: Sequence[RunView],
    score: str,
    metric: str,
    baselines: Sequence[str],
    plan: ComparisonPlan | None,
) -> Board:
    _refuse_duplicates(views)
    sorted_out = _sort_out(views, score, metric)
    methods = sorted_out.methods
    unit = next((v.record.scores[score].measured_in for own in methods.values() for v in own), "")
    if not methods:
        return Board(*group, score, metric, unit, (), tuple(sorted_out.apart))
    methods = _best_first(methods, score, metric)
    sequential = [name for name, own in methods.items() if own[0].sequential]
    enough = [name for name in sequential if len(methods[name]) >= ENOUGH_SEEDS]
    unlearned = _unlearned(methods, enough)
    ranked = [name for name in enough if name not in unlearned]
    measured = BoardRuns(methods, score, metric)
    runs = measured.ranked_by
    # What learned nothing stays among the comparisons: its going would make other differences significant.
    found = _differences(runs, list(combinations(sequential, 2)), metric)
    differences = _corrected(found, metric)
    chosen = choose(found, baselines, plan, {name: {view.seed for view in own} for name, own in methods.items()})
    held = measured if plan is None else _of_plan(measured, plan)
    # Of the methods and seeds of a plan alone: what joins must not move what they are held against.
    planned = chosen.planned if plan is None else _differences(held.ranked_by, list(chosen.planned), metric)
    ranks = rank_sets(ranked, [(a, b) for a, b in _surely(differences) if a in ranked and b in ranked])
    # Where nothing has a rank, the difference that would be found is that of all which are compared.
    held_apart = ranked if len(ranked) > 1 else enough
    tested = [(c.first, c.second) for c in differences if c.first in held_apart and c.second in held_apart]
    return Board(
        *group,
        score,
        metric,
        unit,
        tuple(_entry(name, measured, ranks.get(name), name not in unlearned) for name in methods),
        tuple(sorted_out.apart),
        differences=differences,
        planned=_corrected(planned, metric, 0 if plan is None else len(plan.comparisons)),
        screened=_corrected(chosen.screened, metric),
        plan=plan,
        pairs=0 if runs is None else runs.pairs,
        items=0 if runs is None else runs.items,
        clustered=any(view.clustered for own in methods.values() for view in own),
        precision=_precision(measured, held_apart, tested, len(corrected_for(differences))),
        planned_precision=None if plan is None else _plan_precision(held, planned, plan),
        computed=computed_rows(methods, score, baselines, WIN_RATE),
        older=any(_older(view) for own in methods.values() for view in own),
        notes=(*_notes(methods), *chosen.notes),
        protocol=next(v.protocol for own in methods.values() for v in own),
        agreement=score_agreement(
            {name: methods[name] for name in sequential if name not in unlearned}, WIN_RATE, SCORE, metric
        ),
    )


def _best_first(methods: Mapping[str, list[RunView]], score: str, metric: str) -> dict[str, list[RunView]]:
    sign = -1 if METRICS[metric].higher_is_better else 1
    means = {name: mean_and_se([view.metric(score, metric) for view in own])[0] for name, own in methods.items()}
    return {name: methods[name] for name in sorted(methods, key=lambda name: (sign * means[name], name))}


def _entry(name: str, measured: BoardRuns, ranks: RankSet | None, learned: bool) -> Entry:
    own = measured.methods[name]
    return Entry(
        method=name,
        seeds=tuple(view.seed for view in own),
        ranks=ranks,
        bound=not own[0].sequential,
        learned=learned,
        estimates={column: found.of(measured, name) for column, found in columns().items()},
        cost=cost_of(own),
        learning_rate=_learning_rate(own[0]),
        commits=tuple(dict.fromkeys(_commit(view.record.git) for view in own)),
        date=max(view.record.finished for view in own)[:10],
    )


def _older(view: RunView) -> bool:
    return any(data.chosen_longer is None for data in view.record.data.values())


def _refuse_duplicates(views: Sequence[RunView]) -> None:
    seen: dict[tuple[str, int], RunView] = {}
    for view in views:
        first = seen.setdefault((view.name, view.seed), view)
        if first is not view:
            raise BenchError(
                f"Seed {view.seed} of {view.name} is there twice: {first.published} and {view.published}.",
                "Take one of them away; a leaderboard counts each seed once.",
            )


def _sort_out(views: Sequence[RunView], score: str, metric: str) -> _Group:
    """Which runs can be compared. The measure is what most methods have; of several, what most runs have."""
    group = _Group()
    for view in sorted(views, key=lambda view: (view.name, view.seed)):
        reason = _reason(view, score, metric)
        if reason:
            group.apart.append(_apart(view, reason))
        else:
            group.methods.setdefault(view.name, []).append(view)
    for name, own in list(group.methods.items()):
        reason = difference_of({v.seed: run_key(v.record, score, v.pair_ids) | method_key(v.record) for v in own})
        if reason:
            group.apart += [_apart(view, f"the runs of {name} cannot be averaged: {reason}") for view in own]
            del group.methods[name]
    keys = {name: run_key(own[0].record, score, own[0].pair_ids) for name, own in group.methods.items()}
    frozen: dict[str, tuple[tuple[str, str], ...]] = {name: tuple(sorted(key.items())) for name, key in keys.items()}
    alike = Counter(frozen.values())
    runs = Counter(frozen[name] for name, own in group.methods.items() for _ in own)
    if alike:
        measure = dict(sorted(alike, key=lambda key: (-alike[key], -runs[key], key))[0])
        for name, key in keys.items():
            reason = difference_of({"the others": measure, name: key})
            if OF_TUNE in reason:
                reason += " (choose for all methods in one table: lifealign-bench tune, and run with --tuned)"
            if reason:
                group.apart += [
                    _apart(view, f"not comparable with the others: {reason}") for view in group.methods[name]
                ]
                del group.methods[name]
    return group


def _reason(view: RunView, score: str, metric: str) -> str:
    """Why a run cannot be ranked, whatever the others are; empty where it can."""
    if not view.complete:
        return f"not complete ({view.record.status})"
    edited = view.published is not None and digest_file(view.published).exists() and digest_problem(view.published)
    problems = (
        whole_problems(view.record)
        or metric_problems(view.record)
        or ([f"{edited} (lifealign-bench verify)"] if edited else [])
    )
    if problems:
        return problems[0]
    if score not in view.record.scores:
        return f"it has no score {score}"
    if math.isnan(view.metric(score, metric)):
        needs = " (it needs a run of single beside it)" if METRICS[metric].needs_single else ""
        return f"{METRICS[metric].label} is not defined for it{needs}"
    if not view.pair_scores(score):
        return "its per-pair scores are missing or not those of the record (lifealign-bench verify)"
    try:
        _ = view.clusters
    except BenchError as error:
        return error.message.rstrip(".")
    return ""


def _apart(view: RunView, reason: str) -> Apart:
    stream, model = view.group
    return Apart(f"{stream}/{model}/{view.name}/seed-{view.seed}", view.name, reason)


def _unlearned(methods: Mapping[str, Sequence[RunView]], names: Sequence[str]) -> list[str]:
    """Those of ``names`` that did not learn their first task: by what is trained, whatever the board's score."""
    runs = paired_runs({name: methods[name] for name in names}, SCORE, METRIC)
    return [] if runs is None else [name for name in names if learned_nothing(runs, name)]


def _differences(
    runs: PairedRuns | None, pairs: Sequence[tuple[str, str]], metric: str
) -> dict[tuple[str, str], Difference]:
    if runs is None:
        return {}
    return dict(zip(pairs, runs.differences(pairs, metric_function(metric)), strict=True))


def _corrected(
    differences: Mapping[tuple[str, str], Difference], metric: str, at_least: int = 0
) -> tuple[Compared, ...]:
    """With p-values corrected for these, or for so many: what is not there has one of 1."""
    known = [difference.p for difference in differences.values()]
    missing = at_least - sum(not math.isnan(p) for p in known)
    corrected = holm(known + [1.0] * missing)
    found = []
    for ((a, b), difference), p in zip(differences.items(), corrected, strict=False):
        winner = a if (difference.value > 0) == METRICS[metric].higher_is_better else b
        found.append(Compared(a, b, difference, p, winner if p < LEVEL else ""))
    return tuple(found)


def corrected_for(compared: Sequence[Compared]) -> list[Compared]:
    """Those of a table that its correction counts: the ones with a p-value."""
    return [c for c in compared if not math.isnan(c.corrected)]


def _surely(differences: Iterable[Compared]) -> list[tuple[str, str]]:
    """The better and the worse method of every significant difference."""
    return [(c.better, c.second if c.better == c.first else c.first) for c in differences if c.better]


def _precision(
    measured: BoardRuns, names: Sequence[str], tested: Sequence[tuple[str, str]], comparisons: int
) -> Precision | None:
    runs = measured.ranked_by
    if runs is None or len(names) < 2:
        return None
    own = [measured.methods[name] for name in names]
    shared = set.intersection(*({view.seed for view in views} for views in own))
    design = Design(len(shared), runs.items, len(own[0][0].tasks), len(names), comparisons)
    return Precision(design, runs.variances(tested, metric_function(measured.metric)))


def _of_plan(measured: BoardRuns, plan: ComparisonPlan) -> BoardRuns:
    """The runs of a plan's methods with its seeds, those that all of these methods have."""
    there = {name: measured.methods[name] for name in plan.methods if name in measured.methods}
    shared = plan.shared({name: {view.seed for view in own} for name, own in there.items()})
    chosen = {name: [view for view in own if view.seed in shared] for name, own in there.items()} if shared else {}
    return BoardRuns(chosen, measured.score, measured.metric)


def _plan_precision(
    held: BoardRuns, planned: Mapping[tuple[str, str], Difference], plan: ComparisonPlan
) -> Precision | None:
    tested = [pair for pair, difference in planned.items() if not math.isnan(difference.p)]
    names = [name for name in plan.methods if any(name in pair for pair in tested)]
    return _precision(held, names, tested, len(plan.comparisons))


def _learning_rate(view: RunView) -> float:
    """Of the preference phase, or the rate that a table of rates varied: not every method trains with the former."""
    tuned = view.record.tuned
    return float(view.record.config["training"]["learning_rate"] if tuned is None else tuned["chosen"])


def _commit(git: Mapping[str, Any]) -> str:
    commit = git.get("commit")
    return f"{str(commit)[:8]}{'+' if git.get('dirty') else ''}" if commit else "unknown"


def _notes(methods: Mapping[str, Sequence[RunView]]) -> tuple[str, ...]:
    notes = []
    for name, own in methods.items():
        if len({view.record.method.source_sha256 for view in own}) > 1:
            notes.append(f"The runs of {name} were made with different versions of its file.")
    machines = sorted({str(view.record.hardware.get("processor", "")) for own in methods.values() for view in own})
    if len(machines) > 1:
        notes.append(f"Seconds are of different machines: {', '.join(machines)}.")
    rates: dict[str, list[str]] = {}
    for name, own in methods.items():
        if own[0].sequential and own[0].single.rates:
            rates.setdefault(own[0].single.rates, []).append(name)
    if rates:
        listed = "; ".join(f"{said}: {', '.join(names)}" for said, names in rates.items())
        notes.append(f"intransigence is partly the rate's where single was trained at another one: {listed}.")
    return tuple(notes)
