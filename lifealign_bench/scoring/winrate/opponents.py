"""Whom a run is judged against: ``base``, ``previous``, ``chosen``, or another run by its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifealign_bench.config import RunConfig, opponent_name
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.folder import RunFolder, read_marker, read_responses
from lifealign_bench.results.record import read_record

if TYPE_CHECKING:
    from lifealign_bench.data.tasks import TaskData
    from lifealign_bench.scoring.scorer import TaskView

OWN = {
    "base": "the base model's response",
    "previous": "the response after the stage before",
    "chosen": "the chosen response",
}
_REMEDY = f"Name {', '.join(OWN)}, or the folder of a run with these tasks (it holds config.json and stage-0)."
# As for partial scores: with more missing, a cell has no value.
_MOST_ABSENT = 0.1


@dataclass(frozen=True)
class Opponent:
    """One opponent.

    Args:
        name: short and safe for a score's name and a folder.
        meaning: for people.
        folder: of another run; None for the others.
    """

    name: str
    meaning: str
    folder: Path | None = None


def find_opponents(words: Sequence[str]) -> tuple[Opponent, ...]:
    """The opponents that ``--opponent`` names, in order; reads nothing.

    Raises:
        UsageError: two have one name.
    """
    found = tuple(_opponent(word) for word in words)
    for position, opponent in enumerate(found):
        if opponent.name in [other.name for other in found[:position]]:
            raise UsageError(
                f"Two opponents are called {opponent.name!r}: {', '.join(words)}.",
                "Name every opponent once; a copy of a run's folder under another name has that name.",
            )
    return found


def check_opponents(config: RunConfig) -> None:
    """Refuse opponents that cannot be, before anything is loaded.

    Raises:
        UsageError: two have one name.
        BenchError: no such opponent; the run itself; a folder that is no run, or one of other tasks.
    """
    for opponent, word in zip(find_opponents(config.opponents), config.opponents, strict=True):
        if opponent.folder is not None:
            _check_folder(opponent.folder, word, config)


def verify_run(opponent: Opponent, data: Mapping[str, TaskData], stages: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Make sure that another run has responses to our test pairs after every stage that will be scored.

    Args:
        data: our tasks.
        stages: those that are scored after each stage, the base model's first.

    Returns:
        What names that run, for the record; empty for opponents that are no run.

    Raises:
        BenchError: a stage is not finished; a task has no responses; the test pairs are others.
    """
    if opponent.folder is None:
        return {}
    record = read_record(RunFolder(opponent.folder).record)
    for name, task in data.items():
        theirs = record.data.get(name)
        # Pairs are found by their ids, which name rows of a file: it must be the same file.
        if theirs is None or not (
            theirs.test_digest == task.hashes()["test"] or theirs.source_hashes == dict(task.source_hashes)
        ):
            raise BenchError(f"The opponent {opponent.folder} was scored on other test data of {name}.", _REMEDY)
    for stage, names in enumerate(stages):
        folder = RunFolder(opponent.folder).stage(stage)
        damaged: list[str] = []
        if names and read_marker(folder.scored, damaged.append) is None:
            if damaged:
                raise BenchError(
                    f"Stage {stage} of the opponent {opponent.folder} was damaged or edited: its files are not those "
                    f"that {folder.scored.name} names.",
                    "Run that run's own command again: it does again what is damaged.",
                )
            raise BenchError(
                f"The opponent {opponent.folder} has no finished stage {stage}, which is judged against.",
                "Finish that run, or name one with as many stages.",
            )
        for name in names:
            responses = read_responses(folder.path, name)
            absent = [pair.id for pair in data[name].test if pair.id not in responses]
            if len(absent) > _MOST_ABSENT * len(data[name].test):
                raise BenchError(
                    f"The opponent {opponent.folder} lacks responses to {len(absent)} of {len(data[name].test)} test "
                    f"pairs of {name} after stage {stage}, for example {absent[0]}.",
                    "It has to be run with a scorer that needs responses (reward, overlap, win) and the same limits.",
                )
    return {"method": record.method.name, "seed": record.config["seed"], "config_hash": record.config_hash}


def responses_of(opponent: Opponent, view: TaskView) -> tuple[str | None, ...] | None:
    """The opponent's response to each test pair of a task; None in it where a run has none, None where there is none
    at all: ``previous`` at stage 0 and where the stage before gave none.

    Raises:
        BenchError: another run's file is damaged.
    """
    if opponent.folder is not None:
        found = read_responses(RunFolder(opponent.folder).stage(view.stage).path, view.card.name)
        return tuple(found.get(pair.id) for pair in view.pairs)
    if opponent.name == "chosen":
        return tuple(pair.chosen for pair in view.pairs)
    if opponent.name == "previous":
        return view.previous_responses
    if view.base_responses is None:
        raise ValueError(f"{view.card.name} has no responses of the base model")
    return view.base_responses


def _opponent(word: str) -> Opponent:
    if word in OWN:
        return Opponent(word, OWN[word])
    name = opponent_name(word)
    return Opponent(name, f"the response of the run {name} after the same stage", Path(word).expanduser())


def _check_folder(folder: Path, word: str, config: RunConfig) -> None:
    if not folder.is_dir():
        raise BenchError(f"There is no opponent {word!r}, neither by name nor as a folder.", _REMEDY)
    if folder.resolve() == config.run_directory().resolve():
        raise BenchError(f"The opponent {folder} is this run itself.", "Name another run, or previous.")
    settings = RunFolder(folder).began_with()
    if not settings:
        raise BenchError(f"The opponent {folder} is not the folder of a run: it has no config.json.", _REMEDY)
    there = [_task_name(task) for task in settings.get("tasks", ())]
    lacking = [name for name in map(_task_name, config.tasks) if name not in there]
    if lacking:
        raise BenchError(
            f"The opponent {folder} lacks the task {lacking[0]!r}; it has: {', '.join(there) or 'none'}.", _REMEDY
        )


def _task_name(task: Any) -> str:
    """A user's own card stands in a configuration by its path."""
    return Path(str(task)).stem if str(task).endswith((".yaml", ".yml")) else str(task)
