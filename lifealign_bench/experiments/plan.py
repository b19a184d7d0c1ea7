"""What a run will do, before it does it: tasks, steps and tokens, memory and time. No weights are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from transformers import PreTrainedTokenizerBase

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.data.tasks import TaskData, available, load_data
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.estimate import (
    COUNTS,
    Gpu,
    GpuEstimate,
    ModelFacts,
    Shape,
    TextScale,
    estimate_gpu,
    estimated_lengths,
    find_facts,
    measured_scale,
    plan_model,
)
from lifealign_bench.experiments.memory import MemoryNeed, PassTrace, memory_needed
from lifealign_bench.method import Phase
from lifealign_bench.models.device import DTYPES, threads_to_use
from lifealign_bench.models.encode import EncodingReport, encode_pairs
from lifealign_bench.pairs import Pair, Split
from lifealign_bench.runs.rewards import check_rewards
from lifealign_bench.runs.session import check_responses
from lifealign_bench.runs.setup import (
    check_lengths,
    check_rollouts,
    check_split,
    encode_split,
    make_method,
    resolved,
)
from lifealign_bench.scoring.scorer import needs_of
from lifealign_bench.scoring.scorers import load_scorers
from lifealign_bench.training.foresight import foreseen_mixes
from lifealign_bench.training.phases import phases_of
from lifealign_bench.training.workload import Lengths, Workload, lengths_of, score_units, workload_of
from lifealign_bench.util.progress import GENERATION_WORK, TRAIN_WORK, Progress, far

# Share of the measured matrix-product peak that a pass of a small transformer reaches in practice.
_EFFICIENCY = 0.7
# Pairs of a split up to which all tokens are counted; of more, those of a sample.
COUNTED = 10_000
SAMPLE = 2_000
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class PlannedTask:
    """A task as it will be used."""

    name: str
    train_pairs: int
    test_pairs: int
    dropped: dict[str, int]
    shortened: int
    cut: int
    tokens_per_pair: float
    overlap: int


@dataclass(frozen=True)
class Here:
    """The run on this machine as it is; ``seconds`` are None where its weights are not here or do not fit."""

    device: str
    dtype: str
    memory: MemoryNeed
    machine_bytes: int
    seconds: float | None

    @property
    def memory_bytes(self) -> int:
        """At most, at one time."""
        return self.memory.peak


@dataclass(frozen=True)
class Plan:
    """The whole run.

    Args:
        learning_rates: the peak of each phase, as the method has it.
        epochs: its passes over the pairs.
        missing: tasks that are left out, since their data is not available: name to reason and remedy.
        tokens_estimated: lengths were guessed from characters.
        shape: the model in the type that a GPU would have it in.
        notices: what had to be assumed, and what the cut-off does.
        cleaning: what cleaning did, at length.
    """

    config: RunConfig
    directory: Path
    tasks: tuple[PlannedTask, ...]
    missing: Mapping[str, str]
    work: Workload
    learning_rates: Mapping[Phase, float]
    epochs: Mapping[Phase, int]
    tokens_estimated: bool
    shape: Shape
    here: Here
    gpus: tuple[GpuEstimate, ...]
    notices: tuple[str, ...]
    cleaning: tuple[str, ...]

    @property
    def generated_tokens_at_most(self) -> int:
        """Tokens of all responses when none ends early."""
        return sum(n for s in self.work.scores for n in s.prompts) * self.config.generation.max_new_tokens


class _Notes(Progress):
    def __init__(self, tell: Callable[[str], None]) -> None:
        self.notices: list[str] = []
        self.tell = tell

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def prepared(self, text: str) -> None:
        self.tell(text)


def make_plan(config: RunConfig, gpu: Gpu, tell: Callable[[str], None] = lambda text: None) -> Plan:
    """Read the data and what describes the model; load no weights, train nothing, write nothing.

    Tasks whose data is not available are named and left out.

    Args:
        tell: hears how far it is where it takes long.

    Raises:
        BenchError: whatever else would stop the run before its first step; no task is available.
    """
    notes = _Notes(tell)
    asked = config
    whole = resolved(asked)
    method = make_method(whole)
    config, missing = _at_hand(whole)
    facts = find_facts(config)
    for text in facts.notices:
        notes.notice(text)
    cleaning = _Notes(tell)
    data = load_data(config, cleaning)
    train, reports = _lengths(config, facts, data, "train", notes)
    test, test_reports = _lengths(config, facts, data, "test", notes)
    check_lengths(
        facts.config, config, [p for pairs in (*train.values(), *test.values()) for p in pairs], method.added_tokens()
    )
    check_rewards(config, method, {name: task.card for name, task in data.items()})
    check_rollouts(facts.config, config, method, [p.prompt for pairs in train.values() for p in pairs])
    scorers = load_scorers(config.scorers)
    generating = [n for n, task in data.items() if "responses" in needs_of(scorers, task.card)]
    check_responses(facts.config, config, {n: [p.prompt for p in test[n]] for n in generating}, method.added_tokens())
    there = config.model_copy(update={"dtype": "bfloat16" if asked.dtype == "auto" else asked.dtype})
    shape, trace, more = plan_model(facts, there, method, len(method.plan(list(train))))
    for text in more:
        notes.notice(text)
    mixes = foreseen_mixes(config, method, {name: len(pairs) for name, pairs in train.items()})
    work = workload_of(config, method, train, test, generating, shape.cost, mixes)
    return Plan(
        config=whole,
        directory=config.run_directory(),
        tasks=tuple(
            _task(task, train[name], test[name], reports[name], test_reports[name]) for name, task in data.items()
        ),
        missing=missing,
        work=work,
        learning_rates={phase.name: phase.learning_rate(config, method) for phase in phases_of(config, method)},
        epochs={phase.name: phase.epochs(config, method) for phase in phases_of(config, method)},
        tokens_estimated=facts.tokenizer is None or any(len(d.train) > COUNTED for d in data.values()),
        shape=shape,
        here=_here(config, facts, shape, work, trace),
        gpus=tuple(estimate_gpu(there, shape, work, gpu, count, trace) for count in COUNTS),
        notices=tuple(notes.notices),
        cleaning=tuple(cleaning.notices),
    )


def _at_hand(config: RunConfig) -> tuple[RunConfig, dict[str, str]]:
    """The run with the tasks whose data is here, and why the others are not.

    Raises:
        BenchError: none is.
    """
    missing: dict[str, str] = {}
    for name in config.tasks:
        reason = available(load_task(str(config.task_cards.get(name, name))), config.data_dir)
        if reason is not None:
            missing[name] = reason
    kept = tuple(name for name in config.tasks if name not in missing)
    if not kept:
        first, reason = next(iter(missing.items()))
        raise BenchError(f"The data of no task of {config.stream} is available. {first}: {reason}", "")
    return config.model_copy(update={"tasks": kept}), missing


def _lengths(
    config: RunConfig, facts: ModelFacts, data: Mapping[str, TaskData], split: Split, progress: Progress
) -> tuple[dict[str, list[Lengths]], dict[str, EncodingReport]]:
    lengths: dict[str, list[Lengths]] = {}
    reports: dict[str, EncodingReport] = {}
    for name, task in data.items():
        pairs, cut_off = task.train if split == "train" else task.test, config.training.max_length
        if facts.tokenizer is not None and len(pairs) <= COUNTED:
            encoded, reports[name] = encode_split(facts.tokenizer, config, task, split, progress)
            lengths[name] = lengths_of(encoded)
            continue
        scale = None if facts.tokenizer is None else _sampled_scale(facts.tokenizer, name, split, pairs, progress)
        lengths[name], reports[name] = estimated_lengths(pairs, cut_off, task.card.overlong, scale)
        check_split(name, split, cut_off, reports[name], progress)
    return lengths, reports


def _sampled_scale(
    tokenizer: PreTrainedTokenizerBase, name: str, split: Split, pairs: Sequence[Pair], progress: Progress
) -> TextScale:
    """What tells tokens by characters, from some of many pairs; to count them all would take minutes."""
    some = pairs[:: -(-len(pairs) // SAMPLE)]
    told = far(progress, f"Task {name}, {split}, a sample", len(some))
    encoded, _ = encode_pairs(tokenizer, some, _NO_LIMIT, "drop", reached=told)
    progress.notice(
        f"Task {name}, {split}: tokens were counted on {len(some):,} of {len(pairs):,} pairs and estimated from "
        "characters for the others."
    )
    return measured_scale(some, lengths_of(encoded))


def _task(
    task: TaskData, train: list[Lengths], test: list[Lengths], trained: EncodingReport, tested: EncodingReport
) -> PlannedTask:
    dropped: dict[str, int] = {}
    for report in task.reports.values():
        for reason, count in report.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    beyond = trained.dropped + tested.dropped
    used = [*train, *test]
    return PlannedTask(
        name=task.card.name,
        train_pairs=len(train),
        test_pairs=len(test),
        dropped=dropped | ({"beyond the cut-off": beyond} if beyond else {}),
        shortened=trained.prompts_shortened + tested.prompts_shortened,
        cut=trained.responses_cut + tested.responses_cut,
        tokens_per_pair=sum(p.tokens for p in used) / len(used),
        overlap=task.overlap,
    )


def _here(config: RunConfig, facts: ModelFacts, shape: Shape, work: Workload, trace: PassTrace) -> Here:
    """The run on this machine; its time is measured on products of the model's shape."""
    dtype = DTYPES[config.dtype]
    shape = replace(shape, value_bytes=dtype.itemsize)
    kind = torch.device(config.device).type
    memory = memory_needed(config, shape.sizes(config), work, trace.kept(config, work, 1, kind), 1, kind)
    cpu = kind == "cpu"
    memory = replace(memory, blocks=trace.blocks(config, work)) if cpu else memory
    has = psutil.virtual_memory().total if cpu else torch.cuda.get_device_properties(config.device).total_memory
    seconds: float | None = None
    train_work = TRAIN_WORK + (1 if config.activation_checkpointing else 0)
    if facts.at_hand and memory.peak <= has:
        units = sum(score_units(config, score) for score in work.scores)
        units += sum(
            stage.tokens * train_work + stage.sampled * GENERATION_WORK + stage.reference_tokens
            for stage in work.stages
        )
        seconds = units * 2 * shape.parameters / _flops_per_second(config, shape)
    return Here(config.device, config.dtype, memory, has, seconds)


def _flops_per_second(config: RunConfig, shape: Shape) -> float:
    """What a matrix product of the model's shape reaches here, times what a whole pass makes of it."""
    dtype, device = DTYPES[config.dtype], torch.device(config.device)
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(threads_to_use(config.threads))
    # Fewer rows of a large matrix, which would keep a slow machine busy for long.
    rows = min(512, max(64, int(1e9 / (shape.hidden * shape.intermediate))))
    a = torch.ones(rows, shape.hidden, dtype=dtype, device=device)
    b = torch.ones(shape.hidden, shape.intermediate, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        clock = time.perf_counter()
        for _ in range(4):
            product = a @ b
        float(product[0, 0])  # waits for an accelerator
        best = min(best, (time.perf_counter() - clock) / 4)
    torch.set_num_threads(before)
    return float(_EFFICIENCY * 2 * a.numel() * shape.intermediate / best)
