"""What a run was made with, what is here instead, and whether its numbers have to come out to the bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lifealign_bench.config import RunConfig
from lifealign_bench.probe import threads_to_use
from lifealign_bench.provenance import git_state, hardware, versions
from lifealign_bench.record import Record

__all__ = ["Circumstances", "differences", "here", "of_record", "why_not_to_the_bit"]

_UNKNOWN = "not recorded"
_WEIGHTS, _LAYOUT, _TOKENS = "model's weights", "layout of a pass", "tokens of the pairs"
_CLOCK = "date and time in the chat template"
# In the order in which they are shown; what each is called for people.
_MACHINE = {
    "system": "system",
    "machine": "architecture",
    "processor": "processor",
    "instructions": "instructions",
    "device": "device",
    "gpu": "GPU",
    "cuda": "CUDA",
    "dtype": "dtype",
    "threads": "threads",
    "processes": "processes",
}


@dataclass(frozen=True)
class Circumstances:
    """Name to value, of everything that can move a number beside the configuration and the data."""

    values: Mapping[str, str]

    def get(self, name: str) -> str:
        """The value; ``not recorded`` where there is none."""
        return self.values.get(name, _UNKNOWN)


def of_record(record: Record) -> Circumstances:
    """Those that a record tells."""
    values = _common(record.versions, record.git, record.hardware)
    values |= {"method's file": record.method.source_sha256[:12], _WEIGHTS: record.model.fingerprint}
    values |= {_LAYOUT: record.model.layout}
    if record.model.clock is not None:
        values[_CLOCK] = record.model.clock
    if tokens := {name: task.encoded for name, task in sorted(record.data.items()) if task.encoded is not None}:
        values[_TOKENS] = hashlib.sha256(json.dumps(tokens, sort_keys=True).encode()).hexdigest()[:12]
    for added in record.additions:
        other = added.versions != record.versions or added.git.get("commit") != record.git.get("commit")
        if other:
            values["scores added later"] = f"{', '.join([*added.scorers, *added.abilities])} with other versions"
    return Circumstances(values)


def here(config: RunConfig, method_sha256: str) -> Circumstances:
    """Those of a run that would be done now; which weights the model has is not known before it is loaded.

    Args:
        config: with the device and type that ``auto`` means here.
        method_sha256: of the method's file.
    """
    machine = hardware(config.device, config.dtype, "")
    machine["threads"] = threads_to_use(config.threads) if config.device == "cpu" else machine["threads"]
    values = _common(versions(), git_state(), machine) | {"method's file": method_sha256[:12]}
    return Circumstances(values if config.clock is None else {**values, _CLOCK: config.clock})


def _common(package: Mapping[str, str], git: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, str]:
    commit = git.get("commit")
    values = {"commit": f"{commit}{' with changes' if git.get('dirty') else ''}" if commit else "no git checkout"}
    values |= {f"version of {name}": version for name, version in package.items()}
    # One process was all there was before their number was recorded.
    known = {"processes": 1} | {key: machine[key] for key in _MACHINE if machine.get(key) is not None}
    values |= {label: str(known[key]) for key, label in _MACHINE.items() if key in known}
    return values | {f"variable {name}": str(value) for name, value in machine.get("environment", {}).items()}


def differences(there: Circumstances, now: Circumstances) -> dict[str, tuple[str, str]]:
    """Name to (there, now) of all that is not the same; the weights, the layout and the tokens, which nobody knows
    before the model is loaded, only where both are known, the weights also of one type, which is part of what names
    them."""
    names = dict.fromkeys([*now.values, *there.values])
    found = {name: (there.get(name), now.get(name)) for name in names if there.get(name) != now.get(name)}
    for name in (_WEIGHTS, _LAYOUT, _TOKENS):
        if _UNKNOWN in found.get(name, ()) or (name == _WEIGHTS and "dtype" in found):
            found.pop(name, None)
    return found


def why_not_to_the_bit(there: Circumstances, now: Circumstances, left_out: Mapping[str, str]) -> list[str]:
    """Why another run with the same configuration may differ in the last bits; empty: it must not differ at all."""
    reasons = []
    if now.get("device") != "cpu" or now.get("dtype") != "float32":
        reasons.append(f"it is {now.get('dtype')} on {now.get('device')}, not float32 on a CPU")
    other = [name for name in differences(there, now) if name != "dtype"]
    reasons += [f"not the same: {', '.join(other)}"] if other else []
    if "with changes" in now.get("commit"):
        reasons.append("this repository has changes that are not committed")
    if left_out:
        reasons.append("scores are left out, and what is generated together with what moves the last bits")
    return reasons
