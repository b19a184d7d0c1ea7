"""From a record to the configuration that does its run again here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task, task_names
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.methods import find_variant, method_config, method_names, variant_names
from lifealign_bench.models.wheel import WHEELS
from lifealign_bench.results.checks import metric_problems, number_problems, whole_problems
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.published import digest_file, digest_problem
from lifealign_bench.results.record import Record
from lifealign_bench.results.view import RunView
from lifealign_bench.scoring.abilities.load import find_abilities
from lifealign_bench.scoring.abilities.names import is_file
from lifealign_bench.scoring.rewardmodel.model import is_made_here
from lifealign_bench.scoring.scorers import SCORERS, scorers_with
from lifealign_bench.util.extensions import is_own_file

# Settings that there were, with what took their place. Neither moved more than the last bits.
_RETIRED = {"score_batch_size": "token_budget", "training.micro_batch_size": "token_budget"}


@dataclass(frozen=True)
class ReproductionRequest:
    """What the command line says beside the record; None and empty where it says nothing."""

    out: Path
    data_dir: Path | None = None
    method_file: Path | None = None
    task_cards: tuple[Path, ...] = ()
    judge_url: str | None = None
    generation: str | None = None
    generation_url: str | None = None
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Recipe:
    """How the run is done again.

    Args:
        config: the run; its device and type may still be ``auto``.
        left_out: scorers, opponents and abilities that cannot be had here, and why.
        notes: what else is not as it was.
    """

    config: RunConfig
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def make_recipe(source: RecordSource, wish: ReproductionRequest) -> Recipe:
    """The configuration of a record, with what has to be said anew; no data is read.

    Raises:
        BenchError: a method, card or setting that is not available here; says how to name it.
    """
    record, lay = source.record, source.places()
    settings, notes = _known_settings(record)
    method = _method(record, wish.method_file)
    if settings.get("trust_remote_code") and not wish.trust_remote_code:
        raise UsageError(
            "The record's run let a model run its own code.",
            "Look at that code first; with --trust-remote-code it runs here as well.",
        )
    tasks = list(source.view.tasks)
    threads = record.hardware.get("threads")
    settings |= {
        "method": method,
        "method_settings": _method_settings(record, method, notes),
        "tasks": tasks,
        "task_cards": _cards(tasks, wish.task_cards, lay.get("task_cards") or {}),
        "out": wish.out,
        "data_dir": wish.data_dir or lay.get("data_dir"),
        "judge_url": wish.judge_url,
        "generation_engine": wish.generation or settings.get("generation_engine", "batches"),
        "generation_url": wish.generation_url,
        "tuned": record.tuned,
        "clock": record.model.clock,
        "threads": wish.threads or (threads if isinstance(threads, int) and threads > 0 else None),
        "device": wish.device or settings.get("device", "auto"),
        "dtype": wish.dtype or settings.get("dtype", "auto"),
        "shard": False,  # it moves no number, and one process has nobody to share with
    }
    opponents, left_out = _opponents(settings, lay)
    settings["opponents"] = opponents
    try:
        config = RunConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        commit = record.git.get("commit")
        raise BenchError(
            f"The record's setting {place} cannot be used by this version: {first['msg']}.",
            "Reproduce it with the version that made it"
            + (f": commit {commit}." if commit else f": {record.versions.get('lifealign-bench', 'unknown')}."),
        ) from error
    config, missing = scores_at_hand(config, drop_win=not opponents)
    return Recipe(config, {**left_out, **missing}, tuple(notes))


def _known_settings(record: Record) -> tuple[dict[str, Any], list[str]]:
    """The record's settings without those that there no longer are; notes."""
    settings: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in record.config.items()}
    notes = []
    for name, heir in _RETIRED.items():
        section, _, key = name.rpartition(".")
        home = settings.get(section, {}) if section else settings
        if isinstance(home, dict) and home.pop(key, None) is not None:
            notes.append(f"the setting {name} is no more; {heir} bounds a pass now, which may move the last bits")
    return settings, notes


def _method(record: Record, file: Path | None) -> str:
    """The method as ``--method`` would name it. A record may name any file: none is opened because it does."""
    name = record.config.get("method")
    if not isinstance(name, str):
        raise BenchError("The record names no method.", "It is no record of a run.")
    known = not name.endswith(".py") and (name in method_names() or name in variant_names())
    if file is not None:
        if known:
            raise UsageError(f"The record is of the method {name}, which is here.", "Leave out --method-file.")
        if file.suffix != ".py" or not file.expanduser().is_file():
            raise UsageError(f"There is no method file {file}.", "Give --method-file the path of a Python file.")
        return str(file.expanduser())
    if known:
        return name
    kind = "is somebody's own file" if name.endswith(".py") else "is not part of this package or of a plug-in here"
    raise UsageError(
        f"The method {record.method.name} of the record {kind}, which no record holds.",
        f"Give it with --method-file PATH; its SHA-256 was {record.method.source_sha256}.",
    )


