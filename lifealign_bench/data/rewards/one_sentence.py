"""One sentence about the topic."""

from __future__ import annotations

from lifealign_bench.data.wording import Check, brevity, positive_number


def one_sentence(response: str, check: Check) -> float:
    """Exactly one sentence of at most `max_words` words (22) about the topic: `brevity`."""
    return brevity(response, check, 1, positive_number(check, "max_words", 22))
