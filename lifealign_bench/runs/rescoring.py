"""Adding scores to a finished run, from its adapters and responses: the numbers are those of a run that had them asked
for at the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.folder import RunFolder, read_token_ids
from lifealign_bench.results.pairtable import read_frame
from lifealign_bench.results.record import Addition, Record, ScorerFacts, read_record
from lifealign_bench.runs.directory import RunDirectory
from lifealign_bench.runs.recording import build_record, git_state, run_identity, versions
from lifealign_bench.runs.resuming import Ledger, claim_tokens
from lifealign_bench.runs.run import go_through, held
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.stages import asked_work
from lifealign_bench.scoring.abilities.ability import Abilities
from lifealign_bench.scoring.abilities.load import as_begun, find_abilities
from lifealign_bench.scoring.abilities.measure import measured_names
from lifealign_bench.scoring.abilities.names import expand
from lifealign_bench.scoring.scorers import SCORERS, possible_scorers
from lifealign_bench.scoring.stage import Known
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.distributed import join
from lifealign_bench.util.progress import GENERATION_WORK, Progress, Work


def run_of(path: Path, data_dir: Path | None = None) -> RunConfig:
    """The configuration of the finished run in a folder.

    Raises:
        BenchError: there is none, it is not finished, or its folder was renamed.
    """
    folder = RunFolder(path)
    record = read_record(folder.record)
    if record.status != "complete":
        raise BenchError(f"The run in {path} is {record.status}.", "Finish it first: run its command again.")
    absolute = path.absolute()
    lay = folder.places()
    try:
        config = RunConfig.model_validate(
            {
                **folder.began_with(),
                "out": absolute.parents[3],
                "data_dir": data_dir or lay.get("data_dir"),
                "task_cards": lay.get("task_cards", {}),
                **({"opponents": lay["opponents"]} if lay.get("opponents") else {}),
            }
        )
    except ValidationError as error:
        raise BenchError(
            f"The settings of the run in {path} cannot be read: {error.errors()[0]['msg']}.",
            "Was it made by another version of lifealign-bench?",
        ) from error
    if config.run_directory() != absolute:
        own = config.run_directory().relative_to(absolute.parents[3])
        raise BenchError(
            f"The run in {path} should be in a folder called {own}.",
            "Move it back below a folder of runs: <out>/<stream>/<model>/<method>/seed-<n>.",
        )
    return config


def extended(config: RunConfig, scorers: Sequence[str], flags: Mapping[str, Any]) -> RunConfig:
    """The run with more scores.

    Args:
        scorers: to be added.
        flags: settings of scoring.

    Raises:
        UsageError: scores that are there already would be of another judge or reward model.
    """
    wanted = dict(flags)
    for key in {key for name in config.scorers for key in SCORERS.load(name).grows} & wanted.keys():
        wanted[key] = tuple(dict.fromkeys((*getattr(config, key), *wanted[key])))
    if "abilities" in wanted:
        wanted["abilities"] = tuple(dict.fromkeys((*config.abilities, *wanted["abilities"])))
    for name in config.scorers:
        # Another value would mix two judges in one column.
        for key in SCORERS.load(name).depends:
            old, new = getattr(config, key), wanted.get(key, getattr(config, key))
            if old is not None and old != new:
                raise UsageError(
                    f"The run has scores of {name} with {key} {old!r}; {new!r} would give other numbers.",
                    "Score a copy of the run's folder in another --out.",
                )
    if "all" in scorers:
        scorers = possible_scorers(RunConfig.model_validate({**config.model_dump(), **wanted}))
    names = dict.fromkeys((*config.scorers, *scorers))
    return RunConfig.model_validate({**config.model_dump(), **wanted, "scorers": tuple(names)})


def add_scores(
    before: RunConfig,
    config: RunConfig,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Record:
    """Score a finished run by what ``config`` has more than ``before``.

    Nothing is trained. Responses and scores that are there are kept; stopped, the same call goes on. Where more tasks
    need responses than have them, all are generated together again, as they would have been at the start, and what
    stands on them is scored again.

    Raises:
        BenchError: the run's files are damaged, or a scorer cannot be had.
        Interrupted: ``stopped`` said so.
    """
    progress = progress or Progress()
    join(before.device == "cpu")
    with held(before, progress) as (directory, method, data):
        record = directory.finished(progress.notice, checked=False)  # the ledger looks at all files
        if record is None:
            raise BenchError(f"The run in {directory.path} is not finished.", "Finish it first: run its command again.")
        if before.device == "cpu":
            torch.set_num_threads(directory.threads(torch.get_num_threads()))
        ledger = Ledger(directory, len(method.plan(list(data))), progress.notice)
        stages = sorted(ledger.trained)
        if len(stages) <= len(method.plan(list(data))) or sorted(ledger.scored) != stages:
            # Or killed between a stage's new scores and their marker; its finished record hides that from run.
            raise BenchError(
                f"Files of the run in {directory.path} are damaged, or the scoring of a stage was killed.",
                "Delete its record.json and run its command again, which mends it; then add the scores.",
            )
        config = config.model_copy(update={"clock": directory.clock(Clock.of(before.clock).text())})
        missing = _missing(directory, config, stages)
        abilities = _missing_abilities(before, config, record, progress)
        session = Session.build(config, data, method, progress, scorers=missing, abilities=abilities)
        claim_tokens(session, directory)
        if _responses_grow(session, directory, stages):
            progress.notice("More tasks need responses than have them: all are generated and scored again.")
            again = [name for name in config.scorers if "responses" in SCORERS.load(name).needs]
            scorers = [*dict.fromkeys((*missing, *again))]
            session = Session.build(config, data, method, progress, scorers=scorers, abilities=abilities)
        progress.run_started(config, _added_work(session, ledger))
        try:
            go_through(session, ledger, stopped, known=partial(_lacking, session, ledger))
        finally:
            progress.run_finished()
        content = build_record(session, ledger, record.attempts, "complete", None)
        directory.adopt(config, run_identity(config, method, data))
        if abilities.tests or abilities.left_out:
            directory.keep_abilities(_all_begun(directory.abilities(), abilities))
        record = _added(record, content, missing, [a.name for a in abilities.tests])
        directory.finish(record)
        return record


def _added_work(session: Session, ledger: Ledger) -> Work:
    """What is to be scored, in tokens of a scoring pass, and how much of it a stopped attempt has done."""
    total = done = 0.0
    last = len(ledger.trained) - 1
    for index in sorted(ledger.trained):
        said = read_token_ids(ledger.directory.stage(index).path)
        units = sum(_units(session, name, index, name in said) for name in session.scored_after(index))
        units += asked_work(session, index, last)
        total += units
        done += units * (_lacking(session, ledger, index) is None)
    return Work(total, last, done)


def _units(session: Session, task: str, stage: int, said: bool) -> float:
    """Of scoring a task once; responses that are there cost nothing, and are as long as the chosen ones."""
    needs, pairs = session.exam.needs_after(task, stage), session.exam.pairs[task]
    units = 0.0
    if "log_probs" in needs:
        units += sum(pair.tokens for pair in pairs)
    if "distance" in needs and stage:
        units += 2 * sum(len(pair.prompt) + len(pair.chosen) for pair in pairs)  # the base model's pass as well
    if "responses" in needs and not said:
        units += len(pairs) * session.config.generation.max_new_tokens * GENERATION_WORK
    return units


def _missing(directory: RunDirectory, config: RunConfig, stages: Sequence[int]) -> list[str]:
    """The scorers of which a stage has not all scores."""
    present = [set(read_frame(directory.stage(i).scores).columns) for i in stages]
    return [
        name
        for name in config.scorers
        if any(info.name not in columns for info in SCORERS.load(name).infos(config) for columns in present)
    ]


def _responses_grow(session: Session, directory: RunDirectory, stages: Sequence[int]) -> bool:
    return any(
        "responses" in session.exam.needs(name) and name not in read_token_ids(directory.stage(index).path)
        for index in stages
        for name in session.scored_after(index)
    )


def _lacking(session: Session, ledger: Ledger, index: int) -> Known | None:
    """What the earlier scoring of a stage left; None where a stopped attempt has added all to it."""
    folder = ledger.directory.stage(index)
    said = read_token_ids(folder.path)
    responses = {
        name: [said[name][p.pair.id] for p in session.test[name]]
        for name in said
        if all(p.pair.id in said[name] for p in session.test[name])
    }
    known = Known(read_frame(folder.scores), responses, ledger.scored[index])
    return None if _stands(session, known, index, folder.path) else known


def _missing_abilities(before: RunConfig, config: RunConfig, record: Record, progress: Progress) -> Abilities:
    """The abilities that are asked for and were not measured, loaded; all, where more stages are to be measured.

    Raises:
        BenchError: none of them can be had.
    """
    words = expand(config.abilities)
    if config.ability_stages == before.ability_stages:
        had = set(expand(before.abilities)) - set(record.abilities_left_out)
        words = [word for word in words if word not in had]
    if not words:
        return Abilities()
    return find_abilities(config.model_copy(update={"abilities": tuple(words)}), None, progress.notice)


def _all_begun(earlier: Mapping[str, Any] | None, added: Abilities) -> dict[str, Any]:
    """What the run, if it were continued, would have to find: the abilities that it had and those added."""
    begun = earlier or {"digests": {}, "left_out": {}}
    now = as_begun(added)
    left_out = {name: why for name, why in begun["left_out"].items() if name not in now["digests"]}
    return {"digests": {**begun["digests"], **now["digests"]}, "left_out": {**left_out, **now["left_out"]}}


def _stands(session: Session, known: Known, index: int, folder: Path) -> bool:
    """Whether a stage has all that is to be added."""
    due = session.abilities.due(index, len(session.plan()))
    if due and not {a.name for a in session.abilities.tests} <= measured_names(folder):
        return False
    columns = {info.name for s in session.scorers.values() for info in s.infos(session.config)}
    wanted = [name for name in session.scored_after(index) if "responses" in session.exam.needs(name)]
    return columns <= set(known.frame.columns) and all(name in known.responses for name in wanted)


def _added(before: Record, now: Record, scorers: Sequence[str], abilities: Sequence[str]) -> Record:
    """The record with the new scores; what was run, with what and when, stays as it is."""
    facts = dict(now.facts)
    for name, old in before.facts.items():
        found = facts.get(name, ScorerFacts())
        facts[name] = ScorerFacts(run=found.run or old.run, stages={**old.stages, **found.stages})
    addition = Addition(
        scorers=list(scorers),
        abilities=list(abilities),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        git=git_state(),
    )
    taken = ("config", "config_hash", "scores", "metrics", "stages", "extensions")
    return before.model_copy(
        update={
            **{name: getattr(now, name) for name in taken},
            "schema_version": now.schema_version,
            "facts": facts,
            "abilities": before.abilities | now.abilities,
            "abilities_left_out": {
                name: why
                for name, why in {**before.abilities_left_out, **now.abilities_left_out}.items()
                if name not in now.abilities
            },
            "additions": [*before.additions, addition] if scorers or abilities else before.additions,
        }
    )
