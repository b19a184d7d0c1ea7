"""A run after one stage as other tools see it: a model, tasks with scores, and test pairs with responses."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from lifealign_bench.config import safe_name
from lifealign_bench.results.folder import RunFolder, read_all_responses, read_prompts
from lifealign_bench.results.record import ScoreMatrix
from lifealign_bench.results.scores import Said, said_of
from lifealign_bench.results.view import RunView, StageRow
from lifealign_bench.util.text import rounded

_OF_GIVEN_ANSWERS = "preference"  # the scorer of log-probabilities: it reads no response

OWNER = "lifealign-bench"


@dataclass(frozen=True)
class ExportedAnswer:
    """A test pair and what the model said to it.

    Args:
        prompt: messages of ``role`` and ``content``.
        scores: name to value of this pair; shares from 0 to 1. One without a value is not there.
    """

    task: str
    pair_id: str
    prompt: tuple[Mapping[str, str], ...]
    response: str
    scores: Mapping[str, float]

    @property
    def digest(self) -> str:
        """SHA-256 of the prompt."""
        return hashlib.sha256(json.dumps(self.prompt, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class CellValue:
    """A score on a task, as matrices have it: shares are in percent.

    Args:
        error: standard error of the mean; None where it is not known.
        pairs: that it is the mean of.
    """

    value: float
    error: float | None
    pairs: int


@dataclass(frozen=True)
class StageExport:
    """A run after one stage.

    Args:
        row: the stage, with its row of the matrices.
        named: what the model after it is called, ``OWNER/NAME``; empty: by what it was made of.
    """

    view: RunView
    row: StageRow
    named: str = ""

    @property
    def model_id(self) -> str:
        """``OWNER/NAME`` of the model after the stage."""
        stream, model = map(safe_name, self.view.group)
        return self.named or (
            f"{OWNER}/{model}-{stream}-{safe_name(self.view.name)}-seed-{self.view.seed}-stage-{self.row.stage}"
        )

    @property
    def identity(self) -> str:
        """SHA-256 of what is exported; another run, stage or name has another."""
        content = json.dumps([self.view.record.to_json(), self.row.stage, self.model_id], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def uuid(self) -> str:
        """:attr:`identity` as a UUID of version 4, so that the same export has the same name."""
        return str(uuid.UUID(bytes=bytes.fromhex(self.identity)[:16], version=4))

    @property
    def finished(self) -> datetime:
        """When the run was."""
        return datetime.fromisoformat(self.view.record.finished)

    @property
    def most_tokens(self) -> int | None:
        """A response has at most; None where the record does not say it."""
        generation = self.view.record.config.get("generation")
        found = generation.get("max_new_tokens") if isinstance(generation, dict) else None
        return found if isinstance(found, int) else None

    @property
    def scores(self) -> Iterator[tuple[str, ScoreMatrix, Said]]:
        """Those in which more is better, main ones first; with what they say of themselves."""
        for name in self.view.scores():
            matrix = self.view.record.scores[name]
            said = said_of(name, matrix)
            if said.quality:
                yield name, matrix, said

    def cell(self, score: str, task: str) -> CellValue | None:
        """A score on a task; None where it was not evaluated."""
        matrix, column = self.view.record.scores[score], self.view.tasks.index(task)
        value = matrix.value[self.row.row][column]
        if value is None:
            return None
        if matrix.percent:  # a mean of shares may lie outside by a rounding
            value = min(max(value, 0.0), 100.0)
        return CellValue(value, matrix.standard_error[self.row.row][column], matrix.n[self.row.row][column])

    def mean(self, score: str) -> CellValue | None:
        """The mean over all tasks, each as large as the others; None where one has none."""
        cells = [self.cell(score, task) for task in self.view.tasks]
        found = [cell for cell in cells if cell is not None]
        if len(found) < len(cells):
            return None
        errors = [cell.error for cell in found if cell.error is not None]
        # Tasks have test pairs of their own, so their errors are independent.
        error = math.sqrt(sum(e * e for e in errors)) / len(found) if len(errors) == len(found) else None
        return CellValue(sum(cell.value for cell in found) / len(found), error, sum(cell.pairs for cell in found))

    @cached_property
    def answers(self) -> tuple[ExportedAnswer, ...]:
        """The pairs with a response, in the order of the data; none for a record without its run's folder.

        Raises:
            BenchError: the file of responses is damaged.
        """
        if self.view.directory is None or self.view.published is not None:
            return ()
        folder = RunFolder(self.view.directory).stage(self.row.stage).path
        prompts, responses = read_prompts(folder), read_all_responses(folder)
        return tuple(
            ExportedAnswer(
                task, pair_id, tuple(prompts.get(task, {}).get(pair_id, ())), text, self._scores_of(task, pair_id)
            )
            for task in self.view.tasks
            for pair_id, text in responses.get(task, {}).items()
        )

    def answers_of(self, task: str) -> list[ExportedAnswer]:
        """Those of a task."""
        return [answer for answer in self.answers if answer.task == task]

    def _scores_of(self, task: str, pair_id: str) -> dict[str, float]:
        return self._by_pair[task].get(pair_id, {})

    @cached_property
    def _by_pair(self) -> dict[str, dict[str, dict[str, float]]]:
        """Task to pair id to score to value."""
        found: dict[str, dict[str, dict[str, float]]] = {task: {} for task in self.view.tasks}
        for name, _, _ in self.scores:
            for task in self.view.tasks:
                for pair_id, value in self.view.stage_scores(self.row.row, task, name).items():
                    found[task].setdefault(pair_id, {})[name] = value
        return found


def of_response(said: Said) -> bool:
    """Whether a score is of what the model generated, not of the probabilities that it gives to the pair's texts."""
    return said.scorer != _OF_GIVEN_ANSWERS


def plain_text(prompt: tuple[Mapping[str, str], ...]) -> str:
    """A prompt as one text: the user's turn alone, or all turns with their roles."""
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def exact(value: float) -> float:
    """A number of a record, with the digits that the data hold."""
    found = rounded(value)
    assert found is not None, "only numbers are asked for"
    return found
