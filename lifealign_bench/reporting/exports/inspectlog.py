"""A log of inspect_ai, in its JSON format of version 2: the stream is the task, a test pair with its response a sample.

Every score is a scorer of the log, whose metrics are its mean over the stream's tasks (``mean``, ``stderr``) and its
value on each task, under the task's name. Values of shares are from 0 to 1.
"""

from __future__ import annotations

import json
from typing import Any

from lifealign_bench.config import safe_name
from lifealign_bench.reporting.exports.stage import CellValue, ExportedAnswer, StageExport, exact
from lifealign_bench.reporting.sharing.card import HOME

_VERSION = 2
_STOP = "unknown"  # whether a response ended or was cut is not written down


def inspect_files(stage: StageExport) -> dict[str, str]:
    """Path below the folder, which is inspect's log directory, to content. Named as inspect names its logs."""
    stream = safe_name(stage.view.group[0]).replace("_", "-")
    moment = stage.finished.isoformat(timespec="seconds").replace(":", "-")
    return {f"{moment}_{stream}_{_id(stage)}.json": json.dumps(_log(stage), indent=2, allow_nan=False) + "\n"}


def _id(stage: StageExport) -> str:
    return stage.identity[:22]


def _log(stage: StageExport) -> dict[str, Any]:
    record = stage.view.record
    answers = stage.answers
    return {
        "version": _VERSION,
        "status": "success",
        "eval": _spec(stage),
        "plan": {
            "name": "lifealign-bench",
            "steps": [{"solver": "generate", "params": {}}],
            "config": {"temperature": 0.0, "max_tokens": stage.most_tokens},
        },
        "results": {
            "total_samples": len(answers),
            "completed_samples": len(answers),
            "scores": [found for name, _, _ in stage.scores if (found := _score(stage, name)) is not None],
        },
        "stats": {"started_at": record.created, "completed_at": record.finished},
        "samples": [_sample(stage, answer) for answer in answers],
    }


def _spec(stage: StageExport) -> dict[str, Any]:
    view, record = stage.view, stage.view.record
    commit = record.git.get("commit")
    revision = {"type": "git", "origin": HOME, "commit": str(commit)[:40], "dirty": record.git.get("dirty")}
    return {
        "eval_id": _id(stage),
        "run_id": _id(stage),
        "created": record.created,
        "task": view.group[0],
        "task_id": _id(stage),
        "task_args": {"tasks": list(view.tasks), "seed": view.seed, "stage": stage.row.stage, "method": view.name},
        "dataset": {
            "name": view.group[0],
            "samples": len(stage.answers),
            "sample_ids": [answer.pair_id for answer in stage.answers],
            "shuffled": False,
        },
        "model": f"lifealign-bench/{stage.model_id}",
        "model_args": {"base_model": view.group[1], "fingerprint": record.model.fingerprint},
        "config": {"epochs": 1},
        **({"revision": revision} if commit else {}),
        "packages": {name: str(version) for name, version in record.versions.items() if name != "python"},
        "metadata": {"config_hash": record.config_hash, "protocol": view.protocol},
        "tags": ["lifealign-bench"],
    }


def _score(stage: StageExport, name: str) -> dict[str, Any] | None:
    """A score of the results; None where no task has it after the stage."""
    metrics: dict[str, Any] = {}
    mean = stage.mean(name)
    if mean is not None:
        metrics |= _metrics(stage, name, mean, "mean", "stderr")
    for task in stage.view.tasks:
        cell = stage.cell(name, task)
        if cell is not None:
            metrics |= _metrics(stage, name, cell, task, f"{task} stderr")
    if not metrics:
        return None
    scored = sum(name in answer.scores for answer in stage.answers)
    unscored = len(stage.answers) - scored
    return {
        "name": name,
        "scorer": name,
        "scored_samples": scored,
        "unscored_samples": unscored,
        "params": {},
        "metrics": metrics,
        "metadata": {"unit": stage.view.record.scores[name].measured_in},
    }


def _metrics(stage: StageExport, score: str, cell: CellValue, name: str, error: str) -> dict[str, Any]:
    scale = stage.view.record.scores[score].scale
    found = {name: {"name": name, "value": exact(cell.value / scale), "params": {}}}
    if cell.error is not None:
        found[error] = {"name": error, "value": exact(cell.error / scale), "params": {}}
    return found


def _sample(stage: StageExport, answer: ExportedAnswer) -> dict[str, Any]:
    said = {"role": "assistant", "content": answer.response, "source": "generate", "model": stage.model_id}
    prompt = [{"role": turn["role"], "content": turn["content"], "source": "input"} for turn in answer.prompt]
    return {
        "id": answer.pair_id,
        "epoch": 1,
        "input": prompt,
        "target": "",
        "messages": [*prompt, said],
        "output": {
            "model": stage.model_id,
            "choices": [{"message": said, "stop_reason": _STOP}],
            "completion": answer.response,
        },
        "scores": {name: {"value": exact(value), "answer": answer.response} for name, value in answer.scores.items()},
        "metadata": {"task": answer.task},
    }
