"""What must be the same in runs that are compared, continued or done again, and what of it is not.

Whoever decides that anything is the same asks :func:`unlike`; what is left out of the question is said here or, of
fields of a run's settings, beside them.
"""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from lifealign_bench.config import RunConfig, setting_at
from lifealign_bench.results.record import DataRecord, Record, ScoreMatrix
from lifealign_bench.results.scores import Said, said_of
from lifealign_bench.util.levels import flat_levels

# What a table of tuned settings says of itself.
_TUNE_SAYS = {"stream", "model", "tasks", "validation"}
OF_TUNE = "of tune"
# Of how settings were chosen; the criterion is the method's.
_CHOICE = ("rule", "stream", "model", "seeds", "validation", "score", "trials")


def run_key(record: Record, score: str, pair_ids: Callable[[str], Sequence[str]]) -> dict[str, str]:
    """What runs of different methods must have in common: a name for people to a value as text.

    Args:
        score: settings of judges and reward models count where the score is theirs.
        pair_ids: gives the scored pairs of a task.
    """
    key = {"the model's revision": record.model.revision, "the model's weights": record.model.fingerprint}
    for task, data in record.data.items():
        key |= {f"the {split} pairs of {task}": getattr(data, f"{split}_digest") for split in ("train", "test")}
        key[f"the scored pairs of {task}"] = f"{crc32(chr(10).join(pair_ids(task)).encode()):x}"
    key["what trains (`numbers` in a record)"] = str(record.numbers)
    key["the tasks' order"] = ", ".join(record.data)
    judged = is_judged(score, record.scores.get(score))
    key |= _outside(record, said_of(score, record.scores.get(score)))
    for name, value in flat_settings(record).items():
        compare = setting_at(name).compare
        unused = name.startswith("supervised.") and not record.config.get("sft")
        if not unused and (compare == "never" or (compare == "judged" and judged)):
            key[name] = _text(value)
    return key | _choice(record.tuned or {})


def _choice(tuned: Mapping[str, Any]) -> dict[str, str]:
    """How a run's settings were chosen. A table grows with its methods, so that its digest is not asked for."""
    if tuned.get("rule", 1) == 1:  # a board has methods with rates that were chosen by the first one, or by nobody
        return {}
    return {f"{name} {OF_TUNE}": _text(tuned[name]) for name in _CHOICE if tuned.get(name)}


def _outside(record: Record, said: Said) -> dict[str, str]:
    """The sources of what had a say in a score and is not part of this package."""
    found = {"scorer": {k: v for k, v in record.extensions.get("scorers", {}).items() if k == said.scorer}}
    found["judge"] = record.extensions.get("judges", {}) if said.judged_by == "judge" else {}
    found["reward"] = record.extensions.get("rewards", {}) if said.checked else {}
    return {
        f"the source of the {noun} {name}": " ".join(origin.values())
        for noun, own in found.items()
        for name, origin in own.items()
    }


def is_judged(name: str, matrix: ScoreMatrix | None) -> bool:
    """Whether a judge or a reward model had a say in a score: its record says so, and of an old one the name."""
    return bool(said_of(name, matrix).judged_by)


def tuning_key(config: RunConfig) -> dict[str, str]:
    """The settings that the runs of one table of tuned settings must have in common.

    Args:
        config: with the rates that are multiplied by factors.
    """
    key = {}
    for name, value in flat_levels(config.identity()).items():
        if setting_at(name).compare in ("never", "rate") and name.split(".")[0] not in _TUNE_SAYS:
            key[name] = _text(value)
    return key


def method_key(record: Record) -> dict[str, str]:
    """What the seeds of one method must have in common beside that."""
    rates = {name: value for name, value in flat_settings(record).items() if name.endswith("learning_rate")}
    settings = {f"{record.method.name}.{name}": value for name, value in record.method.settings.items()}
    return {name: _text(value) for name, value in {**rates, **settings}.items()}


