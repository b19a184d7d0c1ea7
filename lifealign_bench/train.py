"""One stage of training: TRL's DPOTrainer with the method's hooks in it.

What is TRL's and transformers': optimizer, schedule, accumulation, clipping, several processes, checkpoints, exact
resume. What is ours: the tokens (``encode``), the forward pass (``logprobs``), the reference log-probabilities
(computed once, see ``base``), and the calls of the hooks. The trainer is thrown away after the stage, and what it
leaves on the model is removed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from lifealign_bench.config import RunConfig
from lifealign_bench.distributed import is_main, world_size
from lifealign_bench.encode import EncodedPair
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.logprobs import Layout, Rows, lay_out, pair_log_probs
from lifealign_bench.method import Method, PairBatch
from lifealign_bench.state import load_state, save_adapter, save_state

__all__ = ["StageTraining", "TrainingResult", "batch_shape", "steps_of_stage", "train_stage"]


@dataclass(frozen=True)
class StageTraining:
    """What one stage's training needs.

    Args:
        index: number of the stage, for messages.
        pairs: the pairs to train on, replayed ones included.
        reference: pair id to its (2,) reference log-probabilities, chosen and rejected.
        folder: where checkpoints go.
        resume: the checkpoint to go on from, or None.
        layout, pad_id: see ``logprobs``.
        seed: fixes the order of the pairs.
        on_step: called after every optimizer step with (step, loss, tokens of the step).
        on_log: called with one entry for ``log.jsonl`` a step.
        stopped: asked after every step; True ends the stage at a checkpoint.
    """

    index: int
    pairs: Sequence[EncodedPair]
    reference: Mapping[str, torch.Tensor]
    folder: Path
    resume: Path | None
    layout: Layout
    pad_id: int
    seed: int
    on_step: Callable[[int, float, int], None]
    on_log: Callable[[dict[str, Any]], None]
    on_checkpoint: Callable[[Path], None]
    stopped: Callable[[], bool]


@dataclass(frozen=True)
class TrainingResult:
    """How a stage's training went; ``complete`` is False when it was stopped at a checkpoint."""

    complete: bool
    steps: int
    tokens: int
    final_loss: float | None


