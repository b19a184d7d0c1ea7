"""A training stage three ways: by this package, by TRL at its best settings, and by a padded loop of one's own."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from benchmarks.gpucheck.bench import DIALOGUE, LARGE, MIDDLE, Bench, median
from benchmarks.gpucheck.laying import REFUSALS, set_up
from benchmarks.gpucheck.machine import product
from benchmarks.gpucheck.part import Findings, is_here
from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.errors import is_out_of_memory
from lifealign_bench.method import Method, MethodConfig
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.load import LoadedModel
from lifealign_bench.models.logprobs import Layout, lay_out, pack, pair_log_probs
from lifealign_bench.models.passcost import pass_cost, size_of_pair
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.util.progress import Progress

_BATCH = 16  # pairs of an optimizer step
_BETA, _RATE = 0.1, 5e-6


def renew(bench: Bench, base: LoadedModel, model: PeftModel | None) -> PeftModel:
    """A fresh adapter, and nothing left of a trainer."""
    if model is not None:
        inner: Any = model.unload()
        for name in ("forward", "_original_forward", "_is_accelerate_prepared", "peft_config"):
            inner.__dict__.pop(name, None)
        inner.get_input_embeddings()._forward_hooks.clear()
        inner.requires_grad_(False)
    return bench.adapted(base)


def speaker_of(bench: Bench, base: LoadedModel, model: PeftModel, layout: Layout, budget: int) -> Speaker:
    """The model as this package asks it."""
    return Speaker(base, model, layout, budget, bench.device, GenerationConfig(), Progress())


def run_config(bench: Bench, batch: int = _BATCH) -> RunConfig:
    """The settings of a stage."""
    return RunConfig(
        method="dpo",
        stream="fake",
        tasks=("fake-upper",),
        model="fake",
        device="cuda" if bench.on_gpu else "cpu",
        dtype="float32",
        training=TrainingConfig(batch_size=batch, learning_rate=_RATE, epochs=1, checkpoint_steps=10**6),
    )


def trained_here(
    bench: Bench, speaker: Speaker, pairs: Sequence[EncodedPair], notice: Callable[[str], None] = lambda text: None
) -> float:
    """Seconds of ``train()`` in this package's stage, as TRL's are taken; the reference is known."""
    from lifealign_bench.training.phases import PHASES
    from lifealign_bench.training.trainer import StageTraining, train_stage

    with tempfile.TemporaryDirectory() as folder:
        training = StageTraining(
            index=1,
            phase=PHASES.get("preference"),
            pairs=pairs,
            reference={p.pair.id: torch.zeros(2) for p in pairs},
            folder=Path(folder),
            resume=None,
            seed=1,
            on_step=lambda step, loss, tokens: None,
            on_log=lambda entry: None,
            on_checkpoint=lambda path: None,
            notice=notice,
            stopped=lambda: False,
        )
        config = run_config(bench, min(_BATCH, len(pairs)))
        with _clocked(bench) as seconds:
            train_stage(speaker, Method(MethodConfig()), config, training)
        return sum(seconds)


@contextlib.contextmanager
def _clocked(bench: Bench) -> Iterator[list[float]]:
    """Within, every call of a trainer's ``train`` adds its seconds."""
    from trl import DPOTrainer

    seconds: list[float] = []
    original = DPOTrainer.train

    def train(self: Any, *given: Any, **more: Any) -> Any:
        found: list[Any] = []
        seconds.append(bench.once(lambda: found.append(original(self, *given, **more))))
        return found[0]

    DPOTrainer.train = train
    try:
        yield seconds
    finally:
        DPOTrainer.train = original


def packed_loop(bench: Bench, model: PeftModel, pairs: Sequence[EncodedPair], layout: Layout, budget: int) -> float:
    """Seconds of this package's passes in a plain loop, which needs no TRL."""

    def step(mine: Sequence[EncodedPair]) -> None:
        for group in pack(mine, budget, layout):
            found = pair_log_probs(model, lay_out([mine[i] for i in group], 0, layout).to(bench.device))
            torch.autograd.backward(-F.logsigmoid(_BETA * (found[:, 0] - found[:, 1])).sum() / len(mine))

    return _loop(bench, model, pairs, step)


def padded_loop(bench: Bench, model: PeftModel, pairs: Sequence[EncodedPair], batch: int) -> float:
    """Seconds of a loop over padded rows, two a pair, ``batch`` pairs a pass; logits of response tokens alone."""

    def step(mine: Sequence[EncodedPair]) -> None:
        for start in range(0, len(mine), batch):
            part = mine[start : start + batch]
            found = pair_log_probs(model, lay_out(part, 0, "rows").to(bench.device))
            torch.autograd.backward(-F.logsigmoid(_BETA * (found[:, 0] - found[:, 1])).sum() / len(mine))

    return _loop(bench, model, pairs, step)


def _loop(
    bench: Bench, model: PeftModel, pairs: Sequence[EncodedPair], step: Callable[[Sequence[EncodedPair]], None]
) -> float:
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=_RATE, weight_decay=0.0)
    model.train()
    bench.wait()
    clock = time.perf_counter()
    for start in range(0, len(pairs), _BATCH):
        step(pairs[start : start + _BATCH])
        clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    bench.wait()
    return time.perf_counter() - clock


