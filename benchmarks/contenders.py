"""The same work several ways: a stage of DPO and the scoring of a stage, by this package and by stock parts.

Every contender gets the same pairs, tokens, model, type and threads; the reference log-probabilities of training are
computed beforehand for all of them and are not part of the time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.load import fresh_adapter
from lifealign_bench.runs.session import Session
from lifealign_bench.training.phases import PHASES
from lifealign_bench.training.trainer import StageTraining, train_stage

__all__ = ["SCORING", "TRAINING", "plain_scoring", "renew", "train_ours", "train_padded", "train_trl"]

PLAIN_BATCH = 4  # pairs a forward pass of the stock contenders


def renew(session: Session, attention: str | None = None) -> None:
    """A fresh adapter on the same base model, and nothing left of a trainer; ``attention`` for the stock contenders."""
    base: Any = session.model.unload()
    for name in ("forward", "_original_forward", "_is_accelerate_prepared", "peft_config"):
        base.__dict__.pop(name, None)
    base.get_input_embeddings()._forward_hooks.clear()
    if attention is not None:
        base.set_attn_implementation(attention)
    base.requires_grad_(False)
    session.speaker = replace(session.speaker, model=fresh_adapter(session.base, session.config.adapter, 0))


def train_ours(session: Session, attention: str) -> float:
    """Seconds of this package's stage."""
    renew(session, attention)
    (task,) = session.data
    reference = session.references([task])
    with tempfile.TemporaryDirectory() as folder:
        training = StageTraining(
            index=1,
            phase=PHASES.get("preference"),
            pairs=session.train[task],
            reference=reference,
            folder=Path(folder),
            resume=None,
            seed=1,
            on_step=lambda step, loss, tokens: None,
            on_log=lambda entry: None,
            on_checkpoint=lambda path: None,
            notice=lambda text: None,
            stopped=lambda: False,
        )
        clock = time.perf_counter()
        train_stage(session.speaker, session.method, session.config, training)
        return time.perf_counter() - clock


def train_trl(session: Session, attention: str, batch: int = PLAIN_BATCH) -> float:
    """Seconds of ``train()`` of TRL's DPOTrainer: reference precomputed, no activation checkpointing, no autocast."""
    renew(session, "sdpa")
    (task,) = session.data
    t = session.config.training
    rows = [
        {
            "prompt": [{"role": m.role, "content": m.content} for m in p.pair.prompt],
            "chosen": [{"role": "assistant", "content": p.pair.chosen}],
            "rejected": [{"role": "assistant", "content": p.pair.rejected}],
        }
        for p in session.train[task]
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=session.model,
            processing_class=session.base.tokenizer,
            train_dataset=Dataset.from_list(rows),
            args=DPOConfig(
                output_dir=folder,
                learning_rate=t.learning_rate,
                num_train_epochs=t.epochs,
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=t.batch_size // batch,
                lr_scheduler_type=t.scheduler,
                warmup_steps=t.warmup_ratio,
                beta=t.beta,
                max_length=t.max_length,
                precompute_ref_log_probs=True,
                bf16=False,
                activation_checkpointing=False,
                use_cpu=session.config.device == "cpu",
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            ),
        )
        trainer.remove_callback(PrinterCallback)
        clock = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - clock
    session.model.delete_adapter("ref")
    session.model.set_adapter("default")
    return seconds


