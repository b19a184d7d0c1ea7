"""``osf``: a task's slice has no part in the leading singular directions of the weights that it began with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, OSFConfig, PeftModel, get_peft_model
from peft.tuners.osf.utils import decompose_weight_matrix, project_gradient_to_orthogonal_space
from pydantic import ValidationError
from transformers import GPT2Config, GPT2LMHeadModel

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method, Stage
from lifealign_bench.methods import load_method

MakeStage = Callable[..., Stage]
MakeModel = Callable[..., PeftModel]
Matrices = Callable[[PeftModel], dict[str, torch.Tensor]]
osf: Any = importlib.import_module("lifealign_bench.methods.osf")
RANK, STAGES = 2, 3
# Of outputs and inputs: taller, wider, square.
SHAPES = ((12, 8), (8, 12), (9, 9))


def make(**settings: Any) -> Method:
    cls = load_method("osf")
    return cls(cls.Config.model_validate(settings))


def prepared(make_model: MakeModel, **settings: Any) -> tuple[Method, PeftModel]:
    method = make(**settings)
    return method, method.prepare(make_model(RANK), STAGES)


def layers(model: PeftModel) -> dict[str, Any]:
    return {name: m for name, m in model.named_modules() if hasattr(m, "lora_A") and "proj" in name.rpartition(".")[2]}


def weights(model: PeftModel) -> dict[str, torch.Tensor]:
    """What each adapted projection multiplies with, as PEFT merges it."""
    found = {n: (m.get_base_layer().weight + m.get_delta_weight("default")) for n, m in layers(model).items()}
    return {name: weight.detach() for name, weight in found.items()}


def high(weight: torch.Tensor, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """PEFT's protected directions (out, k) and (k, in)."""
    found = decompose_weight_matrix(weight, kept)
    return found["U_high"], found["V_high"]


