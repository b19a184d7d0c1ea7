"""A leaderboard as tables for people and as rows for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lifealign_bench.reporting.tables.comparison import OVER_SHARED
from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.reporting.tables.power import UNCLUSTERED
from lifealign_bench.results.columns import Column, columns
from lifealign_bench.results.computed import Computed
from lifealign_bench.results.inference import ENOUGH_SEEDS
from lifealign_bench.results.leaderboard import BASELINES, LEVEL, Apart, Board, Compared, Entry, corrected_for
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Estimate
from lifealign_bench.results.rankcorrelation import RankAgreement, agreement_text
from lifealign_bench.results.view import SCORE, WIN_RATE, score_title
from lifealign_bench.util.text import (
    DASH,
    clean,
    duration,
    file_size,
    number,
    operations,
    p_text,
    rounded,
    with_error,
    with_interval,
)

BOUND = "bound"
COMPUTED = "computed"
OLDER = (
    "Made under older rules: rates chosen on topics of the training pairs, unequal budgets, scores in the model's own "
    "type, another cppo and gem. What no longer holds is in docs/first-boards.md."
)
MOST_SHORT = 7  # rows of trained methods in a short table
_MOST_ROWS = 66  # twelve methods; more have all their differences in the JSON and in the figure
_UNKNOWN = Estimate(math.nan, math.nan, math.nan, math.nan, 0)
_EVEN = 50.0  # percent: as good as the base model


def board_grids(board: Board) -> list[Grid]:
    """The ranking, the differences, what training cost, and what is not ranked."""
    grids = []
    if board.entries:
        grids = [rank_grid(board), *_difference_grids(board), _cost_grid(board)]
    return [*grids, *([_apart_grid(board)] if board.apart else [])]


def rank_grid(board: Board) -> Grid:
    """Methods by their mean with the ranks they may have, the metric that is ranked by with its interval, the others
    with standard errors."""
    known = _known_columns(board)
    others = [name for name, column in known.items() if column.stands_on(board.score) and name != board.metric]
    usual = 1 if board.unit == "percent" else 2
    digits = [known[name].places(usual) for name in (board.metric, *others)]
    rows: list[tuple[Cell | str, ...]] = []
    for entry in board.entries:
        found = entry.estimates
        estimates = [found[name] for name in (board.metric, *others)]
        rows.append((_rank(entry), entry.method, *_cells(estimates, digits), str(len(entry.seeds))))
    for row in board.computed:
        estimates = [row.estimates.get(name, _UNKNOWN) for name in (board.metric, *others)]
        rows.append((COMPUTED, row.name, *_cells(estimates, digits), DASH))
    heads = ("ranks", "method", METRICS[board.metric].label, *(known[name].heading for name in others), "seeds")
    notes = (*_rank_notes(board), board.spent, *board.notes)
    return Grid(_title(board), heads, tuple(rows), notes, labels=2, lead=_lead(board))


def _cells(estimates: Sequence[Estimate], digits: Sequence[int]) -> list[Cell]:
    """What is ranked by with its interval in words, the others with standard errors; pages draw all intervals."""
    first, *others = zip(estimates, digits, strict=True)
    texts = [_with_interval(*first), *(with_error(e.value, e.standard_error, places) for e, places in others)]
    return [
        Cell(text, interval=(e.low, e.high) if math.isfinite(e.low) else None)
        for text, e in zip(texts, estimates, strict=True)
    ]


def short_rank_grid(board: Board, most: int | None = MOST_SHORT) -> Grid:
    """The same order in few columns, each number with its interval, and a line for each term: for readers who see a
    board for the first time. Seeds have a column where methods have more or fewer. Methods that are left out, and those
    without a rank (of one seed) where some have one, are named below it.

    Args:
        most: rows of trained methods, if what has to be there needs no more; None: all.
    """
    beside = SCORE if board.score == WIN_RATE else WIN_RATE
    # What is forgotten says nothing without what was learned.
    both = any(math.isfinite(entry.estimates[beside].value) for entry in board.entries)
    metrics = tuple(dict.fromkeys((board.metric, "learning", "forgetting", *([beside] if both else []))))
    digits = 1 if board.unit == "percent" else 2
    unranked = _unranked(board)
    candidates = [entry for entry in board.entries if entry.method not in unranked]
    left_out = [] if most is None else _left_out(candidates, board, most)
    several = len(_seed_counts(board)) > 1

    def row(rank: str, name: str, found: Mapping[str, Estimate], seeds: str) -> tuple[str, ...]:
        cells = (_with_interval(found.get(metric, _UNKNOWN), digits) for metric in metrics)
        return (rank, name, *cells, *([seeds] if several else []))

    shown = [entry for entry in candidates if entry not in left_out]
    rows = [row(_rank(entry), entry.method, entry.estimates, str(len(entry.seeds))) for entry in shown]
    rows += [row(COMPUTED, known.name, known.estimates, DASH) for known in _known_rows(board)]
    headings = columns()
    measured = [METRICS[m].label if m in METRICS else headings[m].heading for m in metrics]
    heads = ("rank set", "method", *measured, *(["seeds"] if several else []))
    marked = ("Made under older rules (docs/first-boards.md).",) if board.older else ()
    more = (f"Also ranked, on the whole board: {_by_ranks(left_out)}.",) if left_out else ()
    over = ("Methods are compared on seeds that both have.",) if several else ()
    few = (f"Unranked (too few seeds), only on the whole board: {', '.join(unranked)}.",) if unranked else ()
    notes = (*marked, *_terms(board), *over, *more, *few, board.spent, *_even_notes(board))
    return Grid(_title(board), heads, tuple(rows), notes, labels=2, lead=_lead(board))


def _by_ranks(entries: Sequence[Entry]) -> str:
    """Methods with their ranks, those of the same ranks together: ``kl (4-14); rft, dpo (5-14)``."""
    groups: dict[str, list[str]] = {}
    for entry in entries:
        groups.setdefault(_rank(entry), []).append(entry.method)
    return "; ".join(f"{', '.join(names)} ({ranks})" for ranks, names in groups.items())


def _left_out(entries: Sequence[Entry], board: Board, most: int) -> list[Entry]:
    """What a short table has no room for: its bounds, what may be the best and the baselines are always there."""
    first = {entry.method for entry in entries if entry.bound} | set(board.undecided) | set(BASELINES)
    kept = [entry for entry in entries if entry.method in first]
    others = [entry for entry in entries if entry.method not in first]
    return others[max(0, most - len(kept)) :]


def _unranked(board: Board) -> list[str]:
    """The methods that have no rank where others have one."""
    ranked = any(entry.ranks is not None for entry in board.entries)
    return [entry.method for entry in board.entries if ranked and entry.ranks is None and not entry.bound]


def _title(board: Board) -> str:
    unit = f" ({board.unit})" if board.unit else ""
    return f"{board.name}: {score_title(board.score)}{unit}"


def _seed_counts(board: Board) -> set[int]:
    """How many seeds methods have: those with a rank and the bounds, or all where none has one."""
    return {len(entry.seeds) for entry in board.entries if entry.method not in _unranked(board)}


def _terms(board: Board) -> list[str]:
    """What stands in ``short_rank_grid``, a line for each term."""
    label = METRICS[board.metric].label
    counts = _seed_counts(board)
    seeds = f"{min(counts)} seeds" if len(counts) == 1 and min(counts) > 1 else "seeds"
    terms = {
        "rank set": f"The ranks by {label}{_numbered(board)}, that a method may have: significant differences alone "
        f"({LEVEL:g}, Holm's correction) exclude one; rows by mean.",
        BOUND: "Trains on all tasks at once: not ranked.",
        COMPUTED: f"Not trained: {'; '.join(f'{row.name} is {row.meaning}' for row in _known_rows(board))}.",
        label: METRICS[board.metric].meaning,
        "learning": METRICS["learning"].meaning,
        "forgetting": METRICS["forgetting"].meaning,
        **_beside_term(board),
        "In brackets": f"95 % intervals, each on its own, over {seeds} and {_items(board)}.",
    }
    if not any(entry.bound for entry in board.entries):
        del terms[BOUND]
    if not _known_rows(board):
        del terms[COMPUTED]
    return [f"{term}: {meaning}" for term, meaning in terms.items()]


def _numbered(board: Board) -> str:
    return f", 1 to {len(board.ranked)}" if board.ranked else ""


def _beside_term(board: Board) -> dict[str, str]:
    wins = f"ften the response beats the base model's by the tasks' rewards, in percent; {_EVEN:g} is as good as it."
    if board.score == WIN_RATE:
        accuracy = "Preference accuracy at the end: of how many pairs the chosen answer gained more likelihood."
        return {"win rate": f"What this board measures: how o{wins}", "accuracy": accuracy}
    return {
        "win rate": "How often the response at the end beats the base model's by the tasks' rewards, in percent; "
        f"{_EVEN:g} is as good as the base model."
    }


def _known_rows(board: Board) -> list[Computed]:
    """The computed rows that have a number to rank by."""
    return [row for row in board.computed if board.metric in row.estimates]


def _computed_notes(board: Board) -> list[str]:
    return [
        f"{COMPUTED}: {row.name} was not trained and has no rank: {row.meaning}"
        + (f". It has no number here: {row.missing}." if row.missing else ".")
        for row in board.computed
    ]


def _lead(board: Board) -> str:
    """How much of an order the board shows, in one sentence."""
    ranked, label = board.ranked, METRICS[board.metric].label
    if len(ranked) < 2 and not all(entry.learned for entry in board.entries):
        return f"No ranks: fewer than two methods have {ENOUGH_SEEDS} seeds and learned their first task."
    if len(ranked) < 2:
        return (
            f"No ranks: fewer than two methods have {ENOUGH_SEEDS} seeds, and with fewer the effect of another seed "
            "is not known."
        )
    best = board.undecided
    if len(best) == 1:
        return f"{best[0]} is surely the best of {len(ranked)} methods by {label}."
    return f"{len(best)} of {len(ranked)} methods may be best by {label} (none is surely better): {', '.join(best)}."


def _rank_notes(board: Board) -> list[str]:
    label, count = METRICS[board.metric].label, len(corrected_for(board.differences))
    ranks = [
        f"ranks by {label}: from 1 + the number of methods that are surely better to {len(board.ranked)} - the number "
        f"that are surely worse; rows by mean. Surely: the difference, paired by seed and item, is significant at "
        f"{LEVEL:g} after Holm's correction for {count} comparisons, with seeds and items both in its p-value."
    ]
    notes = [
        *(ranks if board.ranked else []),
        f"In brackets: 95 % interval, each on its own, over {_items(board)} for one seed, over seeds and these for "
        "several; ±: one standard error, likewise.",
    ]
    if len(_seed_counts(board)) > 1:
        notes.append("Methods with other seeds are compared on those that both have, and not by the means of the rows.")
    if board.older:
        notes.insert(0, OLDER)
    if not board.clustered:
        notes.append(UNCLUSTERED)
    unlearned = [entry.method for entry in board.entries if not entry.learned]
    if unlearned:
        notes.append(
            f"{', '.join(unlearned)}: did not learn the first task: after its stage the 95 % interval of preference "
            "accuracy on it does not lie above the base model's. What a method forgets that learned nothing says "
            "nothing: it has no rank and counts for no other's."
        )
    few = [entry.method for entry in board.entries if entry.ranks is None and entry.learned and not entry.bound]
    if few:
        notes.append(
            f"{', '.join(few)}: no rank with fewer than {ENOUGH_SEEDS} seeds: what another seed of training would "
            "change "
            "is not known."
        )
    if any(entry.bound for entry in board.entries):
        notes.append(f"{BOUND}: trains all tasks at once; it is not a method for a stream and has no rank.")
    notes += _computed_notes(board)
    notes += [c.note for c in _known_columns(board).values() if c.note and c.stands_on(board.score)]
    return [*notes, *_fewer_seeds(board), *_even_notes(board), *_agreement_notes(board)]


def _fewer_seeds(board: Board) -> list[str]:
    """Which columns are not over all seeds of their row: what costs passes of its own may be measured in some."""
    notes: dict[str, list[str]] = {}
    for name, column in _known_columns(board).items():
        if column.stands_on(board.score) and name not in METRICS and (said := _seeds_said(board, name)):
            notes.setdefault(said, []).append(column.heading)
    return [f"{', '.join(heads)}: over fewer seeds than the row: {said}." for said, heads in notes.items()]


def _seeds_said(board: Board, column: str) -> str:
    """Over how many seeds a column is in which rows, where it is over fewer than these have: ``2 of dpo; 1 of all
    others``; empty where in none."""
    groups: dict[int, list[str]] = {}
    whole = False
    for entry in board.entries:
        seeds = entry.estimates[column].seeds
        if 0 < seeds < len(entry.seeds):
            groups.setdefault(seeds, []).append(entry.method)
        whole |= seeds == len(entry.seeds)
    # The most common number need not name its rows, if nobody else could be meant.
    by_size = sorted(groups.items(), key=lambda group: len(group[1]))
    said = [f"{seeds} of {', '.join(names)}" for seeds, names in by_size]
    if by_size and not whole:
        said[-1] = f"{by_size[-1][0]} {'of all others' if len(said) > 1 else 'each'}"
    return "; ".join(said)


def _agreement_notes(board: Board) -> list[str]:
    """Whether the methods would stand in the same order by what the responses are worth and by likelihoods."""
    if board.agreement is None:
        return []
    what = f"Order by win rate against order by preference accuracy, {METRICS[board.metric].label}"
    return [agreement_text(board.agreement, what)]


def _even_notes(board: Board) -> list[str]:
    """What is ranked by may rise while the responses fall apart, or stand while they get better; a rank hides both.
    Where it is the win rate itself, its column shows it."""
    if board.score == WIN_RATE:
        return []
    return [
        f"{_names(names, board)}: the 95 % interval of the win rate lies {word} {_EVEN:g}: the responses are "
        f"{'worse' if word == 'below' else 'better'} than the base model's by the tasks' rewards, whatever the rank."
        for word, names in (
            ("below", [e.method for e in board.entries if e.estimates["win_rate"].high < _EVEN]),
            ("above", [e.method for e in board.entries if e.estimates["win_rate"].low > _EVEN]),
        )
        if names
    ]


def _names(methods: Sequence[str], board: Board) -> str:
    return "all methods" if len(methods) == len(board.entries) > 1 else ", ".join(methods)


def _items(board: Board) -> str:
    """``80 independent items (120 test pairs)``."""
    if board.items == board.pairs:
        return f"the same {board.pairs} test pairs"
    return f"the same {board.items} independent items ({board.pairs} test pairs)"


def _difference_grids(board: Board) -> list[Grid]:
    """The planned comparisons, the others with a baseline, and of every two methods."""
    name = board.name
    label = METRICS[board.metric].label
    grids = []
    if board.plan is not None and board.planned:
        seen = f" when seeds {', '.join(map(str, board.plan.seen))} had been seen" if board.plan.seen else ""
        note = (
            f"Planned comparisons, written down on {board.plan.fixed}{seen}, p corrected (Holm) for the "
            f"{board.corrected_planned} of the list. The intervals are 95 % each."
        )
        grids.append(_compared(f"{name}: {label}, planned comparisons", board, board.planned, (note,)))
    against = board.screened if board.plan is not None else board.planned
    if against:
        named = " and ".join(dict.fromkeys(c.second for c in against))
        kind = "Planned comparisons: every method against" if board.plan is None else "Not planned: all others with"
        note = f"{kind} {named}{_counted(against, alone=True)}"
        grids.append(_compared(f"{name}: {label} against {named}", board, against, (note,)))
    if 1 < len(board.differences) <= _MOST_ROWS:
        note = f"Every method against every other{_counted(board.differences)}"
        grids.append(_compared(f"{name}: {label} of every two methods", board, board.differences, (note,)))
    return grids


def _counted(compared: Sequence[Compared], *, alone: bool = False) -> str:
    """The end of a table's first note: for how many comparisons its p-values are corrected."""
    count, intervals = len(corrected_for(compared)), "The intervals are 95 % each."
    if not count:
        return f"; none has a p-value. {intervals}"
    only = " alone" if alone else ""
    whole = f"{count} of these {len(compared)}{only}, as many as have one"
    which = f"these {count}{only}" if count == len(compared) else whole
    return f", p corrected (Holm) for {which}. {intervals}"


