"""Layouts against one sequence at a time: values, leaks, gradients, and how fast each is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.gpucheck.bench import DIALOGUE, LONG_PROMPT, MIDDLE, SMALL, WINDOWED, Bench, Lengths, median
from benchmarks.gpucheck.part import Findings
from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.models.attention import SEGMENTS
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.flex import FLEX
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.logprobs import PACKED, Layout, lay_out, log_probs, pack, pair_log_probs

LAYOUTS: tuple[Layout, ...] = ("flex", "mask", "segments", "rows", "plain")
_OWN: dict[Layout, str] = {"segments": SEGMENTS, "flex": FLEX}
# Nats a token that a layout may be off by, and the share that a gradient may.
VALUES = {torch.float32: 1e-3, torch.bfloat16: 0.2}
GRADIENTS = {torch.float32: 1e-3, torch.bfloat16: 0.1}
# What a layout raises that a model or a GPU does not bear; the others are tried all the same.
REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError, ImportError, OSError, BenchError)


def set_up(model: Any, layout: Layout, otherwise: str = "sdpa") -> None:
    """The model's attention for a layout, as ``choose_layout`` leaves it."""
    model.set_attn_implementation(_OWN.get(layout, otherwise))


def by_definition(model: Any, pairs: Sequence[EncodedPair], device: torch.device) -> torch.Tensor:
    """(P, 2): one sequence a pass, nothing padded, the model's own logits; differentiable."""
    sums = []
    for pair in pairs:
        for completion in pair.branches:
            ids = torch.tensor([[*pair.prompt, *completion]], device=device)
            table = model(input_ids=ids, use_cache=False).logits[0, len(pair.prompt) - 1 : -1].float().log_softmax(-1)
            sums.append(table.gather(1, ids[0, len(pair.prompt) :, None]).sum())
    return torch.stack(sums).view(-1, 2)


def apart(found: torch.Tensor, truth: torch.Tensor, pairs: Sequence[EncodedPair]) -> float:
    """The largest difference a token, in nats."""
    lengths = torch.tensor([[len(c) for c in p.branches] for p in pairs], device=found.device)
    return float(((found - truth).abs() / lengths).max())


def layouts(bench: Bench, findings: Findings) -> None:
    """Values of every layout in float32 and bfloat16, and which one is chosen."""
    for name in (SMALL, WINDOWED, *(() if bench.tiny else (MIDDLE,))):
        for dtype in (torch.float32, torch.bfloat16):
            _values(bench, findings, name, dtype)
            bench.free()


@torch.no_grad()
def _values(bench: Bench, findings: Findings, name: str, dtype: torch.dtype) -> None:
    kind = str(dtype).removeprefix("torch.")
    model: Any = bench.base(name, dtype, wide=True).model
    pairs = bench.pairs(3 if bench.tiny else 6, DIALOGUE)
    usual = "eager" if name == WINDOWED else "sdpa"  # torch's own attention knows no caps
    set_up(model, "rows", usual)
    truth = by_definition(model, pairs, bench.device)
    for layout in LAYOUTS:
        set_up(model, layout, usual)
        try:
            rows = lay_out(pairs, 0, layout).to(bench.device)
            seconds = bench.seconds(lambda rows=rows: pair_log_probs(model, rows))  # type: ignore[misc]
            difference = apart(pair_log_probs(model, rows), truth, pairs)
        except REFUSALS as error:
            findings.truth(f"{name}, {kind}: {layout} is taken", False, _first_line(error))
            continue
        what = f"{name}, {kind}: {layout} gives the values of one sequence at a time"
        findings.check(what, difference, VALUES[dtype])
        tokens = sum(p.tokens for p in pairs)
        findings.row(
            {
                **{"model": name, "type": kind, "layout": layout, "nats a token apart": difference},
                "tokens a second, forward": tokens / median(seconds),
            }
        )
    set_up(model, "rows", usual)
    chosen = choose_layout(model, pairs, 0, bench.device, notice=findings.say)
    findings.say(f"{name}, {kind}: {chosen} is chosen.")


