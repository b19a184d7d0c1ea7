"""O-LoRA: earlier slices stay active and frozen, the penalty is the published one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.method import Stage

olora = importlib.import_module("lifealign_bench.methods.olora")
OLoRA, OLoRAConfig = olora.OLoRA, olora.OLoRAConfig
MakeStage = Callable[..., Stage]
MakeModel = Callable[..., PeftModel]
Matrices = Callable[[PeftModel], dict[str, torch.Tensor]]
RANK, STAGES = 2, 3
TOKENS = torch.arange(12).reshape(2, 6)


def part(name: str, matrix: torch.Tensor, own: slice) -> torch.Tensor:
    """The slice ``own`` of the rank of a LoRA matrix."""
    return matrix[own] if "lora_A" in name else matrix[:, own]


def old(index: int) -> slice:
    return slice(0, (index - 1) * RANK)


def own(index: int) -> slice:
    return slice((index - 1) * RANK, index * RANK)


def later(index: int) -> slice:
    return slice(index * RANK, None)


def optimizer_of(model: PeftModel) -> torch.optim.AdamW:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, weight_decay=0.0)


def train(method: Any, stage: Stage, model: PeftModel, optimizer: torch.optim.AdamW, steps: range) -> None:
    """A plain DPO loop as the harness does it: loss and penalty, clipping, AdamW."""
    for step in steps:
        loss = -logsigmoid(stage.margins(model, stage.pairs[step : step + 2])).mean()
        penalty = method.penalty(model)
        torch.autograd.backward(loss if penalty is None else loss + penalty)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def do_stage(method: Any, stage: Stage, model: PeftModel, steps: int = 3) -> None:
    method.before_stage(stage, model)
    train(method, stage, model, optimizer_of(model), range(steps))
    method.after_stage(stage, model)


def outputs_without(model: PeftModel, off: slice) -> torch.Tensor:
    """Logits with the slice ``off`` of every B set to zero for a moment."""
    saved = {name: p.detach().clone() for name, p in model.named_parameters() if "lora_B" in name}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in saved:
                parameter[:, off] = 0
        logits: torch.Tensor = model(input_ids=TOKENS).logits
        for name, parameter in model.named_parameters():
            if name in saved:
                parameter.copy_(saved[name])
    return logits


def prepared(make_model: MakeModel, **settings: float) -> tuple[Any, PeftModel]:
    method = OLoRA(OLoRAConfig(**settings))
    return method, method.prepare(make_model(RANK), STAGES)


def test_prepare_makes_room_for_every_stage(make_model: MakeModel) -> None:
    before = make_model(RANK)
    layer = before.base_model.model.model.layers[0].self_attn.q_proj
    scaling = layer.scaling["default"]
    trainable = {name for name, p in before.named_parameters() if p.requires_grad}
    _, model = prepared(make_model)
    assert list(model.peft_config) == ["default"]
    assert model.active_adapters == ["default"]
    assert model.peft_config["default"].r == RANK * STAGES
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == scaling, "alpha / r stays"
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trainable
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            assert parameter.shape[0] == RANK * STAGES
            assert all(part(name, parameter, own(k)).any() for k in (1, 2, 3))
        if "lora_B" in name:
            assert not parameter.any(), "the fresh adapter changes nothing"


def test_prepare_follows_the_global_seed(make_model: MakeModel, lora_matrices: Matrices) -> None:
    def matrices(seed: int) -> dict[str, torch.Tensor]:
        model, method = make_model(RANK), OLoRA(OLoRAConfig())
        torch.manual_seed(seed)
        return lora_matrices(method.prepare(model, STAGES))

    first, again, other = matrices(1), matrices(1), matrices(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first if "lora_A" in name)


def test_earlier_adapters_stay_active_and_frozen(make_model: MakeModel, make_stage: MakeStage) -> None:
    method, model = prepared(make_model)
    base = outputs_without(model, slice(None))
    for index in (1, 2, 3):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        outputs = model(input_ids=TOKENS).logits.detach()
        do_stage(method, make_stage(index), model)
        for name, parameter in model.named_parameters():
            if "lora_" not in name:
                assert torch.equal(parameter, before[name])
                continue
            assert torch.equal(part(name, parameter, old(index)), part(name, before[name], old(index)))
            assert torch.equal(part(name, parameter, later(index)), part(name, before[name], later(index)))
            assert not torch.equal(part(name, parameter, own(index)), part(name, before[name], own(index)))
            if "lora_B" in name:
                a, a_before = model.get_parameter(name.replace("_B", "_A")), before[name.replace("_B", "_A")]
                frozen = old(index)
                assert torch.equal(parameter[:, frozen] @ a[frozen], before[name][:, frozen] @ a_before[frozen])
        # Without what this stage learned the model is to the bit what it was before the stage ...
        assert torch.equal(outputs_without(model, own(index)), outputs)
        # ... and the earlier adapters are part of it.
        assert index == 1 or not torch.allclose(outputs, base)
        assert not torch.allclose(model(input_ids=TOKENS).logits, outputs), "and it did learn"


def test_resume_in_the_middle_of_a_stage_is_exact(
    make_model: MakeModel, make_stage: MakeStage, lora_matrices: Matrices
) -> None:
    def run(stop: bool) -> dict[str, torch.Tensor]:
        method, model = prepared(make_model)
        do_stage(method, make_stage(1), model)
        stage, state, first = make_stage(2), method.state_dict(), lora_matrices(model)
        method.before_stage(stage, model)
        optimizer = optimizer_of(model)
        train(method, stage, model, optimizer, range(2))
        if stop:
            checkpoint, half, moments = method.state_dict(), lora_matrices(model), optimizer.state_dict()
            method, model = prepared(make_model)  # a new process
            method.load_state_dict(state)
            method.before_stage(stage, model)
            method.load_state_dict(checkpoint)
            model.load_state_dict(half, strict=False)
            optimizer = optimizer_of(model)
            optimizer.load_state_dict(moments)
        train(method, stage, model, optimizer, range(2, 4))
        method.after_stage(stage, model)
        for name, matrix in lora_matrices(model).items():
            assert torch.equal(part(name, matrix, old(2)), part(name, first[name], old(2)))
        return lora_matrices(model)

    unbroken, resumed = run(stop=False), run(stop=True)
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


def test_before_stage_twice_and_after_stage_leave_no_stale_hook(make_model: MakeModel, make_stage: MakeStage) -> None:
    method, model = prepared(make_model)
    method.before_stage(make_stage(1), model)
    method.before_stage(make_stage(2), model)
    matrix = next(p for name, p in model.named_parameters() if "lora_A" in name)
    torch.autograd.backward(matrix.sum())
    assert matrix.grad is not None
    assert matrix.grad[:, 0].tolist() == [0, 0, 1, 1, 0, 0]
    method.after_stage(make_stage(2), model)
    matrix.grad = None
    torch.autograd.backward(matrix.sum())
    assert matrix.grad is not None
    assert matrix.grad[:, 0].tolist() == [1] * 6


def test_penalty_by_hand(make_model: MakeModel, make_stage: MakeStage) -> None:
    method, model = prepared(make_model, lambda1=0.5, lambda2=2.0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.zero_()
        matrix_a = next(p for name, p in model.named_parameters() if "layers.0" in name and "q_proj.lora_A" in name)
        matrix_b = next(p for name, p in model.named_parameters() if "layers.0" in name and "q_proj.lora_B" in name)
        matrix_a[0, :2] = torch.tensor([1.0, 2.0])  # stage 1
        matrix_a[2, :2] = torch.tensor([3.0, -4.0])  # stage 2: dot product -5, norm 5
        matrix_b[:2, 3] = torch.tensor([6.0, 8.0])  # stage 2: norm 10
        matrix_b[0, 5] = 100.0  # stage 3
    method.before_stage(make_stage(2), model)
    penalty = method.penalty(model)
    assert penalty.item() == pytest.approx(0.5 * 5 + 2 * (5 + 10))
    torch.autograd.backward(penalty)
    assert matrix_a.grad is not None
    assert not matrix_a.grad[[0, 1, 4, 5]].any(), "only the new slice is pushed"
    # d|a_old . a_new| = -a_old; d||a_new|| = a_new / 5
    expected = torch.tensor([0.5 * -1 + 2 * 3 / 5, 0.5 * -2 + 2 * -4 / 5])
    torch.testing.assert_close(matrix_a.grad[2, :2], expected)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters()), "also where B is zero"


def test_no_penalty_in_the_first_stage(make_model: MakeModel, make_stage: MakeStage) -> None:
    method, model = prepared(make_model)
    method.before_stage(make_stage(1), model)
    assert method.penalty(model) is None
    method.before_stage(make_stage(2), model)
    assert method.penalty(model).item() > 0


def test_the_penalty_makes_the_new_subspace_more_orthogonal(make_model: MakeModel, make_stage: MakeStage) -> None:
    def overlap(lambda1: float) -> float:
        method, model = prepared(make_model, lambda1=lambda1)
        for index in (1, 2):
            do_stage(method, make_stage(index), model, steps=4)
        matrices = [p.detach() for name, p in model.named_parameters() if "lora_A" in name]
        return sum(float((m[old(2)] @ m[own(2)].T).abs().sum()) for m in matrices)

    assert overlap(0.5) < 0.8 * overlap(0.0)


def test_an_adapter_that_does_not_fit_the_stages_is_refused(make_model: MakeModel, make_stage: MakeStage) -> None:
    with pytest.raises(BenchError, match="cannot be divided among 3 stages"):
        OLoRA(OLoRAConfig()).before_stage(make_stage(1, count=3), make_model(RANK))


def test_weight_decay_is_refused() -> None:
    config = RunConfig.model_validate({"method": "olora", "stream": "fake", "tasks": ("a", "b")})
    OLoRA(OLoRAConfig()).check(config)
    training = config.training.model_copy(update={"weight_decay": 0.01})
    with pytest.raises(BenchError, match="weight_decay") as error:
        OLoRA(OLoRAConfig()).check(config.model_copy(update={"training": training}))
    assert "weight_decay=0" in error.value.remedy