def _compared(title: str, board: Board, compared: Sequence[Compared], notes: tuple[str, ...]) -> Grid:
    digits = 1 if board.unit == "percent" else 2
    rows = []
    for c in compared:
        d = c.difference
        difference = with_interval(d.value, d.low, d.high, digits)
        rows.append((c.first, c.second, difference, p_text(d.p), p_text(c.corrected), c.better or DASH, str(d.shared)))
    missing = list(dict.fromkeys(c.difference.why for c in compared if c.difference.why))
    if len(_seed_counts(board)) > 1:
        notes += (OVER_SHARED,)
    notes += tuple(f"No p-value: {why}." for why in missing)
    if any(c.difference.shared < ENOUGH_SEEDS for c in compared if c.difference.why):
        notes += (f"Run all methods with the same {ENOUGH_SEEDS} seeds or more: --seed 0,1,2.",)
    heads = ("first", "second", "first - second", "p", "p (Holm)", "surely better", "seeds")
    return Grid(title, heads, tuple(rows), notes, labels=2)


def _cost_grid(board: Board) -> Grid:
    rows = []
    for entry in board.entries:
        cost = entry.cost
        rows.append(
            (
                entry.method,
                duration(cost.seconds),
                *(number(value, 0) for value in (cost.steps, cost.pairs, cost.tokens)),
                operations(cost.flops),
                _size(cost.memory),
                _size(cost.storage),
                f"{entry.learning_rate:g}",
                " ".join(map(str, entry.seeds)),
                " ".join(entry.commits),
                entry.date,
            )
        )
    heads = (
        *("method", "training", "steps", "pairs", "tokens", "FLOPs", "peak memory", "extra storage", "learning rate"),
        *("seeds", "commit", "date"),
    )
    notes = (
        "training: time of one run without scoring, mean over seeds, as all that follows; it also measures the machine "
        "and what else ran there, FLOPs do not; pairs, tokens: trained on, each as often as it was; FLOPs: operations "
        "of training, of the reference and of the passes that a method asks for, by formula; extra storage: what the "
        f"method keeps beside the adapter ({DASH}: not measured).",
        "learning rate: of the preference phase, or of what a method trains instead where a table of rates chose it.",
        "+: with changes that were not committed." if any("+" in c for e in board.entries for c in e.commits) else "",
    )
    title = f"{board.name}: cost and origin"
    return Grid(title, heads, tuple(rows), tuple(note for note in notes if note))


