"""What ``run --dry-run`` foresees, against what passes take: memory by part, and seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel

from benchmarks.gpucheck.bench import LARGE, MIDDLE, Bench, Lengths
from benchmarks.gpucheck.laying import REFUSALS
from benchmarks.gpucheck.part import Findings, is_here
from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.experiments.estimate import Gpu, ModelFacts, estimate_gpu, gpu_named, plan_model
from lifealign_bench.experiments.memory import Kept, MemoryNeed, kept_bytes, memory_needed
from lifealign_bench.method import Method, MethodConfig
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.load import LoadedModel
from lifealign_bench.models.logprobs import Layout, lay_out, pack, pair_log_probs
from lifealign_bench.models.recompute import recompute_layers
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.training.workload import lengths_of, workload_of
from lifealign_bench.util.progress import Progress

OFF = 0.15  # of the peak, that the dry run may be off by
# As long as the paper's cut-off of 2,048 tokens allows, half of it prompt.
LONGEST = Lengths((1024, 1024), (1024, 1024))
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "--activation-checkpointing": {"activation_checkpointing": True},
    "--quantization nf4": {"quantization": "nf4"},
    "both": {"activation_checkpointing": True, "quantization": "nf4"},
}
_PARTS = ("libraries", "weights", "trial", "adapter", "training", "scoring", "generation", "peak")


def gpu_here(bench: Bench) -> Gpu | None:
    """The kind of GPU by its data sheet; None on a processor, and where nothing is known of it."""
    if not bench.on_gpu:
        return None
    try:
        return gpu_named(torch.cuda.get_device_name(bench.device))
    except BenchError:
        return None


@dataclass
class Measured:
    """What was measured, by the names of :class:`~lifealign_bench.experiments.memory.MemoryNeed`.

    Args:
        memory: bytes; empty on a processor, where what a part takes cannot be told apart.
        kept: bytes that the largest training pass keeps for its backward pass.
        seconds: by part.
    """

    memory: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def foreseen(bench: Bench, findings: Findings) -> None:
    """Each model in each way to keep less."""
    if not is_here("bitsandbytes"):
        findings.say("bitsandbytes is not here: four bits are left out.")
    if bench.on_gpu and gpu_here(bench) is None:
        findings.say("Nothing is known of this kind of GPU: no seconds are foreseen.")
    for name in (MIDDLE, *(() if bench.tiny else (LARGE,))):
        for way, changes in WAYS.items():
            if "quantization" in changes and not is_here("bitsandbytes"):
                continue
            try:
                _one(bench, findings, name, way, changes)
            except REFUSALS as error:
                if is_out_of_memory(error):
                    findings.say(f"{name}, {way}: it runs out of memory.")
                else:
                    findings.truth(f"{name}, {way}: it runs", False, f"{type(error).__name__}: {error}"[:300])
            bench.free()


def run_config(bench: Bench, changes: dict[str, Any]) -> RunConfig:
    """The settings that are foreseen."""
    return RunConfig(
        **{"method": "dpo", "stream": "fake", "tasks": ("fake-upper",), "model": "fake", "sft": False},
        **{"device": "cpu", "dtype": "bfloat16" if bench.on_gpu else "float32"},
        training=TrainingConfig(batch_size=4, max_length=128 if bench.tiny else 2048),
        generation=GenerationConfig(max_new_tokens=8 if bench.tiny else 64, generation_batch_size=16),
        **changes,
    )


def _one(bench: Bench, findings: Findings, name: str, way: str, changes: dict[str, Any]) -> None:
    config = run_config(bench, changes)
    pairs = bench.pairs(4 if bench.tiny else 16, LONGEST, seed=7)
    train = pairs[:4]
    before = bench.held()
    dtype = torch.bfloat16 if bench.on_gpu else torch.float32
    base = bench.base(name, dtype, packed=config.quantization is not None)
    facts = ModelFacts(base.model.config, None, True)
    method = Method(MethodConfig())
    shape, trace, _ = plan_model(facts, config, method, 1)
    task = "fake-upper"
    work = workload_of(config, method, {task: lengths_of(train)}, {task: lengths_of(pairs)}, [task], shape.cost)
    kept = trace.kept(config, work, 1, bench.device.type)
    memory = memory_needed(config, shape.sizes(config), work, kept, 1, bench.device.type)
    gpu = gpu_here(bench)
    times = estimate_gpu(config, shape, work, gpu, 1, trace).times if gpu is not None else {}
    found = measure(bench, config, base, train, pairs, before)
    _tell_memory(findings, f"{name}, {way}", memory, kept, found)
    for part, seconds in found.seconds.items():
        said = times.get(part)
        findings.row(
            {
                **{"model": name, "way": way, "part": part, "foreseen, s": said, "measured, s": seconds},
                "measured / foreseen": seconds / said if said else None,
            }
        )


def _tell_memory(findings: Findings, what: str, memory: MemoryNeed, kept: Kept | None, found: Measured) -> None:
    """Every part, and whether the whole holds."""
    said = {**{part: getattr(memory, part) for part in _PARTS}, "kept by a pass": kept.total if kept else 0}
    is_known = dict(found.memory)
    if is_known:
        is_known["peak"] = MemoryNeed(**{part: found.memory[part] for part in _PARTS if part != "peak"}).peak
    is_known["kept by a pass"] = found.kept
    for part, size in said.items():
        measured = is_known.get(part)
        findings.row(
            {
                **{"model and way": what, "part": part, "foreseen, GiB": size / 2**30},
                "measured, GiB": measured / 2**30 if measured is not None else None,
                "off": size / measured - 1 if measured else None,
            }
        )
    if "peak" in is_known:
        findings.check(f"{what}: the foreseen peak is off by a share", abs(memory.peak / is_known["peak"] - 1), OFF)
    if kept is not None and found.kept:
        findings.check(f"{what}: what a pass keeps is off by a share", abs(kept.total / found.kept - 1), OFF)


def measure(
    bench: Bench,
    config: RunConfig,
    base: LoadedModel,
    train: Sequence[EncodedPair],
    test: Sequence[EncodedPair],
    before: int,
) -> Measured:
    """The parts of a run one after the other, as a run has them.

    Args:
        before: bytes that were held before there was a model.
    """
    found = Measured()
    loaded = bench.held()
    layouts: list[Layout] = []

    def peak_over(floor: int, action: Callable[[], Any], name: str) -> None:
        bench.free()
        peak = bench.peak(action)
        if peak is not None:
            found.memory[name] = max(0, int(peak * 2**30) - floor)

    def tried() -> None:
        layouts.append(choose_layout(base.model, test[:3], 0, bench.device))

    peak_over(loaded, tried, "trial")
    if config.activation_checkpointing:
        recompute_layers(base.model, base.name)
    model = bench.adapted(base)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    train_some = _trainer(bench, config, model, layouts[0], train, optimizer)
    train_some()  # compiles, and makes the optimizer's state
    bench.free()
    floor = bench.held()
    if bench.on_gpu:
        found.memory |= {"weights": loaded - before, "adapter": floor - loaded}
    found.kept = kept_now(bench, config, model, layouts[0], train)
    speaker = Speaker(
        base,
        model.eval(),
        layouts[0],
        config.tokens_a_pass(),
        bench.device,
        config.generation,
        Progress(),
        asked=tuple(p.prompt for p in test),
    )
    prompts = [p.prompt for p in test]
    actions: dict[str, tuple[str, Callable[[], Any]]] = {
        "training": ("preference", train_some),
        "scoring": ("scoring", lambda: speaker.score(test)),
        "generation": ("generation", lambda: speaker.respond(prompts, [()] * len(prompts))),
    }
    for part, (timed, action) in actions.items():
        model.train(part == "training")
        peak_over(floor, action, part)
        found.seconds[timed] = bench.once(action)
    if bench.on_gpu:
        found.memory["libraries"] = bench.context()
    return found


def _trainer(
    bench: Bench,
    config: RunConfig,
    model: PeftModel,
    layout: Layout,
    pairs: Sequence[EncodedPair],
    optimizer: torch.optim.Optimizer,
) -> Callable[[], None]:
    """What takes an optimizer step."""

    def step() -> None:
        for group in pack(pairs, config.tokens_a_pass(), layout):
            found = pair_log_probs(model, lay_out([pairs[i] for i in group], 0, layout).to(bench.device))
            torch.autograd.backward((found[:, 0] - found[:, 1]).sum())
        optimizer.step()
        # A run's gradients are there until the next step begins; what is trained keeps its place meanwhile.
        optimizer.zero_grad(set_to_none=False)

    return step


def kept_now(bench: Bench, config: RunConfig, model: Any, layout: Layout, pairs: Sequence[EncodedPair]) -> int:
    """Bytes that the largest pass keeps until its backward pass: on a GPU what torch holds more than before, on a
    processor what autograd was given, with the attention that a run has there."""
    groups = pack(pairs, config.tokens_a_pass(), layout)
    largest = max(([pairs[i] for i in group] for group in groups), key=lambda g: sum(p.tokens for p in g))
    if not bench.on_gpu:
        from lifealign_bench.models.attention import SEGMENTS

        model.get_base_model().set_attn_implementation(SEGMENTS)
        return kept_bytes(model, lengths_of(largest))
    rows = lay_out(largest, 0, layout).to(bench.device)
    bench.free()
    before = bench.held()
    found = pair_log_probs(model, rows)
    bench.wait()
    kept = bench.held() - before
    del found
    return kept