def _method_settings(record: Record, method: str, notes: list[str]) -> dict[str, Any]:
    """What the method was set to and is not its default here: a default may have changed since."""
    model = method_config(method)
    fields, said = model.model_fields, record.method.settings
    variant = find_variant(method)
    fixed = variant.fixed if variant is not None else {}
    gone = [name for name in said if name not in fields]
    if gone:
        raise BenchError(
            f"The method {record.method.name} has no setting {gone[0]} here; the record has {said[gone[0]]!r}.",
            "Reproduce it with the version that made it" + _of_commit(record) + ".",
        )
    try:
        parsed = model.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BenchError(
            f"The method's setting {first['loc'][0] if first['loc'] else ''} in the record: {first['msg']}.",
            "Reproduce it with the version that made it" + _of_commit(record) + ".",
        ) from error
    other = [name for name in fixed if name in said and getattr(parsed, name) != fixed[name]]
    if other:
        raise BenchError(
            f"{method} fixes {other[0]} to {fixed[other[0]]!r} here; the record has {said[other[0]]!r}.",
            "Reproduce it with the version that made it" + _of_commit(record) + ".",
        )
    new = [name for name in fields if name not in said]
    if new:
        notes.append(f"the record does not know the method's settings {', '.join(new)}: their defaults are taken")
    defaults = {name: info.get_default(call_default_factory=True) for name, info in fields.items()}
    return {n: v for n, v in said.items() if n not in fixed and getattr(parsed, n) != defaults[n]}


def _of_commit(record: Record) -> str:
    commit = record.git.get("commit")
    return f" (commit {commit})" if commit else ""


def _cards(tasks: list[str], given: tuple[Path, ...], lay: Mapping[str, Any]) -> dict[str, Path]:
    """Where users' own cards lie, by the task's name."""
    found = {name: Path(str(path)) for name, path in lay.items() if name in tasks}
    for path in given:
        card = load_task(str(path.expanduser()))
        if card.name not in tasks:
            raise UsageError(f"The card {path} is of the task {card.name}, which the record has not.", "Leave it out.")
        found[card.name] = path.expanduser()
    for name in tasks:
        if name not in found and name not in task_names(fakes=True):
            raise UsageError(
                f"The task {name} of the record is somebody's own, and no record holds a card.",
                "Give its card with --task-card PATH (repeatable).",
            )
    return found