def _apart_grid(board: Board) -> Grid:
    return _reasons(f"{board.name}: not ranked", board.apart)


def broken_grid(broken: Sequence[Apart]) -> Grid:
    """Records that nothing can be said of."""
    return _reasons("Records that cannot be read", broken)


def _reasons(title: str, apart: Sequence[Apart]) -> Grid:
    return Grid(title, ("record", "reason"), tuple((a.place, a.reason) for a in apart), prose=(0, 1))


def _known_columns(board: Board) -> dict[str, Column]:
    """Those that have a value for any method."""
    return {
        name: column
        for name, column in columns().items()
        if any(not math.isnan(entry.estimates[name].value) for entry in board.entries)
    }


def _rank(entry: Entry) -> str:
    return BOUND if entry.bound else DASH if entry.ranks is None else str(entry.ranks)


def _size(value: float) -> str:
    return DASH if math.isnan(value) else file_size(round(value))


def _with_interval(estimate: Estimate, digits: int) -> str:
    return with_interval(estimate.value, estimate.low, estimate.high, digits)


def board_json(board: Board) -> dict[str, Any]:
    """Everything as plain JSON values."""
    return {
        "stream": board.stream,
        "model": board.model,
        "score": board.score,
        "metric": board.metric,
        "unit": board.unit,
        "budget": board.budget or None,
        "protocol": board.protocol,
        "test_pairs": board.pairs,
        "independent_items": board.items,
        "cannot_be_told_apart_from_the_best": list(board.undecided),
        "methods": [_entry_json(entry) for entry in board.entries],
        "computed": [_computed_json(row) for row in board.computed],
        "made_under_older_rules": board.older,
        "not_ranked": [asdict(apart) for apart in board.apart],
        "planned_comparisons": [_compared_json(c) for c in board.planned],
        "planned_on": None if board.plan is None else board.plan.fixed.isoformat(),
        "planned_seeds": None if board.plan is None else list(board.plan.seeds),
        "seeds_seen_when_planned": None if board.plan is None else list(board.plan.seen),
        "screened_comparisons": [_compared_json(c) for c in board.screened],
        "differences": [_compared_json(c) for c in board.differences],
        "win_rate_and_preference_accuracy": None if board.agreement is None else _agreement_json(board.agreement),
        "notes": [*_rank_notes(board), board.spent, *board.notes] if board.entries else list(board.notes),
    }