def unlike(sides: Sequence[Mapping[str, Any]], absent: Any = None) -> dict[str, list[Any]]:
    """Name to its value on each side, of what is not the same on all of them.

    Args:
        absent: the value of what a side does not have.
    """
    names = dict.fromkeys(name for side in sides for name in side)
    values = {name: [side.get(name, absent) for side in sides] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def setting_differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not the same in two levels of settings, one phrase each."""
    return [
        f"{name} is {json.dumps(old)} there and {json.dumps(new)} now"
        for name, (old, new) in sorted(unlike((flat_levels(there), flat_levels(now))).items())
    ]


def is_part_of(wanted: Mapping[str, Any], present: Mapping[str, Any], scoring: frozenset[str]) -> bool:
    """Whether a run was scored by more than what is ``wanted`` and is the same in all else.

    Args:
        scoring: the settings that say how a model is scored.
    """
    more = set(wanted["scorers"]) < set(present.get("scorers", ()))
    other = unlike((wanted, present)).keys()
    return more and all(key == "scorers" or (key in scoring and wanted.get(key) == _defaults()[key]) for key in other)


def difference_of(keys: Mapping[Any, Mapping[str, str]]) -> str:
    """What is not the same in several keys, the first two things of it; empty where all is."""
    found = []
    for name, row in unlike(list(keys.values()), "not set").items():
        values: dict[str, Any] = {}
        for who, value in zip(keys, row, strict=True):
            values.setdefault(value, who)
        if name.startswith("the "):
            one = name.endswith(("revision", "order")) or "source" in name
            found.append(f"{name} {'is' if one else 'are'} not the same")
        else:
            said = [f"{value} for {f'seed {who}' if isinstance(who, int) else who}" for value, who in values.items()]
            found.append(f"{name} is {', '.join(said)}")
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return f"{'; '.join(found[:2])}{more}" if found else ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    # What JSON writes of a whole number, without a writer's set-up: a thousand records have twenty of them each.
    return str(value) if type(value) is int else json.dumps(value, ensure_ascii=False)


def settings_rows(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Name to its value in each run, of everything that is not the same: settings, model, data, versions, commit."""
    flat = []
    for record in records:
        own: dict[str, Any] = {key: value for key, value in flat_settings(record).items() if key != "method_settings"}
        own = {key: value for key, value in own.items() if not key.startswith("method_settings.")}
        own |= {f"method.{key}": value for key, value in record.method.settings.items()}
        own |= {"method.file": record.method.source_sha256[:12], "model.weights": record.model.fingerprint}
        own["model.revision"] = record.model.revision
        for task, data in record.data.items():
            own |= {f"{task}.train": data.train_digest[:12], f"{task}.test": data.test_digest[:12]}
        own |= {f"version.{name}": version for name, version in record.versions.items()}
        own["commit"] = record.git.get("commit")
        flat.append(own)
    return unlike(flat)


def differing_settings(records: Sequence[Record]) -> list[str]:
    """What beside method and seed is not the same in runs that are compared: one sentence each."""
    if len(records) < 2:
        return []
    ignored = {"method", "method_settings", "seed"}
    flat = [
        {key: str(value) for key, value in flat_settings(record).items() if key.split(".")[0] not in ignored}
        for record in records
    ]
    notes = []
    for key, row in unlike(flat, "None").items():
        named: dict[str, list[str]] = {}
        for record, value in zip(records, row, strict=True):
            named.setdefault(value, []).append(f"{record.method.name} seed {record.config['seed']}")
        notes.append(f"Not the same everywhere: {key} is " + ", ".join(_phrase(v, w) for v, w in named.items()) + ".")
    digests = {tuple((name, data.test_digest) for name, data in record.data.items()) for record in records}
    if len(digests) > 1 and not any("limit" in note for note in notes):
        notes.append("Not the same everywhere: the test pairs.")
    # Records of before they were written down say nothing of them.
    tokens = {tuple(found) for record in records if all(found := [_tokens(data) for data in record.data.values()])}
    if len(digests) == 1 and len(tokens) > 1:
        notes.append("Not the same everywhere: the tokens of the test pairs (a chat template may write the date).")
    return notes


def _tokens(data: DataRecord) -> str | None:
    return (data.encoded or {}).get("test")


def flat_settings(record: Record) -> dict[str, Any]:
    """A run's configuration as one level of names: ``training.epochs``."""
    # A record that was written before a setting existed had what is its default now.
    return flat_levels(_defaults() | record.config)


@cache
def _defaults() -> dict[str, Any]:
    return RunConfig(method="", stream="", tasks=("",)).identity()


def _phrase(value: str, who: Iterable[str]) -> str:
    names = list(who)
    return f"{value} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
