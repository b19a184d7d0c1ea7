"""Generation against transformers' own ``generate``: the same tokens, and how many a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpucheck.bench import DIALOGUE, LARGE, MIDDLE, SMALL, Bench, median
from benchmarks.gpucheck.laying import set_up
from benchmarks.gpucheck.part import Findings
from lifealign_bench.models.generate import generate

Tokens = list[list[int]]


def _plain(bench: Bench, model: Any, prompts: Sequence[Sequence[int]], most: int) -> Tokens:
    width = max(map(len, prompts))
    ids = torch.tensor([[*([0] * (width - len(p))), *p] for p in prompts], device=bench.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=bench.device)
    said = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=most, pad_token_id=0, eos_token_id=None
    )
    return [row[width:] for row in said.tolist()]


def _ours(bench: Bench, model: Any, prompts: Sequence[Sequence[int]], most: int, batch: int) -> Tokens:
    return generate(
        model,
        prompts,
        max_new_tokens=most,
        batch_size=batch,
        stop=frozenset(),
        pad_id=0,
        device=bench.device,
    )


@torch.no_grad()
def generation(bench: Bench, findings: Findings) -> None:
    """In float32 for sameness, in the type that is trained in for speed, with an adapter on."""
    most = 8 if bench.tiny else 48
    prompts = [p.prompt for p in bench.pairs(3 if bench.tiny else 16, DIALOGUE, seed=4)]
    base = bench.base(SMALL, torch.float32, wide=True)
    model: Any = bench.adapted(base, moved=True).eval()
    set_up(base.model, "segments")
    ours = _ours(bench, model, prompts, most, len(prompts))
    set_up(base.model, "rows")
    plain = _plain(bench, model, prompts, most)
    same = sum(a == b for a, b in zip(ours, plain, strict=True))
    findings.check("responses in float32 that differ from generate's", len(prompts) - same, 0.05 * len(prompts))
    with model.disable_adapter():
        untouched = _ours(bench, model, prompts, most, len(prompts))
    findings.truth("the adapter changes responses", untouched != ours)
    del base, model
    bench.free()
    for name in (MIDDLE, *(() if bench.tiny else (LARGE,))):
        base = bench.base(name, torch.bfloat16 if bench.on_gpu else torch.float32)
        model = bench.adapted(base).eval()
        count = 2 if bench.tiny else 64
        prompts = [p.prompt for p in bench.pairs(count, DIALOGUE, seed=5)]
        steps = most if bench.tiny else 64
        taken = {}
        for way in ("generate", "ours"):
            set_up(base.model, "segments" if way == "ours" else "rows")

            def action(way: str = way, model: Any = model, prompts: Any = prompts, steps: int = steps) -> Tokens:
                if way == "ours":
                    return _ours(bench, model, prompts, steps, len(prompts))
                return _plain(bench, model, prompts, steps)

            taken[way] = median(bench.seconds(action, repeats=2))
            findings.row(
                {
                    **{"model": name, "way": way, "responses": count, "new tokens": steps, "seconds": taken[way]},
                    "tokens a second": count * steps / taken[way],
                    "peak, GiB": bench.peak(action),
                    "times faster than generate": taken["generate"] / taken[way],
                }
            )
        del base, model
        bench.free()
