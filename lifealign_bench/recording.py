"""From a run to its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from lifealign_bench.abilities.results import ability_records
from lifealign_bench.cells import score_matrices
from lifealign_bench.chattemplate import reads_clock
from lifealign_bench.config import RunConfig
from lifealign_bench.data import TaskData
from lifealign_bench.method import Method
from lifealign_bench.metrics import summarize
from lifealign_bench.provenance import git_state, hardware, peak_memory, versions
from lifealign_bench.record import DataRecord, MethodRecord, ModelRecord, Record, ScorerFacts, StageRecord
from lifealign_bench.scorers import score_infos
from lifealign_bench.session import Session, method_source
from lifealign_bench.stages import Ledger, ability_frames, stage_rows

__all__ = ["build_record", "run_identity"]


def run_identity(config: RunConfig, method: Method, data: Mapping[str, TaskData]) -> dict[str, Any]:
    """What beside the configuration must stay the same while a run goes on: its data, and a user's own method file."""
    identity: dict[str, Any] = {"data": {name: dict(task.hashes()) for name, task in data.items()}}
    if config.method.endswith(".py"):
        identity["method_file"] = method_source(method)
    return identity


def build_record(
    session: Session,
    ledger: Ledger,
    attempts: int,
    status: Literal["complete", "failed", "interrupted"],
    error: str | None,
) -> Record:
    """The record of what is done so far; cells and metrics of what is not are None."""
    config = session.config
    infos = score_infos(config)
    tasks = list(session.data)
    scores = score_matrices(tasks, stage_rows(session, ledger), len(tasks), infos)
    trainable = sum(p.numel() for p in session.method.trained(session.model))
    digests = session.token_digests()
    settings = session.method.config.model_dump(mode="json")
    return Record(
        status=status,
        created=_created(ledger.directory.path),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        attempts=attempts,
        config=config.identity(),
        config_hash=config.hash(),
        method=MethodRecord(
            name=Path(config.method).stem, settings=settings, source_sha256=method_source(session.method)
        ),
        model=ModelRecord(
            name=config.model,
            revision=session.base.revision,
            fingerprint=session.base.fingerprint,
            parameters=session.base.parameters,
            trainable_parameters=trainable,
            layout=session.speaker.layout,
            notices=list(session.base.notices),
            clock=config.clock if reads_clock(session.base.tokenizer) else None,
        ),
        tuned=None if config.tuned is None else config.tuned.model_dump(mode="json"),
        stream={"name": config.stream, "tasks": tasks},
        data={name: _data_record(session, name, digests[name]) for name in tasks},
        stages=[_stage_record(session, ledger, index) for index in sorted(ledger.trained)],
        scores=scores,
        metrics={
            info.name: {k: _plain(v) for k, v in summarize(scores[info.name].array()).items()}
            for info in infos
            if info.quality
        },
        facts=_facts(session, ledger),
        abilities=ability_records(session.abilities.tests, ability_frames(session, ledger)),
        abilities_left_out=dict(session.abilities.left_out),
        versions=versions(),
        git=git_state(),
        hardware=hardware(config.device, config.dtype, session.speaker.layout),
        peak_memory_bytes=peak_memory(),
        error=error,
    )


def _facts(session: Session, ledger: Ledger) -> dict[str, ScorerFacts]:
    """What every scorer tells of the run, and of each task after each stage; those that tell nothing are not in it."""
    found = {}
    for name, scorer in session.scorers.items():
        stages: dict[str, dict[str, dict[str, Any]]] = {}
        for index, scored in sorted(ledger.scored.items()):
            of_stage = {task: facts[name] for task, facts in scored.get("facts", {}).items() if name in facts}
            if of_stage:
                stages[str(index)] = of_stage
        run = scorer.facts()
        if run or stages:
            found[name] = ScorerFacts(run=run, stages=stages)
    return found


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _created(folder: Path) -> str:
    return datetime.fromtimestamp((folder / "config.json").stat().st_mtime, UTC).isoformat(timespec="seconds")


def _data_record(session: Session, name: str, encoded: dict[str, str]) -> DataRecord:
    task = session.data[name]
    hashes = task.hashes()
    cleaning: dict[str, Any] = {
        split: {**task.reports[split].as_dict(), "encoding": asdict(session.encoding[name][split])}
        for split in ("train", "test")
    }
    return DataRecord(
        version=task.card.version,
        train_pairs=len(session.train[name]),
        test_pairs=len(session.test[name]),
        train_digest=hashes["train"],
        test_digest=hashes["test"],
        source_hashes={str(split): text for split, text in task.source_hashes.items()},
        cleaning=cleaning,
        test_prompts_in_train=task.overlap,
        encoded=encoded,
    )


def _stage_record(session: Session, ledger: Ledger, index: int) -> StageRecord:
    trained = ledger.trained[index]
    scored = ledger.scored.get(index, {"seconds": {}, "tokens": {}})
    return StageRecord(
        index=index,
        tasks=list(session.plan()[index - 1]) if index else [],
        pairs=trained["pairs"],
        steps=trained["steps"],
        final_loss=trained["final_loss"],
        seconds={**trained["seconds"], **scored["seconds"]},
        tokens={**trained["tokens"], **scored["tokens"]},
        state_bytes=_size(ledger.directory.stage(index) / "method.safetensors"),
    )


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None
