"""alpaca-eval's part: its own count of a comparison, and files in its own formats that its command reads.

Written are, in a folder for each stage, task and opponent:

- ``model_outputs.json`` and ``reference_outputs.json``: instruction, output, generator; one row a pair, in one order;
- ``annotations.json``: the verdicts, ``preference`` from 1 (the reference is better) to 2 (the model is);
- ``leaderboard.csv``: what alpaca-eval's ``get_winrate`` makes of them.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Message
from lifealign_bench.scoring.judging.judge import Contest, Verdict
from lifealign_bench.util.files import write_text

_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant"}
_COUNTS = ("n_wins", "n_wins_base", "n_draws", "n_total")


@dataclass(frozen=True)
class Sides:
    """Who is compared by whom, as alpaca-eval's files name them.

    Args:
        dataset: the task.
        model, reference: the two generators.
        annotator: the judge.
    """

    dataset: str
    model: str
    reference: str
    annotator: str


def load_alpaca_eval() -> None:
    """Import alpaca-eval, and undo what that does to everybody else: the root logger's level, variables of a ``.env``.

    Raises:
        BenchError: it cannot be imported.
    """
    try:
        import sklearn  # noqa: F401 - sets variables of its own, which stay

        variables = set(os.environ)
        with _quiet():
            import alpaca_eval.metrics  # noqa: F401
    except ImportError as error:
        raise BenchError(
            f"alpaca-eval cannot be imported: {error}.",
            'The scorer win needs alpaca-eval 0.6 and a setuptools below 82: pip install "lifealign-bench[judges]".',
        ) from error
    for name in set(os.environ) - variables:
        del os.environ[name]


def head_to_head(verdicts: Sequence[Verdict]) -> dict[str, float | int | None]:
    """alpaca-eval's ``get_winrate`` of the verdicts: ``win_rate`` and ``standard_error`` in percent, and counts.

    Pairs without a value are left out, as alpaca-eval does. Its ``n_draws`` are all pairs with a half.
    """
    load_alpaca_eval()
    from alpaca_eval.metrics import get_winrate

    rows = [{"preference": preference} for v in verdicts if (preference := _preference(v.value)) is not None]
    if not rows:
        return {}
    with _quiet():
        found = get_winrate(rows)
    plain: dict[str, float | int | None] = {
        name: int(value) if name in _COUNTS else _finite(float(value)) for name, value in found.items()
    }
    return plain


def write_files(
    folder: Path, sides: Sides, ids: Sequence[str], contests: Sequence[Contest], verdicts: Sequence[Verdict]
) -> None:
    """Write alpaca-eval's files of a comparison.

    Args:
        folder: made if it is not there.
        ids: of the pairs; other columns than alpaca-eval's own are no hindrance to it.
    """
    for name, text in output_files(sides, contests).items():
        write_text(folder / name, text)
    annotations = rows_text(
        [
            {
                **_prompt(sides, contest),
                "output_1": contest.theirs,
                "generator_1": sides.reference,
                "output_2": contest.ours,
                "generator_2": sides.model,
                "annotator": sides.annotator,
                "preference": _preference(verdict.value),
                "preference_reference_first": _preference(verdict.theirs_first),
                "preference_model_first": _preference(verdict.ours_first),
                "raw_completion_reference_first": verdict.said_theirs_first,
                "raw_completion_model_first": verdict.said_ours_first,
                "pair_id": pair_id,
            }
            for pair_id, contest, verdict in zip(ids, contests, verdicts, strict=True)
        ]
    )
    write_text(folder / "annotations.json", annotations)
    length = sum(len(c.ours) for c in contests) // max(1, len(contests))
    row = {**head_to_head(verdicts), "mode": "community", "avg_length": length}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["", *row])
    writer.writerow([sides.model, *("" if value is None else value for value in row.values())])
    write_text(folder / "leaderboard.csv", table.getvalue())


def output_files(sides: Sides, contests: Sequence[Contest]) -> dict[str, str]:
    """Name to content of the two files of outputs: the model's and the reference's, one row a pair, in one order."""
    ours = [{**_prompt(sides, c), "output": c.ours, "generator": sides.model} for c in contests]
    theirs = [{**_prompt(sides, c), "output": c.theirs, "generator": sides.reference} for c in contests]
    return {"model_outputs.json": rows_text(ours), "reference_outputs.json": rows_text(theirs)}


def _prompt(sides: Sides, contest: Contest) -> dict[str, str]:
    return {"dataset": sides.dataset, "instruction": instruction(contest.prompt)}


def instruction(prompt: Sequence[Message]) -> str:
    """A prompt as alpaca-eval's one text: the user's turn alone, or a dialogue with its speakers."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in prompt)


def _preference(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else 1 + value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def rows_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a file of alpaca-eval's. In ASCII, as it writes them: any text survives that, lone surrogates too."""
    return json.dumps(rows, indent=2, allow_nan=False) + "\n"


@contextmanager
def _quiet() -> Iterator[None]:
    """The root logger as it was, and nothing of what is said to it or warned of in between."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    # With no handler the first message would install one that writes to the terminal.
    root.handlers[:] = [logging.NullHandler()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