def trained_by_trl(
    bench: Bench, base: LoadedModel, model: PeftModel, pairs: Sequence[EncodedPair], batch: int
) -> float:
    """Seconds of ``train()`` of TRL's DPOTrainer: reference precomputed, nothing computed twice, no autocast."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from lifealign_bench.training.arguments import no_checkpointing

    rows = [
        {
            "prompt": [{"role": m.role, "content": m.content} for m in p.pair.prompt],
            "chosen": [{"role": "assistant", "content": p.pair.chosen}],
            "rejected": [{"role": "assistant", "content": p.pair.rejected}],
        }
        for p in pairs
    ]
    step = min(_BATCH, len(pairs))
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=model,
            processing_class=base.tokenizer,
            train_dataset=Dataset.from_list(rows),
            args=DPOConfig(
                output_dir=folder,
                learning_rate=_RATE,
                num_train_epochs=1,
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=max(1, step // batch),
                beta=_BETA,
                max_length=2048,
                precompute_ref_log_probs=True,
                bf16=False,
                **no_checkpointing(DPOConfig),
                use_cpu=not bench.on_gpu,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
        )
        with _clocked(bench) as seconds:
            trainer.train()
        return sum(seconds)


def training(name: str) -> Callable[[Bench, Findings], None]:
    """The part for one model."""

    def action(bench: Bench, findings: Findings) -> None:
        dtype = torch.bfloat16 if bench.on_gpu else torch.float32
        base = bench.base(name, dtype)
        pairs = bench.pairs(4 if bench.tiny else 2 * _BATCH, DIALOGUE, seed=3)
        layout = choose_layout(base.model, pairs[:3], 0, bench.device, notice=findings.say)
        _compare(bench, findings, base, pairs, layout)

    return action


def _compare(bench: Bench, findings: Findings, base: LoadedModel, pairs: Sequence[EncodedPair], layout: Layout) -> None:
    budget = 100 if bench.tiny else 8192
    batches = (2,) if bench.tiny else (4, 8, 16)
    found: dict[str, list[tuple[float, float | None]]] = {}
    model: PeftModel | None = None
    ways: dict[str, Callable[[PeftModel], float]] = {
        "ours, passes alone": lambda model: packed_loop(bench, model, pairs, layout, budget)
    }
    if is_here("trl"):
        ways["ours"] = lambda model: trained_here(
            bench, speaker_of(bench, base, model, layout, budget), pairs, findings.say
        )
        for batch in batches:
            ways[f"TRL, {batch} pairs a pass"] = lambda model, batch=batch: trained_by_trl(  # type: ignore[misc]
                bench, base, model, pairs, batch
            )
    else:
        findings.say("TRL is not here: its stage is left out, and ours, which is its trainer with our passes.")
    for batch in batches:
        ways[f"padded loop, {batch} pairs a pass"] = lambda model, batch=batch: padded_loop(  # type: ignore[misc]
            bench, model, pairs, batch
        )
    # One after the other, in turn: what changes on the machine meanwhile falls on all of them.
    for turn in range(1 if bench.tiny else 3):
        for way, action in ways.items():
            if turn and way not in found:
                continue  # it failed
            model = renew(bench, base, model)
            set_up(base.model, layout if way.startswith("ours") else "rows")
            try:
                taken = _measured(bench, action, model)
            except REFUSALS as error:
                if is_out_of_memory(error):
                    findings.say(f"{base.name}: {way} runs out of memory.")
                else:
                    findings.truth(f"{base.name}: {way} runs", False, str(error)[:300])
                bench.free()
                continue
            # The first turn compiles and warms up.
            found.setdefault(way, []).extend([taken] if turn or bench.tiny else [])
    _tell(bench, findings, base, pairs, found, model)


def _measured(bench: Bench, action: Callable[[PeftModel], float], model: PeftModel) -> tuple[float, float | None]:
    """Seconds, and the peak."""
    seconds: list[float] = []
    peak = bench.peak(lambda: seconds.append(action(model)))
    return seconds[0], peak


def _tell(
    bench: Bench,
    findings: Findings,
    base: LoadedModel,
    pairs: Sequence[EncodedPair],
    found: dict[str, list[tuple[float, float | None]]],
    model: PeftModel | None,
) -> None:
    taken = {way: median([seconds for seconds, _ in turns]) for way, turns in found.items() if turns}
    first = "ours" if "ours" in taken else "ours, passes alone"
    tokens = sum(p.tokens for p in pairs)
    for way, seconds in taken.items():
        findings.row(
            {
                **{"model": base.name, "way": way, "seconds": seconds, "tokens a second": tokens / seconds},
                "times ours": seconds / taken[first] if first in taken else None,
                "peak, GiB": max((peak for _, peak in found[way] if peak is not None), default=None),
            }
        )
    findings.truth(f"{base.name}: a stage is trained", first in taken)
    if model is not None and first in taken:
        cost = pass_cost(base.model, base.parameters)
        work = float(sum(cost.training(size_of_pair(p)) for p in pairs))
        peak = product(bench, next(base.model.parameters()).dtype, 128 if bench.tiny else 8192)
        for way in dict.fromkeys((first, "ours, passes alone")):
            if way in taken:
                rate = work / taken[way]
                findings.row(
                    {
                        **{"model": base.name, "way": f"{way}: operations", "TFLOP/s": rate / 1e12},
                        **{"product, TFLOP/s": peak / 1e12, "share": rate / peak},
                    }
                )


train_middle, train_large = training(MIDDLE), training(LARGE)
