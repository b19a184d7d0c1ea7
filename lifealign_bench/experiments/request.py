"""Words of the command line -> the RunConfigs they stand for. Torch is imported only for a method's settings.

What is said later wins: preset, the stream card's defaults (preset ``small`` only), a config file, flags, ``--set``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lifealign_bench.config import PRESETS, SECTIONS, RunConfig, TunedRate
from lifealign_bench.data.cards import (
    StreamCard,
    available_streams,
    check_reward,
    load_stream,
    stream_names,
    stream_of_tasks,
)
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.assignments import Assignment, parse_assignments, setting_fields
from lifealign_bench.experiments.configfile import LIMITS, Block, NamedTasks, read_config_file, settings_of
from lifealign_bench.experiments.fields import parse_value
from lifealign_bench.methods import (
    effective_settings,
    find_variant,
    load_method,
    method_names,
    unknown_method,
    variant_names,
)
from lifealign_bench.results.tuning import rate_in, tuned_rate
from lifealign_bench.runs.trackers import check_trackers
from lifealign_bench.scoring.abilities.names import check_words
from lifealign_bench.scoring.scorers import SCORERS, check_scorers, possible_scorers, scorers_asked_by, scorers_with
from lifealign_bench.util.registry import unknown_name

__all__ = ["Choice", "Words", "build_configs", "scorer_names", "scoring_flags"]


@dataclass(frozen=True)
class Words:
    """What the command line said; None and empty where it said nothing."""

    methods: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    model: str | None = None
    seeds: tuple[str, ...] = ()
    preset: str | None = None
    config: Path | None = None
    limit: int | None = None
    train_limit: int | None = None
    test_limit: int | None = None
    assignments: tuple[str, ...] = ()
    scorers: tuple[str, ...] = ()
    reward_model: str | None = None
    judge: str | None = None
    judge_url: str | None = None
    judge_budget: int | None = None
    opponents: tuple[str, ...] = ()
    abilities: tuple[str, ...] = ()
    ability_stages: str | None = None
    report_to: tuple[str, ...] = ()
    validation: int | None = None
    tuned: Path | None = None
    evaluate: str | None = None
    sft: bool | None = None
    out: Path | None = None
    data_dir: Path | None = None
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    trust_remote_code: bool | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Words:
        """The words among a command's options, which have their names, in the singular where there may be several."""
        several = {"method": "methods", "stream": "streams", "seed": "seeds", "assignment": "assignments"}
        several |= {"scorer": "scorers", "opponent": "opponents", "ability": "abilities", "reward": "reward_model"}
        known = {f.name for f in fields(cls)}
        said = {several.get(name, name): value for name, value in options.items() if value is not None}
        values: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in said.items() if name in known
        }
        return cls(**values)


@dataclass(frozen=True)
class Choice:
    """The runs that were asked for, in their order, and what the user should know about the choice."""

    configs: tuple[RunConfig, ...]
    notices: tuple[str, ...] = ()


# Streams -> these in several orders, and what the user should know about that.
Arrange = Callable[[Sequence[StreamCard]], tuple[Sequence[StreamCard], Sequence[str]]]


def build_configs(words: Words, arrange: Arrange = lambda streams: (streams, ())) -> Choice:
    """One RunConfig for every stream, method and seed.

    Args:
        arrange: what is done with the streams before.

    Raises:
        UsageError: an unknown name or a value of the wrong type.
        BenchError: a broken card or method file.
    """
    if words.preset is not None and words.preset not in PRESETS:
        raise unknown_name("preset", words.preset, PRESETS)
    if words.data_dir is not None and not words.data_dir.expanduser().is_dir():
        raise UsageError(f"There is no data folder {words.data_dir}.", "Give --data-dir a folder that exists.")
    if words.model is not None and not words.model.strip():
        raise UsageError("The name of the model is empty.", "Give --model a name or a folder.")
    configs: list[RunConfig] = []
    notices: list[str] = []
    for block in read_config_file(words.config) if words.config is not None else (Block(),):
        more, said = _block_configs(words, block, arrange)
        configs += more
        notices += said
    _refuse_shared_folders(configs)
    for config in configs:
        check_scorers(config)
        check_trackers(config.report_to)
    if words.judge is not None and not any(scorers_with("judge", config.scorers) for config in configs):
        notices.append("The judge is not asked: no scorer needs one (--scorer judge, --scorer win).")
    return Choice(tuple(configs), tuple(dict.fromkeys(notices)))


