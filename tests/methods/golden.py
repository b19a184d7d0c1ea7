"""What the tests against TRL's trainers share: a random model with an adapter, and responses of every length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model

from lifealign_bench.method import Asked, Group, GroupBatch, Method
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.logprobs import completion_log_probs, lay_out
from lifealign_bench.training.phases import LearnedGroup

PROMPTS = ((2, 9, 17, 3), (2, 40, 41, 42, 43, 44, 3))
RESPONSES = (
    ((50, 51, 52, 1), (60, 1), (70, 71, 72, 73, 74, 75), (80, 81, 82)),
    ((90, 91, 92), (100, 101, 102, 103, 1), (110, 1), (120, 121, 122, 123)),
)
QUIET: dict[str, Any] = {
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
}


def random_adapter() -> tuple[Any, Any]:
    """A model with a random adapter, and its tokenizer."""
    base, tokenizer = fake_model()
    torch.manual_seed(0)
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    return get_peft_model(base.eval(), settings), tokenizer


def prompts(count: int) -> Dataset:
    """A data set that a trainer of TRL takes; none of it is trained on."""
    return Dataset.from_list([{"prompt": "say hello"}] * count)


def padded(rows: Sequence[Sequence[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) ids, padded with 0, and their mask."""
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for row, tokens in enumerate(rows):
        place = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        ids[row, place], mask[row, place] = torch.tensor(tokens), 1
    return ids, mask


def learned(groups: Sequence[Group], tokens: Sequence[tuple[int, ...]]) -> list[LearnedGroup]:
    """The groups with their prompts' tokens."""
    return [
        LearnedGroup(group.pair, prompt, tuple(r.tokens for r in group.responses), group)
        for group, prompt in zip(groups, tokens, strict=True)
    ]


def group_loss(model: Any, method: Method, groups: Sequence[Group], asked: Sequence[Asked] = ()) -> torch.Tensor:
    """The mean of the method's losses over the groups, whose prompts are :data:`PROMPTS`."""
    rows = lay_out(learned(groups, PROMPTS), 0, "rows")
    tokens = completion_log_probs(model, rows)
    said: dict[Asked, torch.Tensor] = {}
    for what in asked:
        with torch.no_grad(), model.disable_adapter():
            said[what] = completion_log_probs(model, rows)
    return method.group_loss(GroupBatch(tuple(groups), tokens, rows.owner, said)).mean()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Taken from the model, which then has none."""
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    assert found and any(bool(g.abs().max() > 1e-6) for g in found.values())
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-5."""
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        assert torch.allclose(gradient, other[name], atol=1e-5), name
