"""A leaderboard and a comparison as a notebook has them: pandas frames, and shown as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from lifealign_bench.reporting.tables.comparison import (
    count_grid,
    metric_difference_grid,
    settings_grid,
    stage_grid,
    task_difference_grid,
)
from lifealign_bench.reporting.tables.export import to_fragment
from lifealign_bench.reporting.tables.leaderboard import apart_rows, board_grids, broken_grid, compared_rows, rank_rows
from lifealign_bench.results.comparison import Corrected, RunPair
from lifealign_bench.results.leaderboard import Apart, Board
from lifealign_bench.results.metrics import METRICS

_BOARD = ("stream", "model", "score", "ranked_by")
_DIFFERENCE = ("difference", "low", "high", "p", "p_holm")


class Leaderboard:
    """The boards of one or several streams and models. Every frame begins with ``stream``, ``model``, ``score`` and
    ``ranked_by``."""

    def __init__(self, boards: Sequence[Board], unreadable: Sequence[Apart] = ()) -> None:
        self._boards = tuple(boards)
        self._unreadable = tuple(unreadable)

    @property
    def ranks(self) -> pd.DataFrame:
        """One row a method, best mean first: the ranks it may have (``rank_best`` to ``rank_worst``; missing for a
        bound, which is no method for a stream, and where seeds are too few), and every metric with interval and
        standard error (``last``, ``last_low``, ``last_high``, ``last_standard_error``)."""
        ranks = ("rank_best", "rank_worst")
        metrics = [f"{name}{part}" for name in METRICS for part in ("", "_low", "_high", "_standard_error")]
        columns = (*_BOARD, "method", *ranks, "status", "seeds", *metrics)
        frame = _frame([row for board in self._boards for row in rank_rows(board)], columns)
        return frame.assign(**{name: pd.to_numeric(frame[name]).astype("Int64") for name in ranks})

    @property
    def differences(self) -> pd.DataFrame:
        """One row for every two methods that are no bounds: ``first`` minus ``second`` (``value``) in the metric that
        is ranked by, with its 95 % interval, its p-value, and that after Holm's correction (``p_holm``)."""
        return self._compared("differences")

    @property
    def planned(self) -> pd.DataFrame:
        """:attr:`differences` that are planned, corrected for these alone: those of the plan beside the records
        (``planned.yaml``), or of every method and a baseline."""
        return self._compared("planned")

    @property
    def screened(self) -> pd.DataFrame:
        """:attr:`differences` of a method and a baseline that a plan does not name, corrected for these alone; none
        without a plan."""
        return self._compared("screened")

    def _compared(self, which: Literal["differences", "planned", "screened"]) -> pd.DataFrame:
        rows = [row for board in self._boards for row in compared_rows(board, getattr(board, which))]
        return _frame(rows, (*_BOARD, "first", "second", "value", "low", "high", "standard_error", "p", "p_holm"))

    @property
    def not_ranked(self) -> pd.DataFrame:
        """One row a record that is not ranked: ``method``, ``record``, ``reason``."""
        rows = [row for board in self._boards for row in apart_rows(board)]
        rows += [{"record": apart.place, "reason": apart.reason} for apart in self._unreadable]
        return _frame(rows, (*_BOARD, "method", "record", "reason")).drop(columns="status", errors="ignore")

    def __repr__(self) -> str:
        boards = "; ".join(f"{board.name}, {len(board.entries)} methods" for board in self._boards)
        return f"<Leaderboard: {boards or 'empty'}>"

    def _repr_html_(self) -> str:
        grids = [grid for board in self._boards for grid in board_grids(board)]
        return to_fragment([*grids, *([broken_grid(self._unreadable)] if self._unreadable else [])])


class Comparison:
    """How runs differ from a first one, on the same test pairs. Every frame names the two in ``first`` and ``second``;
    ``difference`` is second minus first, with its 95 % interval, its p-value, and that after Holm's correction."""

    def __init__(self, pairs: Mapping[str, RunPair], first: str, settings: Mapping[str, Sequence[Any]]) -> None:
        self._pairs = dict(pairs)
        self._first = first
        self._settings = dict(settings)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a ``metric``, with the values of the two."""
        rows = [
            self._names(second)
            | {"metric": name, "first_value": pair.first.metric(pair.score, name)}
            | {"second_value": pair.second.metric(pair.score, name)}
            | _difference(found)
            for second, pair in self._pairs.items()
            for name, found in pair.metrics.items()
        ]
        return _frame(rows, (*_TWO, "metric", "first_value", "second_value", *_DIFFERENCE))

    @property
    def tasks(self) -> pd.DataFrame:
        """One row a ``task`` and what became of it (``what``: learned, final, forgetting)."""
        rows = [
            self._names(second) | {"task": task, "what": what} | _difference(found)
            for second, pair in self._pairs.items()
            for task, cells in pair.tasks.items()
            for what, found in cells.items()
        ]
        return _frame(rows, (*_TWO, "task", "what", *_DIFFERENCE))

    @property
    def stages(self) -> pd.DataFrame:
        """One row a ``stage`` and ``task``."""
        rows = [
            self._names(second) | {"stage": stage, "task": task} | _difference(found)
            for second, pair in self._pairs.items()
            for number, cells in pair.stages.items()
            for stage in [next((row.stage for row in pair.second.rows if row.row == number), number)]
            for task, found in cells.items()
        ]
        return _frame(rows, (*_TWO, "stage", "task", *_DIFFERENCE))

    @property
    def pairs(self) -> pd.DataFrame:
        """One row a test pair that the two score differently after the last stage, most first: scores and margins."""
        rows = [
            self._names(second)
            | {"task": p.task, "pair_id": p.pair_id, "first_value": p.first, "second_value": p.second}
            | {"first_margin": p.first_margin, "second_margin": p.second_margin}
            for second, pair in self._pairs.items()
            for p in pair.pairs
        ]
        values = ("first_value", "second_value", "first_margin", "second_margin")
        return _frame(rows, (*_TWO, "task", "pair_id", *values))

    @property
    def settings(self) -> pd.DataFrame:
        """One row a setting that is not the same in all runs, one column a run."""
        return pd.DataFrame.from_dict(self._settings, orient="index", columns=[self._first, *self._pairs])

    def _names(self, second: str) -> dict[str, Any]:
        return {"first": self._first, "second": second, "score": self._pairs[second].score}

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self._pairs)} with {self._first}>"

    def _repr_html_(self) -> str:
        grids = [settings_grid(self._settings_lists(), [self._first, *self._pairs])]
        for second, pair in self._pairs.items():
            grids += [
                metric_difference_grid(pair),
                task_difference_grid(pair),
                stage_grid(pair),
                count_grid(pair, self._first, second),
            ]
        return to_fragment(grids)

    def _settings_lists(self) -> dict[str, list[Any]]:
        return {name: list(values) for name, values in self._settings.items()}


_TWO = ("first", "second", "score")


def _difference(found: Corrected) -> dict[str, float]:
    d = found.difference
    return {"difference": d.value, "low": d.low, "high": d.high, "p": d.p, "p_holm": found.p}


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """``rows`` with at least ``columns``, in this order; a number that is not there is NaN."""
    frame = pd.DataFrame([{k: math.nan if v is None else v for k, v in row.items()} for row in rows])
    return frame.reindex(columns=list(dict.fromkeys([*columns, *frame.columns])))
