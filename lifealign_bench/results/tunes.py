"""What tuning varies of a method, by the method's own declaration (``Method.tunes``), and values of these settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from lifealign_bench.config import SECTIONS, RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.method import RATE, Method, MethodConfig, Tuned
from lifealign_bench.methods import effective_settings, find_variant, method_config


def value_in(config: RunConfig, setting: str) -> float:
    """The value of a setting (``section.name``, see ``Tuned``) in ``config``, a method's default included."""
    section, _, name = setting.partition(".")
    if section in SECTIONS:
        return float(getattr(getattr(config, section), name))
    known = effective_settings(config.method, config.method_settings)
    return float(known.get(name, method_config(config.method).model_fields[name].default))


def with_values(config: RunConfig, values: Mapping[str, float]) -> RunConfig:
    """``config`` with other values of such settings."""
    for setting, value in values.items():
        section, _, name = setting.partition(".")
        if section == "method":
            config = config.model_copy(update={"method_settings": {**config.method_settings, name: value}})
        else:
            # As the setting's own type: half of 8 pairs are 4, and not 4.0.
            valid = getattr(SECTIONS[section].model_validate({name: value}), name)
            changed = getattr(config, section).model_copy(update={name: valid})
            config = config.model_copy(update={section: changed})
    return config


def known_settings(own: type[MethodConfig]) -> set[str]:
    """What tuning can vary of a method with these settings of its own, each with its section."""
    shared = {
        f"{part}.{field}" for part in ("training", "supervised", "adapter") for field in SECTIONS[part].model_fields
    }
    return shared | {f"method.{field}" for field in own.model_fields}


def permits(setting: str, value: float, own: type[MethodConfig]) -> bool:
    """Whether a setting may have this value.

    Args:
        own: the method's settings.
    """
    return not _refusal(setting, value, own)


def _refusal(setting: str, value: float, own: type[MethodConfig]) -> str:
    """Why a setting cannot have a value; empty where it can."""
    section, _, name = setting.partition(".")
    try:
        (own if section == "method" else SECTIONS[section]).model_validate({name: value})
    except ValidationError as error:
        return error.errors(include_url=False)[0]["msg"]
    return ""


def declared(method: type[Method], config: RunConfig, factors: tuple[float, ...]) -> tuple[Tuned, ...]:
    """What tuning varies of a method, the learning rate first, each with its factors; what a variant fixes is left out.

    Args:
        config: of a run of the method, with the values that the factors multiply.
        factors: of settings that declare none.

    Raises:
        BenchError: the declaration is none: an unknown setting, a value that has no multiple, fewer than two factors,
            or one that the setting does not allow.
    """
    name = config.method_name
    tunes = method.tunes if isinstance(method.tunes, tuple) else ()
    if not tunes or not all(isinstance(t, Tuned) and isinstance(t.setting, str) for t in tunes):
        raise _broken(
            name, "is no tuple of Tuned", 'Write tunes = (RATE, Tuned("method.strength", factors=(0.1, 1, 10))).'
        )
    tunes = tuple(replace(tuned, setting=_trained(tuned.setting, method, config)) for tuned in tunes)
    settings = [tuned.setting for tuned in tunes]
    twice = next((setting for setting in settings if settings.count(setting) > 1), None)
    if twice is not None:
        raise _broken(name, f"has {twice!r} twice", "Name every setting once.")
    variant = find_variant(config.method)
    fixed = {f"method.{key}" for key in variant.fixed} if variant is not None else set()
    return tuple(_complete(tuned, method, config, factors) for tuned in tunes if tuned.setting not in fixed)


def _trained(setting: str, method: type[Method], config: RunConfig) -> str:
    """The setting itself, but for the rate of a phase that takes the place of the supervised one: it has that one's,
    and trials of the preference phase's would all be the same run."""
    return "supervised.sft_learning_rate" if setting == RATE.setting and method.supervised and config.sft else setting


def _complete(tuned: Tuned, method: type[Method], config: RunConfig, factors: tuple[float, ...]) -> Tuned:
    """With its factors, smallest first; see :func:`declared`."""
    name, setting = config.method_name, tuned.setting
    _refuse_unknown(setting, method, name)
    try:
        start = value_in(config, setting)
    except (TypeError, ValueError):
        start = math.nan
    if not 0 < start < math.inf:
        raise _broken(
            name,
            f"has {setting!r}, whose value here is not a positive number and so has no multiple",
            "Name a setting that is one, or give it a default above 0.",
        )
    grid = _numbers(tuned.factors or factors)
    if len(grid) < 2 or not all(0 < f < math.inf for f in grid):
        raise _broken(
            name,
            f"has {len(grid)} usable factor{'s' * (len(grid) != 1)} of {setting!r}",
            "Give two or more different positive factors, like (0.1, 1, 10): one value leaves nothing to choose.",
        )
    if not max(grid[-1], 1 / grid[0]) <= next(iter(_numbers(tuned.within)), math.nan) < math.inf:
        raise _broken(
            name,
            f"has factors of {setting!r} beyond the bound {tuned.within}",
            "Make 'within' at least as large as the largest factor, and as the inverse of the smallest.",
        )
    for factor in grid:
        refusal = _refusal(setting, start * factor, method.Config)
        if refusal:
            raise _broken(
                name,
                f"has the factor {factor:g} of {setting!r}, which makes it {start * factor:g}: {refusal}",
                "Give factors whose values the setting allows.",
            )
    return Tuned(setting, grid, tuned.within)


def _numbers(given: Any) -> tuple[float, ...]:
    """Those that are numbers, each once, smallest first; a declaration may hold anything, ``(2.0)`` for one."""
    values = given if isinstance(given, tuple | list) else (given,)
    return tuple(sorted({float(v) for v in values if isinstance(v, int | float) and not math.isnan(v)}))


def _refuse_unknown(setting: str, method: type[Method], name: str) -> None:
    section, _, key = setting.partition(".")
    known = known_settings(method.Config)
    if setting not in known:
        close = get_close_matches(setting, known, n=1, cutoff=0.5) or get_close_matches(
            f"method.{key or section}", known, n=1
        )
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise _broken(
            name,
            f"has {setting!r}, which is no setting",
            f"{hint}Write section.name: method.NAME of the method's own, or one of training, supervised or adapter.",
        )


def _broken(name: str, what: str, remedy: str) -> BenchError:
    return BenchError(f"The method {name} cannot be tuned: its declaration 'tunes' {what}.", remedy)
