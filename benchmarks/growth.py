"""One point of a growth curve: ``growth.py AXIS VALUE`` prints seconds as JSON; memory is seen from outside."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no installed package

POINTS = {
    "pairs": (4, 8, 16, 32),
    "prompt": (64, 128, 256, 512, 1024),
    "completion": (32, 64, 128, 256, 512),
    "rank": (4, 8, 16, 32, 64),
    "vocabulary": (8192, 32768, 65536, 131072),
    "tasks": (1, 2, 3, 4),
}
FIXED = {"pairs": 8, "prompt": 96, "completion": 48, "rank": 8}
REPEATS = 3


def main() -> None:
    """Build the model and the pairs of the point, and time forward and backward passes over them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lifealign_bench.config import AdapterConfig, RunConfig
    from lifealign_bench.models.device import threads_to_use
    from lifealign_bench.models.encode import EncodedPair
    from lifealign_bench.models.layout import choose_layout
    from lifealign_bench.models.load import LoadedModel as BaseModel
    from lifealign_bench.models.load import fresh_adapter, load_base_model
    from lifealign_bench.models.logprobs import lay_out, pack, pair_log_probs, score_pairs
    from lifealign_bench.pairs import Message, Pair
    from lifealign_bench.runs.setup import resolved

    axis, value = sys.argv[1], int(sys.argv[2])
    size = FIXED | ({axis: value} if axis in FIXED else {})
    torch.set_num_threads(threads_to_use(None))
    config = resolved(RunConfig(method="dpo", stream="fake", tasks=("fake",)))
    base = load_base_model(config)
    if axis == "vocabulary":
        # The embedded model's shape with two layers, so that the head is most of the work.
        shape: Any = LlamaConfig.from_dict({**base.model.config.to_dict(), "vocab_size": value, "num_hidden_layers": 2})
        model = LlamaForCausalLM(shape).to(base.model.dtype).eval().requires_grad_(False)
        base = BaseModel(model, base.tokenizer, "random", "", "", 0)
    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(100, 8000, (count,), generator=generator).tolist())

    def make(number: int) -> EncodedPair:
        pair = Pair(f"t/train/{number}", "t", (Message("user", "x"),), "c", "r")
        return EncodedPair(pair, ids(size["prompt"]), ids(size["completion"]), ids(size["completion"]))

    count = size["pairs"] * (value if axis == "tasks" else 1)
    pairs = [make(n) for n in range(count)]
    device = torch.device("cpu")
    layout = choose_layout(base.model, [make(-1), make(-2)], 0, device)
    model_with_adapter = fresh_adapter(base, AdapterConfig(lora_r=size["rank"]), 0)
    budget = max(1024, pairs[0].tokens)
    seconds = []
    for _ in range(REPEATS + 1):
        clock = time.perf_counter()
        if axis == "tasks":
            # What scoring after every one of N stages on N tasks takes: N passes over N test sets.
            for _ in range(value):
                score_pairs(model_with_adapter, pairs, pad_id=0, layout=layout, token_budget=budget, device=device)
        else:
            for group in pack(pairs, budget, layout):
                found = pair_log_probs(model_with_adapter, lay_out([pairs[i] for i in group], 0, layout))
                torch.autograd.backward((found[:, 0] - found[:, 1]).sum())
            model_with_adapter.zero_grad()
        seconds.append(time.perf_counter() - clock)
    tokens = sum(p.tokens for p in pairs) * (value if axis == "tasks" else 1)
    print(json.dumps({"seconds": statistics.median(seconds[1:]), "tokens": tokens, "layout": layout}))


if __name__ == "__main__":
    main()
