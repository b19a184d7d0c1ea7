"""The answer that reasoning-gym's verifier accepts."""

from __future__ import annotations

from lifealign_bench.data.verifiers import gym_score
from lifealign_bench.data.wording import Check


def solved(response: str, check: Check) -> float:
    """The answer that reasoning-gym's verifier accepts.

    1 for the answer and nothing else; most verifiers give an answer inside a longer text its share of the text, and a
    wrong one 0. Rows of a `generated` source bring `generator` and `entry`; needs the extra `verifiable`.
    """
    return gym_score(response, check)
