"""A leaderboard as tables for people and as rows for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.results.leaderboard import ENOUGH_SEEDS, LEVEL, Apart, Board, Entry
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Estimate
from lifealign_bench.results.view import score_title
from lifealign_bench.util.text import DASH, clean, duration, file_size, number, with_error

__all__ = ["apart_rows", "board_csv", "board_grids", "board_json", "broken_grid", "rank_grid", "rank_rows"]

# Column -> heading, in the order in which they follow the metric that is ranked by.
_COLUMNS = {
    **{name: info.label for name, info in METRICS.items() if name != "gain"},
    "win_rate": "win rate",
    "ability": "ability change",
}
BOUND = "bound"
_EVEN = 50.0  # percent: as good as the base model


def board_grids(board: Board) -> list[Grid]:
    """The ranking, what training cost, and what is not ranked."""
    grids = [rank_grid(board), _cost_grid(board)] if board.entries else []
    return [*grids, *([_apart_grid(board)] if board.apart else [])]


def rank_grid(board: Board) -> Grid:
    """Methods by rank, the metric that is ranked by with its interval, the others with standard errors."""
    others = [name for name in _COLUMNS if name != board.metric and _any_known(board.entries, name)]
    digits = 1 if board.unit == "percent" else 2
    rows: list[tuple[Cell | str, ...]] = []
    for entry in board.entries:
        found = entry.estimates
        cells = [with_error(found[name].value, found[name].standard_error, digits) for name in others]
        rows.append(
            (_rank(entry), entry.method, _with_interval(found[board.metric], digits), *cells, str(len(entry.seeds)))
        )
    heads = ("rank", "method", METRICS[board.metric].label, *(_COLUMNS[name] for name in others), "seeds")
    unit = f" ({board.unit})" if board.unit else ""
    title = f"{board.stream} on {board.model}: {score_title(board.score)}{unit}"
    return Grid(title, heads, tuple(rows), (*_rank_notes(board), *board.notes), labels=2)


def _rank_notes(board: Board) -> list[str]:
    metric = METRICS[board.metric]
    notes = [
        f"rank by {metric.label}: 1 + the number of methods that are significantly better, by a randomization test "
        f"over the same {board.pairs} test pairs (level {LEVEL:g} after Holm's correction for {len(board.differences)} "
        f"comparisons) and, where both methods have {ENOUGH_SEEDS} seeds or more, by a 95 % interval of the difference "
        "over seeds and pairs that leaves out 0. Methods that share a rank have equally many better ones.",
        "In brackets: 95 % interval, over test pairs for one seed, over seeds and test pairs for several; ±: one "
        "standard error, likewise.",
    ]
    if any(len(entry.seeds) < ENOUGH_SEEDS for entry in board.entries):
        notes.append(
            f"With fewer than {ENOUGH_SEEDS} seeds, a rank leaves out what another seed of training would change."
        )
    if any(entry.rank is None for entry in board.entries):
        notes.append(f"{BOUND}: trains all tasks at once; it is no method for a stream and has no rank.")
    if _any_known(board.entries, "win_rate"):
        notes.append(
            "win rate: responses against the base model's after the last stage, percent, by the tasks' rewards."
        )
    # What is ranked by may rise while the responses fall apart, or stand while they get better; a rank hides both.
    for word, names in (
        ("below", [e.method for e in board.entries if e.estimates["win_rate"].high < _EVEN]),
        ("above", [e.method for e in board.entries if e.estimates["win_rate"].low > _EVEN]),
    ):
        if names:
            notes.append(
                f"{', '.join(names)}: the 95 % interval of the win rate lies {word} {_EVEN:g}: the responses are "
                f"{'worse' if word == 'below' else 'better'} than the base model's by the tasks' rewards, whatever the "
                "rank."
            )
    return notes


def _cost_grid(board: Board) -> Grid:
    rows = []
    for entry in board.entries:
        cost = entry.cost
        rows.append(
            (
                entry.method,
                duration(cost.seconds),
                number(cost.tokens, 0),
                _size(cost.memory),
                _size(cost.storage),
                f"{entry.learning_rate:g}",
                " ".join(map(str, entry.seeds)),
                " ".join(entry.commits),
                entry.date,
            )
        )
    heads = ("method", "training", "tokens", "peak memory", "extra storage", "learning rate", "seeds", "commit", "date")
    notes = (
        "training: seconds and tokens of one run without scoring, mean over seeds; extra storage: what the method "
        f"keeps beside the adapter ({DASH}: not measured).",
        "learning rate: of the preference phase, or of what a method trains instead where a table of rates chose it.",
        "+: with changes that were not committed." if any("+" in c for e in board.entries for c in e.commits) else "",
    )
    title = f"{board.stream} on {board.model}: cost and origin"
    return Grid(title, heads, tuple(rows), tuple(note for note in notes if note))


def _apart_grid(board: Board) -> Grid:
    return _reasons(f"{board.stream} on {board.model}: not ranked", board.apart)


def broken_grid(broken: Sequence[Apart]) -> Grid:
    """Records that nothing can be said of."""
    return _reasons("Records that cannot be read", broken)


def _reasons(title: str, apart: Sequence[Apart]) -> Grid:
    return Grid(title, ("record", "reason"), tuple((a.place, a.reason) for a in apart), prose=(0, 1))


def _any_known(entries: Sequence[Entry], name: str) -> bool:
    return any(not math.isnan(entry.estimates[name].value) for entry in entries)


def _rank(entry: Entry) -> str:
    return BOUND if entry.rank is None else str(entry.rank)


def _size(value: float) -> str:
    return DASH if math.isnan(value) else file_size(round(value))


def _with_interval(estimate: Estimate, digits: int) -> str:
    if math.isnan(estimate.value) or math.isnan(estimate.low):
        return number(estimate.value, digits)
    low, high = number(estimate.low, digits), number(estimate.high, digits)
    return f"{number(estimate.value, digits)} [{low}, {high}]"


def board_json(board: Board) -> dict[str, Any]:
    """Everything as plain JSON values."""
    return {
        "stream": board.stream,
        "model": board.model,
        "score": board.score,
        "metric": board.metric,
        "unit": board.unit,
        "test_pairs": board.pairs,
        "methods": [_entry_json(entry) for entry in board.entries],
        "not_ranked": [asdict(apart) for apart in board.apart],
        "differences": [
            {
                "first": a,
                "second": b,
                **{name: _plain(getattr(d, name)) for name in ("value", "low", "high", "p")},
                "p_holm": _plain(p),
                "seeds": list(d.seeds),
            }
            for a, b, d, p in board.differences
        ],
        "notes": [*_rank_notes(board), *board.notes] if board.entries else [],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "method": entry.method,
        "rank": entry.rank,
        "significantly_better": list(entry.better),
        "seeds": list(entry.seeds),
        "metrics": {
            name: {key: _plain(getattr(e, key)) for key in ("value", "low", "high", "standard_error")}
            for name, e in entry.estimates.items()
        },
        "training": {name: _plain(value) for name, value in asdict(entry.cost).items()},
        "learning_rate": entry.learning_rate,
        "commits": list(entry.commits),
        "date": entry.date,
    }


def board_csv(boards: Sequence[Board], broken: Sequence[Apart]) -> str:
    """One line a method, then one a record that is not ranked."""
    lines = [row for board in boards for row in (*rank_rows(board), *apart_rows(board))]
    lines += [_apart_line(apart) for apart in broken]
    columns = dict.fromkeys(name for line in sorted(lines, key=len, reverse=True) for name in line)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def rank_rows(board: Board) -> list[dict[str, Any]]:
    """One row a method, best first: its rank, every metric with interval and standard error, what training cost."""
    rows = []
    for entry in board.entries:
        row: dict[str, Any] = {**_board_names(board), "method": entry.method, "rank": entry.rank}
        row |= {"status": "bound" if entry.rank is None else "ranked", "seeds": " ".join(map(str, entry.seeds))}
        for name, found in entry.estimates.items():
            row |= {name: _plain(found.value), f"{name}_low": _plain(found.low), f"{name}_high": _plain(found.high)}
            row[f"{name}_standard_error"] = _plain(found.standard_error)
        row |= {f"training_{name}": _plain(value) for name, value in asdict(entry.cost).items()}
        rows.append(
            row | {"learning_rate": entry.learning_rate, "commits": " ".join(entry.commits), "date": entry.date}
        )
    return rows


def apart_rows(board: Board) -> list[dict[str, Any]]:
    """One row a record that is not ranked, and why."""
    return [{**_board_names(board), **_apart_line(apart)} for apart in board.apart]


def _board_names(board: Board) -> dict[str, Any]:
    return {"stream": board.stream, "model": board.model, "score": board.score, "ranked_by": board.metric}


def _apart_line(apart: Apart) -> dict[str, Any]:
    return {"method": apart.method, "status": "not ranked", "record": apart.place, "reason": apart.reason}


def _csv_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _plain(value: float) -> float | None:
    """JSON has no NaN; twelve digits hide the order of summation."""
    return None if math.isnan(value) else float(f"{value:.12g}")