def _block_configs(words: Words, block: Block, arrange: Arrange) -> tuple[list[RunConfig], list[str]]:
    """The runs of one block of a config file under the flags beside it; notices."""
    with block.named("method"):
        methods = _methods(words.methods or block.methods or ("lifealign",))
    with block.named("seed"):
        seeds = _seeds(words.seeds or block.seeds or ("0",))
    with block.named("scorers"):
        scorers = scorer_names(words.scorers or block.scorers)
    with block.named("data_dir"):
        data_dir = words.data_dir or block.values.get("data_dir")
        if data_dir is not None and not data_dir.expanduser().is_dir():
            raise UsageError(f"There is no data folder {data_dir}.", "Give a folder that exists.")
    with block.named("stream"):
        chosen, notices = _streams(words.streams or block.streams or ("mini",), data_dir)
    streams, more = arrange(chosen)
    notices += [
        *more,
        *(
            f"The stream {stream.name} has one task: there is nothing to forget, and metrics of forgetting show a dash."
            for stream in streams
            if len(stream.tasks) == 1
        ),
    ]
    written = {method: _written_settings(block, method) for method in methods}
    _check_owners(block)
    assigned = parse_assignments(words.assignments, methods)
    configs = [
        _config(words, block, stream, method, seed, scorers, written[method], assigned)
        for stream in streams
        for method in methods
        for seed in seeds
    ]
    return configs, notices


def _written_settings(block: Block, method: str) -> dict[str, Any]:
    """What a config file sets of ``method``."""
    given = block.method_settings.get(method)
    if given is None or block.place is None:
        return {}
    return settings_of(load_method(method).Config, given, block.place / "method_settings" / method)


def _check_owners(block: Block) -> None:
    """Settings of a method that the block itself does not name would be read by nobody."""
    if not block.method_settings or block.place is None:
        return
    place = block.place / "method_settings"
    known = _methods(block.methods) if block.methods else [*method_names(), *variant_names()]
    for name in block.method_settings:
        if name not in known:
            with (place / name).named():
                raise unknown_name("method" if not block.methods else "method of these runs", name, known)


def _split(words: Sequence[str], noun: str) -> list[str]:
    """Values given by repeating a flag, by commas, or both; in order, each once."""
    items = [item.strip() for word in words for item in word.split(",")]
    if not all(items):
        raise UsageError(f"There is an empty name among the {noun}s.", "Separate names by single commas.")
    return list(dict.fromkeys(items))


def _methods(words: Sequence[str]) -> list[str]:
    names: list[str] = []
    for word in _split(words, "method"):
        if word == "all":
            names += method_names()
        elif word == "ablations":
            names += variant_names()
        elif word.endswith(".py"):
            if not Path(word).expanduser().is_file():
                raise UsageError(f"There is no method file {word}.", "Give the path of a file that defines a method.")
            names.append(str(Path(word).expanduser()))
        elif word in method_names() or word in variant_names():
            names.append(word)
        else:
            raise unknown_method(word)
    return list(dict.fromkeys(names))


def _seeds(words: Sequence[str]) -> list[int]:
    return list(dict.fromkeys(int(parse_value(RunConfig, "seed", word)) for word in _split(words, "seed")))


