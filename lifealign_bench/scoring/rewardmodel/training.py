"""Training a reward model: TRL's RewardTrainer on pairs of token ids, one process, no checkpoints.

The loss is that of Bradley and Terry 1952 as in Ouyang et al. 2022, equation 1: -log sigmoid(r(chosen) - r(rejected)),
the mean over pairs.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import RewardConfig, RewardTrainer

from lifealign_bench.config import RewardModelConfig
from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.scoring.rewardmodel.classifier import Eta
from lifealign_bench.training.arguments import no_checkpointing
from lifealign_bench.training.trainer import clean_up
from lifealign_bench.util.distributed import require_own_type
from lifealign_bench.util.launchenv import own_settings
from lifealign_bench.util.progress import Progress

_WARMUP = 0.1  # share of the steps


class PairOfTexts(NamedTuple):
    """Token ids of a prompt with its chosen and with its rejected response."""

    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


class _Watch(TrainerCallback):  # type: ignore[misc]
    def __init__(self, eta: Eta) -> None:
        self.eta = eta

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.eta.at(state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not all(bool(torch.isfinite(p.grad).all()) for p in kwargs["model"].parameters() if p.grad is not None):
            raise BenchError(
                f"The training of the reward model has a gradient that is not finite at step {state.global_step + 1}.",
                "A lower reward_learning_rate or --set reward_dtype=float32 may help.",
            )


@own_settings()
def train_reward_model(
    model: PeftModel,
    tokenizer: Any,
    pairs: Sequence[PairOfTexts],
    settings: RewardModelConfig,
    seed: int,
    token_budget: int,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Train the adapter and the head of a sequence classifier in place; the global random state is as before.

    On a CPU the same arguments and the same weights give the same weights, to the bit.

    Args:
        model: with an adapter called ``default``, evaluation mode.
        tokenizer: of the model, with a padding token that is not its end of sequence.
        pairs: what to train on; their order is drawn from ``seed``.
        token_budget: tokens of a forward and backward pass at most, padding counted; a longer pair goes alone.
        folder: where the trainer may write.

    Returns:
        ``steps`` and ``final_loss`` (of the last optimizer step).

    Raises:
        BenchError: a gradient is not finite; no memory.
    """
    device = torch.device(model.device)
    steps = settings.reward_epochs * -(-len(pairs) // settings.reward_batch_size)
    together = _pairs_a_pass(pairs, settings.reward_batch_size, token_budget, device)
    arguments = _arguments(settings, steps, together, seed, folder, device)
    with _random_state_kept():
        trainer = RewardTrainer(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=Dataset.from_dict(
                {"chosen_ids": [list(p.chosen) for p in pairs], "rejected_ids": [list(p.rejected) for p in pairs]}
            ),
        )
        require_own_type(trainer.accelerator)
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(_Watch(Eta("Reward model: training step", steps, progress.notice)))
        try:
            trainer.train()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise BenchError(
                f"Out of memory in the training of the reward model, with {together} pairs of texts in a pass.",
                "Set a smaller reward_max_length or token_budget (--set), or make it elsewhere: reward_device.",
            ) from error
        finally:
            clean_up(trainer, model)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"steps": int(trainer.state.global_step), "final_loss": float(losses[-1]) if losses else None}


def _arguments(
    settings: RewardModelConfig, steps: int, together: int, seed: int, folder: Path, device: torch.device
) -> RewardConfig:
    """The trainer's, for so many ``steps`` of passes of so many pairs ``together``."""
    arguments = RewardConfig(
        output_dir=str(folder),
        num_train_epochs=settings.reward_epochs,
        per_device_train_batch_size=together,
        gradient_accumulation_steps=settings.reward_batch_size // together,
        learning_rate=settings.reward_learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=_WARMUP if steps > 1 else 0,  # below 1 it is a share
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=None,  # the texts are cut already
        seed=seed,
        data_seed=seed,
        bf16=False,  # the weights have their dtype; no autocast on top
        **no_checkpointing(RewardConfig),
        use_cpu=device.type == "cpu",
        save_strategy="no",
        logging_steps=1,
        logging_strategy="steps",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    # One process has one device; Trainer would wrap the model for all that it sees.
    arguments._n_gpu = min(1, arguments.n_gpu)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return arguments


def _pairs_a_pass(pairs: Sequence[PairOfTexts], batch: int, token_budget: int, device: torch.device) -> int:
    """Pairs of a forward pass: a divisor of the pairs of an optimizer step. On a CPU it is one, which pads least."""
    if device.type == "cpu":
        return 1
    longest = 2 * max(len(text) for pair in pairs for text in pair)
    return max(
        count for count in range(1, batch + 1) if batch % count == 0 and (count == 1 or count * longest <= token_budget)
    )


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Trainers seed all generators of the process; a run is the same whether its reward model was trained just now."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
