"""Sampling and training groups of responses behind their prompts: by this package's ``grpo`` and by TRL's GRPOTrainer.

Both get the same model, type, adapter, prompts, rewards and one thread, and the same lengths: no response ends before
it is as long as it may be, whatever the model says. Times are of the processor, which other work on the machine
lengthens little.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.contenders import renew
from benchmarks.measure import open_session
from lifealign_bench.methods import load_method
from lifealign_bench.models import speaker as speaking
from lifealign_bench.models.sampling import Ask, Drawn
from lifealign_bench.pairs import Pair
from lifealign_bench.runs.session import Session
from lifealign_bench.training.phases import PHASES
from lifealign_bench.training.rollouts import Rollouts
from lifealign_bench.training.trainer import StageTraining, train_stage

__all__ = ["CASES", "GROUP", "PROMPTS", "measure_groups"]

GROUP = 8  # responses to a prompt
PROMPTS = 4  # of the one optimizer step


@dataclass(frozen=True)
class Case:
    """What is measured: prompts of a task, a response's tokens, and how long a prompt is made by what comes before."""

    task: str
    response: int
    prompt: int = 0


CASES = {
    "forms-field": Case("forms-field", 24),
    "mini-detailed": Case("mini-detailed", 56),
    "mini-detailed-long": Case("mini-detailed", 56, 256),
}


def opened(case: Case) -> tuple[Session, str]:
    """A session of ``grpo`` on the case's prompts, and the attention of its layout."""
    session, attention = open_session((case.task,), PROMPTS, 2, case.response)
    torch.set_num_threads(1)
    config = session.config
    training = config.training.model_copy(update={"batch_size": PROMPTS})
    session.config = config.model_copy(update={"method": "grpo", "training": training})
    cls = load_method("grpo")
    session.method = cls(cls.Config.model_validate({"n": GROUP}))
    session.train = {case.task: [_lengthened(session, pair, case.prompt) for pair in session.train[case.task]]}
    return session, attention


def _lengthened(session: Session, encoded: Any, tokens: int) -> Any:
    """A pair whose prompt has about so many tokens, by texts of its own before its last turn."""
    pair = encoded.pair
    while len(encoded.prompt) < tokens:
        *before, last = pair.prompt
        turns = (*before, replace(last, content=f"{pair.rejected}\n{pair.chosen}\n{last.content}"))
        pair = replace(pair, prompt=turns)
        encoded = replace(encoded, pair=pair, prompt=session.prompt(turns))
    return encoded


def worth(text: str) -> float:
    """A reward that costs nothing and differs between the responses of a group."""
    return zlib.crc32(text.encode()) % 101 / 100


def _rewards(pairs: Sequence[Pair], texts: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
    return [tuple(map(worth, group)) for group in texts]


def groups_ours(session: Session, attention: str) -> tuple[float, float]:
    """Seconds of this package's step, and of the sampling in it."""
    renew(session, attention)
    (task,) = session.data
    phase = PHASES.get("on_policy")
    cards = {name: data.card for name, data in session.data.items()}
    encoded = {p.pair.id: p for p in session.train[task]}
    sampling = 0.0
    draw = speaking.Speaker.sample

    def timed(self: Any, model: Any, asks: Sequence[Ask], *more: Any) -> list[Drawn]:
        nonlocal sampling
        clock = time.process_time()
        found = draw(self, model, asks, *more)
        sampling += time.process_time() - clock
        return found

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(speaking, "stop_ids", lambda *asked: frozenset[int]()),
        patch.object(speaking.Speaker, "sample", timed),
    ):
        kept = Path(folder) / "rollouts.jsonl"
        rollouts = Rollouts(session.speaker, encoded, cards, 1, phase.name, session.method, _rewards, kept)
        stage = session.stage(1, phase, {}, rollouts=rollouts)
        session.method.before_stage(stage, session.model)
        session.speaker.arrangement()
        training = StageTraining(
            index=1,
            phase=phase,
            pairs=session.train[task],
            reference={},
            folder=Path(folder) / "checkpoints",
            resume=None,
            seed=1,
            on_step=lambda step, loss, tokens: None,
            on_log=lambda entry: None,
            on_checkpoint=lambda path: None,
            notice=lambda text: None,
            stopped=lambda: False,
            sampling=lambda step: session.sampling(stage, rollouts, step)[0],
        )
        clock = time.process_time()
        train_stage(session.speaker, session.method, session.config, training)
        seconds = time.process_time() - clock
    _check_tokens(session, rollouts.tokens)
    return seconds, sampling


