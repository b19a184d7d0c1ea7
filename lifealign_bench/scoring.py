"""Scoring after a stage: one forward pass a test set, generations where a scorer wants them, one row a test pair."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lifealign_bench.distributed import broadcast, is_main
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.files import atomic_path, write_json
from lifealign_bench.generate import cut_at
from lifealign_bench.generations import GENERATIONS, read_responses
from lifealign_bench.record import ScoreMatrix
from lifealign_bench.scorers import Scored, ScoreInfo, TaskView, score_infos
from lifealign_bench.session import Session
from lifealign_bench.stats import mean_and_se
from lifealign_bench.workload import scored_tasks

__all__ = ["GENERATIONS", "SCORES", "Cost", "score_matrices", "score_stage", "tasks_to_score"]

SCORES = "scores.parquet"
MOST_MISSING = 0.1  # share of a partial score's pairs that may be without a value


@dataclass(frozen=True)
class Cost:
    """Seconds and tokens by part: ``score`` (log-probabilities) and ``generate``."""

    seconds: dict[str, float]
    tokens: dict[str, int]


def tasks_to_score(session: Session, stage: int) -> list[str]:
    """The tasks that are scored after ``stage``: all, or those seen by then, or those trained in it alone."""
    return scored_tasks(session.config, session.method, list(session.data), stage)


def score_stage(
    session: Session, stage: int, folder: Path, weights: str, stopped: Callable[[], bool]
) -> tuple[Cost, dict[str, Any]]:
    """Score the model as it is; write ``scores.parquet`` and ``generations.jsonl`` into ``folder``.

    What is done is kept in ``folder/parts`` until the stage is scored: the responses, then task by task.

    Args:
        weights: names the weights that are scored; parts of other weights are not used.

    Returns:
        What it cost; and task to scorer to the facts that the scorers tell of it.

    Raises:
        Interrupted: the user asked to stop.
    """
    frames: list[pd.DataFrame] = []
    lines: list[str] = []
    cost = Cost({"score": 0.0, "generate": 0.0}, {"score": 0, "generate": 0})
    facts: dict[str, Any] = {}
    names = tasks_to_score(session, stage)
    responses = _responses(session, stage, names, folder / "parts" / "responses.json", weights, stopped, cost)
    for name in names:
        part = folder / "parts" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
        said = broadcast(_read_part(part, weights) if is_main() else None)
        if said is None:
            _stop_if_asked(stopped, stage)
            said = {"weights": weights, **_ask(session, stage, name)}
            if is_main():
                write_json(part, said)
        view = _view(session, stage, folder, name, said, responses.get(name))
        if is_main():
            frame, facts[name] = _score(session, view)
            frames.append(frame)
        lines += _generation_lines(session, view)
        cost.tokens["score"] += sum(p.tokens for p in session.test[name])
        cost.tokens["generate"] += sum(len(r) for r in responses.get(name, ()))
        cost.seconds["score"] += said["seconds"]
    if is_main():
        with atomic_path(folder / GENERATIONS) as temporary:
            temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        with atomic_path(folder / SCORES) as temporary:
            columns = ["task", "pair_id", *(info.name for info in score_infos(session.config))]
            frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
            frame.to_parquet(temporary, index=False)
    return cost, {task: found for task, found in facts.items() if found}


def _read_part(path: Path, weights: str) -> dict[str, Any] | None:
    try:
        part: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not there, or damaged by a full disk: it is computed again
    return part if part.get("weights") == weights else None


def _stop_if_asked(stopped: Callable[[], bool], stage: int) -> None:
    if broadcast(stopped()):
        raise Interrupted(f"Stopped while scoring after stage {stage}; what was scored so far is kept.")


def _responses(
    session: Session,
    stage: int,
    names: Sequence[str],
    file: Path,
    weights: str,
    stopped: Callable[[], bool],
    cost: Cost,
) -> dict[str, list[list[int]]]:
    """Responses (token ids) to the test prompts of the tasks that a scorer wants them of.

    All tasks' prompts are generated together: while the long answers of one task go on, the others' are done.
    """
    wanted = [n for n in names if "responses" in session.needs(n)]
    if not wanted:
        return {}
    kept = broadcast(_read_part(file, weights) if is_main() else None)
    if kept is None:
        _stop_if_asked(stopped, stage)
        session.progress.phase_started(stage, "generate", tuple(wanted), 0)
        clock = time.perf_counter()
        if stage == 0:
            texts = {
                n: session.base_respond([p.prompt for p in session.test[n]], session.data[n].card.stop) for n in wanted
            }
        else:
            prompts = [p.prompt for n in wanted for p in session.test[n]]
            stops = [session.data[n].card.stop for n in wanted for _ in session.test[n]]
            together = iter(session.respond(prompts, stops))
            texts = {n: [next(together) for _ in session.test[n]] for n in wanted}
        kept = {"weights": weights, "responses": texts, "seconds": time.perf_counter() - clock}
        if is_main():
            write_json(file, kept)
    cost.seconds["generate"] += kept["seconds"]
    responses: dict[str, list[list[int]]] = kept["responses"]
    return responses


def _ask(session: Session, stage: int, name: str) -> dict[str, Any]:
    """Log-probabilities by base and policy of a task's test pairs: plain values."""
    pairs = session.test[name]
    session.progress.phase_started(stage, "score", (name,), 0)
    clock = time.perf_counter()
    base = session.base_score(pairs)
    # Stage 0 is the untouched base model: nothing is computed twice for it.
    policy = base if stage == 0 else session.score(pairs)
    if not bool(torch.isfinite(policy).all()):
        raise BenchError(
            f"After stage {stage} the model gives nan or infinity as log-probability of test pairs of {name}.",
            "Training left weights that are no numbers. A lower learning_rate or float32 (--dtype) may help; that is "
            "another run, so give it another --out.",
        )
    return {"base": base.tolist(), "policy": policy.tolist(), "seconds": time.perf_counter() - clock}


