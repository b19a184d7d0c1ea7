"""How many pairs go through the model together changes nothing but the last bits."""

from __future__ import annotations

from dataclasses import replace

from lifealign_bench.conformance.bench import Bench
from lifealign_bench.conformance.checks import Check, Outcome, bad, good
from lifealign_bench.conformance.compare import SCORE_TOLERANCE, WEIGHT_TOLERANCE, same_training
from lifealign_bench.conformance.stream import ROOMY_BUDGET, TIGHT_BUDGET

__all__ = ["CHECKS"]


def _training(bench: Bench) -> Outcome:
    return same_training(bench.whole, bench.regrouped, range(1, min(2, bench.whole.stages) + 1))


def _scoring(bench: Bench) -> Outcome:
    session = bench.regrouped.session
    pairs = [p for encoded in (*session.train.values(), *session.test.values()) for p in encoded]
    alone = replace(session.speaker, token_budget=max(p.tokens for p in pairs)).score(pairs)
    apart = float((alone - replace(session.speaker, token_budget=ROOMY_BUDGET).score(pairs)).abs().max())
    if not apart <= SCORE_TOLERANCE:
        return bad(f"log-probabilities differ by up to {apart:.2g} nats")
    return good(f"log-probabilities differ by at most {apart:.1g} nats")


CHECKS = (
    Check(
        "passes in training",
        f"with {TIGHT_BUDGET} and {ROOMY_BUDGET} tokens a pass, adapters and scores are within {WEIGHT_TOLERANCE:g}",
        "pair_loss sees a part of a step's pairs, as many as fit: no mean, rank or other statistic over the batch, one "
        "loss a pair. What belongs to the step goes into penalty or on_gradients.",
        _training,
    ),
    Check(
        "passes in scoring",
        f"pairs scored one by one and together have the same log-probabilities within {SCORE_TOLERANCE:g} nats",
        "What prepare changes on the model has to treat every row of a batch by itself, and padding as nothing.",
        _scoring,
    ),
)
