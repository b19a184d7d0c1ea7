"""``--set key=value``: which setting it means, and its value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lifealign_bench.config import RunConfig, setting_at, settings_of
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.fields import parse_value
from lifealign_bench.methods import method_config, method_files, method_names


def setting_fields() -> dict[str, tuple[str, type[BaseModel]]]:
    """Every harness setting that ``--set`` takes: name to (section, model); the section of RunConfig's own is empty."""
    fields: dict[str, tuple[str, type[BaseModel]]] = {}
    for place, model, setting in settings_of(RunConfig):
        section, _, key = place.rpartition(".")
        if section or setting.by_set or (setting.asked and not setting.flag and key != "method_settings"):
            fields[key] = (section, model)
    return fields


def flag_of(name: str) -> str:
    """How a setting that has a flag of its own is said, ``--sft or --no-sft``; empty where it has none.

    Args:
        name: of the setting, of its flag, or what other programs call it.
    """
    name = {"tasks": "stream"}.get(name, name)
    if name == "limit":
        return "--limit"
    for place, _, setting in settings_of(RunConfig):
        option = setting.option.removeprefix("--").replace("-", "_")
        if setting.flag and name in (place, option, *setting.aka):
            return setting.flag.partition(" ")[0].replace("/", " or ")
    return ""


def set_name(name: str) -> str:
    """The setting that ``--set`` knows by ``name`` or other programs call so; empty where there is none."""
    known = setting_fields()
    if name in known:
        return name
    return next((p.rpartition(".")[2] for p, _, s in settings_of(RunConfig) if name in s.aka and not s.flag), "")


def meant_setting(option: str) -> str:
    """What to say in place of an option that there is not: ``--set learning_rate=``; empty where nobody knows.

    Settings of the built-in methods are looked up in their files, without importing one.

    Args:
        option: without its value, ``--learning-rate``.
    """
    name = option.lstrip("-").rpartition(".")[2].replace("-", "_")
    if flag_of(name):
        return flag_of(name)
    own = set_name(name)
    field = re.compile(rf"^    {re.escape(name)}: ", re.MULTILINE)
    if not own and any(field.search(file.read_text(encoding="utf-8")) for file in method_files().values()):
        own = name
    return f"--set {own}=" if own else ""


def scoring_settings(texts: Sequence[str], config: RunConfig) -> dict[str, Any]:
    """What ``--set`` says about how a finished run is scored.

    Raises:
        UsageError: it is a setting of something else.
    """
    values: dict[str, Any] = {}
    for text in texts:
        assignment = _assignment(text, {})
        if not setting_at(assignment.section).scoring:
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
    models = {name: method_config(name) for name in methods}
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
    if flag_of(name):
        raise UsageError(f"{name!r} is not a setting for --set.", f"Use {flag_of(name)}.")
    raise _unknown_setting(name, section, key, models)


def _unknown_setting(name: str, section: str, key: str, models: dict[str, Any]) -> UsageError:
    harness = setting_fields()
    own = {field for model in models.values() for field in model.model_fields}
    hint = ""
    if key in harness or key in own:
        where = harness[key][0] if key in harness else "method"
        hint = f"Did you mean {f'{where}.{key}' if where else key!r}? "
    else:
        close = [set_name(key)] if set_name(key) else []
        close = close or difflib.get_close_matches(key, [*harness, *own], n=3, cutoff=0.5)
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
        return set(method_config(method).model_fields)
    except BenchError:
        return set()
