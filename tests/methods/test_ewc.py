"""EWC: Fisher information and penalty by hand and against autograd."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid

from lifealign_bench.method import Stage
from lifealign_bench.pairs import Pair

ewc = importlib.import_module("lifealign_bench.methods.ewc")
EWC, EWCConfig, fisher_diagonal = ewc.EWC, ewc.EWCConfig, ewc.fisher_diagonal
MakeStage = Callable[..., Stage]
MakePairs = Callable[[str, int], tuple[Pair, ...]]
PREFIX = "fisher/"


def fisher_of(method: Any) -> dict[str, torch.Tensor]:
    return {k.removeprefix(PREFIX): v for k, v in method.state_dict().items() if k.startswith(PREFIX)}


def finish(method: Any, stage: Stage, model: PeftModel) -> None:
    method.before_stage(stage, model)
    method.after_stage(stage, model)


def move(model: PeftModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


class Scalar(torch.nn.Module):
    """One parameter: where a penalty can be worked out by hand."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor([value]))


def linear_stage(make_stage: MakeStage, slopes: list[float], index: int = 1) -> Stage:
    """A stage whose margin of pair i is ``slopes[i] * theta``."""
    stage = make_stage(index)

    def margins(model: Any, pairs: Any) -> torch.Tensor:
        numbers = [int(pair.id.split("/")[-1]) for pair in pairs]
        return torch.stack([slopes[i] * model.theta[0] for i in numbers])

    def losses(model: Any, pairs: Any) -> torch.Tensor:
        return -logsigmoid(margins(model, pairs))

    return Stage(**{**vars(stage), "pairs": stage.pairs[: len(slopes)], "margins": margins, "losses": losses})


def test_fisher_by_hand(make_stage: MakeStage) -> None:
    # d(-log sigmoid(s theta))/d theta = -s sigmoid(-s theta): at theta 0 that is -s / 2; the mean of (s / 2)**2
    method = EWC(EWCConfig())
    finish(method, linear_stage(make_stage, [1.0, -2.0, 4.0]), Scalar(0.0))
    torch.testing.assert_close(fisher_of(method)["theta"], torch.tensor([(0.25 + 1 + 4) / 3]))


def test_penalty_by_hand(make_stage: MakeStage) -> None:
    method, model = EWC(EWCConfig(strength=10)), Scalar(0.0)
    assert method.penalty(model) is None
    finish(method, linear_stage(make_stage, [2.0]), model)  # Fisher 1 at theta* = 0
    with torch.no_grad():
        model.theta.fill_(3.0)
    penalty = method.penalty(model)
    torch.autograd.backward(penalty)
    assert penalty.item() == pytest.approx(10 / 2 * 1 * 3**2)
    assert model.theta.grad is not None
    assert model.theta.grad.item() == pytest.approx(10 * 1 * 3)


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.0])
def test_penalty_of_several_tasks_by_its_terms(decay: float, model: PeftModel, make_stage: MakeStage) -> None:
    """An anchor for each task; in online EWC the newest is the only one."""
    method, terms = EWC(EWCConfig(strength=3, decay=decay)), list[tuple[dict[str, Any], dict[str, Any]]]()
    for index in (1, 2, 3):
        move(model, index)
        alone = EWC(EWCConfig())
        finish(alone, make_stage(index, count=4), model)
        anchors = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        terms.append((fisher_of(alone), anchors))
        finish(method, make_stage(index, count=4), model)
    move(model, 4)
    expected = 0.0
    newest = terms[-1][1]
    for age, (fisher, own) in enumerate(reversed(terms)):
        anchors = own if decay == 1 else newest
        for name, parameter in model.named_parameters():
            if name in fisher:
                square = (fisher[name].double() * (parameter.detach().double() - anchors[name].double()) ** 2).sum()
                expected += 3 / 2 * decay**age * square.item()
    assert method.penalty(model).item() == pytest.approx(expected, rel=1e-5)


def test_online_ewc_by_hand(make_stage: MakeStage) -> None:
    model = Scalar(0.0)
    methods = {decay: EWC(EWCConfig(strength=2, decay=decay)) for decay in (1.0, 0.5)}
    for method in methods.values():
        finish(method, linear_stage(make_stage, [2.0]), model)  # Fisher 1 at 0
    with torch.no_grad():
        model.theta.fill_(1.0)
    second = linear_stage(make_stage, [4.0], index=2)  # Fisher (4 * sigmoid(-4))**2 at 1
    fisher = (4 / (1 + math.exp(4))) ** 2
    for method in methods.values():
        finish(method, second, model)
    with torch.no_grad():
        model.theta.fill_(3.0)
    assert methods[1.0].penalty(model).item() == pytest.approx(1 * 3**2 + fisher * 2**2)
    assert methods[0.5].penalty(model).item() == pytest.approx((0.5 * 1 + fisher) * 2**2)
    # At the newest parameters, online EWC pulls nowhere; the sum pulls back to the first task.
    with torch.no_grad():
        model.theta.fill_(1.0)
    for decay, pull in ((1.0, 2.0), (0.5, 0.0)):
        model.zero_grad()
        torch.autograd.backward(methods[decay].penalty(model))
        assert model.theta.grad is not None and model.theta.grad.item() == pytest.approx(pull)


