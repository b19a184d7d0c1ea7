"""A stage leaves nothing behind but weights and the method's state."""

from __future__ import annotations

from lifealign_bench.conformance.bench import Bench
from lifealign_bench.conformance.checks import Check, Outcome, bad, good

__all__ = ["CHECKS"]


def _leaves(bench: Bench) -> Outcome:
    left = bench.seen(lambda watch: watch.left)
    if left:
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        return bad(f"{left[0]}{more}")
    return good(f"{len(bench.watch.states)} phases left the model as they found it")


def _draws(bench: Bench) -> Outcome:
    draws = bench.seen(lambda watch: list(watch.draws))
    return bad(f"moved by {', '.join(draws)}") if draws else good("none was moved")


CHECKS = (
    Check(
        "leaves no trace",
        "after after_stage, hooks, patched forwards, frozen parameters, gradients and modes are as before before_stage",
        "Undo in after_stage what before_stage did: keep the handles of hooks and remove them, put requires_grad, mode "
        "and threads back, set gradients to None.",
        _leaves,
    ),
    Check(
        "own randomness",
        "no hook moves the global generators of torch, random or numpy",
        "Draw from stage.generator alone: torch.randperm(n, generator=stage.generator).",
        _draws,
    ),
)