def _agreement_json(agreement: RankAgreement) -> dict[str, Any]:
    """The rank correlations of two orders of the methods."""
    found = {"kendall_tau": agreement.kendall, "spearman_rho": agreement.spearman}
    numbers = {name: {key: rounded(value) for key, value in c._asdict().items()} for name, c in found.items()}
    return {"methods": list(agreement.methods), **numbers, "why_no_number": agreement.why or None}


def _compared_json(compared: Compared) -> dict[str, Any]:
    d = compared.difference
    return {
        "first": compared.first,
        "second": compared.second,
        **{name: rounded(getattr(d, name)) for name in ("value", "low", "high", "standard_error", "p")},
        "p_holm": rounded(compared.corrected),
        "surely_better": compared.better or None,
        "seeds": list(d.seeds),
        "shared_seeds": d.shared,
        "why_no_p": d.why or None,
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "method": entry.method,
        "ranks": None if entry.ranks is None else [entry.ranks.best, entry.ranks.worst],
        "surely_better": [] if entry.ranks is None else list(entry.ranks.better),
        "surely_worse": [] if entry.ranks is None else list(entry.ranks.worse),
        "learned_first_task": entry.learned,
        "seeds": list(entry.seeds),
        "metrics": _metrics_json(entry.estimates),
        "training": {name: rounded(value) for name, value in asdict(entry.cost).items()},
        "learning_rate": entry.learning_rate,
        "commits": list(entry.commits),
        "date": entry.date,
    }


