"""From a run to its record."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

import lifealign_bench
from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.method import Method
from lifealign_bench.models.chattemplate import reads_clock, stop_ids
from lifealign_bench.models.device import processor_name
from lifealign_bench.models.encode import spoken_lengths
from lifealign_bench.results.metrics import summarize
from lifealign_bench.results.record import DataRecord, MethodRecord, ModelRecord, Record, ScorerFacts, StageRecord
from lifealign_bench.results.scores import score_matrices
from lifealign_bench.results.statistics import half_at_zero
from lifealign_bench.runs.directory import fixed_parts
from lifealign_bench.runs.resuming import NUMBERS, Ledger
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import method_source
from lifealign_bench.runs.stages import ability_frames, stage_rows
from lifealign_bench.scoring.abilities.measure import ability_records
from lifealign_bench.scoring.outside import extensions_of
from lifealign_bench.scoring.scorers import facts_of, score_infos
from lifealign_bench.util.distributed import world_size
from lifealign_bench.util.launchenv import numeric_settings
from lifealign_bench.util.text import known


def run_identity(config: RunConfig, method: Method, data: Mapping[str, TaskData]) -> dict[str, Any]:
    """What beside the configuration must stay the same while a run goes on: its data, and a user's own method file."""
    return fixed_parts(config, method_source(method), data)


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
        created=_created(ledger.directory.config),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        attempts=attempts,
        config=config.identity(),
        config_hash=config.hash(),
        method=MethodRecord(name=config.method_name, settings=settings, source_sha256=method_source(session.method)),
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
            info.name: {k: known(v) for k, v in summarize(scores[info.name].array()).items()}
            for info in infos
            if info.quality
        },
        facts=_facts(session, ledger),
        extensions=extensions_of(config),
        abilities=ability_records(session.abilities.tests, ability_frames(session, ledger)),
        abilities_left_out=dict(session.abilities.left_out),
        versions=versions(config.quantization is not None),
        numbers=NUMBERS,
        git=git_state(),
        hardware=hardware(config.device, config.dtype, session.speaker.layout) | _generated_by(ledger),
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
        run = facts_of(name, scorer)
        if run or stages:
            found[name] = ScorerFacts(run=run, stages=stages)
    return found


def _generated_by(ledger: Ledger) -> dict[str, str]:
    """The engines of the responses, where there is another than this package's own."""
    engines = sorted({scored["generation"] for scored in ledger.scored.values() if scored.get("generation")})
    return {} if engines in ([], ["batches"]) else {"generation": ", ".join(engines)}


def _created(file: Path) -> str:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="seconds")


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
        chosen_longer=_chosen_longer(session, name),
    )


def _chosen_longer(session: Session, name: str) -> float:
    lengths = spoken_lengths(session.train[name], stop_ids(session.base.model, session.base.tokenizer))
    return float(half_at_zero(lengths[:, 0] - lengths[:, 1]).mean())


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
        state_bytes=_size(ledger.directory.stage(index).state),
        seen=trained.get("seen"),
        flops=trained.get("flops"),
        rollouts=trained.get("rollouts") or None,
    )


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
    "safetensors",
    "sacrebleu",
    "nltk",
    "rouge-score",
)


def versions(quantized: bool = False) -> dict[str, str]:
    """Versions of Python, of this package and of what computes.

    Args:
        quantized: the base model is in four bits.
    """
    found = {"python": platform.python_version(), "lifealign-bench": lifealign_bench.__version__}
    for name in _PACKAGES:
        found[name] = importlib.metadata.version(name)
    if quantized:
        found["bitsandbytes"] = importlib.metadata.version("bitsandbytes")
    return found


def git_state() -> dict[str, str | bool | None]:
    """Commit and dirtiness of the checkout this package runs from; None where it is an installed wheel.

    What is published in ``results`` while other runs go on makes no other code of them.
    """
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A wheel may lie below somebody else's repository: only a repository of this project counts.
    if not (root / "pyproject.toml").is_file() or git("rev-parse", "--show-toplevel") != str(root):
        return {"commit": None, "dirty": None}
    status = git("status", "--porcelain", "--", ".", ":(exclude)results")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def hardware(device: str, dtype: str, layout: str) -> dict[str, Any]:
    """The machine in words and numbers; no names of hosts or users."""
    found: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor_name(),
        # Processors of one name may have other instructions, and these decide in which order torch adds up.
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": world_size(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": device,
        "dtype": dtype,
        "layout": layout,
    }
    if settings := numeric_settings():
        found["environment"] = settings
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        found |= {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory, "cuda": torch.version.cuda}
    return found


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        now = psutil.Process().memory_info()
        return int(getattr(now, "peak_wset", now.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
