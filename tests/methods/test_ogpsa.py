"""``ogpsa``: a step has no part in the gradients of the finished tasks, matrix by matrix."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PeftModel

from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method, Stage
from lifealign_bench.methods import load_method
from lifealign_bench.pairs import Pair

MakeStage = Callable[..., Stage]
ogpsa: Any = importlib.import_module("lifealign_bench.methods.ogpsa")


def make(**settings: Any) -> Method:
    cls = load_method("ogpsa")
    return cls(cls.Config.model_validate(settings))


def trained(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def step(method: Method, model: PeftModel, gradients: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the method makes of a step's gradients."""
    for name, parameter in trained(model).items():
        parameter.grad = gradients[name].clone()
    method.on_gradients(model)
    return {name: p.grad.clone() for name, p in trained(model).items() if p.grad is not None}


def random_gradients(model: PeftModel, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator) for name, p in trained(model).items()}


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        ([(3, 4, 0)], [(0.6, 0.8, 0)]),
        ([(2, 0, 0), (1, 1, 0)], [(1, 0, 0), (0, 1, 0)]),
        ([(1, 0, 0), (5, 1e-7, 0), (0, 0, 2)], [(1, 0, 0), (0, 0, 1)]),  # the second is parallel to the first
        ([(0, 0, 0), (0, -2, 0)], [(0, -1, 0)]),
        ([(0, 0, 0)], []),
    ],
)
def test_directions_by_hand(vectors: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> None:
    found = ogpsa.orthonormal([torch.tensor(v, dtype=torch.float64) for v in vectors])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64).view(-1, 3))


def test_a_step_is_orthogonal_to_every_finished_task_and_otherwise_as_it_was(
    model: PeftModel, make_stage: MakeStage
) -> None:
    method = make(memory_pairs=4)
    gradients = random_gradients(model, 0)
    kept: list[list[Pair]] = []
    for index in (1, 2):
        stage = make_stage(index)
        method.before_stage(stage, model)
        if index == 1:
            same = step(method, model, gradients)
            assert all(torch.equal(same[name], gradients[name]) for name in gradients), "nothing to keep yet"
        method.after_stage(make_stage(index, phase="sft"), model)
        method.after_stage(stage, model)
        ids = method.state_dict()[f"memory/t{index}"]
        assert isinstance(ids, list) and len(set(ids)) == 4
        kept.append(stage.find_pairs([str(i) for i in ids]))
    third = make_stage(3)
    method.before_stage(third, model)
    found = step(method, model, gradients)
    memories = [third.gradient(model, pairs) for pairs in kept]
    for name, gradient in gradients.items():
        basis = torch.stack([one[name].flatten() for one in memories]).double()
        own = gradient.flatten().double()
        # The part that is taken away is the nearest in the plane, by least squares.
        wanted = own - basis.T @ torch.linalg.lstsq(basis.T, own).solution
        torch.testing.assert_close(found[name].flatten().double(), wanted, atol=1e-5, rtol=1e-4)
        assert float((found[name] - gradient).abs().max()) > 1e-3


def test_directions_are_taken_anew_after_some_steps_also_over_a_stop(model: PeftModel, make_stage: MakeStage) -> None:
    asked: list[int] = []
    plain = make_stage(2)

    def gradient(model: PeftModel, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        asked.append(len(pairs))
        return random_gradients(model, len(asked))

    stage = replace(plain, gradient=gradient)
    method = make(memory_pairs=3, refresh=2)
    method.after_stage(make_stage(1), model)
    after_the_first = method.state_dict()
    method.before_stage(stage, model)
    gradients = random_gradients(model, 100)
    found = [step(method, model, gradients) for _ in range(3)]
    name = next(iter(gradients))
    assert asked == [3, 3], "before the first step and before the third"
    assert torch.equal(found[0][name], found[1][name]) and not torch.equal(found[1][name], found[2][name])
    heir = make(memory_pairs=3, refresh=2)
    heir.load_state_dict(after_the_first)
    heir.before_stage(stage, model)
    heir.load_state_dict(method.state_dict())
    assert torch.equal(step(heir, model, gradients)[name], found[2][name]) and len(asked) == 2
    method.after_stage(stage, model)
    assert set(method.state_dict()) == {"memory/t1", "memory/t2"}


def test_a_memory_without_a_gradient_is_named(model: PeftModel, make_stage: MakeStage) -> None:
    method = make()
    method.after_stage(make_stage(1), model)
    broken = {name: torch.full_like(p, float("nan")) for name, p in trained(model).items()}
    method.before_stage(replace(make_stage(2), gradient=lambda model, pairs: broken), model)
    with pytest.raises(BenchError, match="memory of t1 is not finite in stage 2"):
        step(method, model, random_gradients(model, 0))
