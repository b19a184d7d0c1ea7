"""lm-eval's results: ``results_<time>.json``, and ``samples_<task>_<time>.jsonl`` for tasks with responses.

Its values are shares from 0 to 1, so what is a percentage in a record is divided by 100. The stream is a group whose
tasks are its own; the run's tests of general ability, which lm-eval itself asked, are tasks beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lifealign_bench.config import safe_name
from lifealign_bench.reporting.exports.stage import (
    CellValue,
    ExportedAnswer,
    StageExport,
    exact,
    of_response,
    plain_text,
)

_FILTER = "none"


def lmeval_files(stage: StageExport) -> dict[str, str]:
    """Path below the folder to content; the folder is what lm-eval calls the output path."""
    folder = stage.model_id.replace("/", "__")
    moment = stage.finished.replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    files = {f"{folder}/results_{moment}.json": json.dumps(_results(stage), indent=2, allow_nan=False) + "\n"}
    for task in stage.view.tasks:
        lines = [json.dumps(_sample(stage, i, answer)) for i, answer in enumerate(stage.answers_of(task))]
        if lines:
            # lm-eval itself takes a name's part up to its last line for the task.
            files[f"{folder}/samples_{safe_name(task)}_{moment}.jsonl"] = "\n".join(lines) + "\n"
    return files


def _results(stage: StageExport) -> dict[str, Any]:
    view, record = stage.view, stage.view.record
    stream, tasks = str(record.stream.get("name", view.group[0])), list(view.tasks)
    results = {task: _metrics(stage, task, {s: stage.cell(s, task) for s, _, _ in stage.scores}) for task in tasks}
    group = _metrics(stage, stream, {s: stage.mean(s) for s, _, _ in stage.scores})
    better = {score: True for score, _, _ in stage.scores}
    abilities, counts = _abilities(stage), {task: record.data[task].test_pairs for task in tasks if task in record.data}
    counts |= {name: ability.items for name, ability in record.abilities.items() if name in abilities}
    return {
        "results": {stream: group, **results, **abilities},
        "groups": {stream: group},
        "group_subtasks": {stream: tasks, **{name: [] for name in (*tasks, *abilities)}},
        "configs": {task: _config(stage, task) for task in tasks},
        "versions": {**{task: record.data[task].version for task in tasks if task in record.data}, stream: 1},
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {
            **dict.fromkeys((stream, *tasks), better),
            **{name: {record.abilities[name].metric: True} for name in abilities},
        },
        "n-samples": {task: {"original": count, "effective": count} for task, count in counts.items()},
        "config": {
            "model": "lifealign-bench",
            "model_args": {
                "pretrained": str(record.config.get("model")),
                "method": view.name,
                "stream": stream,
                "stage": stage.row.stage,
            },
            "model_num_parameters": record.model.parameters,
            "model_dtype": str(record.hardware.get("dtype", "")),
            "model_revision": record.model.revision,
            "batch_size": None,
            "device": record.hardware.get("device"),
            "limit": record.config.get("test_limit"),
            "gen_kwargs": {"do_sample": False, "max_gen_toks": stage.most_tokens},
            "random_seed": view.seed,
            "torch_seed": view.seed,
        },
        "git_hash": record.git.get("commit"),
        "date": stage.finished.timestamp(),
        "transformers_version": record.versions.get("transformers"),
        "lm_eval_version": record.versions.get("lm-eval"),
        "model_source": "lifealign-bench",
        "model_name": stage.model_id,
        "model_name_sanitized": stage.model_id.replace("/", "__"),
        "task_hashes": {task: record.data[task].test_digest for task in tasks if task in record.data},
        "total_evaluation_time_seconds": str(_seconds(stage)),
        "lifealign_bench_version": record.versions.get("lifealign-bench"),
    }


def _metrics(stage: StageExport, name: str, cells: Mapping[str, CellValue | None]) -> dict[str, Any]:
    """One task's, or the group's: ``<score>,none`` and ``<score>_stderr,none``."""
    found: dict[str, Any] = {"name": name, "alias": name}
    for score, cell in cells.items():
        if cell is None:
            continue
        scale = stage.view.record.scores[score].scale
        found[f"{score},{_FILTER}"] = exact(cell.value / scale)
        found[f"{score}_stderr,{_FILTER}"] = "N/A" if cell.error is None else exact(cell.error / scale)
        found["sample_len"] = max(found.get("sample_len", 0), cell.pairs)
    return found


def _abilities(stage: StageExport) -> dict[str, dict[str, Any]]:
    found = {}
    for name, ability in stage.view.record.abilities.items():
        said = ability.stages.get(str(stage.row.stage))
        if said is None or said.value is None:
            continue
        error = "N/A" if said.standard_error is None else exact(said.standard_error / 100)
        found[name] = {
            "name": name,
            "alias": name,
            "sample_len": ability.items,
            f"{ability.metric},{_FILTER}": exact(said.value / 100),
            f"{ability.metric}_stderr,{_FILTER}": error,
        }
    return found


def _config(stage: StageExport, task: str) -> dict[str, Any]:
    own = stage.view.record.data.get(task)
    facts = {} if own is None else {"version": own.version, "test_digest": own.test_digest}
    return {
        "task": task,
        "tag": str(stage.view.record.stream.get("name", stage.view.group[0])),
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "repeats": 1,
        "generation_kwargs": {"do_sample": False, "max_gen_toks": stage.most_tokens},
        "metadata": facts,
    }


def _sample(stage: StageExport, number: int, answer: ExportedAnswer) -> dict[str, Any]:
    prompt = plain_text(answer.prompt)
    scores = {
        name: exact(answer.scores[name])
        for name, _, said in stage.scores
        if of_response(said) and name in answer.scores
    }
    return {
        "doc_id": number,
        "doc": {"pair_id": answer.pair_id, "prompt": [dict(turn) for turn in answer.prompt]},
        "target": "",
        "arguments": {
            "gen_args_0": {"arg_0": prompt, "arg_1": {"do_sample": False, "max_gen_toks": stage.most_tokens}}
        },
        "resps": [[answer.response]],
        "filtered_resps": [answer.response],
        "filter": _FILTER,
        "metrics": list(scores),
        "doc_hash": answer.digest,
        "prompt_hash": _sha256(prompt),
        "target_hash": _sha256(""),
        **scores,
    }


def _seconds(stage: StageExport) -> float:
    """Of scoring after the stage."""
    own = next((s for s in stage.view.record.stages if s.index == stage.row.stage), None)
    return 0.0 if own is None else sum(own.seconds.get(part, 0.0) for part in ("generate", "score", "ability"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
