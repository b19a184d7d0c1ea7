"""Scoring after a stage: what the model says of the test sets, and the scorers' rows, one a test pair."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifealign_bench.models.chattemplate import stop_ids
from lifealign_bench.models.encode import spoken_lengths
from lifealign_bench.models.generate import cut_at
from lifealign_bench.models.rounding import rounding_noise
from lifealign_bench.results.folder import RunFolder, StageFolder, read_responses
from lifealign_bench.scoring.evidence import Evidence, Exam, Gathering
from lifealign_bench.scoring.scorer import TaskView
from lifealign_bench.scoring.scorers import score_infos, score_task
from lifealign_bench.util.distributed import is_main
from lifealign_bench.util.files import atomic_path


@dataclass(frozen=True)
class Known:
    """What an earlier scoring of the same weights left.

    Args:
        frame: its rows; columns of scorers that are not asked again are taken over.
        responses: task to token ids.
        content: seconds, tokens and facts.
    """

    frame: pd.DataFrame
    responses: Mapping[str, list[list[int]]] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)


def score_stage(
    exam: Exam,
    names: Sequence[str],
    stage: int,
    folder: Path,
    weights: str,
    stopped: Callable[[], bool],
    known: Known | None = None,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score the model as it is; write ``scores.parquet`` and ``generations.jsonl`` into ``folder``.

    What is done is kept in ``folder/parts`` until the stage is scored: the responses, then task by task.

    Args:
        names: the tasks that are scored after this stage.
        weights: names the weights that are scored; parts of other weights are not used.
        known: what an earlier scoring left, when scores are added.

    Returns:
        ``seconds`` and ``tokens`` by part, ``facts``: task to scorer to what it tells, and ``generation``: what
        generated the responses, where there are any; and, on rank 0, the rows of ``scores.parquet``.

    Raises:
        Interrupted: the user asked to stop.
    """
    gathering = Gathering(
        exam,
        stage,
        folder,
        weights,
        stopped,
        needs={name: exam.needs_after(name, stage) for name in names},
        known={} if known is None else known.responses,
    )
    responses = gathering.responses()
    frames: list[pd.DataFrame] = []
    lines: list[str] = []
    facts: dict[str, Any] = {}
    for name in names:
        view = _view(gathering, name, gathering.of(name, responses))
        if is_main():
            frame, facts[name] = _score(exam, view)
            frames.append(frame)
        lines += _generation_lines(view, responses.get(name))
    columns = ["task", "pair_id", "cluster", *(info.name for info in score_infos(exam.config))]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    if is_main():
        if known is not None:
            rows = _with_known(rows, known.frame)
        if lines or known is None:
            with atomic_path(StageFolder(folder).generations) as temporary:
                temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        rows = rows[columns]
        with atomic_path(StageFolder(folder).scores) as temporary:
            rows.to_parquet(temporary, index=False)
    cost = gathering.cost
    before = {} if known is None else known.content
    seconds = before.get("seconds", {})
    found = {
        "seconds": {part: seconds.get(part, 0.0) + cost.seconds.get(part, 0.0) for part in (seconds | cost.seconds)},
        "tokens": {**before.get("tokens", {}), **cost.tokens},
        "facts": {
            name: told for name in names if (told := {**before.get("facts", {}).get(name, {}), **facts.get(name, {})})
        },
    }
    engine = gathering.engine or before.get("generation", "")
    return (found | {"generation": engine} if engine else found), rows


def _with_known(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns that only the earlier scoring has."""
    keys = ["task", "pair_id"]
    earlier = known[[*keys, *(name for name in known.columns if name not in rows.columns)]]
    return rows.merge(earlier, on=keys, how="left", validate="one_to_one")


def _view(gathering: Gathering, name: str, evidence: Evidence) -> TaskView:
    exam, stage, folder = gathering.exam, gathering.stage, gathering.folder
    pairs = exam.pairs[name]
    stop = exam.cards[name].stop
    unknown = np.full((len(pairs), 2), math.nan)

    def texts(responses: list[list[int]]) -> tuple[str, ...]:
        decode = exam.speaker.tokenizer.decode
        return tuple(cut_at(str(decode(ids, skip_special_tokens=True)), stop).strip() for ids in responses)

    said = evidence.responses is not None
    before = read_responses(RunFolder(folder.parent).stage(stage - 1).path, name) if stage and said else {}
    ids = [p.pair.id for p in pairs]
    tokens = np.array([len(p.chosen) + len(p.rejected) for p in pairs], dtype=float)
    return TaskView(
        card=exam.cards[name],
        pairs=tuple(p.pair for p in pairs),
        policy=unknown if evidence.policy is None else np.array(evidence.policy, dtype=float),
        base=unknown if evidence.base is None else np.array(evidence.base, dtype=float),
        lengths=spoken_lengths(pairs, stop_ids(exam.speaker.base.model, exam.speaker.tokenizer)),
        responses=None if evidence.responses is None else texts(evidence.responses),
        base_responses=texts(gathering.base_responses()[name]) if said else None,
        previous_responses=tuple(before[i] for i in ids) if all(i in before for i in ids) else None,
        distance=None if evidence.distance is None else np.array(evidence.distance, dtype=float),
        stage=stage,
        folder=folder,
        noise=None if evidence.policy is None else rounding_noise(tokens, exam.speaker.base.model.dtype),
    )


def _score(exam: Exam, view: TaskView) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One row a pair, one column a score; and scorer to the facts that it tells."""
    columns: dict[str, Any] = {
        "task": [view.card.name] * len(view.pairs),
        "pair_id": [p.id for p in view.pairs],
        "cluster": [p.cluster for p in view.pairs],
    }
    facts: dict[str, Any] = {}
    for name, scorer in exam.scorers.items():
        scored = score_task(name, scorer, exam.config, view)
        if scored.facts:
            facts[name] = scored.facts
        for info in scorer.infos(exam.config):
            columns[info.name] = scored.values.get(info.name, np.full(len(view.pairs), math.nan))
    return pd.DataFrame(columns), facts


def _generation_lines(view: TaskView, ids: list[list[int]] | None) -> list[str]:
    if view.responses is None or ids is None:
        return []
    return [
        json.dumps(
            {
                "task": view.card.name,
                "pair_id": pair.id,
                "prompt": [{"role": m.role, "content": m.content} for m in pair.prompt],
                "response": response,
                "token_ids": tokens,
            },
            ensure_ascii=False,
        )
        for pair, response, tokens in zip(view.pairs, view.responses, ids, strict=True)
    ]
