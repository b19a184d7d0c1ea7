"""The fields of a record that no other file can prove: each has a form and bounds, and those that depend agree."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from lifealign_bench.config import RunConfig, TunedRate
from lifealign_bench.results.record import AbilityRecord, AbilityStage, Record
from lifealign_bench.results.scores import misnamed_fact

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{7,64}", re.ASCII)
_YEARS = (2000, 2999)
_ROUNDING = 1e-6
_FREE = ("config", "tuned", "stream", "hardware")  # of any form to the schema


def field_problems(record: Record) -> list[str]:
    """What no run could have written; empty where nothing is."""
    return [
        *_number_problems(record),
        *_time_problems(record),
        *_setting_problems(record),
        *_name_problems(record),
        *_data_problems(record),
        *_spending_problems(record),
        *_score_problems(record),
        *_extension_problems(record),
        *_fact_problems(record),
        *_ability_problems(record),
    ]


def _number_problems(record: Record) -> Iterator[str]:
    """Numbers of the fields that may have any form."""
    free: dict[str, Any] = {name: getattr(record, name) for name in _FREE}
    free["method.settings"] = record.method.settings
    free |= {f"data.{task}.cleaning": data.cleaning for task, data in record.data.items()}
    free |= {f"facts.{name}": [facts.run, facts.stages] for name, facts in record.facts.items()}
    for place, value in number_leaves(free):
        if not math.isfinite(value) or abs(value) > 1e19:
            yield f"{place} is {value}"
    for place, value in number_leaves({"hardware": record.hardware}):
        if value < 0:
            yield f"{place} is {value}"


def _time_problems(record: Record) -> Iterator[str]:
    times = {"created": record.created, "finished": record.finished}
    times |= {f"additions.{number}.finished": added.finished for number, added in enumerate(record.additions)}
    for name, text in times.items():
        try:
            year = datetime.fromisoformat(text).year
        except ValueError:
            year = 0
        if not (_YEARS[0] <= year <= _YEARS[1] and len(text) <= 40 and re.match(r"\d{4}-\d\d-\d\d", text)):
            yield f"{name} is no time: {text[:40]!r}"
    if record.attempts < 1:
        yield f"attempts is {record.attempts}"
    if record.status == "complete" and record.error is not None:
        yield "it is complete and has an error"


def _setting_problems(record: Record) -> Iterator[str]:
    """Settings that no run can have. Those that only an older version knew are looked at no further."""
    yield from _broken(RunConfig, record.config, "config")
    for name, value in record.method.settings.items():
        chosen = record.config.get("method_settings")
        if isinstance(chosen, dict) and name in chosen and chosen[name] != value:
            yield f"the method's setting {name} is {_short(value)}; its config says {_short(chosen[name])}"
    tuned = record.tuned
    if tuned is not None:
        broken = list(_broken(TunedRate, tuned, "tuned"))
        yield from broken
        if not broken and tuned["chosen"] not in tuned["rates"]:
            yield f"its tuned rate {tuned['chosen']} is none of the grid"
        for setting, value in ({} if broken else TunedRate.model_validate(tuned).values).items():
            section, _, name = setting.partition(".")
            own = record.method.settings if section == "method" else record.config.get(section)
            if isinstance(own, dict) and name in own and own[name] != value:
                yield f"its {setting} is {_short(own[name])}; it says that {value} was tuned"
    for key in ("train_limit", "test_limit"):
        limit = record.config.get(key)
        for task, data in record.data.items() if type(limit) is int else ():
            pairs = getattr(data, key.replace("limit", "pairs"))
            if pairs > limit:
                yield f"{task} has {pairs} {key.partition('_')[0]} pairs; {key} is {limit}"


def _broken(model: type[BaseModel], content: Mapping[str, Any], place: str) -> Iterator[str]:
    try:
        model.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            if found["type"] not in ("extra_forbidden", "missing"):
                yield f"{place}.{'.'.join(map(str, found['loc']))[:100]}: {found['msg'][:200]}"
            elif found["type"] == "missing" and place == "tuned":
                yield f"{place} has no {found['loc'][0]}"
    except ValueError as error:  # what JSON cannot say
        yield f"{place}: {error}"


def _name_problems(record: Record) -> Iterator[str]:
    method = record.config.get("method")
    own = re.split(r"[/\\]", method)[-1].removesuffix(".py") if isinstance(method, str) else None
    if record.method.name != own:
        yield f"its method is {_short(record.method.name)}; its config says {_short(method)}"
    if not isinstance(record.stream.get("name"), str) or set(record.stream) - {"name", "tasks"}:
        yield "its stream has no name, or says more of itself than name and tasks"
    names: dict[str, Iterable[str]] = {
        "task": record.data,
        "score": record.scores,
        "score with metrics": record.metrics,
        "scorer with facts": record.facts,
        "layout": [record.model.layout],
    }
    for what, own_names in names.items():
        for name in own_names:
            if not _NAME.fullmatch(name):
                yield f"{_short(name)} is no name of a {what}"
    if not _HASH.fullmatch(record.method.source_sha256):
        yield f"method.source_sha256 is no SHA-256: {_short(record.method.source_sha256)}"
    for git in (record.git, *(added.git for added in record.additions)):
        commit = git.get("commit")
        if commit is not None and not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
            yield f"git.commit is no commit: {_short(commit)}"
        if not isinstance(git.get("dirty"), bool | None):
            yield f"git.dirty is {_short(git['dirty'])}"


def _data_problems(record: Record) -> Iterator[str]:
    for task, data in record.data.items():
        for split in ("train", "test"):
            if not _HASH.fullmatch(getattr(data, f"{split}_digest")):
                yield f"the {split}_digest of {task} is no SHA-256"
        encoded = data.encoded or {}
        if set(encoded) - {"train", "test"} or not all(_HASH.fullmatch(digest) for digest in encoded.values()):
            yield f"the digests of the tokens of {task} are no SHA-256 of train and test"
        if data.version < 1 or not data.test_pairs or not data.train_pairs:
            yield f"{task} is version {data.version}, of {data.train_pairs} and {data.test_pairs} pairs"
        if data.test_prompts_in_train > data.test_pairs:
            yield f"{data.test_prompts_in_train} of {data.test_pairs} test prompts of {task} are in training"
        if data.chosen_longer is not None and data.chosen_longer > 1:
            yield f"the share of training pairs of {task} whose chosen response is longer is {data.chosen_longer}"
        if any(value < 0 for _, value in number_leaves(data.cleaning)):
            yield f"the cleaning of {task} counts less than nothing"


def _spending_problems(record: Record) -> Iterator[str]:
    """Pairs and operations of stages, where they are counted."""
    training = record.config.get("training")
    size = training.get("batch_size") if isinstance(training, dict) else None
    for stage in record.stages:
        if stage.seen is not None and type(size) is int and not stage.steps <= stage.seen <= stage.steps * size:
            yield f"{stage.steps} steps of stage {stage.index} cannot have trained on {stage.seen} pairs, {size} a step"
        odd = sorted((stage.flops or {}).keys() - stage.seconds.keys())
        if odd:
            yield f"stage {stage.index} has operations of {_short(odd[0])}, which took no time"
        if (stage.seen is None) != (stage.flops is None):
            yield f"stage {stage.index} counts pairs or operations and not both"


def _score_problems(record: Record) -> Iterator[str]:
    """What a share, its unit and its judge allow."""
    for name, matrix in record.scores.items():
        if matrix.unit is not None and (matrix.unit == "percent") != matrix.percent:
            yield f"the score {name} is {'in' if matrix.percent else 'not in'} percent, and its unit is {matrix.unit}"
        shares = [value for row in matrix.value for value in row if value is not None] if matrix.percent else []
        odd = next((value for value in shares if not -_ROUNDING <= value <= 100 + _ROUNDING), None)
        if odd is not None:
            yield f"{name} is {odd} percent"
        own = matrix.scorer in record.extensions.get("scorers", {})
        if matrix.partial and not own and record.config.get("judge") is None:
            yield f"the score {name} may leave out pairs, and there is no judge"
        odd_fact = None if own else misnamed_fact(name, matrix)
        if odd_fact is not None:
            yield f"the score {name} says that its {odd_fact} is {_short(getattr(matrix, odd_fact))}, which it is not"


def _extension_problems(record: Record) -> Iterator[str]:
    for kind, origins in record.extensions.items():
        if kind not in ("methods", "scorers", "judges", "rewards"):
            yield f"extensions.{kind} is no kind of extension"
        for name, origin in origins.items():
            if not _HASH.fullmatch(origin.get("source_sha256", "")):
                yield f"extensions.{kind}.{name} has no SHA-256 of its source"
            if origin.keys() - {"source_sha256", "package", "version"}:
                yield f"extensions.{kind}.{name} says {', '.join(sorted(origin))}"


def _fact_problems(record: Record) -> Iterator[str]:
    stages = {str(stage.index) for stage in record.stages}
    for name, facts in record.facts.items():
        if set(facts.stages) - stages:
            yield f"the facts of {name} are of a stage {_short(min(set(facts.stages) - stages))}"
        tasks = {task for own in facts.stages.values() for task in own} - set(record.data)
        if tasks:
            yield f"the facts of {name} are of a task {_short(min(tasks))}"
    preference = record.facts.get("preference")
    for stage, own in {} if preference is None else preference.stages.items():
        for task, said in own.items():
            pairs, within = said.get("pairs"), said.get("within_noise")
            if task not in record.data:
                continue
            wanted = record.data[task].test_pairs
            if pairs != wanted or not isinstance(within, int) or not 0 <= within <= wanted:
                counted = f"{_short(within)} of {_short(pairs)} pairs"
                yield f"of {task} after stage {_short(stage)} {counted} are within rounding, and it has {wanted}"


def _ability_problems(record: Record) -> Iterator[str]:
    stages = {str(stage.index) for stage in record.stages}
    measured = {tuple(sorted(ability.stages)) for ability in record.abilities.values()}
    if len(measured) > 1:
        yield "its abilities were measured after other stages each"
    for name, ability in record.abilities.items():
        if not _NAME.fullmatch(name):
            yield f"{_short(name)} is no name of an ability"
        if name in record.abilities_left_out:
            yield f"the ability {name} was measured and left out"
        if not _HASH.fullmatch(ability.digest):
            yield f"the digest of the ability {name} is no SHA-256"
        if ability.items < 1 or not 0 <= (ability.chance or 0) <= 100:
            yield f"the ability {name} has {ability.items} items and a chance of {ability.chance} percent"
        for stage in sorted(set(ability.stages) - stages):
            yield f"the ability {name} was measured after a stage {_short(stage)}"
        for stage, said in ability.stages.items():
            problem = _ability_problem(ability, stage, said)
            if problem:
                yield f"the ability {name} after stage {_short(stage)}: {problem}"


def _ability_problem(ability: AbilityRecord, stage: str, said: AbilityStage) -> str:
    """Values of items are between 0 and 1, which bounds what their mean, its change and the errors of both can be."""
    if said.value is None or not 0 <= said.value <= 100 + _ROUNDING:
        return f"it is {said.value} percent"
    share = said.value / 100
    problem = _error_problem("standard_error", said.standard_error, share - share * share, ability.items)
    if problem:
        return problem
    base = ability.stages.get("0")
    if stage == "0" or base is None or base.value is None:
        return "" if said.change is None and said.change_error is None else "it has a change from nothing"
    if said.change is None or abs(said.change - (said.value - base.value)) > _ROUNDING:
        return f"its change is {said.change}; its values give {said.value - base.value}"
    return _error_problem("change_error", said.change_error, 1 - (said.change / 100) ** 2, ability.items)


def _error_problem(name: str, error: float | None, variance: float, items: int) -> str:
    """A standard error that is there without need, is missing, or larger than values of this variance can have."""
    if items < 2:
        return "" if error is None else f"its {name} is {error}, of one item"
    most = 100 * math.sqrt(max(variance, 0.0) / (items - 1))
    if error is None or error > most + _ROUNDING:
        return f"its {name} is {error}; it can be {most:.4g} at most"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def number_leaves(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of plain JSON values, with where they stand."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from number_leaves(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from number_leaves(part, f"{place}.{number}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, value
