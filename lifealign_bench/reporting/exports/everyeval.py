"""Records of Every Eval Ever, schema 0.3.0: one file of aggregates, and one of instances for scores of responses.

They lie where its datastore has them: ``data/<collection>/<developer>/<model>/<uuid>.json`` and
``<uuid>_samples.jsonl``. The schema: https://github.com/evaleval/every_eval_ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from lifealign_bench.reporting.exports.stage import (
    CellValue,
    ExportedAnswer,
    StageExport,
    exact,
    of_response,
    plain_text,
)
from lifealign_bench.reporting.sharing.card import HOME
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.record import ScoreMatrix
from lifealign_bench.results.scores import PERCENT, Said
from lifealign_bench.results.view import score_title

SCHEMA = "0.3.0"
_COLLECTION = "lifealign-bench"
_LEVELS = {"average_performance", "last", "learning"}  # metrics that are scores; the others are differences of some


def everyeval_files(stage: StageExport) -> dict[str, str]:
    """Path below the folder to content."""
    developer, _, model = stage.model_id.partition("/")
    place = f"data/{_COLLECTION}/{developer}/{model}/{stage.uuid}"
    instances = "".join(json.dumps(line, allow_nan=False) + "\n" for line in _instances(stage))
    content = _aggregate(stage)
    files = {}
    if instances:
        content["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": f"{place}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(instances.encode()).hexdigest(),
            "total_rows": instances.count("\n"),
        }
        files[f"{place}_samples.jsonl"] = instances
    return {f"{place}.json": json.dumps(content, indent=2, allow_nan=False) + "\n", **files}


def _evaluation_id(stage: StageExport) -> str:
    return f"{_COLLECTION}/{stage.model_id}/{stage.finished.timestamp()}"


def _aggregate(stage: StageExport) -> dict[str, Any]:
    record = stage.view.record
    return {
        "schema_version": SCHEMA,
        "evaluation_id": _evaluation_id(stage),
        "evaluation_timestamp": str(stage.finished.timestamp()),
        "retrieved_timestamp": str(stage.finished.timestamp()),
        "source_metadata": {
            "source_name": "lifealign-bench",
            "source_type": "evaluation_run",
            "source_organization_name": "lifealign-bench",
            "source_organization_url": HOME,
            "evaluator_relationship": "first_party",
            "additional_details": {"config_hash": record.config_hash, "protocol": stage.view.protocol},
        },
        "eval_library": {"name": "lifealign-bench", "version": str(record.versions.get("lifealign-bench", "unknown"))},
        "model_info": {
            "name": stage.model_id.partition("/")[2],
            "id": stage.model_id,
            "developer": stage.model_id.partition("/")[0],
            "inference_engine": {
                "name": "transformers",
                "version": str(record.versions.get("transformers", "unknown")),
            },
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "base_model": stage.view.group[1],
                "base_model_fingerprint": record.model.fingerprint,
                "method": stage.view.name,
                "stream": stage.view.group[0],
                "stage": str(stage.row.stage),
                "seed": str(stage.view.seed),
            },
        },
        "evaluation_results": [*_cells(stage), *_whole(stage)],
    }


def _cells(stage: StageExport) -> Iterator[dict[str, Any]]:
    """Every score on every task."""
    for task in stage.view.tasks:
        for name, matrix, said in stage.scores:
            cell = stage.cell(name, task)
            if cell is not None:
                yield _result(stage, task, name, _metric(name, matrix, said), _details(cell, matrix))


def _whole(stage: StageExport) -> Iterator[dict[str, Any]]:
    """Metrics of the whole run, which are known after its last stage."""
    view = stage.view
    if stage.row != view.rows[-1]:
        return
    for score in view.main_scores():
        matrix = view.record.scores[score]
        for name, info in METRICS.items():
            value = view.metric(score, name)
            if value != value:  # not defined
                continue
            bounds = _bounds(matrix, name in _LEVELS)
            metric = {
                "evaluation_description": info.meaning,
                "metric_id": f"lifealign-bench.{score}.{name}",
                "metric_name": f"{score_title(score)}: {info.label}",
                "metric_unit": matrix.measured_in or "points",
                "lower_is_better": not info.higher_is_better,
                "score_type": "continuous",
                **bounds,
            }
            details: dict[str, Any] = {"score": exact(value)}
            interval = view.interval(score, name)
            if interval is not None and interval.low == interval.low:
                ends = {"lower": exact(interval.low), "upper": exact(interval.high)}
                details["uncertainty"] = {
                    "confidence_interval": {**ends, "confidence_level": 0.95, "method": "bootstrap over test pairs"}
                }
            yield _result(stage, view.group[0], f"{score}.{name}", metric, details)


def _result(
    stage: StageExport, name: str, score: str, metric: dict[str, Any], details: dict[str, Any]
) -> dict[str, Any]:
    own = stage.view.record.data.get(name)
    facts = {} if own is None else {"version": str(own.version), "test_digest": own.test_digest}
    most = {} if stage.most_tokens is None else {"max_tokens": stage.most_tokens}
    return {
        "evaluation_result_id": f"{name}/{score}",
        "evaluation_name": name,
        "source_data": {"dataset_name": name, "source_type": "other", "additional_details": facts},
        "metric_config": metric,
        "score_details": details,
        "generation_config": {"generation_args": {"temperature": 0.0, **most}},
    }


def _metric(name: str, matrix: ScoreMatrix, said: Said) -> dict[str, Any]:
    return {
        "evaluation_description": f"{score_title(name)}, mean over the task's test pairs",
        "metric_id": f"lifealign-bench.{name}",
        "metric_name": score_title(name),
        "metric_unit": matrix.measured_in or "points",
        "lower_is_better": False,
        "score_type": "continuous",
        **_bounds(matrix, level=True),
        "additional_details": {"scorer": said.scorer, **({"judged_by": said.judged_by} if said.judged_by else {})},
    }


def _bounds(matrix: ScoreMatrix, level: bool) -> dict[str, Any]:
    """What values a score, or a difference of some, can have."""
    if not matrix.percent:
        return {"min_score": "-Infinity", "max_score": "Infinity"}
    return {"min_score": 0.0 if level else -PERCENT, "max_score": PERCENT}


def _details(cell: CellValue, matrix: ScoreMatrix) -> dict[str, Any]:
    found: dict[str, Any] = {"score": exact(cell.value)}
    if cell.error is not None:
        method = "analytic, by clusters of test pairs" if matrix.errors_by == "cluster" else "analytic"
        found["uncertainty"] = {
            "standard_error": {"value": exact(cell.error), "method": method},
            "num_samples": cell.pairs,
        }
    return found


def _instances(stage: StageExport) -> Iterator[dict[str, Any]]:
    """One line for each response and share that was scored of it; right is what has all of it."""
    for name, matrix, said in stage.scores:
        if not matrix.percent or not of_response(said):
            continue
        for answer in stage.answers:
            if name in answer.scores and answer.prompt:
                yield _instance(stage, name, answer)


def _instance(stage: StageExport, score: str, answer: ExportedAnswer) -> dict[str, Any]:
    value = answer.scores[score]
    text = plain_text(answer.prompt)
    several = len(answer.prompt) > 1
    turns = [*answer.prompt, {"role": "assistant", "content": answer.response}]
    messages = [{"turn_idx": i, "role": turn["role"], "content": turn["content"]} for i, turn in enumerate(turns)]
    counted = {"num_turns": len(messages)} if several else {}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": _evaluation_id(stage),
        "model_id": stage.model_id,
        "evaluation_name": answer.task,
        "evaluation_result_id": f"{answer.task}/{score}",
        "sample_id": answer.pair_id,
        "sample_hash": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "interaction_type": "multi_turn" if several else "single_turn",
        "input": {"raw": text, "reference": []},
        **({"messages": messages} if several else {"output": {"raw": [answer.response]}}),
        "answer_attribution": [],
        "evaluation": {"score": exact(value), "is_correct": value >= 1, **counted},
        "metadata": {"score": score},
    }
