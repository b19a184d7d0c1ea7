"""Words of the command line -> the RunConfigs they stand for. Torch is imported only for a method's settings.

What is said later wins: preset, the stream card's defaults (preset ``small`` only), a config file, flags, ``--set``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_origin

from pydantic import ValidationError

from lifealign_bench.config import PRESETS, SECTIONS, RunConfig, TunedRate, option_name, setting_at
from lifealign_bench.data.cards import (
    StreamCard,
    available_streams,
    check_reward,
    load_stream,
    stream_names,
)
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.assignments import Assignment, parse_assignments, setting_fields
from lifealign_bench.experiments.configfile import RunsBlock, checked_settings, read_config_file
from lifealign_bench.experiments.fields import parse_value
from lifealign_bench.methods import (
    effective_settings,
    find_variant,
    load_method,
    method_config,
    method_names,
    unknown_method,
    variant_names,
)
from lifealign_bench.models.naming import with_label
from lifealign_bench.results.tunes import known_settings, value_in
from lifealign_bench.results.tuning import read_tuning, tuned_rate
from lifealign_bench.runs.rewards import is_rewarded
from lifealign_bench.runs.trackers import check_trackers
from lifealign_bench.scoring.abilities.names import check_ability_words
from lifealign_bench.scoring.rewardmodel.model import TRAINED
from lifealign_bench.scoring.scorers import SCORERS, check_scorers, possible_scorers, scorers_asked_by, scorers_with
from lifealign_bench.util.registry import unknown_name

_SETS = ("all", "ablations")  # words of --method that stand for several
_NO_REWARD_MODEL = "none"  # where the stream's card has one

_Arrange: TypeAlias = Callable[[Sequence[StreamCard]], tuple[Sequence[StreamCard], Sequence[str]]]


class Words:
    """What was asked for in words.

    Args:
        config: a config file; what is said beside it wins.
        limit: ``train_limit`` and ``test_limit`` in one, where these are not said.
        assignments: ``key=value`` each, as ``--set`` takes them.
        said: settings by their names in RunConfig, as the command line has them: texts, lists of words, numbers; 0 for
            no limit; ``tuned`` by its file. None and empty: nothing is said.
    """

    def __init__(
        self, *, config: Path | None = None, limit: int | None = None, assignments: Sequence[str] = (), **said: Any
    ) -> None:
        unknown = said.keys() - RunConfig.model_fields.keys()
        if unknown:
            raise TypeError(f"There is no setting called {', '.join(sorted(unknown))}.")
        self.config, self.limit, self.assignments = config, limit, tuple(assignments)
        self.said = {name: value for name, value in said.items() if value not in (None, (), [])}

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Words:
        """The words among a command's options, which have the options' names, in the singular."""
        values = {name: options.get(name) for name in ("config", "limit")}
        said = {name: options.get(option_name(name)) for name in RunConfig.model_fields if setting_at(name).flag}
        return cls(assignments=options.get("assignment") or (), **values, **said)

    def but(self, **said: Any) -> Words:
        """These words with others beside or in place of them."""
        mine = {"config": self.config, "limit": self.limit, "assignments": self.assignments}
        return Words(**{**mine, **self.said, **said})

    def listed(self, name: str) -> tuple[str, ...]:
        """What is said of a setting that takes several words."""
        found = self.said.get(name, ())
        return (found,) if isinstance(found, str) else tuple(str(word) for word in found)


@dataclass(frozen=True)
class Choice:
    """The runs that were asked for, in their order, and what the user should know about the choice."""

    configs: tuple[RunConfig, ...]
    notices: tuple[str, ...] = ()


def build_configs(words: Words, arrange: _Arrange = lambda streams: (streams, ())) -> Choice:
    """One RunConfig for every stream, method and seed.

    Args:
        arrange: streams to these in several orders, and what the user should know about that.

    Raises:
        UsageError: an unknown name or a value of the wrong type.
        BenchError: a broken card or method file.
    """
    said = words.said
    if "preset" in said and said["preset"] not in PRESETS:
        raise unknown_name("preset", said["preset"], PRESETS)
    if "data_dir" in said and not said["data_dir"].expanduser().is_dir():
        raise UsageError(f"There is no data folder {said['data_dir']}.", "Give --data-dir a folder that exists.")
    if not said.get("model", "a name").strip():
        raise UsageError("The name of the model is empty.", "Give --model a name or a folder.")
    configs: list[RunConfig] = []
    notices: list[str] = []
    for block in read_config_file(words.config) if words.config is not None else (RunsBlock(),):
        more, told = _block_configs(words, block, arrange)
        configs += more
        notices += told
    _refuse_shared_folders(configs)
    for config in configs:
        check_scorers(config)
        check_trackers(config.report_to)
        check_ability_words(config.abilities)
    if "judge" in said and not any(scorers_with("judge", config.scorers) for config in configs):
        notices.append("The judge is not asked: no scorer needs one (--scorer judge, --scorer win).")
    return Choice(tuple(configs), tuple(dict.fromkeys(notices)))


def _block_configs(words: Words, block: RunsBlock, arrange: _Arrange) -> tuple[list[RunConfig], list[str]]:
    """The runs of one block of a config file under the flags beside it; notices."""
    said = words.said
    with block.named("method"):
        asked = words.listed("method") or block.methods or ("lifealign",)
        methods = _methods(asked)
        # Who asks for all of them does not ask for one that cannot be had; who names one does.
        optional = set(methods) - set(_methods([word for word in _split(asked, "--method") if word not in _SETS]))
    with block.named("seed"):
        seeds = _seeds(words.listed("seed") or block.seeds or ("0",))
    with block.named("scorers"):
        scorers = scorer_names(words.listed("scorers") or block.scorers)
    with block.named("data_dir"):
        data_dir = said.get("data_dir") or block.values.get("data_dir")
        if data_dir is not None and not data_dir.expanduser().is_dir():
            raise UsageError(f"There is no data folder {data_dir}.", "Give a folder that exists.")
    with block.named("stream"):
        chosen, notices = _streams(words.listed("stream") or block.streams or ("forms",), data_dir)
    streams, more = arrange(chosen)
    notices += [
        *more,
        *(
            f"The stream {stream.name} has one task: there is nothing to forget, and metrics of forgetting show a dash."
            for stream in streams
            if len(stream.tasks) == 1
        ),
    ]
    untuned = _untuned(said.get("tuned"), [method for method in methods if method in optional])
    methods = [method for method in methods if method not in untuned]
    if untuned:
        notices.append(f"{_left_out(untuned)}: the table {said['tuned']} has no settings for them.")
    written = {method: _written_settings(block, method) for method in methods}
    _check_owners(block)
    assigned = parse_assignments(words.assignments, methods)
    configs: list[RunConfig] = []
    for stream in streams:
        unrewarded = []
        for method in methods:
            own = [_config(words, block, stream, method, seed, scorers, written[method], assigned) for seed in seeds]
            if method in optional and not is_rewarded(own[0], load_method(method), stream.task_cards()):
                unrewarded.append(method)
            else:
                configs += own
        if unrewarded:
            lacking = f"they learn from rewards, and {stream.name} has tasks without"
            notices.append(f"{_left_out(unrewarded)}: {lacking} (--reward {TRAINED} makes some).")
    if not configs:
        raise UsageError("No method is left.", " ".join(notices))
    return configs, notices


def _left_out(methods: Sequence[str]) -> str:
    return f"Left out, since only --method {' or '.join(_SETS)} asks for them: {', '.join(methods)}"


def _untuned(table: Path | None, methods: Sequence[str]) -> list[str]:
    """Those of the methods for which a table of tuned settings, if there is one, says nothing."""
    if table is None or not methods:
        return []
    known = read_tuning(table.expanduser())[0].methods
    variants = {method: find_variant(method) for method in methods}
    of = {method: variant.of if variant is not None else method for method, variant in variants.items()}
    return [method for method in methods if not {method, of[method]} & known.keys()]


def _written_settings(block: RunsBlock, method: str) -> dict[str, Any]:
    """What a config file sets of ``method``."""
    given = block.method_settings.get(method)
    if given is None or block.place is None:
        return {}
    return checked_settings(method_config(method), given, block.place / "method_settings" / method)


def _check_owners(block: RunsBlock) -> None:
    """Settings of a method that the block itself does not name would be read by nobody."""
    if not block.method_settings or block.place is None:
        return
    place = block.place / "method_settings"
    known = _methods(block.methods) if block.methods else [*method_names(), *variant_names()]
    for name in block.method_settings:
        if name not in known:
            with (place / name).named():
                raise unknown_name("method" if not block.methods else "method of these runs", name, known)


def _split(words: Sequence[str], option: str) -> list[str]:
    """Values given by repeating an option, by commas, or both; in order, each once."""
    items = [item.strip() for word in words for item in word.split(",")]
    if not all(items):
        raise UsageError(f"There is an empty name in what {option} says.", "Separate names by single commas.")
    return list(dict.fromkeys(items))


def _methods(words: Sequence[str]) -> list[str]:
    names: list[str] = []
    for word in _split(words, "--method") if words else ():
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
    return list(dict.fromkeys(int(parse_value(RunConfig, "seed", word)) for word in _split(words, "--seed")))


def scorer_names(words: Sequence[str]) -> tuple[str, ...]:
    """The scorers that are asked for; none where nothing is said.

    Raises:
        UsageError: there is no such scorer.
    """
    if not words:
        return ()
    names = _split(words, "--scorer")
    if "all" in names:
        return ("all",)
    for name in names:
        SCORERS.load(name)
    return tuple(names)


def _streams(words: Sequence[str | StreamCard], data_dir: Path | None) -> tuple[list[StreamCard], list[str]]:
    streams: dict[str, StreamCard] = {}
    notices: list[str] = []
    for word in words:
        if word != "all":
            stream = _stream(word) if isinstance(word, str) else word
            if stream.name in streams and streams[stream.name].tasks != stream.tasks:
                raise UsageError(f"Two streams are called {stream.name!r}.", "Rename one of them.")
            streams[stream.name] = stream
            continue
        ready, absent = available_streams(data_dir)
        notices += [f"Stream {name} is left out: {reason}" for name, reason in absent]
        streams |= {stream.name: stream for stream in ready}
    if not streams:
        raise BenchError("The data of no stream is available.", " ".join(notices))
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
    block: RunsBlock,
    stream: StreamCard,
    method: str,
    seed: int,
    scorers: tuple[str, ...],
    written: dict[str, Any],
    assigned: list[Assignment],
) -> RunConfig:
    name = words.said.get("preset") or block.preset or "small"
    preset = PRESETS[name]
    values: dict[str, Any] = {key: value for key, value in preset.items() if key not in SECTIONS}
    sections: dict[str, dict[str, Any]] = {name: dict(preset.get(name, {})) for name in SECTIONS}
    if name == "small":
        for key, value in stream.defaults.model_dump(exclude_none=True).items():
            section = setting_fields()[key][0] if key in setting_fields() else ""  # sft and the reward model have flags
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
    if values.get("reward_model") == _NO_REWARD_MODEL:
        values["reward_model"] = None
    if scorers:
        values["scorers"] = scorers
    values |= _fitting_scorers(values)
    tuned = _tuned(words.said.get("tuned"), method)
    settings = {**(tuned.given if tuned is not None else {}), **written}
    for setting, value in (tuned.values if tuned is not None else {}).items():
        part, _, key = setting.partition(".")
        (settings if part == "method" else sections[part])[key] = value
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
    # --set may say otherwise: then the run is not as it was tuned.
    if tuned is not None and _has_values(config, tuned):
        config = config.model_copy(update={"tuned": tuned})
    return with_label(_with_all_scorers(config))


def _has_values(config: RunConfig, tuned: TunedRate) -> bool:
    """Whether a run has what was taken, and what all trials had beside it."""
    taken = all(value_in(config, setting) == value for setting, value in tuned.values.items())
    defaults = {name: field.default for name, field in method_config(config.method).model_fields.items()}
    own = defaults | effective_settings(config.method, config.method_settings)
    return taken and all(own[name] == value for name, value in tuned.given.items())


def _tuned(table: Path | None, method: str) -> TunedRate | None:
    if table is None:
        return None
    variant = find_variant(method)
    of, fixed = (variant.of, tuple(variant.fixed)) if variant is not None else (None, ())
    found = tuned_rate(table.expanduser(), Path(method).stem, of, fixed)
    named = {*found.values, *(f"method.{name}" for name in found.given)}
    gone = sorted(named - known_settings(method_config(method)))
    if gone:
        raise UsageError(
            f"The table {table} has {', '.join(gone)} for {Path(method).stem}, which has no such setting.",
            f"Choose again: lifealign-bench tune --method {method}.",
        )
    return found


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
    fields = method_config(method).model_fields
    return {k: v for k, v in settings.items() if v != fields[k].get_default(call_default_factory=True)}


def _limited(values: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """``values`` with ``limit`` where a limit is not said, and None for a 0 that stands for it.

    Raises:
        UsageError: a number below 0.
    """
    found = dict(values)
    if limit is not None:
        found = {"train_limit": limit, "test_limit": limit} | found
    for key in found:
        if setting_at(key).zero_is_none and found[key] is not None:
            if found[key] < 0:
                raise UsageError(
                    f"The {key.replace('_', ' ')} is {found[key]}.", "Give a number of pairs; 0 means all."
                )
            found[key] = found[key] or None
    return found


def _filed(block: RunsBlock) -> dict[str, Any]:
    """What a config file says about RunConfig's own fields."""
    values: dict[str, Any] = {
        key: value.expanduser() if isinstance(value, Path) else value for key, value in block.values.items()
    }
    limit = values.pop("limit", None)
    return _limited(values, limit)


def scoring_flags(words: Words) -> dict[str, Any]:
    """What the flags say about how a run is scored, without the scorers themselves."""
    return {name: value for name, value in _flags(words).items() if setting_at(name).scoring}


def _flags(words: Words) -> dict[str, Any]:
    """What the flags say about RunConfig's own fields, but for those that :func:`build_configs` makes runs of."""
    apart = {"scorers", "preset", "tuned"}
    values = {
        name: _read(name, value)
        for name, value in words.said.items()
        if name not in apart and not setting_at(name).several
    }
    if "abilities" in values:
        check_ability_words(values["abilities"])
    return _limited(values, words.limit)


def _read(name: str, value: Any) -> Any:
    """A setting's value as the command line has it."""
    kind = RunConfig.model_fields[name].annotation
    if get_origin(kind) is tuple:
        # A run's folder is named after its stream, which may hold commas.
        option = setting_at(name).option
        return tuple(w for word in value for w in ([word] if Path(word).is_dir() else _split([word], option)))
    if get_origin(kind) is Literal or (kind is str and not value.strip()):
        return parse_value(RunConfig, name, value)
    return value.expanduser() if isinstance(value, Path) else value


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
