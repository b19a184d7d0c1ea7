"""Runs as a notebook has them: what came out of them as pandas frames, and shown as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import pandas as pd

from lifealign_bench.reporting.tables.comparison import comparison_grids, difference_grids
from lifealign_bench.reporting.tables.export import to_fragment
from lifealign_bench.reporting.tables.files import metric_rows, score_rows, task_rows
from lifealign_bench.reporting.tables.run import record_grids
from lifealign_bench.results.history import stage_responses
from lifealign_bench.results.record import Record
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import clean

_RUN = ("method", "stream", "model", "seed")
_INTERVAL = ("value", "low", "high", "standard_error")
_SCORES = (*_RUN, "score", "stage", "task", *_INTERVAL, "n")
_METRICS = (*_RUN, "score", "metric", *_INTERVAL)
_TASKS = (*_RUN, "score", "task")
_PAIRS = (*_RUN, "stage", "task", "pair_id")
_RESPONSES = (*_PAIRS, "response")
_AS_THEY_ARE = {"n", "method", "stream", "model", "seed", "score", "metric", "stage", "task", "pair_id", "response"}


class Run:
    """One run, finished or not, as its folder or its published record has it.

    Every frame begins with the columns ``method``, ``stream``, ``model`` and ``seed``, so that frames of several runs
    can stand below each other; every call makes a new one. A value that is not there is NaN.
    """

    def __init__(self, view: RunView) -> None:
        self._view = view

    @property
    def record(self) -> Record:
        """All that the run wrote down: settings, hashes, versions, hardware, scores, metrics."""
        return self._view.record

    @property
    def path(self) -> Path:
        """Its folder, or the file of its published record: what ``lb.read`` takes."""
        found = self._view.published or self._view.directory
        assert found is not None, "a run is read from somewhere"
        return found

    @property
    def method(self) -> str:
        """Its method's name."""
        return self._view.name

    @property
    def stream(self) -> str:
        """Its stream's name."""
        return self._view.group[0]

    @property
    def model(self) -> str:
        """Its base model's name."""
        return self._view.group[1]

    @property
    def seed(self) -> int:
        """Its seed."""
        return self._view.seed

    @property
    def status(self) -> str:
        """``complete``, ``interrupted`` or ``failed``; only a complete run has metrics."""
        return self._view.record.status

    @property
    def tasks(self) -> tuple[str, ...]:
        """Its tasks in the order of the stream."""
        return self._view.tasks

    @property
    def scores(self) -> pd.DataFrame:
        """One row a ``score``, ``stage`` (0: the base model) and ``task``: the mean over its ``n`` test pairs with its
        95 % interval (``low``, ``high``) and standard error."""
        return self._frame(score_rows(self._view), _SCORES)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a ``score`` and ``metric``, with its 95 % interval over the test pairs."""
        return self._frame(metric_rows(self._view), _METRICS)

    @property
    def per_task(self) -> pd.DataFrame:
        """One row a main ``score`` and ``task``: ``base``, ``learned``, ``final``, ``forgetting`` and ``change``, each
        with its standard error."""
        return self._frame(task_rows(self._view), _TASKS)

    @property
    def pairs(self) -> pd.DataFrame:
        """One row a ``stage``, ``task`` and test pair, one column a score; empty without per-pair scores."""
        rows = {row.row: row.stage for row in self._view.rows}
        blocks = [
            pd.DataFrame({"stage": rows[row], "task": task, "pair_id": block.ids, **block.values})
            for row, tasks in self._view.blocks.items()
            for task, block in tasks.items()
        ]
        return self._named(pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(), _PAIRS)

    @property
    def responses(self) -> pd.DataFrame:
        """One row a ``stage``, ``task`` and test pair: the greedy ``response``; empty for a published record, which has
        no texts, and where no scorer needed any."""
        rows = [
            {"stage": stage, "task": task, "pair_id": pair, "response": response}
            for stage, tasks in stage_responses(self._view).items()
            for task, pairs in tasks.items()
            for pair, response in pairs.items()
        ]
        return self._frame(rows, _RESPONSES)

    def _frame(self, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
        return self._named(pd.DataFrame(list(rows)), columns)

    def _named(self, frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
        """``frame`` with the run's columns first and numbers as numbers; at least with ``columns``."""
        found = frame.assign(method=self.method, stream=self.stream, model=self.model, seed=self.seed)
        found = found.reindex(columns=list(dict.fromkeys([*columns, *found.columns])))
        numbers = [name for name in found.columns if name not in _AS_THEY_ARE]
        return found.astype(dict.fromkeys(numbers, float))

    def __repr__(self) -> str:
        return clean(
            f"<Run {self.method} on {self.stream}, {self.model}, seed {self.seed}: {self.status}, {self.path}>"
        )

    def _repr_html_(self) -> str:
        return to_fragment(record_grids(self._view))


class Runs(Sequence[Run]):
    """Several runs, or one: a sequence of :class:`Run` whose frames are those of all of them, below each other."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs = tuple(runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> Runs: ...

    def __getitem__(self, index: int | slice) -> Run | Runs:
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __add__(self, others: Sequence[Run]) -> Runs:
        return Runs([*self._runs, *others])

    @property
    def scores(self) -> pd.DataFrame:
        """See :attr:`Run.scores`, as for all frames."""
        return self._all(lambda run: run.scores, _SCORES)

    @property
    def metrics(self) -> pd.DataFrame:
        """See :attr:`Run.metrics`."""
        return self._all(lambda run: run.metrics, _METRICS)

    @property
    def per_task(self) -> pd.DataFrame:
        """See :attr:`Run.per_task`."""
        return self._all(lambda run: run.per_task, _TASKS)

    @property
    def pairs(self) -> pd.DataFrame:
        """See :attr:`Run.pairs`."""
        return self._all(lambda run: run.pairs, _PAIRS)

    @property
    def responses(self) -> pd.DataFrame:
        """See :attr:`Run.responses`."""
        return self._all(lambda run: run.responses, _RESPONSES)

    def _all(self, frame: Callable[[Run], pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
        frames = [found for found in map(frame, self._runs) if len(found)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(columns))

    def __repr__(self) -> str:
        return "\n".join([f"<{len(self._runs)} runs>" if len(self._runs) != 1 else "<1 run>", *map(repr, self._runs)])

    def _repr_html_(self) -> str:
        """The tables of one run; of several their comparison."""
        if len(self._runs) == 1:
            return self._runs[0]._repr_html_()
        views = [run._view for run in self._runs]
        return to_fragment([*comparison_grids(views), *difference_grids(views)])
