"""Budgets: every method's stage spends what plain training of the stage's own pairs does, in steps, pairs or tokens.

Plain training is that of the run's settings without a method: task after task, the run's phases, each as many passes
over the task's pairs as it has epochs. Its amount, times ``budget_factor``, is what a stage of any method spends; a
stage of several tasks, as that of ``joint``, has the sum of theirs. A method with the run's phases spends in each what
plain training spends in it; one with other phases divides the stage's amount among them as they would have spent it.

How a phase comes to its amount is said in :mod:`lifealign_bench.training.course`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.method import Method
from lifealign_bench.models.passcost import Size
from lifealign_bench.training.phases import PHASES, TrainedPhase, phases_of


@dataclass(frozen=True)
class PhaseBudget:
    """What a phase spends; ``unit``: steps, pairs (each as often as it is trained on) or tokens."""

    unit: str
    amount: int


def check_budget(config: RunConfig, method: Method) -> None:
    """Refuse a budget that cannot be kept.

    Raises:
        UsageError: a factor of no budget; tokens of what a phase generates, which nobody knows beforehand.
    """
    if config.budget is None and config.budget_factor != 1:
        raise UsageError(
            f"budget_factor is {config.budget_factor:g}, and there is no budget that it could multiply.",
            "Say which: --budget tokens, steps or pairs.",
        )
    sampling = next((phase for phase in phases_of(config, method) if phase.samples), None)
    if config.budget == "tokens" and sampling is not None:
        raise UsageError(
            f"The {sampling.title} phase of {config.method_name} trains on what the model generates, whose tokens are "
            "not known beforehand.",
            "Take another budget: --budget steps or --budget pairs.",
        )


def phase_budget(
    config: RunConfig, method: Method, phase: TrainedPhase, own: Sequence[Sequence[Size]]
) -> PhaseBudget | None:
    """What ``phase`` spends in a stage; None where the run has no budget.

    Args:
        own: the sizes of the stage's own pairs, task by task.
    """
    if config.budget is None:
        return None
    asked = sum(_plain(config, method, other, own) for other in PHASES.values() if other.asked(config))
    whole = sum(_plain(config, method, other, own) for other in phases_of(config, method))
    share = _plain(config, method, phase, own) / whole
    return PhaseBudget(config.budget, max(1, round(config.budget_factor * asked * share)))


def _plain(config: RunConfig, method: Method, phase: TrainedPhase, own: Sequence[Sequence[Size]]) -> int:
    """What a phase spends on the stage's own pairs where there is no budget."""
    if config.budget == "steps":
        return sum(phase.steps(config, method, len(sizes)) for sizes in own)
    a_pair = phase.tokens if config.budget == "tokens" else _one
    return phase.epochs(config, method) * sum(a_pair(*size) for sizes in own for size in sizes)


def _one(*size: int) -> int:
    return 1
