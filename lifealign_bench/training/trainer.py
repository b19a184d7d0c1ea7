"""One stage of training: TRL's DPOTrainer with the method's hooks in it.

What is TRL's and transformers': optimizer, schedule, accumulation, clipping, several processes, checkpoints, exact
resume. What is ours: the tokens (``encode``), the forward pass (``logprobs``), the reference log-probabilities
(computed once, see ``base``), and the calls of the hooks. The trainer is thrown away after the stage, and what it
leaves on the model is removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import BatchSamplerShard
from accelerate.utils import gather_object
from datasets import Dataset
from peft import PeftModel
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import BatchSampler, DataLoader
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.method import Method
from lifealign_bench.models.encode import Encoded, EncodedPair
from lifealign_bench.models.logprobs import lay_out, pack, predictions, summed, token_values
from lifealign_bench.models.sharding import leave_pieces
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.training.arguments import no_checkpointing
from lifealign_bench.training.checkpoint import Checkpoint, save_adapter
from lifealign_bench.training.course import Course, make_course
from lifealign_bench.training.others import OtherPolicies
from lifealign_bench.training.phases import Learned, Sampling, TrainedPhase
from lifealign_bench.util.distributed import (
    barrier,
    in_pieces,
    is_main,
    most,
    own_part,
    require_own_type,
    world_size,
)
from lifealign_bench.util.launchenv import own_settings


@dataclass(frozen=True)
class StageTraining:
    """What one stage's training needs.

    Args:
        index: number of the stage, for messages.
        phase: which loss is trained.
        pairs: the pairs to train on, replayed ones included, in the phase's form.
        reference: pair id to its (2,) reference log-probabilities, chosen and rejected; empty in a phase that does not
            refer to them.
        folder: where checkpoints go.
        resume: the checkpoint to go on from, or None.
        seed: of what is drawn in it.
        on_step: called after every optimizer step with (step, loss, tokens of the step).
        on_log: called with one entry for ``log.jsonl`` a step.
        on_checkpoint: called with every checkpoint when its files are written; declares it whole.
        notice: told what the user should know.
        stopped: asked after every step; True ends the stage at a checkpoint.
        on_pairs: called with the number of a step's pairs, and with what is trained on in their place where the phase
            samples, once the gradients are taken.
        course: which pairs each step takes; None: so many passes as the phase has epochs.
        sampling: what a phase that samples may use in a step; None in others.
    """

    index: int
    phase: TrainedPhase
    pairs: Sequence[EncodedPair]
    reference: Mapping[str, torch.Tensor]
    folder: Path
    resume: Checkpoint | None
    seed: int
    on_step: Callable[[int, float, int], None]
    on_log: Callable[[dict[str, Any]], None]
    on_checkpoint: Callable[[Checkpoint], None]
    notice: Callable[[str], None]
    stopped: Callable[[], bool]
    on_pairs: Callable[[int, Sequence[Encoded]], None] = lambda drawn, pairs: None
    course: Course | None = None
    sampling: Callable[[int], Sampling] | None = None


@dataclass(frozen=True)
class TrainingResult:
    """How a stage's training went; ``complete`` is False when it was stopped at a checkpoint."""

    complete: bool
    steps: int
    tokens: int
    final_loss: float | None


def not_finite(training: StageTraining, step: int, what: str) -> BenchError:
    """The error for a loss or gradient that is no number."""
    return BenchError(
        f"{what} is not finite in stage {training.index} at step {step}.",
        f"The last good checkpoint is kept in {training.folder}. A lower learning_rate, float32 (--dtype), or mended "
        "data may help; each is another run, so give it another --out.",
    )


def _collate(items: list[dict[str, int]]) -> dict[str, torch.Tensor]:
    return {"index": torch.tensor([item["index"] for item in items])}


class _Steps(BatchSampler):
    """The steps of a course; the size is that of a full one."""

    def __init__(self, course: Course, size: int) -> None:
        super().__init__(range(sum(map(len, course.batches))), size, drop_last=False)
        self.course = course

    def __iter__(self) -> Iterator[list[int]]:
        return (list(batch) for batch in self.course.batches)

    def __len__(self) -> int:
        return self.course.steps


