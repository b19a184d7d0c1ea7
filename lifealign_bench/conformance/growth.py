"""Memory does not grow from stage to stage beyond what the method's state accounts for."""

from __future__ import annotations

from lifealign_bench.conformance.bench import MEASURED, Bench
from lifealign_bench.conformance.checks import Check, Outcome, bad, good, skipped

__all__ = ["CHECKS"]

# Python keeps lists larger than they are, and objects beside the text that they hold.
_OTHER_FACTOR = 2
_OTHER_SLACK = 2048


def _grows(bench: Bench) -> Outcome:
    first, last = MEASURED
    trial = bench.long
    if trial.stages < last:
        return skipped(f"the method makes {trial.stages} stage of ten tasks")
    a, b = bench.memory[first], bench.memory[last]
    between = f"from stage {first} to {last}"
    stages = last - first
    # At least one more a stage is growth; a few more or less is what the harness happens to hold.
    more = (b.tensors - a.tensors) - (b.state_tensors - a.state_tensors)
    if more >= stages:
        return bad(f"{more} more tensors alive {between} than its state explains")
    accounted = max(0, b.state_tensor_bytes - a.state_tensor_bytes)
    beyond = b.tensor_bytes - a.tensor_bytes - accounted
    if beyond > accounted + _OTHER_SLACK:
        return bad(f"{beyond:,} bytes of tensors more {between} than its state explains")
    other = b.other_bytes - a.other_bytes
    if other > _OTHER_FACTOR * max(0, b.state_other_bytes - a.state_other_bytes) + _OTHER_SLACK:
        return bad(f"{other:,} bytes of lists, texts and arrays more {between} than its state explains")
    return good(f"{between} its state grew by {accounted / stages:,.0f} bytes of tensors a stage, nothing else did")


CHECKS = (
    Check(
        "memory",
        f"over stages {MEASURED[0]} to {MEASURED[1]} of ten, what is alive grows by no more than the state does",
        "Find what is appended to and never emptied: a list of losses keeps their graphs (detach, float()), a list of "
        "pairs' texts belongs to the harness (keep ids, ask stage.find_pairs). What must stay goes into state_dict.",
        _grows,
    ),
)
