"""``cppo``: the five cases by hand, the loss, and the policy that a phase starts from."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PeftModel

from lifealign_bench.method import Method, PairBatch, Stage
from lifealign_bench.methods import load_method
from lifealign_bench.pairs import Message, Pair

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


def batch_of(stage: Stage, policy: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> PairBatch:
    """Of what the policy gives each token of the stage's responses."""
    reference = stage.references(stage.pairs)
    responses = [response for both in policy for response in both]
    sums = torch.stack([response.sum() for response in responses]).view(-1, 2)
    owner = torch.tensor([i for i, response in enumerate(responses) for _ in response])
    return PairBatch(stage.pairs, sums[:, 0], sums[:, 1], reference[:, 0], reference[:, 1], torch.cat(responses), owner)


def moved_from(
    start: Sequence[tuple[torch.Tensor, torch.Tensor]], by: float = 1.0
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(chosen + by, rejected + by) for chosen, rejected in start]


def started(stage: Stage, model: PeftModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
    with torch.no_grad():
        return stage.response_log_probs(model, stage.pairs)


def test_the_loss_by_hand(model: PeftModel, make_stage: MakeStage) -> None:
    stage, method = make_stage(2), make(retention=0.3, threshold=0.2)
    method.before_stage(stage, model)
    start = started(stage, model)
    sums = torch.tensor([[float(c.sum()), float(r.sum())] for c, r in start])
    gained = sums - stage.references(stage.pairs)
    probable = torch.tensor([float(c.mean()) for c, _ in start])
    learning, retention = cppo.pair_weights(gained[:, 0] - gained[:, 1], probable, threshold=0.2)
    assert len(set(zip(learning.tolist(), retention.tolist(), strict=True))) > 1, "a test of equal weights says little"
    # Of T tokens of a chosen response one moves by 1 and the others by 0.5; the rejected ones move by -1 or 1 in turn:
    # a sum over tokens would see next to nothing of the latter.
    moved = []
    for chosen, rejected in start:
        by = torch.full_like(chosen, 0.5)
        by[-1] = 1.0
        moved.append((chosen + by, rejected + torch.tensor([(-1.0) ** i for i in range(len(rejected))])))
    logits = torch.linspace(-2, 2, len(stage.pairs))
    losses = method.pair_loss(logits, batch_of(stage, moved))
    for i, loss in enumerate(losses.tolist()):
        plain, tokens = math.log(1 + math.exp(-float(logits[i]))), len(stage.pairs[i].chosen)
        penalty = ((tokens - 1) * 0.25 + 1.0) / tokens + 1.0
        assert loss == pytest.approx(float(learning[i]) * plain + 0.3 * float(retention[i]) * penalty, rel=1e-4)


@pytest.mark.parametrize(("tokens", "margin"), [(10, 16.34), (20, 26.47), (40, 37.34)])
def test_a_normal_pair_may_gain_what_is_worth_it(tokens: int, margin: float, make_stage: MakeStage) -> None:
    """Both responses of T tokens drift by d a token: the loss is -log sigmoid(0.1 * 2 T d) + 0.1 * 2 d**2.

    It is least where sigmoid(-0.1 m) = m / T**2 at the margin m = 2 T d. Of squared sums it would be least where
    sigmoid(-0.1 m) = m, at 0.49 nats: the policy that the phase starts from, kept.
    """
    pair = Pair(id="t2/train/0", task="t2", prompt=(Message("user", "?"),), chosen="a", rejected="b")
    stage = replace(
        make_stage(2, pairs=[pair]),
        references=lambda pairs: torch.zeros(1, 2),
        response_log_probs=lambda model, pairs: [(torch.full((tokens,), -2.0), torch.full((tokens,), -2.0))],
    )
    method = make()
    method.before_stage(stage, torch.nn.Linear(1, 1))
    owner = torch.tensor([0] * tokens + [1] * tokens)

    def loss(m: float) -> float:
        drift = m / (2 * tokens)
        values = torch.cat((torch.full((tokens,), -2.0 + drift), torch.full((tokens,), -2.0 - drift))).double()
        sums, zero = values.view(2, tokens).sum(dim=1), torch.zeros(1)
        batch = PairBatch((pair,), sums[:1], sums[1:], zero, zero, values, owner)
        return float(method.pair_loss(0.1 * torch.tensor([m], dtype=torch.float64), batch))

    best = min((loss(m / 10), m / 10) for m in range(500))[1]
    assert 1 / (1 + math.exp(0.1 * margin)) == pytest.approx(margin / tokens**2, rel=1e-3)
    assert best == pytest.approx(margin, abs=0.2)


def test_the_same_drift_costs_the_same_whatever_the_length_and_short_is_not_probable(
    model: PeftModel, make_stage: MakeStage
) -> None:
    stage, method = make_stage(2), make(low=1.0, high=1.0)
    method.before_stage(stage, model)
    moved = batch_of(stage, moved_from(started(stage, model), 0.5))
    assert len({len(pair.chosen) for pair in stage.pairs}) > 1
    penalties = method.pair_loss(torch.zeros(10), moved) - math.log(2)
    assert penalties.tolist() == pytest.approx([0.1 * 2 * 0.5**2] * 10, abs=1e-6)
    # Ten responses whose tokens are all alike, of 1 to 10 tokens, with rewards that differ: all normal.
    alike = [(torch.full((i + 1,), -1.0), torch.full((3,), -1.0)) for i in range(10)]
    other = make()
    other.before_stage(replace(stage, response_log_probs=lambda model, pairs: alike), model)
    weights = other.state_dict()["weights"]
    assert isinstance(weights, torch.Tensor) and weights.tolist() == [[1.0, 1.0]] * 10


def test_a_pass_of_some_pairs_gives_their_losses(model: PeftModel, make_stage: MakeStage) -> None:
    """Weights are of the stage and not of the pass, so that packing and processes change nothing."""
    stage, method = make_stage(2), make(threshold=0.2)
    method.before_stage(stage, model)
    generator = torch.Generator().manual_seed(3)
    policy = [(c + torch.rand(len(c), generator=generator), r) for c, r in started(stage, model)]
    whole, logits = batch_of(stage, policy), torch.linspace(-1, 1, 10)
    losses = method.pair_loss(logits, whole)
    for rows in ([3], [7, 1, 4]):
        part = batch_of(replace(stage, pairs=tuple(stage.pairs[i] for i in rows)), [policy[i] for i in rows])
        assert method.pair_loss(logits[rows], part).tolist() == pytest.approx(losses[rows].tolist())
        # Responses may come in any order.
        turned = torch.argsort(-part.owner, stable=True)
        mixed = replace(part, tokens=part.tokens[turned], owner=part.owner[turned])
        assert method.pair_loss(logits[rows], mixed).tolist() == pytest.approx(losses[rows].tolist())


@pytest.mark.parametrize(("index", "phase"), [(1, "preference"), (2, "sft")])
def test_stage_1_and_the_supervised_phase_are_plain(
    index: int, phase: str, model: PeftModel, make_stage: MakeStage
) -> None:
    method, stage = make(), make_stage(index, phase=phase)
    method.before_stage(stage, model)
    logits = torch.linspace(-1, 1, 10)
    batch = batch_of(make_stage(index), moved_from(started(stage, model)))
    assert torch.equal(method.pair_loss(logits, batch), Method.pair_loss(method, logits, batch))
    assert method.state_dict() == {}


def test_state_goes_on_where_it_was_and_ends_with_the_phase(model: PeftModel, make_stage: MakeStage) -> None:
    stage, method = make_stage(2), make()
    method.before_stage(stage, model)
    state = method.state_dict()
    logits, batch = torch.linspace(-1, 1, 10), batch_of(stage, moved_from(started(stage, model)))
    again = make()
    again.before_stage(stage, model)
    with torch.no_grad():  # a resumed process has the checkpoint's weights by now
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    again.load_state_dict(state)
    assert torch.equal(again.pair_loss(logits, batch), method.pair_loss(logits, batch))
    assert not torch.equal(again.pair_loss(logits, batch), Method.pair_loss(method, logits, batch))
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
