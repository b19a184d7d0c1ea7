"""``cppo``: the five cases by hand, the loss, and the policy that a phase starts from."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel

from lifealign_bench.method import Method, PairBatch, Stage
from lifealign_bench.methods import load_method

MakeStage = Callable[..., Stage]
cppo: Any = importlib.import_module("lifealign_bench.methods.cppo")


def make(**settings: Any) -> Method:
    cls = load_method("cppo")
    return cls(cls.Config.model_validate(settings))


# Means 0, standard deviations 1.55: 2 is 1.29 of them away.
P = torch.tensor([2.0, 2.0, -2.0, -2.0, 2.0, 0.0, 0.0, -2.0, 0.0, 0.0])
R = torch.tensor([2.0, -2.0, 2.0, -2.0, 0.0, 2.0, -2.0, 0.0, 0.0, 0.0])


def test_the_five_cases() -> None:
    learning, retention = cppo.pair_weights(R, P)
    #                             perf  overfit variance noisy  the rest is normal
    assert learning.tolist() == [2.0, 2.0, 2.0, 0.5, *[1.0] * 6]
    assert retention.tolist() == [2.0, 0.5, 0.5, 0.5, *[1.0] * 6]


def test_cases_do_not_depend_on_units_and_follow_the_threshold_and_bounds() -> None:
    for a, b in zip(cppo.pair_weights(R, P), cppo.pair_weights(0.01 * R + 7, 30 * P - 200), strict=True):
        assert torch.equal(a, b)
    assert cppo.pair_weights(R, P, threshold=1.28)[0].tolist()[:4] == [2.0, 2.0, 2.0, 0.5]
    assert cppo.pair_weights(R, P, threshold=1.30)[0].tolist() == [1.0] * 10
    assert cppo.pair_weights(R, P, low=0.1, high=3.0)[1].tolist()[:4] == pytest.approx([3.0, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(("rewards", "log_probs"), [(torch.zeros(10), P), (R, torch.full((10,), -40.0))])
def test_without_a_spread_all_pairs_are_normal(rewards: torch.Tensor, log_probs: torch.Tensor) -> None:
    noise = torch.randn(10, generator=torch.Generator().manual_seed(0)) * 1e-6
    for weights in cppo.pair_weights(rewards + noise, log_probs + noise):
        assert weights.tolist() == [1.0] * 10


def test_one_pair_is_normal() -> None:
    assert [w.tolist() for w in cppo.pair_weights(torch.tensor([3.0]), torch.tensor([-9.0]))] == [[1.0], [1.0]]


def batch_of(stage: Stage, policy: torch.Tensor) -> PairBatch:
    reference = stage.references(stage.pairs)
    return PairBatch(stage.pairs, policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1])


def test_the_loss_by_hand(model: PeftModel, make_stage: MakeStage) -> None:
    stage, method = make_stage(2), make(retention=0.3, threshold=0.2)
    method.before_stage(stage, model)
    with torch.no_grad():
        start = stage.log_probs(model, stage.pairs)
    gained = start - stage.references(stage.pairs)
    learning, retention = cppo.pair_weights(gained[:, 0] - gained[:, 1], start[:, 0], threshold=0.2)
    assert len(set(zip(learning.tolist(), retention.tolist(), strict=True))) > 1, "a test of equal weights says little"
    moved = start + torch.tensor([[0.5, -1.0]])
    logits = torch.linspace(-2, 2, len(stage.pairs))
    losses = method.pair_loss(logits, batch_of(stage, moved))
    for i, loss in enumerate(losses.tolist()):
        plain = math.log(1 + math.exp(-float(logits[i])))
        expected = float(learning[i]) * plain + 0.3 * float(retention[i]) * (0.5**2 + 1.0**2)
        assert loss == pytest.approx(expected, rel=1e-4)


def test_a_pass_of_some_pairs_gives_their_losses(model: PeftModel, make_stage: MakeStage) -> None:
    """Weights are of the stage and not of the pass, so that packing and processes change nothing."""
    stage, method = make_stage(2), make(threshold=0.2)
    method.before_stage(stage, model)
    policy = stage.references(stage.pairs) + torch.linspace(0, 2, 20).view(10, 2)
    whole, logits = batch_of(stage, policy), torch.linspace(-1, 1, 10)
    losses = method.pair_loss(logits, whole)
    for rows in ([3], [7, 1, 4]):
        part = PairBatch(
            tuple(stage.pairs[i] for i in rows),
            whole.chosen[rows],
            whole.rejected[rows],
            whole.ref_chosen[rows],
            whole.ref_rejected[rows],
        )
        assert torch.equal(method.pair_loss(logits[rows], part), losses[rows])


@pytest.mark.parametrize(("index", "phase"), [(1, "preference"), (2, "sft")])
def test_stage_1_and_the_supervised_phase_are_plain(
    index: int, phase: str, model: PeftModel, make_stage: MakeStage
) -> None:
    method, stage = make(), make_stage(index, phase=phase)
    method.before_stage(stage, model)
    logits = torch.linspace(-1, 1, 10)
    batch = batch_of(make_stage(index), stage.references(stage.pairs) + 1)
    assert torch.equal(method.pair_loss(logits, batch), load_method("dpo").pair_loss(method, logits, batch))
    assert method.state_dict() == {}


def test_state_goes_on_where_it_was_and_ends_with_the_phase(model: PeftModel, make_stage: MakeStage) -> None:
    stage, method = make_stage(2), make()
    method.before_stage(stage, model)
    state = method.state_dict()
    logits, batch = torch.linspace(-1, 1, 10), batch_of(stage, stage.references(stage.pairs) + 1)
    again = make()
    again.before_stage(stage, model)
    with torch.no_grad():  # a resumed process has the checkpoint's weights by now
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    again.load_state_dict(state)
    assert torch.equal(again.pair_loss(logits, batch), method.pair_loss(logits, batch))
    assert not torch.equal(again.pair_loss(logits, batch), load_method("dpo").pair_loss(method, logits, batch))
    again.after_stage(stage, model)
    assert again.state_dict() == {}


def test_the_models_mode_and_gradients_are_left_alone(model: PeftModel, make_stage: MakeStage) -> None:
    method = make()
    model.train()
    method.before_stage(make_stage(2), model)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    start = method.state_dict()["start"]
    assert isinstance(start, torch.Tensor) and not start.requires_grad