def batch_shape(config: RunConfig, processes: int) -> tuple[int, int]:
    """(pairs a forward pass on one process, forward passes an optimizer step) for exactly ``batch_size`` pairs a step.

    Raises:
        UsageError: ``batch_size`` is not a multiple of the pairs that all processes take at once.
    """
    batch = config.training.batch_size
    micro = min(config.training.micro_batch_size, max(1, batch // processes))
    if batch % (micro * processes):
        raise UsageError(
            f"batch_size {batch} is not a multiple of micro_batch_size {micro} times {processes} processes.",
            "Choose sizes so that an optimizer step sees exactly batch_size pairs.",
        )
    return micro, batch // (micro * processes)


def steps_of_stage(config: RunConfig, pairs: int) -> int:
    """Optimizer steps of a stage with ``pairs`` training pairs."""
    return config.training.epochs * math.ceil(pairs / config.training.batch_size)


class _Collator:
    """Indices of pairs -> one laid-out micro-batch."""

    def __init__(self, training: StageTraining) -> None:
        self.training = training

    def __call__(self, items: list[dict[str, int]]) -> dict[str, Any]:
        t = self.training
        pairs = [t.pairs[item["index"]] for item in items]
        return {
            "index": torch.tensor([item["index"] for item in items]),
            "rows": lay_out(pairs, t.pad_id, t.layout),
            "reference": torch.stack([t.reference[p.pair.id] for p in pairs]),
        }


class _StageTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer whose loss is the method's."""

    # compute_loss gives the mean of one micro-batch, so Trainer divides by the accumulation steps (the penalty too:
    # its weight is then the same whatever the accumulation).
    loss_is_scaled_for_ga = False

    def __init__(self, method: Method, training: StageTraining, beta: float, **kwargs: Any) -> None:
        self.method = method
        self.training = training
        self.tokens_since_step = 0
        self.tokens_total = 0
        super().__init__(**kwargs)
        self.beta = beta

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset  # the pairs are tokens already, the same that scoring uses

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No model card in a checkpoint of ours."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The adapter alone."""
        if output_dir is not None and is_main():
            save_adapter(self.accelerator.unwrap_model(self.model), Path(output_dir))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Mean of the method's per-pair losses plus its penalty."""
        device = self.accelerator.device
        rows: Rows = inputs["rows"].to(device)
        pairs = [self.training.pairs[i] for i in inputs["index"].tolist()]
        policy = pair_log_probs(model, rows)
        reference = inputs["reference"].to(device)
        gained = policy - reference
        logits = self.beta * (gained[:, 0] - gained[:, 1])
        batch = PairBatch(tuple(p.pair for p in pairs), policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1])
        losses = self.method.pair_loss(logits, batch)
        if not bool(torch.isfinite(losses).all()):
            self._refuse(losses, batch)
        loss = losses.mean()
        penalty = self.method.penalty(self.accelerator.unwrap_model(model))
        if penalty is not None:
            loss = loss + penalty
        if not bool(torch.isfinite(loss)):
            self._refuse(loss.expand(len(pairs)), batch)
        self.tokens_since_step += sum(p.tokens for p in pairs)
        return loss

    def _refuse(self, losses: torch.Tensor, batch: PairBatch) -> None:
        bad = [p.id for p, value in zip(batch.pairs, losses.tolist(), strict=True) if not math.isfinite(value)]
        raise BenchError(
            f"The loss is not finite in stage {self.training.index} at step {self.state.global_step + 1}, "
            f"for the pairs {', '.join(bad)}.",
            f"The last good checkpoint is kept in {self.training.folder}. A lower learning_rate, float32 (--dtype), or "
            "mended data may help; each is another run, so give it another --out.",
        )


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """Connects the trainer's events with the method and with whoever watches."""

    def __init__(self, method: Method, training: StageTraining, trainer: _StageTrainer) -> None:
        self.method = method
        self.training = training
        self.trainer = trainer
        self.last_loss: float | None = None

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.method.on_gradients(self.trainer.accelerator.unwrap_model(kwargs["model"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.training.stopped() and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs is None or "loss" not in logs:
            return
        tokens, self.trainer.tokens_since_step = self.trainer.tokens_since_step * world_size(), 0
        self.trainer.tokens_total += tokens
        self.last_loss = float(logs["loss"])
        self.training.on_step(state.global_step, self.last_loss, tokens)
        if is_main():
            kept: dict[str, Any] = {k: logs[k] for k in ("loss", "grad_norm", "learning_rate") if k in logs}
            self.training.on_log({"stage": self.training.index, "step": state.global_step, **kept})

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if is_main():
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            save_state(folder / "method.safetensors", self.method.state_dict())
            self.training.on_checkpoint(folder)


def train_stage(
    model: PeftModel, tokenizer: Any, method: Method, config: RunConfig, training: StageTraining
) -> TrainingResult:
    """Train one stage in place.

    Raises:
        BenchError: the loss is not finite.
    """
    processes = world_size()
    micro, accumulation = batch_shape(config, processes)
    t = config.training
    arguments = DPOConfig(
        output_dir=str(training.folder),
        learning_rate=t.learning_rate,
        num_train_epochs=t.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        lr_scheduler_type=t.scheduler,
        warmup_steps=t.warmup_ratio,
        weight_decay=t.weight_decay,
        max_grad_norm=t.max_grad_norm,
        beta=t.beta,
        max_length=None,  # the pairs are cut already
        seed=training.seed,
        data_seed=training.seed,
        bf16=False,  # the weights have the run's dtype; no autocast on top
        activation_checkpointing=False,
        use_cpu=config.device == "cpu",
        save_strategy="steps",
        save_steps=t.checkpoint_steps,
        save_total_limit=3,
        logging_steps=1,
        logging_strategy="steps",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=config.device != "cpu",
    )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    trainer = _StageTrainer(
        method,
        training,
        t.beta,
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"index": list(range(len(training.pairs)))}),
        data_collator=_Collator(training),
    )
    # TRL adds a copy of the adapter as reference; ours is computed beforehand, and a checkpoint must not contain it.
    model.delete_adapter("ref")
    model.set_adapter("default")
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    hooks = _Hooks(method, training, trainer)
    trainer.add_callback(hooks)
    if training.resume is not None:
        method.load_state_dict(load_state(training.resume / "method.safetensors"))
    try:
        trainer.train(resume_from_checkpoint=str(training.resume) if training.resume else None)
        complete = trainer.state.global_step >= trainer.state.max_steps
        return TrainingResult(complete, trainer.state.global_step, trainer.tokens_total, hooks.last_loss)
    finally:
        _clean_up(trainer, model)


def _clean_up(trainer: _StageTrainer, model: PeftModel) -> None:
    """Take away what a trainer leaves on the model: patched forwards, accelerate's marks, gradients, hooks."""
    trainer.accelerator.free_memory()
    base = model.get_base_model()
    for module in (model, model.base_model, base):
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            module.__dict__.pop(name, None)
    base.get_input_embeddings()._forward_hooks.clear()
    model.zero_grad(set_to_none=True)
    model.eval()