class _Timed(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer, whose sampling is timed."""

    sampling = 0.0
    tokens = 0

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        clock = time.process_time()
        found = super()._generate(*args, **kwargs)
        self.sampling += time.process_time() - clock
        self.tokens += sum(map(len, found[1]))
        return found


def groups_trl(session: Session, attention: str) -> tuple[float, float]:
    """Seconds of the same step by TRL's GRPOTrainer, and of the sampling in it: no divergence, no activation
    checkpointing, no autocast, all responses of the step sampled in one batch, a group a training pass. The trainer is
    made in this time, as ours is in its own."""
    renew(session, "sdpa")
    (task,) = session.data
    t, longest = session.config.training, session.config.generation.max_new_tokens
    rows = [{"prompt": [{"role": m.role, "content": m.content} for m in p.pair.prompt]} for p in session.train[task]]

    def reward(completions: list[Any], **kwargs: Any) -> list[float]:
        return [worth(completion[0]["content"]) for completion in completions]

    with tempfile.TemporaryDirectory() as folder:
        clock = time.process_time()
        trainer = _Timed(
            model=session.model,
            processing_class=session.base.tokenizer,
            reward_funcs=reward,
            train_dataset=Dataset.from_list(rows),
            args=GRPOConfig(
                output_dir=folder,
                learning_rate=t.learning_rate,
                num_train_epochs=t.epochs,
                per_device_train_batch_size=GROUP,
                gradient_accumulation_steps=PROMPTS,
                num_generations=GROUP,
                max_completion_length=longest,
                generation_kwargs={"eos_token_id": None},
                temperature=1.0,
                lr_scheduler_type=t.scheduler,
                warmup_steps=t.warmup_ratio,
                beta=0.0,
                loss_type="grpo",
                bf16=False,
                gradient_checkpointing=False,
                use_cpu=session.config.device == "cpu",
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            ),
        )
        trainer.eos_token_ids = [-1]
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        seconds = time.process_time() - clock
    _check_tokens(session, trainer.tokens)
    return seconds, trainer.sampling


def _check_tokens(session: Session, sampled: int) -> None:
    wanted = PROMPTS * GROUP * session.config.generation.max_new_tokens
    if sampled != wanted:
        raise SystemExit(f"{sampled} tokens were sampled and not {wanted}")


CONTENDERS: dict[str, Callable[[Session, str], tuple[float, float]]] = {"ours": groups_ours, "TRL": groups_trl}


def measure_groups(repeats: int, names: Sequence[str] = tuple(CASES)) -> dict[str, Any]:
    """Every case by both, in turn, and what memory this process needs meanwhile.

    Returns:
        By case: ``seconds`` (of the step and of its sampling) and ``peak_gb`` by contender, ``loaded_gb`` (before
        either), ``prompts`` (tokens of each) and ``response`` (tokens of each).
    """
    found: dict[str, Any] = {}
    for name in names:
        case = CASES[name]
        session, attention = opened(case)
        loaded = Peak().gigabytes()
        seconds: dict[str, list[tuple[float, float]]] = {side: [] for side in CONTENDERS}
        peaks: dict[str, list[float]] = {side: [] for side in CONTENDERS}
        for _ in range(repeats):
            for side, step in CONTENDERS.items():
                peak = Peak()
                seconds[side].append(step(session, attention))
                peaks[side].append(peak.gigabytes())
                print(name, side, seconds[side][-1], peaks[side][-1], file=sys.stderr, flush=True)
        found[name] = {
            "seconds": seconds,
            "peak_gb": {side: max(values) for side, values in peaks.items()},
            "loaded_gb": loaded,
            "prompts": [len(p.prompt) for p in session.train[case.task]],
            "response": case.response,
        }
    return found


class Peak:
    """The most memory that is resident in this process from now on; what was freed before is given back first."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def gigabytes(self) -> float:
        """So far."""
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e9
