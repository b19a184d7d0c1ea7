"""Floating-point operations of a pass over packed pairs, and how near it comes to plain matrix products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.contenders import renew
from lifealign_bench.models.attention import SEGMENTS
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.logprobs import lay_out, pack, pair_log_probs
from lifealign_bench.runs.session import Session


def forward_flops(session: Session, pairs: Sequence[EncodedPair]) -> tuple[float, float, float]:
    """Operations of one forward pass: (projections and MLP, attention, vocabulary head); two a multiply and add.

    The head's gradient is made beside its value (see ``vocabulary``), so in training its products count twice.
    """
    config: Any = session.base.model.config.get_text_config()
    layers = session.base.model.get_decoder().layers
    weights = sum(m.weight.numel() for m in layers.modules() if isinstance(m, torch.nn.Linear))
    tokens = sum(p.tokens for p in pairs)
    completion = sum(len(p.chosen) + len(p.rejected) for p in pairs)
    width = config.num_attention_heads * (config.hidden_size // config.num_attention_heads)
    # A token attends to what precedes it in its branch: query times key, weights times value.
    seen = 0
    for p in pairs:
        seen += len(p.prompt) * (len(p.prompt) + 1) // 2
        for branch in (p.chosen, p.rejected):
            seen += len(branch) * len(p.prompt) + len(branch) * (len(branch) + 1) // 2
    attention = 4.0 * seen * width * config.num_hidden_layers
    return 2.0 * tokens * weights, attention, 2.0 * completion * config.hidden_size * config.vocab_size


def _best(action: Callable[[], Any], repeats: int) -> float:
    action()
    seconds = []
    for _ in range(repeats):
        clock = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - clock)
    return statistics.median(seconds)


def peak(rows: int, inner: int, outer: int, dtype: torch.dtype, repeats: int) -> float:
    """FLOP/s of (rows, inner) times (inner, outer)."""
    a, weight = torch.randn(rows, inner).to(dtype), torch.randn(outer, inner).to(dtype)

    def several() -> None:
        for _ in range(10):
            torch.nn.functional.linear(a, weight)

    return 10 * 2.0 * rows * inner * outer / _best(several, repeats)


def measure_pass(session: Session, task: str, repeats: int) -> dict[str, Any]:
    """Forward and backward of a step's pairs: seconds, FLOP/s, and the products' FLOP/s at the same shapes."""
    renew(session, SEGMENTS)
    session.model.train()
    config: Any = session.base.model.config.get_text_config()
    pairs = session.train[task]
    groups = [[pairs[i] for i in g] for g in pack(pairs, session.config.tokens_a_pass(), session.speaker.layout)]
    rows = [lay_out(g, session.speaker.pad_id, session.speaker.layout) for g in groups]
    forward, backward = [], []
    for _ in range(repeats + 1):
        there = back = 0.0
        for laid in rows:
            clock = time.perf_counter()
            found = pair_log_probs(session.model, laid)
            there += time.perf_counter() - clock
            clock = time.perf_counter()
            torch.autograd.backward((found[:, 0] - found[:, 1]).sum())
            back += time.perf_counter() - clock
        session.model.zero_grad()
        forward.append(there)
        backward.append(back)
    body, attention, head = forward_flops(session, pairs)
    dtype, largest = session.base.model.dtype, max(laid.ids.numel() for laid in rows)
    # The shapes of most of the work: the MLP's products and the head's, weighted by their operations.
    mlp = peak(largest, config.hidden_size, config.intermediate_size, dtype, repeats)
    vocabulary = peak(2**24 // config.vocab_size, config.hidden_size, config.vocab_size, dtype, repeats)
    at_peak = (body + attention) / mlp + 2 * head / vocabulary
    seconds = statistics.median(forward[1:])
    return {
        "pairs": len(pairs),
        "tokens": sum(p.tokens for p in pairs),
        "forward_seconds": forward[1:],
        "backward_seconds": backward[1:],
        "forward_flops": body + attention + 2 * head,
        "share_attention": attention / (body + attention + 2 * head),
        "share_head": 2 * head / (body + attention + 2 * head),
        "peak_mlp": mlp,
        "peak_head": vocabulary,
        "share_of_peak": at_peak / seconds,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
