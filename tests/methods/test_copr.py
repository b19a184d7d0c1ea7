"""``copr``: losses, gradients and the multiplier's path by the published code's formula."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method, PairBatch, Stage
from lifealign_bench.methods import load_method
from lifealign_bench.pairs import Pair

MakeStage = Callable[..., Stage]


def make(**settings: Any) -> Method:
    cls = load_method("copr")
    return cls(cls.Config.model_validate(settings))


def squares(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """(B,) of (B, 2) each: how far both responses are from the reference."""
    return ((policy - reference) ** 2).sum(1)


def published_loss(policy: torch.Tensor, reference: torch.Tensor, multiplier: float, pull: float) -> torch.Tensor:
    """The published code's loss of a batch, the first half of which are the task's own pairs, in our own words."""
    half = len(policy) // 2
    preferred = torch.log1p(torch.exp(policy[:, 1] - policy[:, 0])).mean()
    near = squares(policy[:half], reference[:half]).mean()
    held = squares(policy[half:], reference[half:]).mean()
    scale = 1 + multiplier
    return preferred / scale + pull * near / scale + multiplier * held / scale**2


def published_path(distances: Sequence[float], start: float, rate: float, threshold: float) -> list[float]:
    """The multiplier after each step, by its logarithm's ascent."""
    values, logarithm = [], math.log(start)
    for distance in distances:
        logarithm += rate * math.exp(logarithm) * (distance - threshold)
        values.append(math.exp(logarithm))
    return values


def log_multiplier(method: Method) -> float:
    value = method.state_dict()["log_multiplier"]
    assert isinstance(value, float)
    return value


def batch(pairs: Sequence[Pair], policy: torch.Tensor, reference: torch.Tensor) -> PairBatch:
    sums = policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1]
    return PairBatch(tuple(pairs), *sums, torch.zeros(0), torch.zeros(0, dtype=torch.long))


