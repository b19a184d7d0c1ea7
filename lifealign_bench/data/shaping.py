"""Rows of public data sets as this project reads them: which rows are of a task, and where its two responses are.

Most data sets have columns of a prompt, a chosen and a rejected response. Others have two responses and a column that
says which is the better, or a list of answers with scores; and one data set is many tasks, told apart by a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from lifealign_bench.data.cardfile import CardModel
from lifealign_bench.data.markup import plain_html
from lifealign_bench.data.messages import Unusable
from lifealign_bench.data.rows import Row

OTHER_TASK = "row of another task, by where"
UNDECIDED = "neither response is preferred"
TOO_FEW = "fewer than two answers with a score"

Plain = StrictBool | StrictInt | StrictFloat | StrictStr


class TextCondition(CardModel):
    """What a text has in it, or has not."""

    contains: str | None = Field(default=None, min_length=1)
    lacks: str | None = Field(default=None, min_length=1)

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is a text that fits."""
        if not isinstance(value, str):
            return False
        return (self.contains is None or self.contains in value) and (self.lacks is None or self.lacks not in value)


Condition = Plain | Annotated[tuple[Plain, ...], Field(min_length=1)] | TextCondition
Conditions = Annotated[dict[str, Condition], Field(min_length=1)]
# One set of conditions that all hold, or several of which one does.
Where = Conditions | Annotated[tuple[Conditions, ...], Field(min_length=1)]


class TwoResponses(CardModel):
    """Two columns of responses, and one that says which is the better."""

    first: str
    second: str
    verdict: str
    first_wins: Annotated[tuple[Plain, ...], Field(min_length=1)] = Field(description="verdicts for the first")
    second_wins: Annotated[tuple[Plain, ...], Field(min_length=1)] = Field(description="verdicts for the second")

    def pair(self, row: Row) -> tuple[Any, Any]:
        """Chosen and rejected.

        Raises:
            Unusable: neither is preferred.
        """
        verdict = value_at(row, self.verdict)
        responses = value_at(row, self.first), value_at(row, self.second)
        if _is_one_of(verdict, self.first_wins):
            return responses
        if _is_one_of(verdict, self.second_wins):
            return responses[1], responses[0]
        raise Unusable(UNDECIDED)


class RankedAnswers(CardModel):
    """A list of answers with scores: the best is chosen, the worst rejected; of equal ones the first."""

    answers: str
    text: str = "text"
    score: str

    def pair(self, row: Row) -> tuple[Any, Any]:
        """Chosen and rejected.

        Raises:
            Unusable: there are not two scored answers, or all have one score.
        """
        answers = value_at(row, self.answers)
        found: list[tuple[float, Any]] = []
        for answer in answers if isinstance(answers, Sequence) and not isinstance(answers, str) else ():
            score = value_at(answer, self.score)
            if isinstance(score, int | float) and score == score:
                found.append((float(score), value_at(answer, self.text)))
        if len(found) < 2:
            raise Unusable(TOO_FEW)
        best, worst = max(found, key=lambda pair: pair[0]), min(found, key=lambda pair: pair[0])
        if best[0] == worst[0]:
            raise Unusable(UNDECIDED)
        return best[1], worst[1]


ResponsePlace = TwoResponses | RankedAnswers


def value_at(row: Any, name: str) -> Any:
    """A column of a row, or a field in it: ``info.subreddit``, ``summaries.0.text``; None where there is none."""
    if isinstance(row, Mapping) and name in row:
        return row[name]
    value = row
    for part in name.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def belongs(row: Row, where: Where | None) -> bool:
    """Whether a row is of the task."""
    if where is None:
        return True
    several = (where,) if isinstance(where, Mapping) else where
    return any(all(_fits(value_at(row, name), wanted) for name, wanted in one.items()) for one in several)


@dataclass(frozen=True)
class RowShape:
    """What a card says of its rows before their columns are read.

    Args:
        where: which rows are of the task; None: all.
        responses: where the two responses are, if not in columns of their own.
        html: texts hold HTML, of which the text is kept.
        prompt, chosen, rejected: the columns that are read afterwards.
    """

    where: Where | None = None
    responses: ResponsePlace | None = None
    html: bool = False
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"

    def made(self) -> tuple[str, ...]:
        """The columns that rows get."""
        return () if self.responses is None else (self.chosen, self.rejected)

    def asked(self) -> list[str]:
        """The columns, and fields of columns, that rows must have for it."""
        several = () if self.where is None else (self.where,) if isinstance(self.where, Mapping) else self.where
        names = [name for conditions in several for name in conditions]
        if isinstance(self.responses, TwoResponses):
            names += [self.responses.first, self.responses.second, self.responses.verdict]
        elif self.responses is not None:
            names += [self.responses.answers]
        return names

    def row(self, row: Row) -> Row:
        """The row with its responses in the columns that are read.

        Raises:
            Unusable: it is of another task, or has no two responses of which one is preferred.
        """
        if not belongs(row, self.where):
            raise Unusable(OTHER_TASK)
        if self.responses is not None:
            better, worse = self.responses.pair(row)
            row = {**row, self.chosen: better, self.rejected: worse}
        if self.html:
            names = (self.prompt, self.chosen, self.rejected)
            row = {**row, **{name: plain_html(row[name]) for name in names if isinstance(row.get(name), str)}}
        return row


def _fits(value: Any, wanted: Condition) -> bool:
    if isinstance(wanted, TextCondition):
        return wanted.holds(value)
    return _is_one_of(value, wanted if isinstance(wanted, tuple) else (wanted,))


def _is_one_of(value: Any, wanted: Sequence[Plain]) -> bool:
    """Equal and of one kind: 1 is not true."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in wanted)
