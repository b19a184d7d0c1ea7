"""Nothing is computed twice: the tokens that go through the model in a run are those of the pairs, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from lifealign_bench.config import RunConfig
from lifealign_bench.method import Method, MethodConfig
from lifealign_bench.progress import Progress
from lifealign_bench.run import run
from lifealign_bench.session import Session, load_data

Make = Callable[..., RunConfig]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Tokens through the model: in training passes, in passes over pairs without gradients, in generation."""
    tokens: Counter[str] = Counter()
    original = LlamaForCausalLM.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        kind = "generate" if kwargs.get("past_key_values") is not None else "pairs"
        if kind == "pairs" and torch.is_grad_enabled():
            kind = "train"
        tokens[kind] += kwargs["input_ids"].numel()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    return tokens


def sizes(config: RunConfig) -> tuple[int, int]:
    """Tokens of the training pairs and of the test pairs, every prompt counted once."""
    session = Session.build(config, load_data(config, Progress()), Method(MethodConfig()), Progress())
    train, test = (sum(p.tokens for pairs in part.values() for p in pairs) for part in (session.train, session.test))
    return train, test


def test_a_run_is_its_training_and_one_scoring_pass_a_stage(fake_config: Make, counted: Counter[str]) -> None:
    config = fake_config(method="dpo", scorers=("preference",))
    train, test = sizes(config)
    probe = counted["pairs"]  # the layout is tried out on a few pairs
    counted.clear()
    run(config)
    stages = 3
    assert counted["train"] == train * config.training.epochs
    # Stage 0 is the base model's one pass over the test pairs, and its references are one over the training pairs.
    assert counted["pairs"] == probe + (stages + 1) * test + train
    counted.clear()
    # Another method, another seed: what the base model says is on disk.
    run(fake_config(method="ewc", seed=1, scorers=("preference",), method_settings={"fisher_pairs": 1}))
    fisher = counted["train"] - train
    assert 0 < fisher < train / 4
    assert counted["pairs"] == probe + stages * test
    assert counted["generate"] == 0


def test_scoring_is_linear_in_the_tasks(fake_config: Make, counted: Counter[str]) -> None:
    """Twice the tasks over twice the stages: N times the test set a stage, not more."""
    found = []
    for tasks in (("fake-upper",), ("fake-upper", "fake-lower")):
        config = fake_config(stream=",".join(tasks), tasks=tasks)
        _, test = sizes(config)
        probe = counted["pairs"]
        run(config)  # fills the cache
        counted.clear()
        run(config.model_copy(update={"seed": 1}))
        assert counted["pairs"] == probe + len(tasks) * test
        found.append(counted["generate"] / len(tasks) / test)
        counted.clear()
    assert found[1] == pytest.approx(found[0], rel=0.35)