def _view(
    session: Session,
    stage: int,
    folder: Path,
    name: str,
    said: Mapping[str, Any],
    responses: list[list[int]] | None,
) -> TaskView:
    pairs = session.test[name]
    stop = session.data[name].card.stop

    def texts(responses: list[list[int]] | None) -> tuple[str, ...] | None:
        if responses is None:
            return None
        decode = session.base.tokenizer.decode
        return tuple(cut_at(str(decode(ids, skip_special_tokens=True)), stop).strip() for ids in responses)

    before = read_responses(folder.parent / f"stage-{stage - 1}", name) if stage and responses is not None else {}
    ids = [p.pair.id for p in pairs]
    return TaskView(
        card=session.data[name].card,
        pairs=tuple(p.pair for p in pairs),
        policy=np.array(said["policy"], dtype=float),
        base=np.array(said["base"], dtype=float),
        lengths=np.array([[len(p.chosen), len(p.rejected)] for p in pairs], dtype=float),
        responses=texts(responses),
        base_responses=None if responses is None else texts(session.base_respond([p.prompt for p in pairs], stop)),
        previous_responses=tuple(before[i] for i in ids) if all(i in before for i in ids) else None,
        stage=stage,
        folder=folder,
    )


def _score(session: Session, view: TaskView) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One row a pair, one column a score; and scorer to the facts that it tells."""
    columns: dict[str, Any] = {"task": [view.card.name] * len(view.pairs), "pair_id": [p.id for p in view.pairs]}
    facts: dict[str, Any] = {}
    for name, scorer in session.scorers.items():
        scored = scorer.score(view) if scorer.applies(view.card) else Scored({})
        if scored.facts:
            facts[name] = scored.facts
        for info in scorer.infos(session.config):
            columns[info.name] = scored.values.get(info.name, np.full(len(view.pairs), math.nan))
    return pd.DataFrame(columns), facts


def _generation_lines(session: Session, view: TaskView) -> list[str]:
    if view.responses is None:
        return []
    return [
        json.dumps(
            {
                "task": view.card.name,
                "pair_id": pair.id,
                "prompt": [{"role": m.role, "content": m.content} for m in pair.prompt],
                "response": response,
            },
            ensure_ascii=False,
        )
        for pair, response in zip(view.pairs, view.responses, strict=True)
    ]


def score_matrices(
    tasks: Sequence[str], rows: Mapping[int, pd.DataFrame], stages: int, infos: Sequence[ScoreInfo]
) -> dict[str, ScoreMatrix]:
    """Score matrices from the per-pair scores.

    Args:
        tasks: the stream's N tasks.
        rows: row number of the matrix (0..N) to the scores after that stage.
        stages: N; rows without scores stay empty.
    """
    matrices = {}
    for info in infos:
        value: list[list[float | None]] = []
        error: list[list[float | None]] = []
        count: list[list[int]] = []
        for row in range(stages + 1):
            cells = [_cell(rows.get(row), task, info) for task in tasks]
            value.append([c[0] for c in cells])
            error.append([c[1] for c in cells])
            count.append([c[2] for c in cells])
        matrices[info.name] = ScoreMatrix(
            percent=info.percent,
            unit="percent" if info.percent else info.unit,
            partial=info.partial,
            value=value,
            standard_error=error,
            n=count,
        )
    return matrices


def _cell(frame: pd.DataFrame | None, task: str, info: ScoreInfo) -> tuple[float | None, float | None, int]:
    """Mean, standard error and number of one cell; a mean over some of the pairs is no value of the cell, but for
    partial scores with little missing."""
    if frame is None or info.name not in frame:
        return None, None, 0
    values = frame.loc[frame["task"] == task, info.name].to_numpy(dtype=float)
    if info.partial and np.isnan(values).mean() <= MOST_MISSING:
        values = values[~np.isnan(values)]
    if len(values) == 0 or np.isnan(values).any():
        return None, None, 0
    mean, error = mean_and_se(values)
    return mean * info.scale, None if math.isnan(error) else error * info.scale, len(values)
