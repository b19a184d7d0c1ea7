"""A run's scores as the hub reads them: ``model-index`` in a card's metadata, and entries of ``.eval_results``.

The hub shows both on a model's page; the entries also count for the leaderboard of the data set that they name, see
https://huggingface.co/docs/hub/eval-results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.text import rounded

_SHOWN = ("last", "forgetting", "average_performance", "backward_transfer")
_TASK = {"type": "text-generation", "name": "Text Generation"}


def model_index(view: RunView, name: str, source: Mapping[str, str]) -> list[dict[str, Any]]:
    """Of the main scores: metrics of the whole stream, and of each task what it is after the last stage.

    Args:
        name: of the model.
        source: ``name`` and ``url`` of where the numbers come from.
    """
    stream, own = str(view.record.stream.get("name", view.group[0])), []
    whole = [
        _metric(view, score, f"{score}.{metric}", METRICS[metric].label, view.metric(score, metric))
        for score in view.main_scores()
        for metric in _SHOWN
    ]
    own.append(_result(stream, f"lifealign-bench, stream {stream}", whole, source))
    last = view.rows[-1].row
    for column, task in enumerate(view.tasks):
        cells = [
            _metric(view, score, score, "after the last stage", view.record.scores[score].array()[last, column])
            for score in view.main_scores()
        ]
        own.append(_result(task, f"lifealign-bench, task {task}", cells, source))
    return [{"name": name, "results": [found for found in own if found["metrics"]]}]


def _metric(view: RunView, score: str, kind: str, label: str, value: float) -> dict[str, Any] | None:
    if not math.isfinite(value):
        return None
    unit = view.record.scores[score].measured_in
    name = f"{score_title(score)}, {label}{f' ({unit})' if unit else ''}"
    return {"type": kind, "value": rounded(float(value)), "name": name}


def _result(kind: str, name: str, metrics: list[dict[str, Any] | None], source: Mapping[str, str]) -> dict[str, Any]:
    return {
        "task": dict(_TASK),
        "dataset": {"type": kind, "name": name, "split": "test"},
        "metrics": [metric for metric in metrics if metric is not None],
        "source": dict(source),
    }


def hub_results(view: RunView, benchmark: str, source: Mapping[str, str]) -> list[dict[str, Any]]:
    """The entries of a file in ``.eval_results``: what the run is ranked by; empty where that is not known.

    Args:
        benchmark: the hub's data set whose leaderboard it is for. The run's stream is one of its tasks, as a push of
            results writes them into its ``eval.yaml``.
    """
    score, stream = view.ranked_by, str(view.record.stream.get("name", view.group[0]))
    value = view.metric(score, "last")
    if not math.isfinite(value):
        return []
    return [
        {
            "dataset": {"id": benchmark, "task_id": stream},
            "value": rounded(value),
            "date": view.record.finished[:10],
            "source": dict(source),
            "notes": f"{score_title(score)} after the last stage, mean over {len(view.tasks)} tasks; method "
            f"{view.name}, base model {view.group[1]}, seed {view.seed}, {view.protocol}",
        }
    ]
