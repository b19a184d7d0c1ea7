"""What a run will do, before it does it: pairs, tokens, steps, and rough memory and time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.probe import threads_to_use
from lifealign_bench.progress import Progress, Work
from lifealign_bench.session import GENERATION_WORK, TRAIN_WORK, Session, load_data, make_method
from lifealign_bench.train import epochs_of, steps_of_phase

if TYPE_CHECKING:
    from lifealign_bench.stages import Ledger

__all__ = ["Plan", "PlannedStage", "PlannedTask", "make_plan", "planned_work"]

# Share of the measured matrix-product peak that a pass of a small transformer reaches in practice.
_EFFICIENCY = 0.7


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
class PlannedStage:
    """A training stage; what a method replays is known only when it runs and not counted."""

    index: int
    tasks: tuple[str, ...]
    pairs: int
    steps: int
    tokens: int


@dataclass(frozen=True)
class Plan:
    """The whole run; ``seconds`` and ``memory_bytes`` are estimates."""

    config: RunConfig
    directory: Path
    tasks: tuple[PlannedTask, ...]
    stages: tuple[PlannedStage, ...]
    train_tokens: int
    score_tokens: int
    generated_tokens_at_most: int
    parameters: int
    trainable_parameters: int
    layout: str
    memory_bytes: int
    seconds: float
    notices: tuple[str, ...]


class _Notes(Progress):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def make_plan(config: RunConfig) -> Plan:
    """Load data and model, train nothing, write nothing.

    Raises:
        BenchError: whatever would stop the run before its first step.
    """
    from lifealign_bench.run import resolved

    notes = _Notes()
    config = resolved(config)
    if config.device == "cpu":
        torch.set_num_threads(threads_to_use(config.threads))
    method = make_method(config)
    data = load_data(config, notes)
    session = Session.build(config, data, method, notes)
    stages = tuple(_stage(session, i, tasks) for i, tasks in enumerate(session.plan(), start=1))
    generating = _generating(session)
    work = planned_work(session, None)
    return Plan(
        config=config,
        directory=config.run_directory(),
        tasks=tuple(_task(session, name) for name in session.data),
        stages=stages,
        train_tokens=sum(s.tokens for s in stages),
        score_tokens=sum(p.tokens for pairs in session.test.values() for p in pairs) * (len(stages) + 1),
        generated_tokens_at_most=sum(len(session.test[t]) for t in generating)
        * (len(stages) + 1)
        * config.generation.max_new_tokens,
        parameters=session.base.parameters,
        trainable_parameters=sum(p.numel() for p in session.method.trained(session.model)),
        layout=session.layout,
        memory_bytes=_memory(session),
        seconds=work.total * 2 * session.base.parameters / _flops_per_second(session),
        notices=tuple(notes.notices),
    )


def planned_work(session: Session, ledger: Ledger | None) -> Work:
    """The run's work in tokens of a scoring pass, and how much of it an earlier attempt has done."""
    stages = session.plan()
    test_tokens = sum(p.tokens for pairs in session.test.values() for p in pairs)
    prompts = sum(len(session.test[name]) for name in _generating(session))
    scoring = test_tokens + prompts * GENERATION_WORK * session.config.generation.max_new_tokens
    total, done = scoring, 0.0
    if ledger is not None and 0 in ledger.scored:
        done += scoring
    for index, tasks in enumerate(stages, start=1):
        training = _stage(session, index, tasks).tokens * TRAIN_WORK
        training += sum(p.tokens for name in tasks for p in session.train[name])
        total += training + scoring
        if ledger is not None:
            done += training * (index in ledger.trained) + scoring * (index in ledger.scored)
    return Work(total, len(stages), done)


def _generating(session: Session) -> list[str]:
    return [n for n, t in session.data.items() if any(s.generates and s.applies(t.card) for s in session.scorers)]


def _stage(session: Session, index: int, tasks: tuple[str, ...]) -> PlannedStage:
    pairs = [p for name in tasks for p in session.train[name]]
    steps = tokens = 0
    for phase in session.phases():
        steps += steps_of_phase(session.config, phase, len(pairs))
        taken = [p.demonstration() for p in pairs] if phase == "sft" else pairs
        tokens += sum(p.tokens for p in taken) * epochs_of(session.config, phase)
    return PlannedStage(index, tasks, len(pairs), steps, tokens)


def _task(session: Session, name: str) -> PlannedTask:
    task, encoding = session.data[name], session.encoding[name]
    dropped: dict[str, int] = {}
    for split in ("train", "test"):
        for reason, count in task.reports[split].dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
        if encoding[split].dropped:
            dropped["beyond the cut-off"] = dropped.get("beyond the cut-off", 0) + encoding[split].dropped
    used = [*session.train[name], *session.test[name]]
    return PlannedTask(
        name=name,
        train_pairs=len(session.train[name]),
        test_pairs=len(session.test[name]),
        dropped=dropped,
        shortened=sum(r.prompts_shortened for r in encoding.values()),
        cut=sum(r.responses_cut for r in encoding.values()),
        tokens_per_pair=sum(p.tokens for p in used) / len(used),
        overlap=task.overlap,
    )


def _memory(session: Session) -> int:
    """Weights, adapter with AdamW's state, and the activations and logits of a full forward pass."""
    config = session.config
    width = 2 if config.dtype == "bfloat16" else 4
    model = session.base.model.config.get_text_config()
    per_step = config.training.batch_size * max(p.tokens for pairs in session.train.values() for p in pairs)
    tokens = min(config.tokens_a_pass(), per_step)
    # Measured with the embedded model: 50 values a token, layer and hidden unit survive to the backward pass (34 in
    # Korthikanti et al. 2022, section 4.1; norms and adapters that work in float32 come on top).
    activations = tokens * model.hidden_size * model.num_hidden_layers * 50 * width
    # A chunk of logits in the model's type and in float32, see vocabulary.py.
    logits = 2**24 * (width + 2 * 4)
    trainable = sum(p.numel() for p in session.method.trained(session.model))
    libraries = 600 * 2**20  # the interpreter with torch and transformers
    return int(session.base.parameters * width + trainable * 16 + activations + logits + libraries)


def _flops_per_second(session: Session) -> float:
    """What a matrix product of the model's shape reaches here, times what a whole pass makes of it."""
    model = session.base.model.config.get_text_config()
    dtype, device = session.base.model.dtype, session.device
    a = torch.ones(512, model.hidden_size, dtype=dtype, device=device)
    b = torch.ones(model.hidden_size, model.intermediate_size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        clock = time.perf_counter()
        for _ in range(4):
            product = a @ b
        float(product[0, 0])  # waits for an accelerator
        best = min(best, (time.perf_counter() - clock) / 4)
    return float(_EFFICIENCY * 2 * a.numel() * model.intermediate_size / best)
