"""The engines of ``--generation`` side by side: the same tokens, how fast, and what the dry run foresees of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from peft import PeftModel

from benchmarks.gpucheck.bench import DIALOGUE, LARGE, MIDDLE, SMALL, Bench
from benchmarks.gpucheck.foreseen import gpu_here, run_config
from benchmarks.gpucheck.laying import REFUSALS, set_up
from benchmarks.gpucheck.part import Findings
from lifealign_bench.config import GenerationConfig
from lifealign_bench.experiments.decoding import decoding_seconds
from lifealign_bench.experiments.estimate import DECODING_UTILISATION, ModelFacts, shape_of
from lifealign_bench.method import Method, MethodConfig
from lifealign_bench.models.engines.batches import BatchesEngine
from lifealign_bench.models.engines.continuous import ContinuousEngine
from lifealign_bench.models.engines.engine import GenerationEngine
from lifealign_bench.models.load import LoadedModel
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.util.progress import Progress

ENGINES: dict[str, Callable[[], GenerationEngine]] = {"batches": BatchesEngine, "continuous": ContinuousEngine}
_SERVER = (
    "--generation server is not tried: it needs a server (vLLM, SGLang) beside the check. A run tries its server by "
    "itself before it trains (docs/generation-engines.md)."
)


def engines(bench: Bench, findings: Findings) -> None:
    """In float32 for sameness, with the adapter and without; in the type that is trained in for speed."""
    findings.say(_SERVER)
    prompts = [p.prompt for p in bench.pairs(3 if bench.tiny else 16, DIALOGUE, seed=8)]
    base = bench.base(SMALL, torch.float32, wide=True)
    model = bench.adapted(base, moved=True).eval()
    said: dict[tuple[str, bool], list[list[int]]] = {}
    for name, make in ENGINES.items():
        speaker = _speaker(bench, base, model, make(), prompts, 8 if bench.tiny else 48)
        try:
            said[name, True] = speaker.respond(prompts, [()] * len(prompts))
            with model.disable_adapter():
                said[name, False] = speaker.respond(prompts, [()] * len(prompts))
        except REFUSALS as error:
            findings.truth(f"{name} generates", False, f"{type(error).__name__}: {error}"[:300])
    for is_on in (True, False):
        one, other = (said.get((name, is_on)) for name in ("batches", "continuous"))
        if one is not None and other is not None:
            apart = sum(a != b for a, b in zip(one, other, strict=True))
            way = "with an adapter" if is_on else "of the base model"
            findings.check(
                f"responses {way} in float32 that continuous batching says otherwise", apart, 0.05 * len(one)
            )
    if ("batches", False) in said:
        findings.truth("the adapter changes responses", said["batches", True] != said["batches", False])
    del base, model
    bench.free()
    for name in (MIDDLE, *(() if bench.tiny else (LARGE,))):
        _speeds(bench, findings, name)
        bench.free()


def _speaker(
    bench: Bench,
    base: LoadedModel,
    model: PeftModel,
    engine: GenerationEngine,
    prompts: Sequence[tuple[int, ...]],
    most: int,
) -> Speaker:
    set_up(base.model, "segments")
    settings = GenerationConfig(max_new_tokens=most, generation_batch_size=64)
    budget = 128 if bench.tiny else 4096
    return Speaker(
        base, model, "segments", budget, bench.device, settings, Progress(), asked=tuple(prompts), engine=engine
    )


def _speeds(bench: Bench, findings: Findings, name: str) -> None:
    base = bench.base(name, torch.bfloat16 if bench.on_gpu else torch.float32)
    model = bench.adapted(base).eval()
    count, most = (3, 8) if bench.tiny else (128, 64)
    prompts = [p.prompt for p in bench.pairs(count, DIALOGUE, seed=9)]
    gpu = gpu_here(bench)
    for engine, make in ENGINES.items():
        changes = {"generation_engine": engine}
        config = run_config(bench, changes)
        config = config.model_copy(
            update={"generation": GenerationConfig(max_new_tokens=most, generation_batch_size=64)}
        )
        speaker = _speaker(bench, base, model, make(), prompts, most)
        said: list[list[int]] = []

        def respond(speaker: Speaker = speaker, said: list[list[int]] = said) -> None:
            said[:] = speaker.respond(prompts, [()] * len(prompts))

        try:
            if not bench.tiny:
                respond()  # compiles, and makes room
            seconds: list[float] = []
            peak = bench.peak(lambda: seconds.append(bench.once(respond)))  # noqa: B023 - called at once
        except REFUSALS as error:
            findings.truth(f"{name}: {engine} generates", False, f"{type(error).__name__}: {error}"[:300])
            bench.free()
            continue
        expected: float | None = None
        if gpu is not None:
            facts = ModelFacts(base.model.config, None, True)
            shape, _ = shape_of(facts, config, Method(MethodConfig()), 1)
            prompt = sum(map(len, prompts)) // count
            bandwidth = gpu.bandwidth * DECODING_UTILISATION
            expected = decoding_seconds(config, shape.sizes(config), [count], prompt, gpu.memory, bandwidth)
        tokens = sum(map(len, said))
        findings.row(
            {
                **{"model": name, "engine": engine, "responses": count, "tokens": tokens, "seconds": seconds[0]},
                **{"tokens a second": tokens / seconds[0], "peak, GiB": peak, "foreseen at most, s": expected},
            }
        )
        findings.truth(f"{name}: {engine} answers every prompt", len(said) == count and all(said))
        bench.free()