def _metrics_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: rounded(getattr(e, key)) for key in ("value", "low", "high", "standard_error")} | {"seeds": e.seeds}
        for name, e in estimates.items()
    }


def _computed_json(row: Computed) -> dict[str, Any]:
    return {
        "name": row.name,
        "meaning": row.meaning,
        "metrics": _metrics_json(row.estimates),
        "why_no_number": row.missing or None,
    }


def board_csv(boards: Sequence[Board], broken: Sequence[Apart]) -> str:
    """One line a method, then one a record that is not ranked."""
    lines = [row for board in boards for row in (*rank_rows(board), *computed_lines(board), *apart_rows(board))]
    lines += [_apart_line(apart) for apart in broken]
    columns = dict.fromkeys(name for line in sorted(lines, key=len, reverse=True) for name in line)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def rank_rows(board: Board) -> list[dict[str, Any]]:
    """One row a method, best first: the ranks it may have, every metric with interval and standard error, what training
    cost."""
    rows = []
    for entry in board.entries:
        best, worst = ("", "") if entry.ranks is None else (entry.ranks.best, entry.ranks.worst)
        row: dict[str, Any] = {**_board_names(board), "method": entry.method, "rank_best": best, "rank_worst": worst}
        row |= {"status": _status(entry), "seeds": " ".join(map(str, entry.seeds))}
        for name, found in entry.estimates.items():
            row |= {name: rounded(found.value), f"{name}_low": rounded(found.low), f"{name}_high": rounded(found.high)}
            row[f"{name}_standard_error"] = rounded(found.standard_error)
        row |= {f"training_{name}": rounded(value) for name, value in asdict(entry.cost).items()}
        row |= {"learning_rate": entry.learning_rate, "commits": " ".join(entry.commits), "date": entry.date}
        rows.append(row)
    return rows