def overlap(change: torch.Tensor, weight: torch.Tensor, kept: int | None = None) -> float:
    """The largest part of a change in the ``kept`` (half of all) leading directions of ``weight``, of either side."""
    u, v = high(weight, min(weight.shape) // 2 if kept is None else kept)
    return float(max((u.T @ change).norm(), (change @ v.T).norm()) / change.norm())


def trained(model: PeftModel) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def sgd(model: PeftModel) -> torch.optim.Optimizer:
    return torch.optim.SGD(trained(model), lr=0.1)


def adamw(model: PeftModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW(trained(model), lr=0.05, weight_decay=0.0)


def do_phase(
    method: Method,
    stage: Stage,
    model: PeftModel,
    optimizer_of: Callable[[PeftModel], torch.optim.Optimizer] = sgd,
    steps: int = 3,
) -> None:
    """A phase as the harness does it, with a loss whose gradients are random and in every slice."""
    method.before_stage(stage, model)
    optimizer = optimizer_of(model)
    for _ in range(steps):
        for parameter in trained(model):
            parameter.grad = torch.randn(parameter.shape, generator=stage.generator)
        method.on_gradients(model)
        optimizer.step()
        optimizer.zero_grad()
    method.after_stage(stage, model)


@pytest.mark.parametrize("shape", SHAPES)
def test_decomposition_and_projection_are_those_of_peft(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(shape[1], shape[0], bias=False)
    weight = linear.weight.detach().clone()
    tuner = get_peft_model(torch.nn.Sequential(linear), OSFConfig(target_modules=["0"])).base_model.model[0]
    kept = tuner.effective_rank["default"]
    protected = osf.decompose(weight, osf.OSFConfig().preserved)
    for ours, theirs in zip((protected.high_u, protected.high_v), high(weight, kept), strict=True):
        assert ours.shape == theirs.shape and kept == min(shape) // 2
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    # The gradients of what PEFT trains, (out, n) and (n, in), by its hooks and by its function.
    low = tuner.osf_svd_params["default"]
    gradients = {"U_low": torch.randn(low["U_low"].shape), "V_low": torch.randn(low["V_low"].shape)}
    ours = {
        "U_low": protected.without_outputs(gradients["U_low"]),
        "V_low": protected.without_inputs(gradients["V_low"]),
    }
    torch.autograd.backward(sum((low[name] * gradient).sum() for name, gradient in gradients.items()))
    found = decompose_weight_matrix(weight, kept)
    for name, gradient in gradients.items():
        found[name].grad = gradient.clone()
    project_gradient_to_orthogonal_space(found)
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours[name], low[name].grad, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours[name], found[name].grad, atol=1e-5, rtol=0)
        assert not torch.allclose(ours[name], gradient, atol=1e-2)


def test_a_projection_by_hand() -> None:
    protected = osf.decompose(torch.diag(torch.tensor([1.0, 3.0, 2.0, 0.5])), 0.5)
    ones = torch.ones(4, 4)
    # The largest singular values stand second and third.
    assert protected.without_outputs(ones).round(decimals=5).tolist() == [[1] * 4, [0] * 4, [0] * 4, [1] * 4]
    assert protected.without_inputs(ones).round(decimals=5).tolist() == [[1, 0, 0, 1]] * 4


def test_each_stage_protects_the_weights_as_the_stages_before_left_them(
    make_model: MakeModel, make_stage: MakeStage, lora_matrices: Matrices
) -> None:
    method, model = prepared(make_model)
    fresh = weights(model)
    for index in range(1, STAGES + 1):
        own = slice((index - 1) * RANK, index * RANK)
        before, slices = weights(model), lora_matrices(model)
        for phase in ("sft", "preference"):
            do_phase(method, make_stage(index, phase=phase), model)
        for name, after in weights(model).items():
            change = after - before[name]
            assert float(change.norm()) > 0.1 * float(before[name].norm()), "it did learn"
            assert overlap(change, before[name]) < 1e-4
            assert index == 1 or overlap(change, fresh[name]) > 1e-2, "not those of the base model"
        for name, matrix in lora_matrices(model).items():
            dim = 0 if "lora_A" in name else 1
            others = [i for i in range(RANK * STAGES) if not own.start <= i < own.stop]
            pick = torch.tensor(others)
            assert torch.equal(matrix.index_select(dim, pick), slices[name].index_select(dim, pick)), name


def test_what_adamw_brings_in_is_taken_away_where_it_is_to_be_exact(
    make_model: MakeModel, make_stage: MakeStage
) -> None:
    found = {}
    for exact in (False, True):
        method, model = prepared(make_model, exact=exact)
        before = weights(model)
        do_phase(method, make_stage(1), model, adamw)
        found[exact] = [overlap(after - before[name], before[name]) for name, after in weights(model).items()]
    assert min(found[False]) > 0.05
    assert max(found[True]) < 1e-5


def test_a_slice_is_projected_before_its_first_phase_alone(make_model: MakeModel, make_stage: MakeStage) -> None:
    method, model = prepared(make_model)
    drawn = {name: layer.lora_A["default"].weight.detach().clone() for name, layer in layers(model).items()}
    method.before_stage(make_stage(2, phase="sft"), model)
    for name, layer in layers(model).items():
        weight, rows = layer.get_base_layer().weight.detach(), layer.lora_A["default"].weight.detach()
        _, v = high(weight, min(weight.shape) // 2)
        torch.testing.assert_close(rows[2:4], drawn[name][2:4] - drawn[name][2:4] @ v.T @ v, atol=1e-5, rtol=0)
        assert torch.equal(rows[:2], drawn[name][:2]) and torch.equal(rows[4:], drawn[name][4:])
    do_phase(method, make_stage(2, phase="sft"), model, adamw)
    trained = {name: p.detach().clone() for name, p in model.named_parameters()}
    method.before_stage(make_stage(2), model)
    assert all(torch.equal(p, trained[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(("preserved", "free"), [(0.0, 8), (0.3, 6), (0.99, 1)])
def test_the_share_says_how_many_directions_are_left(
    make_model: MakeModel, make_stage: MakeStage, preserved: float, free: int
) -> None:
    method, model = prepared(make_model, preserved=preserved)
    method.before_stage(make_stage(1), model)
    layer = next(layer for name, layer in layers(model).items() if "v_proj" in name)  # (8, 16)
    for parameter in trained(model):
        parameter.grad = torch.randn(parameter.shape)
    drawn = layer.lora_B["default"].weight.grad[:, :RANK].clone()
    method.on_gradients(model)
    gradient = layer.lora_B["default"].weight.grad
    assert not gradient[:, RANK:].any() and gradient[:, :RANK].any()
    weight = layer.get_base_layer().weight.detach()
    low = torch.linalg.svd(weight)[0][:, 8 - free :]
    torch.testing.assert_close(gradient[:, :RANK], low @ (low.T @ drawn), atol=1e-5, rtol=0)
    if preserved == 0:
        assert torch.equal(gradient[:, :RANK], drawn), "nothing is protected"


@pytest.mark.parametrize("preserved", [1.0, 1.5, -0.1])
def test_a_share_that_leaves_nothing_to_learn_is_refused(preserved: float) -> None:
    with pytest.raises(ValidationError):
        make(preserved=preserved)


def test_weights_that_lie_the_other_way_round_are_turned(make_stage: MakeStage) -> None:
    torch.manual_seed(0)
    tiny = GPT2LMHeadModel(GPT2Config(vocab_size=24, n_positions=16, n_embd=8, n_layer=1, n_head=1))
    settings = LoraConfig(r=RANK, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True)
    method = make()
    model = method.prepare(get_peft_model(tiny, settings), STAGES)
    method.before_stage(make_stage(1), model)
    (layer,) = [m for name, m in model.named_modules() if name.endswith("c_attn")]
    weight = layer.get_base_layer().weight.detach()
    assert weight.shape == (8, 24), "inputs come first"
    rows = layer.lora_A["default"].weight.detach()
    _, v = high(weight.T.contiguous(), 4)
    assert float((rows[:RANK] @ v.T).abs().max()) < 1e-5 < float((rows[RANK:] @ v.T).abs().min())


def test_an_adapter_that_does_not_fit_the_stages_is_refused(make_model: MakeModel, make_stage: MakeStage) -> None:
    with pytest.raises(BenchError, match="cannot be divided among 3 stages"):
        make().before_stage(make_stage(1, count=3), make_model(RANK))


def test_packed_weights_are_refused(make_model: MakeModel) -> None:
    model = make_model(RANK)
    base = next(iter(layers(model).values())).get_base_layer()
    base.weight = torch.nn.Parameter(torch.zeros(4, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(BenchError, match=r"q_proj apart: it is kept in a packed") as error:
        make().prepare(model, STAGES)
    assert "bfloat16" in error.value.remedy


@pytest.mark.parametrize(
    ("changed", "said", "remedy"),
    [
        ({"training": {"weight_decay": 0.01}}, "weight_decay 0.01", "weight_decay=0"),
        ({"quantization": "nf4"}, "--quantization", "Leave out --quantization"),
        ({"shard": True}, "--shard", "Leave out --shard"),
    ],
)
def test_runs_that_it_cannot_do_are_refused(changed: dict[str, Any], said: str, remedy: str) -> None:
    run = {"method": "osf", "stream": "fake", "tasks": ("a", "b")}
    make().check(RunConfig.model_validate(run))
    with pytest.raises(BenchError, match=f"osf cannot run with {said}") as error:
        make().check(RunConfig.model_validate(run | changed))
    assert remedy in error.value.remedy
