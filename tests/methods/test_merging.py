"""Methods that merge weights: what each puts in the place of what was trained, by hand and by PEFT's own merges."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel

from lifealign_bench.method import Method, Stage
from lifealign_bench.methods import load_method

MakeStage = Callable[..., Stage]
Weights = dict[str, torch.Tensor]
MERGING = ("wise", "hma", "average", "ema", "ties", "dare")
hma: Any = importlib.import_module("lifealign_bench.methods.hma")


def make(name: str, **settings: Any) -> Method:
    cls = load_method(name)
    return cls(cls.Config.model_validate(settings))


def weights(model: PeftModel) -> Weights:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def put(model: PeftModel, values: Weights) -> None:
    for name, value in values.items():
        model.get_parameter(name).data.copy_(value)


def some(model: PeftModel, seed: int) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator) for name, p in weights(model).items()}


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stage_to(method: Method, stage: Stage, model: PeftModel, end: Weights) -> tuple[Weights, Weights]:
    """A stage that trains the weights to ``end``: where it began, and what is scored after it."""
    method.before_stage(stage, model)
    begun = weights(model)
    put(model, end)
    method.after_stage(stage, model)
    return begun, weights(model)


@pytest.mark.parametrize(("name", "settings"), [("wise", {"alpha": 1}), ("ema", {"half_life": 0})])
def test_one_end_is_plain_training(
    name: str, settings: dict[str, Any], model: PeftModel, make_stage: MakeStage
) -> None:
    method = make(name, **settings)
    for index in (1, 2):
        end = some(model, index)
        begun, scored = stage_to(method, make_stage(index), model, end)
        assert same(scored, end)
        assert index == 1 or same(begun, some(model, 1))


def test_wise_lies_between_the_ends_of_a_stage(model: PeftModel, make_stage: MakeStage) -> None:
    begun, still = stage_to(make("wise", alpha=0), make_stage(1), model, some(model, 1))
    assert same(still, begun)
    method = make("wise", alpha=0.25)
    end = some(model, 2)
    begun, scored = stage_to(method, make_stage(1), model, end)
    for name, value in scored.items():
        torch.testing.assert_close(value, 0.75 * begun[name] + 0.25 * end[name])
    # The next stage starts from the result.
    assert same(stage_to(method, make_stage(2), model, end)[0], scored)


def test_wise_merges_once_a_stage(model: PeftModel, make_stage: MakeStage) -> None:
    method = make("wise", alpha=0.5)
    start, middle, end = weights(model), some(model, 1), some(model, 2)
    _, after_sft = stage_to(method, make_stage(1, phase="sft"), model, middle)
    assert same(after_sft, middle)
    _, scored = stage_to(method, make_stage(1), model, end)
    for name, value in scored.items():
        torch.testing.assert_close(value, (start[name] + end[name]) / 2)


def test_hma_without_steps_is_wise(model: PeftModel, make_stage: MakeStage) -> None:
    start, found = weights(model), {}
    for name, settings in (("wise", {}), ("hma", {"steps": 0})):
        put(model, start)
        method = make(name, alpha=0.3, **settings)
        for index in (1, 2):
            found[name] = stage_to(method, make_stage(index), model, some(model, index))[1]
    assert same(found["hma"], found["wise"])


def test_hmas_ratios_by_hand() -> None:
    # sigmoid: 0.5, 0.75 and 0.25, whose mean is 0.5.
    free = torch.tensor([0.0, math.log(3.0), -math.log(3.0)])
    assert hma.ratios(free, 0.4).tolist() == pytest.approx([0.4, 0.6, 0.2])
    names = [f"model.layers.{layer}.q_proj.weight" for layer in range(7)]
    assert list(hma.parts_of([*names, "embed"], 3).values()) == [0, 0, 0, 1, 1, 2, 2, 0]


def test_hma_moves_each_parts_ratio_to_where_the_loss_falls(model: PeftModel, make_stage: MakeStage) -> None:
    """Adam's first step is the rate, away from the sign of the gradient, which small differences of the loss give."""
    stage, end, alpha = make_stage(1), some(model, 2), 0.5
    start = weights(model)
    part = hma.parts_of(list(start), 2)

    def averaged(free: list[float]) -> Weights:
        shares = hma.ratios(torch.tensor(free), alpha).tolist()
        return {name: torch.lerp(start[name], end[name], shares[part[name]]) for name in start}

    def loss(free: list[float]) -> float:
        put(model, averaged(free))
        with torch.no_grad():
            return float(stage.losses(model, stage.pairs).mean())

    slopes = [loss([0.02 * (k == j) for j in range(2)]) - loss([-0.02 * (k == j) for j in range(2)]) for k in range(2)]
    assert all(abs(slope) > 1e-5 for slope in slopes)
    put(model, start)
    _, scored = stage_to(make("hma", alpha=alpha, parts=2, steps=1, rate=0.3, pairs=100), stage, model, end)
    wanted = averaged([-math.copysign(0.3, slope) for slope in slopes])
    for name, value in scored.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5)


def test_average_is_the_mean_of_the_stages_ends_and_training_goes_on(model: PeftModel, make_stage: MakeStage) -> None:
    method = make("average")
    ends = [some(model, seed) for seed in range(3)]
    begun = []
    for index, end in enumerate(ends, start=1):
        first, scored = stage_to(method, make_stage(index), model, end)
        begun.append(first)
        for name, value in scored.items():
            torch.testing.assert_close(value, torch.stack([e[name] for e in ends[:index]]).mean(0))
    assert same(begun[1], ends[0]) and same(begun[2], ends[1])