def computed_lines(board: Board) -> list[dict[str, Any]]:
    """One row for every row that was computed and not trained, and has numbers."""
    lines = []
    for row in board.computed:
        if row.missing:
            continue
        line: dict[str, Any] = {**_board_names(board), "method": row.name, "status": COMPUTED}
        for name, found in row.estimates.items():
            line |= {name: rounded(found.value), f"{name}_low": rounded(found.low), f"{name}_high": rounded(found.high)}
            line[f"{name}_standard_error"] = rounded(found.standard_error)
        lines.append(line)
    return lines


def apart_rows(board: Board) -> list[dict[str, Any]]:
    """One row a record that is not ranked, and why."""
    return [{**_board_names(board), **_apart_line(apart)} for apart in board.apart]


def compared_rows(board: Board, found: Sequence[Compared]) -> list[dict[str, Any]]:
    """One row for each of a board's comparisons: ``value`` is first minus second."""
    names = _board_names(board)
    return [{**names, **_compared_json(c), "seeds": " ".join(map(str, c.difference.seeds))} for c in found]


def _board_names(board: Board) -> dict[str, Any]:
    names = {"stream": board.stream, "model": board.model, "budget": board.budget}
    return {**names, "score": board.score, "ranked_by": board.metric}


def _status(entry: Entry) -> str:
    if entry.bound:
        return "bound"
    if not entry.learned:
        return "did not learn its first task"
    return "too few seeds" if entry.ranks is None else "ranked"


def _apart_line(apart: Apart) -> dict[str, Any]:
    return {"method": apart.method, "status": "not ranked", "record": apart.place, "reason": apart.reason}


def _csv_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
