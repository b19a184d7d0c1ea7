"""What must be the same in runs that are compared: model, data, and the settings that decide what is learned."""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from lifealign_bench.config import RunConfig, flat_levels, setting_at
from lifealign_bench.results.record import ScoreMatrix
from lifealign_bench.results.view import RunView

__all__ = [
    "difference_of",
    "differing_settings",
    "flat_settings",
    "is_judged",
    "method_key",
    "run_key",
    "settings_rows",
    "tuning_key",
]


# What a table of learning rates says of itself, or what the grid's runs are given whatever was asked for.
_TUNE_SAYS = {"stream", "model", "tasks", "validation", "generation"}

# The scores without a judge when records did not say yet who judges.
_NEVER_JUDGED = {
    *("preference_accuracy", "preference_margin", "policy_accuracy", "policy_margin"),
    *("reward", "win_rate", "win_rate_chosen", "bleu4", "rouge_l"),
    *("kl_base", "response_words", "response_empty", "response_repeated"),
}


def run_key(view: RunView, score: str) -> dict[str, str]:
    """What runs of different methods must have in common: a name for people to a value as text.

    Args:
        score: settings of judges and reward models count where the score is theirs.
    """
    record = view.record
    key = {"the model's revision": record.model.revision, "the model's weights": record.model.fingerprint}
    for task, data in record.data.items():
        key |= {f"the {split} pairs of {task}": getattr(data, f"{split}_digest") for split in ("train", "test")}
        key[f"the scored pairs of {task}"] = f"{crc32(chr(10).join(view.pair_ids(task)).encode()):x}"
    key["the tasks' order"] = ", ".join(record.data)
    judged = is_judged(score, record.scores.get(score))
    for name, value in flat_settings(view).items():
        compare = setting_at(name).compare
        unused = name.startswith("supervised.") and not record.config.get("sft")
        if not unused and (compare == "never" or (compare == "judged" and judged)):
            key[name] = _text(value)
    return key


def is_judged(name: str, matrix: ScoreMatrix | None) -> bool:
    """Whether a judge or a reward model had a say in a score: its record says so, and of an old one the name."""
    if matrix is not None and matrix.judged_by is not None:
        return bool(matrix.judged_by)
    return name not in _NEVER_JUDGED


def tuning_key(config: RunConfig) -> dict[str, str]:
    """The settings that runs must have in common whose learning rates are chosen by one grid.

    Args:
        config: with the rates that the grid's factors multiply.
    """
    key = {}
    for name, value in flat_levels(config.identity()).items():
        if setting_at(name).compare in ("never", "rate") and name.split(".")[0] not in _TUNE_SAYS:
            key[name] = _text(value)
    return key


def method_key(view: RunView) -> dict[str, str]:
    """What the seeds of one method must have in common beside that."""
    rates = {name: value for name, value in flat_settings(view).items() if name.endswith("learning_rate")}
    settings = {f"{view.name}.{name}": value for name, value in view.record.method.settings.items()}
    return {name: _text(value) for name, value in {**rates, **settings}.items()}


def difference_of(keys: Mapping[Any, Mapping[str, str]]) -> str:
    """What is not the same in several keys, the first two things of it; empty where all is."""
    names = dict.fromkeys(name for key in keys.values() for name in key)
    found = []
    for name in names:
        values: dict[str, Any] = {}
        for who, key in keys.items():
            values.setdefault(key.get(name, "not set"), who)
        if len(values) > 1:
            if name.startswith("the "):
                found.append(f"{name} {'is' if name.endswith(('revision', 'order')) else 'are'} not the same")
            else:
                said = [
                    f"{value} for {f'seed {who}' if isinstance(who, int) else who}" for value, who in values.items()
                ]
                found.append(f"{name} is {', '.join(said)}")
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return f"{'; '.join(found[:2])}{more}" if found else ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    # What JSON writes of a whole number, without a writer's set-up: a thousand records have twenty of them each.
    return str(value) if type(value) is int else json.dumps(value, ensure_ascii=False)


def settings_rows(views: Sequence[RunView]) -> dict[str, list[Any]]:
    """Name to its value in each run, of everything that is not the same: settings, model, data, versions, commit."""
    flat = []
    for view in views:
        record = view.record
        own: dict[str, Any] = {key: value for key, value in flat_settings(view).items() if key != "method_settings"}
        own = {key: value for key, value in own.items() if not key.startswith("method_settings.")}
        own |= {f"method.{key}": value for key, value in record.method.settings.items()}
        own |= {"method.file": record.method.source_sha256[:12], "model.weights": record.model.fingerprint}
        own["model.revision"] = record.model.revision
        for task, data in record.data.items():
            own |= {f"{task}.train": data.train_digest[:12], f"{task}.test": data.test_digest[:12]}
        own |= {f"version.{name}": version for name, version in record.versions.items()}
        own["commit"] = record.git.get("commit")
        flat.append(own)
    names = dict.fromkeys(name for own in flat for name in own)
    values = {name: [own.get(name) for own in flat] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def differing_settings(views: Sequence[RunView]) -> list[str]:
    """What beside method and seed is not the same in runs that are compared: one sentence each."""
    if len(views) < 2:
        return []
    ignored = {"method", "method_settings", "seed"}
    flat = [
        {key: value for key, value in flat_settings(view).items() if key.split(".")[0] not in ignored} for view in views
    ]
    notes = []
    for key in dict.fromkeys(key for values in flat for key in values):
        named: dict[str, list[str]] = {}
        for view, values in zip(views, flat, strict=True):
            named.setdefault(str(values.get(key)), []).append(f"{view.name} seed {view.seed}")
        if len(named) > 1:
            notes.append(
                f"Not the same everywhere: {key} is " + ", ".join(_phrase(v, w) for v, w in named.items()) + "."
            )
    digests = {tuple((name, data.test_digest) for name, data in view.record.data.items()) for view in views}
    if len(digests) > 1 and not any("limit" in note for note in notes):
        notes.append("Not the same everywhere: the test pairs.")
    return notes


def flat_settings(view: RunView) -> dict[str, Any]:
    """A run's configuration as one level of names: ``training.epochs``."""
    # A record that was written before a setting existed had what is its default now.
    return flat_levels(_defaults() | view.record.config)


@cache
def _defaults() -> dict[str, Any]:
    return RunConfig(method="", stream="", tasks=("",)).identity()


def _phrase(value: str, who: Iterable[str]) -> str:
    names = list(who)
    return f"{value} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