def scorer_names(words: Sequence[str]) -> tuple[str, ...]:
    """The scorers that are asked for; none where nothing is said.

    Raises:
        UsageError: there is no such scorer.
    """
    if not words:
        return ()
    names = _split(words, "scorer")
    if "all" in names:
        return ("all",)
    for name in names:
        SCORERS.load(name)
    return tuple(names)


def _streams(words: Sequence[str | NamedTasks], data_dir: Path | None) -> tuple[list[StreamCard], list[str]]:
    streams: dict[str, StreamCard] = {}
    notices: list[str] = []
    for word in words:
        if word != "all":
            stream = _stream(word) if isinstance(word, str) else stream_of_tasks(word.name, word.tasks)
            if stream.name in streams and streams[stream.name].tasks != stream.tasks:
                raise UsageError(f"Two streams are called {stream.name!r}.", "Rename one of them.")
            streams[stream.name] = stream
            continue
        ready, absent = available_streams(data_dir)
        notices += [f"Stream {name} is left out: {reason}" for name, reason in absent]
        streams |= {stream.name: stream for stream in ready}
    if not streams:
        raise BenchError("The data of no stream is at hand.", " ".join(notices))
    return list(streams.values()), notices


def _stream(word: str) -> StreamCard:
    try:
        return load_stream(word)
    except UsageError as error:
        several = [name for name in stream_names() if name in [item.strip() for item in word.split(",")]]
        if several and "," in word:
            raise UsageError(
                error.message,
                f"{several[0]!r} is a stream, and commas make a stream out of tasks: "
                "for several streams repeat --stream.",
            ) from error
        raise


def _config(
    words: Words,
    block: Block,
    stream: StreamCard,
    method: str,
    seed: int,
    scorers: tuple[str, ...],
    written: dict[str, Any],
    assigned: list[Assignment],
) -> RunConfig:
    name = words.preset or block.preset or "small"
    preset = PRESETS[name]
    values: dict[str, Any] = {key: value for key, value in preset.items() if key not in SECTIONS}
    sections: dict[str, dict[str, Any]] = {name: dict(preset.get(name, {})) for name in SECTIONS}
    if name == "small":
        for key, value in stream.defaults.model_dump(exclude_none=True).items():
            section = setting_fields()[key][0]
            (sections[section] if section else values)[key] = value
    for section, settings in block.sections.items():
        sections[section] |= settings
    cards = stream.task_cards()
    for card in cards:
        check_reward(card)
    values |= {"method": method, "stream": stream.name, "seed": seed, "preset": name}
    values |= {"tasks": [card.name for card in cards]}
    # A run is the same wherever the user's own cards lie.
    values |= {"task_cards": {c.name: Path(t) for c, t in zip(cards, stream.tasks, strict=True) if t != c.name}}
    values |= _filed(block) | _flags(words)
    if scorers:
        values["scorers"] = scorers
    values |= _fitting_scorers(values)
    settings = dict(written)
    tuned = _tuned(words.tuned, method)
    if tuned is not None:
        part, _, key = tuned.setting.partition(".")
        (settings if part == "method" else sections[part])[key] = tuned.chosen
    for assignment in assigned:
        if assignment.section == "method":
            if method in assignment.methods:
                settings[assignment.key] = assignment.value
        else:
            (sections[assignment.section] if assignment.section else values)[assignment.key] = assignment.value
    effective_settings(method, settings)  # refuses what a variant fixes
    try:
        config = RunConfig.model_validate({**values, **sections, "method_settings": _changed(method, settings)})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(
            f"The setting {'.'.join(str(part) for part in first['loc'])}: {first['msg']}.", "See --help."
        ) from error
    if tuned is not None and rate_in(config, tuned.setting) == tuned.chosen:  # --set may say otherwise
        config = config.model_copy(update={"tuned": tuned})
    return _with_all_scorers(config)


def _tuned(table: Path | None, method: str) -> TunedRate | None:
    if table is None:
        return None
    variant = find_variant(method)
    return tuned_rate(table.expanduser(), Path(method).stem, variant.of if variant is not None else None)