def test_fisher_is_the_mean_of_squared_per_example_gradients(
    model: PeftModel, make_stage: MakeStage, make_pairs: MakePairs
) -> None:
    pairs = make_pairs("t1", 6)
    stage = make_stage(1, pairs=pairs)
    method = EWC(EWCConfig())
    finish(method, stage, model)
    expected = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    for pair in pairs:
        model.zero_grad()
        torch.autograd.backward(-logsigmoid(stage.margins(model, [pair])).sum())
        for name, parameter in model.named_parameters():
            if name in expected:
                assert parameter.grad is not None
                expected[name] += parameter.grad**2 / len(pairs)
    model.zero_grad()
    found = fisher_of(method)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
        assert expected[name].any()


def test_fisher_does_not_depend_on_how_the_pairs_are_grouped(
    model: PeftModel, make_stage: MakeStage, make_pairs: MakePairs
) -> None:
    """The squared gradient of a batch does depend on it, which is the usual mistake."""
    pairs = make_pairs("t1", 6)

    def estimate(groups: list[int]) -> dict[str, torch.Tensor]:
        """The weighted mean of the groups' estimates."""
        total: dict[str, torch.Tensor] = {}
        first = 0
        for size in groups:
            method = EWC(EWCConfig())
            finish(method, make_stage(1, pairs=pairs[first : first + size]), model)
            for name, fisher in fisher_of(method).items():
                total[name] = total.get(name, torch.zeros_like(fisher)) + fisher * size / len(pairs)
            first += size
        return total

    whole = estimate([6])
    for groups in ([1] * 6, [2, 4], [3, 3]):
        for name, fisher in estimate(groups).items():
            torch.testing.assert_close(fisher, whole[name])
    mistaken = -logsigmoid(make_stage().margins(model, pairs)).mean()
    gradients = torch.autograd.grad(mistaken, [p for p in model.parameters() if p.requires_grad])
    assert not all(torch.allclose(g**2, f, rtol=0.1) for g, f in zip(gradients, whole.values(), strict=True))


def test_fisher_leaves_the_model_alone(model: PeftModel, make_stage: MakeStage) -> None:
    model.train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    finish(EWC(EWCConfig()), make_stage(1), model)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_fisher_of_an_unused_parameter_is_zero() -> None:
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
    found = fisher_diagonal(((used * 2).sum() for _ in range(4)), {"used": used, "unused": unused})
    assert torch.equal(found["used"], torch.full((2,), 4.0))
    assert torch.equal(found["unused"], torch.zeros(3))
    assert torch.equal(fisher_diagonal([], {"used": used})["used"], torch.zeros(2))


def test_fisher_pairs_limits_the_work(model: PeftModel, make_stage: MakeStage) -> None:
    stage = make_stage(1)
    calls: list[str] = []

    def losses(model: PeftModel, pairs: Any) -> torch.Tensor:
        calls.extend(pair.id for pair in pairs)
        return stage.losses(model, pairs)

    finish(EWC(EWCConfig(fisher_pairs=4)), Stage(**{**vars(stage), "losses": losses}), model)
    assert len(set(calls)) == len(calls) == 4


def test_sft_phase_anchors_nothing(model: PeftModel, make_stage: MakeStage) -> None:
    method = EWC(EWCConfig())
    finish(method, make_stage(1, phase="sft"), model)
    assert method.penalty(model) is None


def test_state_restores_the_penalty_to_the_bit(model: PeftModel, make_stage: MakeStage) -> None:
    method = EWC(EWCConfig())
    for index in (1, 2):
        move(model, index)
        finish(method, make_stage(index, count=4), model)
    move(model, 3)
    again = EWC(EWCConfig())
    again.load_state_dict({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in method.state_dict().items()})
    assert torch.equal(again.penalty(model), method.penalty(model))
    for one in (method, again):
        finish(one, make_stage(3), model)
    move(model, 4)
    assert torch.equal(again.penalty(model), method.penalty(model))
    again.load_state_dict({})
    assert again.penalty(model) is None


def test_after_the_last_stage_nothing_is_estimated(model: PeftModel, make_stage: MakeStage) -> None:
    method = EWC(EWCConfig())
    finish(method, make_stage(3, count=3), model)
    assert method.penalty(model) is None
