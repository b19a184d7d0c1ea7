"""An instruction of IFEval is kept."""

from __future__ import annotations

from lifealign_bench.data.verifiers import instruction_score
from lifealign_bench.data.wording import Check


def kept_instruction(response: str, check: Check) -> float:
    """An instruction of IFEval is kept: 1 where if-verifiable's strict check passes, else 0.

    Whether the response answers the question is not looked at. Rows of a `generated` source bring `instruction`,
    `settings` and `prompt`; needs the extra `verifiable`.
    """
    return instruction_score(response, check)