def test_ema_by_its_recursion(model: PeftModel, make_stage: MakeStage) -> None:
    method = make("ema", half_life=math.log(0.5) / math.log(0.8))
    average = weights(model)
    stage = make_stage(1)
    method.before_stage(stage, model)
    for seed in (1, 2, 3):
        method.on_gradients(model)
        average = {name: 0.8 * a + 0.2 * model.get_parameter(name).detach() for name, a in average.items()}
        put(model, some(model, seed))  # the optimizer's step
    method.after_stage(stage, model)
    for name, value in weights(model).items():
        torch.testing.assert_close(value, 0.8 * average[name] + 0.2 * some(model, 3)[name])
    method.before_stage(make_stage(2), model)
    assert same(weights(model), some(model, 3)), "training goes on without the average"


def by_peft(model: PeftModel, ends: list[Weights], kind: str, density: float) -> Weights:
    """PEFT's own merge of adapters, with weights that undo its scaling."""
    config = model.peft_config["default"]
    scaling = config.lora_alpha / config.r
    for number, end in enumerate(ends):
        model.add_adapter(f"t{number}", config)
        put(model, {name.replace(".default.", f".t{number}."): value for name, value in end.items()})
    names = [f"t{number}" for number in range(len(ends))]
    share = 0.4 if kind == "dare_linear" else 1
    model.base_model.add_weighted_adapter(
        names, [share**2 / scaling] * len(ends), "merged", combination_type=kind, density=density
    )
    merged = dict(model.named_parameters())
    return {name: merged[name.replace(".default.", ".merged.")].detach().clone() for name in ends[0]}


@pytest.mark.parametrize(("name", "kind"), [("ties", "ties"), ("dare", "dare_linear")])
def test_task_vectors_merge_as_pefts_adapters_do(
    name: str, kind: str, model: PeftModel, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an adapter of zeros a task vector is the adapter itself, which is what PEFT merges."""
    ends = [some(model, seed) for seed in range(3)]
    put(model, {n: torch.zeros_like(p) for n, p in weights(model).items()})
    method = make(name, density=0.5)
    # What DARE keeps is drawn at random; here it is every second entry.
    monkeypatch.setattr(torch, "bernoulli", lambda p: (torch.arange(p.numel()) % 2).view(p.shape).to(p.dtype))
    for index, end in enumerate(ends, start=1):
        begun, scored = stage_to(method, make_stage(index), model, end)
        assert not any(p.any() for p in begun.values()), "every task starts from the fresh adapter"
    expected = by_peft(model, ends, kind, 0.5)
    for parameter, value in scored.items():
        torch.testing.assert_close(value, expected[parameter], rtol=1e-6, atol=1e-6)


def test_ties_by_hand(model: PeftModel, make_stage: MakeStage) -> None:
    """Of eight entries the four largest stay, the larger total gives the sign, who agrees is averaged."""
    name, fresh = next(iter(weights(model).items()))
    method = make("ties", density=4 / fresh.numel(), scale=2)
    rows = ([8, -7, 6, 5, 1, 1, 1, 1], [4, 9, -7, 0.5, 0.5, 0.5, 0.5, 6])
    for index, row in enumerate(rows, start=1):
        vector = torch.zeros(fresh.numel())
        vector[:8] = torch.tensor(row)
        stage_to(method, make_stage(index), model, {name: fresh + vector.view_as(fresh)})
    moved = ((model.get_parameter(name).detach() - fresh) / 2).flatten()[:8]
    torch.testing.assert_close(moved, torch.tensor([6.0, 9, -7, 5, 0, 0, 0, 6]))


def test_dare_keeps_the_expected_sum_and_the_generator(model: PeftModel, make_stage: MakeStage) -> None:
    ends = [some(model, seed) for seed in (1, 2)]
    fresh = weights(model)
    found = []
    for _ in range(2):
        put(model, fresh)
        method = make("dare", density=0.5)
        torch.manual_seed(int(torch.randint(100, ())))
        before = torch.get_rng_state()
        for index, end in enumerate(ends, start=1):
            stage_to(method, make_stage(index), model, end)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(weights(model))
    assert same(*found), "what is dropped comes from the stage's generator alone"
    # An entry of the merge is the fresh one and, for each task, 0.4 times twice its change, or nothing.
    kept: set[int] = set()
    for name, value in found[0].items():
        one, two = (0.8 * (end[name] - fresh[name]) for end in ends)
        change = value - fresh[name]
        sums = torch.stack([torch.zeros_like(one), one, two, one + two])
        assert bool(((sums - change).abs().min(0).values < 1e-5).all())
        kept |= set((sums - change).abs().argmin(0).flatten().tolist())
    assert kept == {0, 1, 2, 3}


@pytest.mark.parametrize("name", MERGING)
def test_a_state_between_any_two_hooks_is_enough(name: str, model: PeftModel, make_stage: MakeStage) -> None:
    """With another object after each hook, which knows the state alone, the weights are those of one object."""

    def run(anew: bool) -> Weights:
        put(model, fresh)
        method = make(name)
        for index in (1, 2):
            for phase in ("sft", "preference"):
                stage = make_stage(index, phase=phase)
                method.before_stage(stage, model)
                method = heir(method) if anew else method
                method.on_gradients(model)
                put(model, some(model, 10 * index + len(phase)))
                method.after_stage(stage, model)
                method = heir(method) if anew else method
        return weights(model)

    def heir(method: Method) -> Method:
        other = make(name)
        state = method.state_dict()
        other.load_state_dict({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()})
        return other

    fresh = weights(model)
    assert same(run(False), run(True))