def _opponents(settings: Mapping[str, Any], lay: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The opponents of the scorer win that can be had; those that cannot, with the reason."""
    if not scorers_with("opponents", _known(settings.get("scorers") or ())):
        return tuple(settings.get("opponents") or ("base",)), {}
    folders = {Path(word).name: word for word in lay.get("opponents") or () if Path(word).is_dir()}
    folders |= {f"{Path(w).parent.name}-{Path(w).name}": w for w in folders.values()}
    kept, left_out = [], {}
    for name in settings.get("opponents") or ("base",):
        if name in ("base", "previous", "chosen"):
            kept.append(name)
        elif name in folders:
            kept.append(folders[name])
        else:
            left_out[f"win against {name}"] = "that run is named by the record and its folder is not available"
    return tuple(kept), left_out


def scores_at_hand(config: RunConfig, drop_win: bool = False) -> tuple[RunConfig, dict[str, str]]:
    """The run with those of its scorers and abilities that can be had, and the others with the reason.

    Args:
        drop_win: the scorers that need an opponent have none left.

    Raises:
        BenchError: no scorer is left.
    """
    left_out: dict[str, str] = {}
    for name in config.scorers:
        lonely = drop_win and scorers_with("opponents", _known((name,)))
        reason = "none of its opponents is available" if lonely else _reason(name, config)
        if reason:
            left_out[name] = reason
    scorers = tuple(name for name in config.scorers if name not in left_out)
    if not scorers:
        raise BenchError(
            "None of the record's scores can be had here: "
            + "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            + ".",
            "Nothing was trained.",
        )
    changes: dict[str, object] = {"scorers": scorers}
    if not scorers_with("judge", scorers):
        changes |= {"judge": None, "judge_url": None}
    if not scorers_with("opponents", scorers):
        changes |= {"opponents": ("base",)}
    abilities, missing = _abilities(config)
    changes |= {"abilities": abilities}
    return config.model_copy(update=changes), {**left_out, **missing}


def _reason(name: str, config: RunConfig) -> str:
    """Why a scorer cannot score here; empty where it can, as far as can be told without loading anything."""
    if not _known((name,)):
        return (
            "its file is named by the record and not available"
            if is_own_file(name)
            else "this version has no such scorer"
        )
    if scorers_with("judge", (name,)) and is_own_file(config.judge or ""):
        return f"the file of the judge {config.judge} is named by the record and not available"
    try:
        scorer = SCORERS.load(name)
        reason = scorer.absent(config)
        if not reason:
            scorer.check(config)
    except BenchError as error:
        return error.message.rstrip(".")
    return reason or next((why for model in scorer.models(config) if (why := _model_reason(model, config))), "")


def _known(scorers: Sequence[str]) -> tuple[str, ...]:
    """Those of a record's scorers that there are here. A record may name any file: none is opened because it does."""
    return tuple(name for name in scorers if name in SCORERS.names())


def _model_reason(name: str, config: RunConfig) -> str:
    """Why a judge's or reward model cannot be had; its configuration is looked for, not its weights."""
    if is_made_here(name):
        return ""
    from transformers import AutoConfig

    from lifealign_bench.models.tokenizer import FAKE

    if name in WHEELS or name == FAKE:
        return ""

    try:
        AutoConfig.from_pretrained(name, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).partition("\n")[0]
        return f"the model {name} is not available ({first.rstrip('.')})"
    return ""


def _abilities(config: RunConfig) -> tuple[tuple[str, ...], dict[str, str]]:
    """The tests of general ability to ask for. A single one that is missing is left out by the run itself."""
    left_out = {
        word: "its YAML file is named by the record and not available" for word in config.abilities if is_file(word)
    }
    words = tuple(word for word in config.abilities if word not in left_out)
    if not words:
        return (), left_out
    try:
        found = find_abilities(config.model_copy(update={"abilities": words}), None, lambda text: None)
    except BenchError as error:
        return (), {**left_out, **dict.fromkeys(words, error.message.rstrip("."))}
    return words, {**left_out, **found.left_out}


@dataclass(frozen=True)
class RecordSource:
    """What is reproduced.

    Args:
        path: as it was named: a record's file or a run's folder.
        view: its record and, where they are available, its per-pair scores.
        notes: what a reader should know of it.
    """

    path: Path
    view: RunView
    notes: tuple[str, ...] = ()

    @property
    def record(self) -> Record:
        """Its record."""
        return self.view.record

    def places(self) -> dict[str, Any]:
        """Where data, cards and opponents of a run's folder lie; a record alone says of no file where it is."""
        own = self.view.published is None and self.view.directory is not None
        return RunFolder(self.view.directory).places() if own and self.view.directory is not None else {}


def open_source(path: Path) -> RecordSource:
    """The record in a file or a run's folder.

    Raises:
        BenchError: there is none; it is not of a finished run; it is not whole, or its numbers contradict each other.
    """
    view = RunView.open(path)
    record = view.record
    if record.status != "complete":
        raise BenchError(
            f"The record {path} is of a run that is {record.status}.",
            "Only a finished run can be reproduced: name another record, or finish that run.",
        )
    problems, notes = whole_problems(record), []
    if view.published is not None and digest_file(view.published).is_file():
        problem = digest_problem(view.published)
        problems += [problem] if problem else []
    elif view.published is not None:
        notes.append("the record has no digest: edits that agree with each other would not be seen")
    if not problems:
        stages = {row.stage: row.row for row in view.rows}
        blocks = {stage: view.blocks[row] for stage, row in stages.items() if row in view.blocks}
        problems += number_problems(record, blocks) if blocks else metric_problems(record)
        if not blocks:
            notes.append("the record's per-pair scores are not available: metrics have no tolerance and are not judged")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise BenchError(
            f"The record {path} is not as it was written: {'; '.join(problems[:3])}{more}.",
            "Nothing was trained. Take it from where it was published (git checkout), and see lifealign-bench verify.",
        )
    return RecordSource(path, view, tuple(notes))


def require_same_data(record: Record, data: Mapping[str, TaskData]) -> None:
    """Refuse other training or test pairs than the record's.

    Raises:
        BenchError: names the first task that has others, and what to do.
    """
    for name, said in record.data.items():
        task = data[name]
        hashes = task.hashes()
        for split, wanted in (("train", said.train_digest), ("test", said.test_digest)):
            if hashes["train" if split == "train" else "test"] == wanted:
                continue
            raise BenchError(
                f"The {split} pairs of {name} are not those of the record: their digest is "
                f"{hashes['train' if split == 'train' else 'test'][:12]}, the record's {wanted[:12]}. "
                "Nothing was trained.",
                _remedy(record, task, said.version),
            )


def _remedy(record: Record, task: TaskData, version: int) -> str:
    if task.card.version != version:
        commit = record.git.get("commit")
        at = f" (commit {commit} of this repository)" if commit else ""
        return f"The card here is version {task.card.version}, the record's was {version}: use that one{at}."
    if task.card.path is not None:
        return (
            "lifealign-bench data verify says whether the files are those of its card; --data-dir names another copy, "
            "--task-card another card."
        )
    return "Give the data that the run was made with: --data-dir, or --task-card for a task of your own."