def train_padded(session: Session, attention: str, batch: int = PLAIN_BATCH) -> float:
    """Seconds of a hand-written loop: two padded rows a pair, logits on completion tokens only, plain AdamW."""
    renew(session, "sdpa")
    (task,) = session.data
    t, pairs = session.config.training, session.train[task]
    reference = session.references([task])
    weights = [p for p in session.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=t.learning_rate, weight_decay=0.0)
    session.model.train()
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1)).tolist()
    clock = time.perf_counter()
    for step in range(0, len(order), t.batch_size):
        mine = [pairs[i] for i in order[step : step + t.batch_size]]
        for start in range(0, len(mine), batch):
            part = mine[start : start + batch]
            gained = padded_log_probs(session, part, True) - torch.stack([reference[p.pair.id] for p in part])
            loss = -F.logsigmoid(t.beta * (gained[:, 0] - gained[:, 1])).sum() / len(mine)
            torch.autograd.backward(loss)
        clip_grad_norm_(weights, t.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - clock


def padded_log_probs(session: Session, pairs: Sequence[EncodedPair], completion_only: bool) -> torch.Tensor:
    """(P, 2) by two right-padded rows a pair; logits of every token, or of completion tokens only."""
    rows = [p.prompt + c for p in pairs for c in (p.chosen, p.rejected)]
    prompts = torch.tensor([len(p.prompt) for p in pairs for _ in (0, 1)])
    lengths = torch.tensor([len(r) for r in rows])
    width = int(lengths.max())
    ids = torch.tensor([[*r, *([session.speaker.pad_id] * (width - len(r)))] for r in rows])
    columns = torch.arange(width)
    attend = columns < lengths[:, None]
    counted = (attend & (columns >= prompts[:, None]))[:, 1:]
    model: Any = session.model
    if completion_only:
        inner = model.get_base_model()
        hidden = inner.model(input_ids=ids, attention_mask=attend.long(), use_cache=False).last_hidden_state
        row, column = counted.nonzero(as_tuple=True)
        logits = inner.lm_head(hidden[row, column])
        token = -F.cross_entropy(logits.float(), ids[row, column + 1], reduction="none")
        return torch.zeros(len(rows)).index_add(0, row, token).view(-1, 2)
    logits = model(input_ids=ids, attention_mask=attend.long(), use_cache=False).logits[:, :-1]
    table = logits.float().log_softmax(-1)
    token = table.gather(2, ids[:, 1:, None])[:, :, 0]
    sums: torch.Tensor = (token * counted).sum(1).view(-1, 2)
    return sums


@torch.no_grad()
def plain_log_probs(session: Session) -> float:
    """Seconds of scoring all tasks the plain way: policy and base, two padded rows a pair, all logits."""
    session.model.eval()
    clock = time.perf_counter()
    for pairs in session.test.values():
        for start in range(0, len(pairs), PLAIN_BATCH):
            part = pairs[start : start + PLAIN_BATCH]
            padded_log_probs(session, part, False)
            with session.model.disable_adapter():
                padded_log_probs(session, part, False)
    return time.perf_counter() - clock


@torch.no_grad()
def plain_generation(session: Session) -> float:
    """Seconds of transformers' batched ``generate``, task by task."""
    model: Any = session.model
    model.eval()
    clock = time.perf_counter()
    for pairs in session.test.values():
        width = max(len(p.prompt) for p in pairs)
        model.generate(
            input_ids=torch.tensor([[*([session.speaker.pad_id] * (width - len(p.prompt))), *p.prompt] for p in pairs]),
            attention_mask=torch.tensor([[0] * (width - len(p.prompt)) + [1] * len(p.prompt) for p in pairs]),
            do_sample=False,
            max_new_tokens=session.config.generation.max_new_tokens,
            pad_token_id=session.speaker.pad_id,
        )
    return time.perf_counter() - clock


def plain_scoring(session: Session, attention: str) -> tuple[float, float]:
    """(log-probabilities, generation) seconds of a stage's scoring by stock parts."""
    renew(session, "sdpa")
    return plain_log_probs(session), plain_generation(session)


def score_ours(session: Session, attention: str) -> tuple[float, float]:
    """(log-probabilities, generation) seconds of a stage's scoring here; what the base model says is known by then."""
    renew(session, attention)
    session.model.eval()
    for pairs in session.test.values():
        session.speaker.base_score(pairs)
    clock = time.perf_counter()
    for pairs in session.test.values():
        session.speaker.score(pairs)
    middle = time.perf_counter()
    # As a run does it: while the long answers of one task go on, the others' are done.
    prompts = [p.prompt for pairs in session.test.values() for p in pairs]
    session.speaker.respond(prompts, [()] * len(prompts))
    return middle - clock, time.perf_counter() - middle


TRAINING: dict[str, Callable[[Session, str], float]] = {
    "ours": train_ours,
    "padded": train_padded,
    "TRL": train_trl,
}
SCORING: dict[str, Callable[[Session, str], tuple[float, float]]] = {"ours": score_ours, "plain": plain_scoring}
