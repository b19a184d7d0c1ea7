"""Gradient memories: the projections by hand, and what ``gem`` and ``agem`` do with them at a step."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peft import PeftModel

from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method, Stage
from lifealign_bench.methods import load_method
from lifealign_bench.pairs import Pair

MakeStage = Callable[..., Stage]
MakeModel = Callable[..., PeftModel]
NAMES = ("gem", "agem")
gem: Any = importlib.import_module("lifealign_bench.methods.gem")
agem: Any = importlib.import_module("lifealign_bench.methods.agem")


def make(name: str, **settings: Any) -> Method:
    cls = load_method(name)
    return cls(cls.Config.model_validate(settings))


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# The projections


@pytest.mark.parametrize(
    ("gradient", "memories", "expected"),
    [
        # One violated constraint: g - (g.m / m.m) m, whatever the length of m.
        ((-1, 2), [(1, 0)], (0, 2)),
        ((-1, 2), [(5, 0)], (0, 2)),
        ((1, -2), [(1, 1)], (1.5, -1.5)),
        # One of two is violated, and mending it does not break the other.
        ((-1, 2), [(1, 0), (0, 1)], (0, 2)),
        # Both are violated, and the answer lies on one of them: one after the other would give (0, 0.75).
        ((-1, 0.5), [(1, 1), (1, 0)], (0, 0.5)),
        # One is violated, and mending it alone would break the other.
        ((-2, -1), [(1, 0), (-1, 1)], (0, 0)),
        # Both are violated, and both bind.
        ((-1, -1, 3), [(1, 0, 0), (0.6, 0.8, 0)], (0, 0, 3)),
        # The same memory twice, one that is zero, more memories than dimensions.
        ((-1, 2), [(1, 0), (1, 0)], (0, 2)),
        ((-1, 2), [(0, 0), (1, 0)], (0, 2)),
        ((-1, -1), [(1, 0), (0, 1), (1, 1)], (0, 0)),
    ],
)
def test_gem_projects_onto_what_all_memories_allow(
    gradient: Sequence[float], memories: Sequence[Sequence[float]], expected: Sequence[float]
) -> None:
    found = gem.project(vector(*gradient), torch.stack([vector(*m) for m in memories]))
    assert torch.allclose(found, vector(*expected), atol=1e-12)


def test_gem_strength_bounds_the_dual_variables_from_below() -> None:
    memory = vector(1, 0)[None]
    # Unconstrained v is 0.2, then 0.8: the larger of it and 0.5 counts.
    assert torch.allclose(gem.project(vector(-0.2, 1), memory, 0.5), vector(0.3, 1))
    assert torch.allclose(gem.project(vector(-0.8, 1), memory, 0.5), vector(0, 1))
    # Of two, the one that is not violated has its part of the strength too.
    assert torch.allclose(gem.project(vector(-0.8, 1), torch.eye(2).double(), 0.5), vector(0, 1.5))


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_gem_without_a_conflict_gives_the_very_gradient(strength: float) -> None:
    gradient = vector(0.1, 0.2)
    assert gem.project(gradient, torch.stack([vector(1, 0), vector(0, 3), vector(2, -1)]), strength) is gradient


numbers = st.floats(-3, 3).map(lambda x: round(x, 3))


@settings(max_examples=60, deadline=None)
@given(
    gradient=st.lists(numbers, min_size=4, max_size=4),
    memories=st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=5),
)
def test_gem_finds_the_nearest_point_of_the_cone(gradient: list[float], memories: list[list[float]]) -> None:
    g, rows = vector(*gradient), torch.stack([vector(*m) for m in memories])
    found = gem.project(g, rows)
    size = 1 + float(rows.abs().max())
    # What makes a point of a convex cone the nearest one: it is allowed, at right angles to what was taken away, and no
    # other allowed point is nearer.
    assert float((rows @ found).min()) >= -1e-7 * size
    assert abs(float((found - g) @ found)) < 1e-6
    other = torch.randn(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    allowed = other[(rows @ other.T >= 0).all(dim=0)]
    distances = torch.linalg.vector_norm(allowed - g, dim=1)
    assert bool((distances >= torch.linalg.vector_norm(found - g) - 1e-6).all())


@given(gradient=st.lists(numbers, min_size=3, max_size=3), memory=st.lists(numbers, min_size=3, max_size=3))
def test_agem_is_gem_with_one_memory(gradient: list[float], memory: list[float]) -> None:
    g, m = vector(*gradient), vector(*memory)
    assume(float(m @ m) > 1e-4)
    assert torch.allclose(agem.project(g, m), gem.project(g, m[None]), atol=1e-9)
    if float(g @ m) >= 0:
        assert agem.project(g, m) is g


# The steps


def set_gradients(model: PeftModel, flat: torch.Tensor) -> None:
    trained = [p for p in model.parameters() if p.requires_grad]
    for p, part in zip(trained, torch.split(flat, [p.numel() for p in trained]), strict=True):
        p.grad = part.view_as(p).clone()


def gradients(model: PeftModel) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def memory_gradient(stage: Stage, model: PeftModel, pairs: Sequence[Pair]) -> torch.Tensor:
    return torch.cat([g.flatten() for g in stage.gradient(model, pairs).values()])


def finish(method: Method, stage: Stage, model: PeftModel) -> None:
    method.before_stage(stage, model)
    method.after_stage(stage, model)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_against_the_memory_is_projected_and_one_with_it_stays_to_the_bit(
    name: str, make_model: MakeModel, make_stage: MakeStage
) -> None:
    model = make_model()
    settings = {"strength": 0.0} if name == "gem" else {"batch_pairs": 10}
    method = make(name, memory_pairs=10, **settings)
    finish(method, make_stage(1), model)
    stage = make_stage(2)
    method.before_stage(stage, model)
    # All of the first task is in the memory, so that it is known which gradient counts.
    known = memory_gradient(stage, model, make_stage(1).pairs)
    noise = torch.randn(known.shape, generator=torch.Generator().manual_seed(1)) * 0.01
    aside = noise - (noise @ known) / (known @ known) * known
    set_gradients(model, aside + 0.3 * known)
    before = gradients(model)
    method.on_gradients(model)
    assert torch.equal(gradients(model), before)
    set_gradients(model, aside - 0.3 * known)
    method.on_gradients(model)
    assert torch.allclose(gradients(model), aside, atol=1e-6)


def test_gem_minds_every_task_and_leans_by_its_strength(make_model: MakeModel, make_stage: MakeStage) -> None:
    model = make_model()
    method = make("gem", memory_pairs=4, strength=0.5)
    for index in (1, 2):
        finish(method, make_stage(index), model)
    stage = make_stage(3)
    method.before_stage(stage, model)
    state = method.state_dict()
    rows = torch.stack(
        [memory_gradient(stage, model, stage.find_pairs([str(i) for i in ids])) for ids in state.values()]  # type: ignore[union-attr]
    ).double()
    own = -3 * rows.sum(dim=0)
    set_gradients(model, own.float())
    method.on_gradients(model)
    assert torch.allclose(gradients(model).double(), gem.project(own, rows, 0.5), atol=1e-5)
    assert bool((rows @ gradients(model).double() >= -1e-6).all()) and bool((rows @ own < 0).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("size", "degrees"),
    # The step has the norm 1 and the product -0.02 with the memory's direction. gem adds 0.5 of the memory's gradient,
    # or what mends the violation where that is more: asin(0.02) is 1.15 degrees, and at size 1 the new gradient is
    # (-0.02 + 0.5, sqrt(1 - 0.02**2)), atan(0.48 / 0.9998) + asin(0.02) from the step.
    [(1.0, 26.79), (0.1, 2.865), (1e-3, 1.146), (1e-6, 1.146)],
)
def test_a_memory_turns_a_step_by_the_size_of_its_gradient(
    name: str, size: float, degrees: float, make_model: MakeModel, make_stage: MakeStage
) -> None:
    model, method = make_model(), make(name)
    finish(method, make_stage(1), model)
    stage = make_stage(2)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    count = sum(p.numel() for p in trained.values())
    memory, step = torch.zeros(count), torch.zeros(count)
    memory[0], step[0], step[1] = size, -0.02, (1 - 0.02**2) ** 0.5

    def known(model: PeftModel, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        parts = torch.split(memory, [p.numel() for p in trained.values()])
        return {n: part.view_as(p) for (n, p), part in zip(trained.items(), parts, strict=True)}

    method.before_stage(replace(stage, gradient=known), model)
    set_gradients(model, step)
    method.on_gradients(model)
    found = gradients(model).double()
    turned = torch.atan2(found[0], found[1]) - torch.atan2(step[0].double(), step[1].double())
    expected = degrees if name == "gem" else 1.146  # agem has no strength: the memory's length is of no consequence
    assert float(torch.rad2deg(turned)) == pytest.approx(expected, abs=0.01)


def test_gem_minds_a_small_memory_beside_a_large_one() -> None:
    memories = torch.stack([vector(1, 0, 0), 1e-12 * vector(0, 1, 0)])
    assert torch.allclose(gem.project(vector(-1, -1, 1), memories), vector(0, 0, 1), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_stage_and_the_supervised_phase(name: str, make_model: MakeModel, make_stage: MakeStage) -> None:
    model = make_model()
    method = make(name)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    method.before_stage(make_stage(1), model)
    set_gradients(model, torch.ones(count))
    method.on_gradients(model)
    assert torch.equal(gradients(model), torch.ones(count)), "no task is finished yet"
    # A task is remembered after its last phase only.
    finish(method, make_stage(1, phase="sft"), model)
    assert not method.state_dict()
    finish(method, make_stage(1), model)
    assert list(method.state_dict()) == ["memory/t1"]


@pytest.mark.parametrize("name", NAMES)
def test_the_memory_is_a_sample_by_the_stages_generator(name: str, model: PeftModel, make_stage: MakeStage) -> None:
    def sample(seed: int) -> object:
        method = make(name, memory_pairs=4)
        finish(method, make_stage(1, seed=seed), model)
        ids = method.state_dict()["memory/t1"]
        assert isinstance(ids, list) and len(ids) == len(set(ids)) == 4
        return tuple(ids)

    assert sample(0) == sample(0)
    assert len({sample(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_on_where_it_was(name: str, make_model: MakeModel, make_stage: MakeStage) -> None:
    """Also the draws of agem: the second step after a stop sees the batch that it would have seen."""
    settings = {"batch_pairs": 2} if name == "agem" else {}
    found = []
    for stopped in (False, True):
        model, method = make_model(), make(name, memory_pairs=6, **settings)
        finish(method, make_stage(1), model)
        after_stage = method.state_dict()
        method.before_stage(make_stage(2), model)
        for step in range(3):
            if stopped and step == 2:
                checkpoint = method.state_dict()
                method = make(name, memory_pairs=6, **settings)
                method.load_state_dict(after_stage)
                method.before_stage(make_stage(2), model)
                method.load_state_dict(checkpoint)
            set_gradients(model, -memory_gradient(make_stage(2), model, make_stage(1).pairs))
            method.on_gradients(model)
        found.append(gradients(model))
        stage = make_stage(2)
        method.after_stage(stage, model)
        assert sorted(method.state_dict()) == ["memory/t1", "memory/t2"]
    assert torch.equal(*found)


@pytest.mark.parametrize("name", NAMES)
def test_a_memory_whose_gradient_is_no_number_is_named(name: str, model: PeftModel, make_stage: MakeStage) -> None:
    method = make(name)
    finish(method, make_stage(1), model)
    stage = make_stage(2)

    def broken(model: PeftModel, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        return {name: g * torch.nan for name, g in stage.gradient(model, pairs).items()}

    method.before_stage(replace(stage, gradient=broken), model)
    set_gradients(model, torch.ones(sum(p.numel() for p in model.parameters() if p.requires_grad)))
    with pytest.raises(BenchError, match=r"memory.* is not finite in stage 2"):
        method.on_gradients(model)