def _with_all_scorers(config: RunConfig) -> RunConfig:
    """``config`` with the scorers that ``all`` stands for, where that is among them: those that have what they need."""
    if "all" not in config.scorers:
        return config
    return config.model_copy(update={"scorers": possible_scorers(config)})


def _fitting_scorers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Asking for a reward model is asking for its scores; a judge whom no scorer asks is no part of the run."""
    scorers = tuple(values.get("scorers", RunConfig.model_fields["scorers"].default))
    scorers = tuple(dict.fromkeys((*scorers, *scorers_asked_by(values))))
    unused = {} if "all" in scorers or scorers_with("judge", scorers) else {"judge": None}
    return {"scorers": scorers, **unused}


def _changed(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are not the method's defaults: saying a default aloud does not make another run."""
    if not settings:
        return {}
    fields = load_method(method).Config.model_fields
    return {k: v for k, v in settings.items() if v != fields[k].get_default(call_default_factory=True)}


def _limits(limit: int | None, train: int | None, test: int | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, own in (("train_limit", train), ("test_limit", test)):
        count = own if own is not None else limit
        if count is not None:
            if count < 0:
                raise UsageError(f"The {key.replace('_', ' ')} is {count}.", "Give a number of pairs; 0 means all.")
            values[key] = count or None
    return values


def _filed(block: Block) -> dict[str, Any]:
    """What a config file says about RunConfig's own fields."""
    said = block.values
    values = {key: value for key, value in said.items() if key not in LIMITS}
    for key in ("out", "data_dir"):
        if key in values:
            values[key] = values[key].expanduser()
    return values | _limits(*(said.get(key) for key in LIMITS))


def scoring_flags(words: Words) -> dict[str, Any]:
    """What the flags say about how a run is scored, without the scorers themselves."""
    values: dict[str, Any] = {}
    if words.ability_stages is not None:
        values["ability_stages"] = parse_value(RunConfig, "ability_stages", words.ability_stages)
    if words.abilities:
        values["abilities"] = tuple(_split(words.abilities, "ability name"))
        check_words(values["abilities"])
    if words.opponents:
        # A run's folder is named after its stream, which may hold commas.
        values["opponents"] = tuple(
            name for word in words.opponents for name in ([word] if Path(word).is_dir() else _split([word], "opponent"))
        )
    said = {key: getattr(words, key) for key in ("reward_model", "judge", "judge_url", "judge_budget")}
    return values | {key: value for key, value in said.items() if value is not None}


def _flags(words: Words) -> dict[str, Any]:
    """What the flags say about RunConfig's own fields."""
    values = scoring_flags(words) | _limits(words.limit, words.train_limit, words.test_limit)
    if words.report_to:
        values["report_to"] = tuple(_split(words.report_to, "tracker"))
    if words.validation is not None:
        values["validation"] = words.validation
    if words.sft is not None:
        values["sft"] = words.sft
    for key, text in (("evaluate", words.evaluate), ("device", words.device), ("dtype", words.dtype)):
        if text is not None:
            values[key] = parse_value(RunConfig, key, text)
    if words.model is not None:
        values["model"] = words.model
    if words.out is not None:
        values["out"] = words.out.expanduser()
    if words.data_dir is not None:
        values["data_dir"] = words.data_dir.expanduser()
    if words.threads is not None:
        values["threads"] = words.threads
    if words.trust_remote_code is not None:
        values["trust_remote_code"] = words.trust_remote_code
    return values


def _refuse_shared_folders(configs: Sequence[RunConfig]) -> None:
    """Two runs of one command must not write to one place (a method file called like another method)."""
    owners: dict[Path, RunConfig] = {}
    for config in configs:
        other = owners.setdefault(config.run_directory(), config)
        if other is not config:
            raise UsageError(
                f"{other.method!r} and {config.method!r} would both write to {config.run_directory()}.",
                "Rename one of the method files, or give the runs different --out.",
            )