def _from_above(shape: Callable[[int], float], warmup: int) -> Callable[[int], float]:
    """``shape`` by the number of steps done, with a warm-up that begins above 0."""
    return lambda step: (step + 1) / (warmup + 1) if step < warmup else shape(step)


class _StageTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer whose loss is the method's, over the pairs of one optimizer step in as many passes as they need."""

    def __init__(
        self, speaker: Speaker, method: Method, training: StageTraining, course: Course, beta: float, **kwargs: Any
    ) -> None:
        self.speaker = speaker
        self.method = method
        self.training = training
        self.course = course
        self.token_budget = speaker.token_budget
        self.tokens_since_step = 0
        self.tokens_total = 0
        self.others: OtherPolicies | None = None
        super().__init__(**kwargs)
        require_own_type(self.accelerator)
        self.beta = beta

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset  # the pairs are tokens already, the same that scoring uses

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No model card in a checkpoint of ours."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The adapter alone."""
        if output_dir is not None and is_main():
            save_adapter(self.accelerator.unwrap_model(self.model), Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with self._resuming():
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with self._resuming():
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with self._resuming():
            super()._load_rng_state(checkpoint)

    def _resuming(self) -> AbstractContextManager[None]:
        return nullcontext() if self.training.resume is None else self.training.resume.reading()

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one optimizer step: mean of the method's per-pair losses plus its penalty."""
        own = [self.training.pairs[i] for i in inputs["index"].tolist()]
        pairs: Sequence[Encoded] = own
        if self.training.phase.samples and self.training.sampling is not None:
            model.eval()
            pairs = self.training.phase.sample(self.training.sampling(self.state.global_step + 1), own)
        model.train()
        loss: torch.Tensor | None = None
        while loss is None:
            try:
                loss, refused = self._accumulate(model, pairs)
            except (RuntimeError, MemoryError) as error:
                # Other processes would wait for this one's gradients, so only a process by itself can try again.
                if not is_out_of_memory(error) or world_size() > 1:
                    raise
                self._halve_budget(pairs)
                model.zero_grad()
        self._refuse([text for texts in gather_object([refused]) for text in texts] if world_size() > 1 else refused)
        self.tokens_since_step += sum(p.tokens for p in pairs)
        self.training.on_pairs(len(inputs["index"]), pairs)
        # A step is accumulated in here as a whole. What a method makes of its gradient is clipped like any other.
        self.method.on_gradients(self.accelerator.unwrap_model(model))
        return loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimizer of what the method trains: PEFT turns its adapter's gradients on whenever it is touched."""
        self.model.requires_grad_(False)
        for parameter in self.method.trained(self.model):
            parameter.requires_grad_(True)
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """transformers' schedule, but that its warm-up over w steps begins at 1 / (w + 1) of the peak and not at 0.

        So no step is lost, of which a stage may have few. The peak and what follows it come at the same steps.
        """
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        warmup = self.args.get_warmup_steps(num_training_steps)
        if not isinstance(scheduler, LambdaLR):
            raise TypeError(f"the schedule {self.args.lr_scheduler_type} does not tell its rate at a step")
        scheduler.lr_lambdas = [_from_above(shape, warmup) for shape in scheduler.lr_lambdas]
        # The first step's rate is set when a schedule is made.
        for group, peak, rate in zip(
            scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
        ):
            group["lr"] = peak * rate(0)
        scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]
        return scheduler

    def get_train_dataloader(self) -> Any:
        """The course's steps, whole and in its order on every process: :meth:`training_step` takes the share."""
        steps = _Steps(self.course, self.args.per_device_train_batch_size)
        loader = self.accelerator.prepare(DataLoader(self.train_dataset, batch_sampler=steps, collate_fn=_collate))
        sampler = loader.batch_sampler
        if isinstance(sampler, BatchSamplerShard):
            # Left to itself it would fill up small steps with pairs from the beginning.
            sampler.num_processes, sampler.process_index, sampler.even_batches = 1, 0, False
        return loader

    def _accumulate(self, model: Any, pairs: Sequence[Encoded]) -> tuple[torch.Tensor, list[str]]:
        """Gradients of this process's share of a step; its loss, and what of it is not finite."""
        mine = own_part(pairs)
        groups = [[mine[i] for i in g] for g in pack(mine, self.token_budget, self.speaker.layout)]
        counted = len(groups)
        # A process without a pair takes part in the exchange of gradients with one that counts nothing, and where the
        # model is in pieces, in every pass of the others.
        groups += [[pairs[0]]] * (max(1, most(counted) if in_pieces() else 1) - counted)
        total = torch.zeros((), device=self.accelerator.device)
        refused: list[str] = []
        for number, group in enumerate(groups, start=1):
            last, counts = number == len(groups), number <= counted
            # Processes average their gradients, so that each counts as many times as there are processes.
            weight = world_size() / self.training.phase.counted(pairs) if counts else 0.0
            # Gradients are exchanged once a step, in the last backward pass.
            with nullcontext() if last else self.accelerator.no_sync(model):
                losses = self._losses(model, group)
                finite = torch.isfinite(losses)
                refused += [p.pair.id for p, fine in zip(group, finite.tolist(), strict=True) if not fine]
                loss = losses.sum() * weight
                peft_model = self.accelerator.unwrap_model(model)
                # What is added for a pass counts by its pairs, also where the loss is a mean over tokens.
                by_pairs = len(group) * world_size() / len(pairs) if counts else 0.0
                added = [(self.method.pass_penalty(peft_model), by_pairs)]
                added += [(self.method.penalty(peft_model), 1.0)] if last else []
                for penalty, factor in added:
                    if penalty is not None:
                        loss = loss + factor * penalty
                        if not bool(torch.isfinite(penalty)):
                            refused.append("the method's penalty")
                self.accelerator.backward(loss)
            total += loss.detach()
        return total, refused

    def _losses(self, model: Any, pairs: Sequence[Encoded]) -> torch.Tensor:
        """(B,): of one pass."""
        device, training = self.accelerator.device, self.training
        rows = lay_out(pairs, self.speaker.pad_id, self.speaker.layout).to(device)
        said = self.others.say(pairs) if self.others is not None else {}
        found, head = predictions(model, rows)
        tokens = token_values(found, head, rows.target)
        asked = self.others.values(said, found, head, rows.target) if self.others is not None else {}
        known = [training.reference[p.pair.id] for p in pairs] if training.phase.refers else [torch.empty(0)]
        reference = torch.stack(known).to(device)
        learned = Learned(pairs, summed(tokens, rows), reference, self.beta, tokens, rows.owner, asked)
        return training.phase.losses(learned, self.method)

    def _halve_budget(self, pairs: Sequence[Encoded]) -> None:
        longest = max(p.tokens for p in pairs)
        place = f"Out of memory in stage {self.training.index} at step {self.state.global_step + 1}"
        if self.token_budget <= longest:
            raise BenchError(
                f"{place}, with a single pair of {longest} tokens in the pass.",
                "Keep less: --activation-checkpointing, --quantization nf4, or a smaller max_length (--set); "
                "else a smaller model or more memory is needed.",
            )
        self.token_budget = max(longest, self.token_budget // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.training.notice(
            f"{place}: the step is taken again with at most {self.token_budget} tokens a pass (token_budget)."
        )

    def _refuse(self, reasons: Sequence[str]) -> None:
        """Stop before the optimizer takes what is not a number; every process comes to the same end."""
        if reasons:
            raise not_finite(self.training, self.state.global_step + 1, f"The loss ({', '.join(sorted(set(reasons)))})")


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """Connects the trainer's events with the method and with whoever watches."""

    def __init__(self, method: Method, training: StageTraining, trainer: _StageTrainer) -> None:
        self.method = method
        self.training = training
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = self.trainer.accelerator.unwrap_model(kwargs["model"])
        # A loss may be a number where its gradient is none; the weights must not take it.
        if not all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None):
            raise not_finite(self.training, state.global_step + 1, "The gradient (of a finite loss)")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.training.stopped() and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs is None or "loss" not in logs:
            return
        tokens, self.trainer.tokens_since_step = self.trainer.tokens_since_step, 0
        self.trainer.tokens_total += tokens
        self.training.on_step(state.global_step, float(logs["loss"]), tokens)
        if is_main():
            kept: dict[str, Any] = {k: logs[k] for k in ("loss", "grad_norm", "learning_rate") if k in logs}
            self.training.on_log(
                {"stage": self.training.index, "phase": self.training.phase.name, "step": state.global_step, **kept}
            )

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        barrier()  # every process writes a part of the checkpoint, and rank 0 hashes all of it
        if is_main():
            checkpoint = Checkpoint.at(Path(args.output_dir), state.global_step)
            checkpoint.keep(self.method)
            self.training.on_checkpoint(checkpoint)


