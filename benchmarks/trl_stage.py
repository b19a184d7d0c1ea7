"""One stage of DPO two ways on the same pairs, tokens and settings: ours, and TRL's trainer as it is."""

from __future__ import annotations

import time
from pathlib import Path

from datasets import Dataset
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

from lifealign_bench.session import Session
from lifealign_bench.train import StageTraining, train_stage


def ours(session: Session, folder: Path) -> float:
    """Seconds of the stage's training; the reference is computed before, as in a run."""
    (task,) = session.data
    reference = session.references([task])
    training = StageTraining(
        index=1,
        pairs=session.train[task],
        reference=reference,
        folder=folder,
        resume=None,
        layout=session.layout,
        pad_id=session.pad_id,
        token_budget=session.config.tokens_a_pass(),
        seed=1,
        on_step=lambda step, loss, tokens: None,
        on_log=lambda entry: None,
        on_checkpoint=lambda path: None,
        notice=lambda text: None,
        stopped=lambda: False,
    )
    clock = time.perf_counter()
    train_stage(session.model, session.base.tokenizer, session.method, session.config, training)
    return time.perf_counter() - clock


def stock(session: Session, folder: Path, batch: int = 4) -> float:
    """Seconds of ``train()`` alone: TRL precomputes its reference when the trainer is made, which is not counted."""
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
    trainer = DPOTrainer(
        model=session.model,
        processing_class=session.base.tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=DPOConfig(
            output_dir=str(folder),
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
    return time.perf_counter() - clock
