"""One test pair, or one task, through the stages of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lifealign_bench.data.cards import load_task
from lifealign_bench.data.tasks import load_split
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Pair, Split
from lifealign_bench.results.folder import RunFolder, StageResponses, read_all_responses
from lifealign_bench.results.rollouts import Rollout, read_rollouts
from lifealign_bench.results.statistics import Array, mean_and_se
from lifealign_bench.results.view import RunView
from lifealign_bench.util.registry import unknown_name


@dataclass(frozen=True)
class Movement:
    """Pairs of one task between two stages: how many were right before and after, and how many changed sides."""

    pairs: int
    right_before: int
    lost: int
    won: int
    right_after: int


@dataclass(frozen=True)
class Share:
    """Accuracy in percent with its standard error over ``pairs`` pairs; ``low`` and ``high`` bound the margins."""

    low: float
    high: float
    pairs: int
    accuracy: float
    standard_error: float


def moved(before: Array, after: Array) -> Movement:
    """Which pairs changed sides.

    Args:
        before, after: (P,) margins of the same pairs.

    Raises:
        ValueError: the shapes differ, or a margin is NaN.
    """
    if before.shape != after.shape:
        raise ValueError(f"margins of {before.shape} and {after.shape} pairs")
    if np.isnan(before).any() or np.isnan(after).any():
        raise ValueError("a margin is missing")
    was, is_now = before > 0, after > 0
    return Movement(
        pairs=len(before),
        right_before=int(was.sum()),
        lost=int((was & ~is_now).sum()),
        won=int((~was & is_now).sum()),
        right_after=int(is_now.sum()),
    )


def by_quartile(base: Array, correct: Array) -> list[Share]:
    """Accuracy in each quarter of the pairs, ordered by the base model's margin, the hardest first.

    Args:
        base: (P,) the base model's own margins (``policy_margin`` of stage 0).
        correct: (P,) 1, 0 or 1/2 of the same pairs.

    Returns:
        Four shares; equal in size up to one pair, since the pairs are counted and not the margins divided. Fewer than
        four pairs make fewer shares.
    """
    order = np.argsort(base, kind="stable")
    shares = []
    for part in np.array_split(order, 4):
        if not len(part):
            continue
        mean, error = mean_and_se(correct[part])
        shares.append(Share(float(base[part].min()), float(base[part].max()), len(part), 100 * mean, 100 * error))
    return shares


def repetition(text: str, size: int = 4) -> float:
    """Share of a text's word n-grams that it has said before, 0 to 1; NaN for fewer than ``size`` + 1 words."""
    words: Sequence[str] = text.split()
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    if len(grams) < 2:
        return math.nan
    return 1 - len(set(grams)) / len(grams)


@dataclass(frozen=True)
class PairHistory:
    """One test pair through the stages.

    Args:
        pair_id: see ``pairs``.
        prompt, chosen, rejected: their texts; empty where the data is not available.
        margins: stage to preference margin in nats.
        responses: stage to the generated response; empty where nothing was generated.
    """

    pair_id: str
    prompt: str
    chosen: str
    rejected: str
    margins: dict[int, float]
    responses: dict[int, str]


def stage_responses(view: RunView) -> StageResponses:
    """Everything that was generated in a run; empty for a published record.

    Raises:
        BenchError: a file is damaged.
    """
    if view.directory is None or view.published is not None:
        return {}
    return {row.stage: read_all_responses(RunFolder(view.directory).stage(row.stage).path) for row in view.rows}


def histories(view: RunView, task: str, data_dir: Path | None, said: StageResponses) -> list[PairHistory]:
    """All test pairs of a task, in the order of its file.

    Args:
        said: from :func:`stage_responses`.

    Raises:
        UsageError: the run has no such task.
        BenchError: neither scores nor generations of it are available.
    """
    if task not in view.tasks:
        raise unknown_name("task of this run", task, view.tasks)
    margins = _margins(view, task)
    responses = {row.stage: said.get(row.stage, {}).get(task, {}) for row in view.rows}
    ids = list(margins) or list(dict.fromkeys(i for by_id in responses.values() for i in by_id))
    if not ids:
        raise BenchError(
            f"There are no per-pair scores and no generations of {task} beside {view.directory}.",
            "Name the folder of a run, or a published record with its scores file.",
        )
    texts = pair_texts(task, data_dir)
    found = []
    for i in ids:
        pair = texts.get(i)
        own = {stage: by_id[i] for stage, by_id in responses.items() if i in by_id}
        prompt = "\n".join(f"{m.role}: {m.content}" for m in pair.prompt) if pair is not None else ""
        chosen, rejected = (pair.chosen, pair.rejected) if pair is not None else ("", "")
        found.append(PairHistory(i, prompt, chosen, rejected, margins.get(i, {}), own))
    return found


def _margins(view: RunView, task: str) -> dict[str, dict[int, float]]:
    """Pair to stage to preference margin."""
    found: dict[str, dict[int, float]] = {}
    for row in view.rows:
        scores = view.stage_scores(row.row, task, "preference_margin")
        for pair_id, value in scores.items():
            found.setdefault(pair_id, {})[row.stage] = value
    return found


def stage_rollouts(view: RunView) -> Mapping[int, list[Rollout]]:
    """Everything that was sampled while a run was trained, by stage; empty for a published record."""
    if view.directory is None or view.published is not None:
        return {}
    return {row.stage: read_rollouts(RunFolder(view.directory).stage(row.stage).rollouts) for row in view.rows}


def pair_texts(task: str, data_dir: Path | None, split: Split = "test") -> Mapping[str, Pair]:
    """The task's pairs by id; none where its card or data is not available, since the run itself holds no data."""
    try:
        pairs, _, _ = load_split(load_task(task), split, data_dir=data_dir)
    except BenchError:
        return {}
    return {pair.id: pair for pair in pairs}