def train_stage(speaker: Speaker, method: Method, config: RunConfig, training: StageTraining) -> TrainingResult:
    """Train one phase of a stage: ``speaker.model``, in place and in the run's type whatever accelerate's settings say.

    Raises:
        BenchError: the loss is not finite.
    """
    with own_settings():
        return _train_stage(speaker, method, config, training)


def _train_stage(speaker: Speaker, method: Method, config: RunConfig, training: StageTraining) -> TrainingResult:
    t = config.training
    course = training.course or make_course(
        [p.tokens for p in training.pairs], t.batch_size, training.seed, training.phase.epochs(config, method)
    )
    arguments = DPOConfig(
        output_dir=str(training.folder),
        learning_rate=training.phase.learning_rate(config, method),
        num_train_epochs=1,  # all passes over the pairs are in the course
        per_device_train_batch_size=t.batch_size,  # every process draws the whole step and takes its share
        gradient_accumulation_steps=1,  # a step's pairs are taken in passes of token_budget, see training_step
        lr_scheduler_type=t.scheduler,
        # One step in all is taken at the peak.
        warmup_steps=t.warmup_ratio if course.steps > 1 else 0,
        weight_decay=t.weight_decay,
        max_grad_norm=t.max_grad_norm,
        beta=t.beta,
        max_length=None,  # the pairs are cut already
        seed=training.seed,
        data_seed=training.seed,
        bf16=False,  # the weights have the run's dtype; no autocast on top
        **no_checkpointing(DPOConfig),
        use_cpu=config.device == "cpu",
        save_strategy="steps",
        save_steps=t.checkpoint_steps,
        save_total_limit=3,
        logging_steps=1,
        logging_strategy="steps",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,  # a batch is a few indices
    )
    # One process has one device; Trainer would wrap the model for all that it sees.
    arguments._n_gpu = min(1, arguments.n_gpu)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    model = speaker.model
    _mark(model)
    trainer = _StageTrainer(
        speaker,
        method,
        training,
        course,
        t.beta,
        model=model,
        args=arguments,
        processing_class=speaker.tokenizer,
        train_dataset=Dataset.from_dict({"index": list(range(len(training.pairs)))}),
        data_collator=_collate,
    )
    # TRL adds a copy of the adapter as reference; ours is computed beforehand, and a checkpoint must not contain it.
    model.delete_adapter("ref")
    model.set_adapter("default")
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(_Hooks(method, training, trainer))
    if asked := method.asks(training.phase.name):
        # Before a checkpoint is loaded: the weights are those that the phase began with.
        trained, moving = method.trained(model), method.reference(t.reference) == "previous"
        trainer.others = OtherPolicies(speaker, asked, trained, moving, method.temperature(), method.kept_policy)
    if training.resume is not None:
        training.resume.restore(method)
    try:
        trainer.train(resume_from_checkpoint=str(training.resume.path) if training.resume else None)
        complete = trainer.state.global_step >= trainer.state.max_steps
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        last = float(losses[-1]) if losses else None
        return TrainingResult(complete, trainer.state.global_step, trainer.tokens_total, last)
    finally:
        clean_up(trainer, model)


def _mark(model: PeftModel) -> None:
    """Say what a trainer has to leave as it is; :func:`clean_up` takes it back."""
    # TRL and accelerate would take the adapter to bfloat16, and refuse a CPU, for a base model in four bits.
    model.is_loaded_in_4bit = False
    leave_pieces(model)


def clean_up(trainer: Any, model: PeftModel) -> None:
    """Take away what a trainer leaves on the model: patched forwards, accelerate's marks, gradients, hooks."""
    trainer.accelerator.free_memory()
    base = model.get_base_model()
    for module in (model, model.base_model, base):
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            module.__dict__.pop(name, None)
    for name in ("is_loaded_in_4bit", "_ddp_params_and_buffers_to_ignore"):
        model.__dict__.pop(name, None)
    base.get_input_embeddings()._forward_hooks.clear()
    model.zero_grad(set_to_none=True)
    model.eval()
