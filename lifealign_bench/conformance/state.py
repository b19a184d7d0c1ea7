"""The method's state is plain, and what is saved is what is loaded."""

from __future__ import annotations

import torch

from lifealign_bench.conformance.bench import Bench
from lifealign_bench.conformance.checks import Check, Outcome, bad, good
from lifealign_bench.conformance.compare import same_state
from lifealign_bench.conformance.trial import prepared
from lifealign_bench.training.checkpoint import load_state, save_state

__all__ = ["CHECKS"]


def _plain(bench: Bench) -> Outcome:
    found = bench.seen(lambda watch: list(watch.not_plain))
    if found:
        return bad(found[0])
    values = [v for state in bench.watch.states.values() for v in state.values()]
    tensors = sum(isinstance(v, torch.Tensor) for v in values)
    return good(f"{tensors} tensors and {len(values) - tensors} plain values in all" if values else "no state")


def _survives(bench: Bench) -> Outcome:
    trial = bench.whole
    file = bench.folder / "state.safetensors"
    fresh = prepared(trial.config).method
    for (stage, phase), state in reversed(bench.watch.states.items()):
        save_state(file, state)
        fresh.load_state_dict(load_state(file))
        difference = same_state(state, fresh.state_dict())
        if difference:
            return bad(f"after the {phase} phase of stage {stage}: {difference}")
    return good(f"{len(bench.watch.states)} times the same, to the bit")


CHECKS = (
    Check(
        "state is plain",
        "state_dict() gives tensors, texts, numbers, and lists of texts or numbers, by name",
        "Turn tuples and sets into lists, arrays into tensors, nested things into keys like 'fisher/NAME'.",
        _plain,
    ),
    Check(
        "state survives saving",
        "saved, loaded into a new instance and asked again, state_dict() gives the same",
        "load_state_dict has to take back all that state_dict gives, in the type it was given.",
        _survives,
    ),
)