def made_up(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (B, 2) of a policy and of a reference."""
    generator = torch.Generator().manual_seed(seed)
    policy = -5 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    return policy.requires_grad_(True), policy.detach() + torch.randn(
        count, 2, generator=generator, dtype=torch.float64
    )


def second_stage(method: Method, make_stage: MakeStage) -> tuple[list[Pair], list[Pair]]:
    """Own and memory pairs of the second stage's mix."""
    first, second = make_stage(1), make_stage(2)
    for stage in (first, second):
        method.before_stage(stage, None)
        mixed = list(method.training_pairs(stage, stage.pairs))
        if stage is first:
            assert mixed == list(first.pairs)
            method.after_stage(first, None)
    return mixed[:10], mixed[10:]


def test_losses_gradients_and_multiplier_are_the_published_codes(make_stage: MakeStage) -> None:
    settings = {"pull": 0.7, "multiplier": 1.5, "multiplier_rate": 0.05, "threshold": 0.3}
    method = make(**settings)
    own, memory = second_stage(method, make_stage)
    assert len(memory) == 10, "as many as own ones, as the code has it"
    distances, multiplier = [], 1.5
    for step in range(4):
        policy, reference = made_up(6, step)
        pairs = [*own[step : step + 3], *memory[step : step + 3]]
        wanted = published_loss(policy, reference, multiplier, pull=0.7)
        (wanted_slope,) = torch.autograd.grad(wanted, policy)
        # In passes of two and four pairs, own ones and others mixed.
        found = torch.zeros((), dtype=torch.float64)
        for part in ([4, 1], [0, 5, 3, 2]):
            some = batch([pairs[i] for i in part], policy[part], reference[part])
            found = found + method.pair_loss(torch.zeros(len(part)), some).sum() / 6
        (slope,) = torch.autograd.grad(found, policy)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(slope, wanted_slope)
        distances.append(float(squares(policy[3:], reference[3:]).mean().detach()))
        method.on_gradients(None)
        multiplier = published_path(distances, 1.5, 0.05, 0.3)[-1]
        assert math.exp(log_multiplier(method)) == pytest.approx(multiplier, rel=1e-9)
    assert abs(multiplier - 1.5) > 0.1, "it has moved"
    heir = make(**settings)
    heir.load_state_dict(method.state_dict())
    assert heir.state_dict() == method.state_dict()
    method.before_stage(make_stage(3), None)
    assert log_multiplier(method) == math.log(1.5), "every task begins with the same"


def test_each_mean_is_over_the_pairs_of_its_kind_in_the_phase(make_stage: MakeStage) -> None:
    method = make(pull=0.7, multiplier=3.0, memory=5)
    own, memory = second_stage(method, make_stage)
    assert len(memory) == 5
    policy, reference = made_up(15, 0)
    losses = method.pair_loss(torch.zeros(15), batch([*own, *memory], policy, reference))
    preferred = torch.log1p(torch.exp(policy[:, 1] - policy[:, 0])).mean()
    distance = squares(policy, reference)
    wanted = (preferred + 0.7 * distance[:10].mean() + 3 / 4 * distance[10:].mean()) / 4
    torch.testing.assert_close(losses.mean(), wanted)


def test_a_step_that_is_taken_again_counts_once_and_one_without_memory_not_at_all(make_stage: MakeStage) -> None:
    method = make(multiplier=1.0, multiplier_rate=0.1, threshold=0.5)
    own, memory = second_stage(method, make_stage)
    policy = torch.zeros(2, 2)
    for pair, distance in ((memory[0], 1.0), (memory[0], 1.0), (memory[1], 3.0)):
        method.pair_loss(torch.zeros(1), batch([pair], policy[:1], torch.tensor([[math.sqrt(distance), 0.0]])))
    method.on_gradients(None)
    assert log_multiplier(method) == pytest.approx(0.1 * ((1 + 3) / 2 - 0.5))
    before = log_multiplier(method)
    method.pair_loss(torch.zeros(2), batch(own[:2], policy, policy + 1))
    method.on_gradients(None)
    assert log_multiplier(method) == before


def test_a_multiplier_beyond_all_numbers_is_named(make_stage: MakeStage) -> None:
    method = make(multiplier_rate=1.0)
    _, memory = second_stage(method, make_stage)
    one = batch(memory[:1], torch.zeros(1, 2), torch.full((1, 2), 30.0))
    losses = []
    with pytest.raises(BenchError, match="grown beyond all numbers") as caught:
        for _ in range(5):
            losses.append(method.pair_loss(torch.zeros(1), one))
            method.on_gradients(None)
    assert "multiplier_rate" in caught.value.remedy
    assert len(losses) == 2 and all(bool(torch.isfinite(loss).all()) for loss in losses)


def steps_until_unbounded(method: Method, held: Any, most: int) -> int:
    for step in range(most):
        method.pair_loss(torch.zeros(1), held)
        try:
            method.on_gradients(None)
        except BenchError:
            return step
    return most


def test_by_default_the_multiplier_is_bounded_after_a_supervised_phase(make_stage: MakeStage) -> None:
    distance = 450.0  # squared nats, as measured on forms
    for settings, bounded in (({}, True), ({"multiplier_rate": 1e-4}, False)):
        method = make(**settings)
        _, memory = second_stage(method, make_stage)
        far = batch(memory[:1], torch.zeros(1, 2), torch.tensor([[math.sqrt(distance), 0.0]]))
        assert (steps_until_unbounded(method, far, 200) == 200) is bounded


def test_the_memory_is_a_sample_of_all_tasks(make_stage: MakeStage) -> None:
    method = make(memory=8)
    kept: list[dict[str, Any]] = []
    for index in (1, 2, 3):
        method.after_stage(make_stage(index, count=4, phase="sft"), None)  # not the task's last phase
        method.after_stage(make_stage(index, count=4), None)
        kept.append({key: value for key, value in method.state_dict().items() if key.startswith("memory/")})
    sizes = [sum(map(len, one.values())) for one in kept]
    assert sizes == [8, 8, 8]
    assert set(kept[2]) == {"memory/t1", "memory/t2", "memory/t3"}
    for earlier, later in itertools.pairwise(kept):
        for task, ids in earlier.items():
            assert set(later[task]) <= set(ids), "what has left does not come back"
    stage = make_stage(4, tasks=("t1",), count=4)
    mixed = method.training_pairs(stage, stage.pairs)[len(stage.pairs) :]
    assert {pair.task for pair in mixed} == {"t2", "t3"}, "not of the task itself"