def gradients(bench: Bench, findings: Findings) -> None:
    """Gradients of an adapter by every layout against those of one sequence at a time."""
    for dtype in (torch.float32, torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        base = bench.base(SMALL, dtype, wide=True)
        model = bench.adapted(base, moved=True).train()
        pairs = bench.pairs(2 if bench.tiny else 4, DIALOGUE, seed=1)
        set_up(base.model, "rows")
        truth = _gradient(model, by_definition(model, pairs, bench.device))
        for layout in LAYOUTS:
            if layout == "flex" and not bench.on_gpu:
                findings.say("flex: torch has no gradients of it on a processor.")
                continue
            set_up(base.model, layout)
            try:
                found = _gradient(model, pair_log_probs(model, lay_out(pairs, 0, layout).to(bench.device)))
            except REFUSALS as error:
                findings.truth(f"{kind}: {layout} is differentiated", False, _first_line(error))
                continue
            share = float((found - truth).norm() / truth.norm())
            findings.check(f"{kind}: {layout} gives the gradient of one sequence at a time", share, GRADIENTS[dtype])
        bench.free()


def _gradient(model: torch.nn.Module, sums: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    # As a preference loss weighs them: one sign a branch.
    torch.autograd.backward((sums[:, 0] - sums[:, 1]).sum())
    return torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])


def packing(bench: Bench, findings: Findings) -> None:
    """Forward and backward of a step by packed rows and by padded ones, side by side."""
    kinds: dict[str, Lengths] = {"dialogues": DIALOGUE, "long prompts": LONG_PROMPT}
    base = bench.base(MIDDLE, torch.bfloat16 if bench.on_gpu else torch.float32)
    model = bench.adapted(base).train()
    for kind, lengths in kinds.items():
        pairs = bench.pairs(8 if bench.tiny else 32, lengths, seed=2)
        budget = 100 if bench.tiny else 8192
        padded: float | None = None
        for layout in ("rows", "flex", "mask", "segments"):
            if layout == "flex" and not bench.on_gpu:
                continue
            set_up(base.model, layout)

            try:
                seconds = bench.seconds(partial(_step, bench, model, pairs, layout, budget))
                peak = bench.peak(partial(_step, bench, model, pairs, layout, budget))
            except REFUSALS as error:
                if is_out_of_memory(error):
                    findings.say(f"{kind}: {layout} runs out of memory.")
                else:
                    findings.truth(f"{kind}: {layout} runs", False, _first_line(error))
                bench.free()
                continue
            taken = median(seconds)
            padded = taken if layout == "rows" else padded
            findings.row(
                {
                    **{"model": MIDDLE, "pairs": f"{len(pairs)} {kind}", "layout": layout, "seconds": taken},
                    "against padded": padded / taken if padded else None,
                    "tokens": sum(p.tokens for p in pairs),
                    "peak, GiB": peak,
                    "packed": layout in PACKED,
                }
            )
        with torch.no_grad():
            set_up(base.model, "rows")
            wanted = log_probs(model, pairs, pad_id=0, layout="rows", token_budget=budget, device=bench.device)
            set_up(base.model, "mask")
            found = log_probs(model, pairs, pad_id=0, layout="mask", token_budget=budget, device=bench.device)
        dtype = torch.bfloat16 if bench.on_gpu else torch.float32
        findings.check(f"{kind}: packed and padded say the same", apart(found, wanted, pairs), VALUES[dtype])


def _step(bench: Bench, model: Any, pairs: Sequence[EncodedPair], layout: Layout, budget: int) -> None:
    """Gradients of all pairs."""
    for group in pack(pairs, budget, layout):
        sums = pair_log_probs(model, lay_out([pairs[i] for i in group], 0, layout).to(bench.device))
        torch.autograd.backward((sums[:, 0] - sums[:, 1]).sum())
    model.zero_grad()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
