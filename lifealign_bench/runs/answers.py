"""One response of each task before training and after a stage, to be read beside its scores."""

from __future__ import annotations

from lifealign_bench.results.folder import read_all_responses
from lifealign_bench.runs.resuming import Ledger
from lifealign_bench.runs.session import Session
from lifealign_bench.util.progress import ShownAnswer


def first_answers(session: Session, ledger: Ledger, index: int) -> dict[str, ShownAnswer]:
    """Task to what the model answers to its first test prompt, as the base model and after stage ``index``.

    Empty where a stage has no responses.

    Raises:
        BenchError: a file of responses is damaged.
    """
    before, now = (read_all_responses(ledger.directory.stage(stage).path) for stage in (0, index))
    found = {}
    for task in before.keys() & now.keys():
        pair = session.exam.pairs[task][0].pair
        if pair.id in before[task] and pair.id in now[task]:
            found[task] = ShownAnswer(pair.prompt[-1].content, before[task][pair.id], now[task][pair.id])
    return found
