"""``--set key=value``: which setting it means, and its value."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lifealign_bench.config import SECTIONS, RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.fields import parse_value
from lifealign_bench.methods import load_method, method_names

__all__ = ["scoring_settings", "setting_fields"]


TOP_LEVEL = ("token_budget", "train_limit", "test_limit", "evaluate", "device", "dtype")

# Settings that are flags of their own; --set names the flag instead.
_FLAGS = {
    "method": "--method",
    "stream": "--stream",
    "tasks": "--stream",
    "model": "--model",
    "seed": "--seed",
    "sft": "--sft or --no-sft",
    "preset": "--preset",
    "validation": "--validation",
    "tuned": "--tuned",
    "limit": "--limit",
    "scorers": "--scorer",
    "scorer": "--scorer",
    "reward_model": "--reward",
    "judge": "--judge",
    "judge_url": "--judge-url",
    "judge_budget": "--judge-budget",
    "opponents": "--opponent",
    "abilities": "--ability",
    "ability_stages": "--ability-stages",
    "report_to": "--report-to",
    "out": "--out",
    "data_dir": "--data-dir",
    "threads": "--threads",
    "trust_remote_code": "--trust-remote-code",
}


def setting_fields() -> dict[str, tuple[str, type[BaseModel]]]:
    """Every harness setting that ``--set`` takes: name to (section, model); the section of RunConfig's own is empty."""
    fields: dict[str, tuple[str, type[BaseModel]]] = {}
    for section, model in SECTIONS.items():
        fields |= dict.fromkeys(model.model_fields, (section, model))
    return fields | dict.fromkeys(TOP_LEVEL, ("", RunConfig))


def scoring_settings(texts: Sequence[str], config: RunConfig) -> dict[str, Any]:
    """What ``--set`` says about how a finished run is scored.

    Raises:
        UsageError: it is a setting of something else.
    """
    values: dict[str, Any] = {}
    for text in texts:
        assignment = _assignment(text, {})
        if assignment.section not in ("reward_models", "judging"):
            raise UsageError(
                f"{assignment.key!r} does not say how a run is scored.", "A finished run keeps its other settings."
            )
        section = values.get(assignment.section, getattr(config, assignment.section))
        values[assignment.section] = section.model_copy(update={assignment.key: assignment.value})
    return values


@dataclass(frozen=True)
class Assignment:
    """A checked ``--set``: where it goes. ``methods`` is empty for a harness setting."""

    section: str
    key: str
    value: Any
    methods: tuple[str, ...] = ()


def parse_assignments(texts: Sequence[str], methods: Sequence[str]) -> list[Assignment]:
    if not texts:
        return []
    models = {name: load_method(name).Config for name in methods}
    return [_assignment(text, models) for text in texts]


def _assignment(text: str, models: dict[str, Any]) -> Assignment:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise UsageError(f"--set {text!r} has no value.", "Write --set key=value, e.g. --set epochs=2.")
    section, _, key = name.rpartition(".")
    harness = setting_fields()
    owners = {
        method: model
        for method, model in models.items()
        if key in model.model_fields and section in ("", "method", method, Path(method).stem)
    }
    in_harness = key in harness and section in ("", harness[key][0])
    if owners and in_harness and section == "":
        place = harness[key][0] or "the run"
        raise UsageError(
            f"The setting {key!r} is one of {place} and one of {', '.join(map(repr, owners))}.",
            f"Write {harness[key][0]}.{key} or method.{key}.",
        )
    if owners:
        parsed = {method: parse_value(model, key, value) for method, model in owners.items()}
        return Assignment("method", key, next(iter(parsed.values())), tuple(owners))
    if in_harness:
        return Assignment(harness[key][0], key, parse_value(harness[key][1], key, value))
    if name in _FLAGS:
        raise UsageError(f"{name!r} is not a setting for --set.", f"Use {_FLAGS[name]}.")
    raise _unknown_setting(name, section, key, models)


def _unknown_setting(name: str, section: str, key: str, models: dict[str, Any]) -> UsageError:
    harness = setting_fields()
    own = {field for model in models.values() for field in model.model_fields}
    hint = ""
    if key in harness or key in own:
        where = harness[key][0] if key in harness else "method"
        hint = f"Did you mean {f'{where}.{key}' if where else key!r}? "
    else:
        close = difflib.get_close_matches(key, [*harness, *own], n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
        owners = [name for name in method_names() if name not in models and key in _fields_of(name)]
        if owners:
            hint = f"It is a setting of {', '.join(owners)}. "
    asked = ", ".join(sorted(Path(method).stem for method in models))
    lists = f"Settings of {asked}: {', '.join(sorted(own)) or 'none'}. Others: {', '.join(sorted(harness))}."
    return UsageError(f"There is no setting called {name!r}.", hint + lists)


def _fields_of(method: str) -> set[str]:
    """A method's settings; none where it does not load, since this only serves a hint."""
    try:
        return set(load_method(method).Config.model_fields)
    except BenchError:
        return set()
