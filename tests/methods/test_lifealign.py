"""LifeAlign against the published code's numbers, and by hand."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from pydantic import ValidationError
from safetensors import safe_open

from lifealign_bench.method import Stage

# By name, as the package does it: in a checkout the file lies elsewhere than its module's name says.
lifealign = importlib.import_module("lifealign_bench.methods.lifealign")
LifeAlign, LifeAlignConfig = lifealign.LifeAlign, lifealign.LifeAlignConfig
consolidate, denoise, focal_preference_loss = lifealign.consolidate, lifealign.denoise, lifealign.focal_preference_loss

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the published code's numbers are not at {GOLDEN}")
MakeStage = Callable[..., Stage]
Matrices = Callable[[PeftModel], dict[str, torch.Tensor]]


def change(model: PeftModel, seed: int) -> None:
    """What training would do."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


# focal_preference_loss


@needs_golden
def test_focal_loss_and_gradients_match_the_published_code() -> None:
    for case in json.loads((GOLDEN / "fpo.json").read_text()):
        t = {k: torch.tensor(v, dtype=torch.float64) for k, v in case.items() if isinstance(v, list)}
        chosen = t["policy_chosen_logps"].requires_grad_()
        rejected = t["policy_rejected_logps"].requires_grad_()
        rewards = case["beta"] * (chosen - t["reference_chosen_logps"])
        logits = rewards - case["beta"] * (rejected - t["reference_rejected_logps"])
        losses = focal_preference_loss(logits, gamma=case["gamma"])
        losses.mean().backward()
        torch.testing.assert_close(losses, t["losses"], rtol=0, atol=1e-9)
        torch.testing.assert_close(rewards, t["chosen_rewards"], rtol=0, atol=1e-9)
        torch.testing.assert_close(chosen.grad, t["grad_policy_chosen"], rtol=0, atol=1e-9)
        torch.testing.assert_close(rejected.grad, t["grad_policy_rejected"], rtol=0, atol=1e-9)


def test_focal_loss_by_hand() -> None:
    # sigmoid(0) = 1/2: (1/2)**2 * log 2; sigmoid(log 3) = 3/4: (1/4)**2 * -log(3/4)
    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64)
    expected = torch.tensor([0.25 * math.log(2), -math.log(0.75) / 16], dtype=torch.float64)
    torch.testing.assert_close(focal_preference_loss(logits), expected)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_focal_loss_without_gamma_is_dpo(values: list[float]) -> None:
    logits = torch.tensor(values)
    assert torch.equal(focal_preference_loss(logits, gamma=0), -torch.nn.functional.logsigmoid(logits))


def test_focal_loss_weight_is_part_of_the_gradient() -> None:
    logits = torch.linspace(-5, 5, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(focal_preference_loss, (logits,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_is_finite_far_out(dtype: torch.dtype, gamma: float) -> None:
    logits = torch.tensor([-1e4, -100, -20, 0, 20, 100, 1e4], dtype=dtype, requires_grad=True)
    losses = focal_preference_loss(logits, gamma)
    losses.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(losses).all()
    assert torch.isfinite(logits.grad).all()
    assert losses[0] == 9984 if dtype == torch.bfloat16 else losses[0] == 1e4
    assert losses[-1] == 0
    assert (logits.grad <= 0).all(), "a larger margin never costs more"


# denoise


def test_denoise_keeps_the_fewest_values_that_reach_the_energy() -> None:
    # squares 16, 4, 1: shares 16/21 = 0.762, 20/21 = 0.952, 1
    update = torch.diag(torch.tensor([4.0, 2.0, 1.0]))
    torch.testing.assert_close(denoise(update, 0.7), torch.diag(torch.tensor([4.0, 0, 0])))
    torch.testing.assert_close(denoise(update, 0.9), torch.diag(torch.tensor([4.0, 2.0, 0])))
    torch.testing.assert_close(denoise(update, 0.96), update)


def test_denoise_at_energy_one_changes_nothing() -> None:
    update = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(denoise(update, 1.0), update)


def test_denoise_of_zero_is_zero() -> None:
    assert torch.equal(denoise(torch.zeros(2, 3), 0.9), torch.zeros(2, 3))


# consolidate


@needs_golden
@pytest.mark.parametrize("name", ["energy0.9_plasticity0.5", "energy0.99_plasticity0.0"])
def test_consolidation_matches_the_published_code(name: str) -> None:
    with safe_open(GOLDEN / f"consolidation_{name}.safetensors", "pt") as golden:
        metadata = golden.metadata()
        energy, plasticity = float(metadata["energy"]), float(metadata["gamma"])
        matrices = [key.removeprefix("init/") for key in golden.keys() if key.startswith("init/")]  # noqa: SIM118
        assert matrices
        for matrix in matrices:
            start, history = golden.get_tensor(f"init/{matrix}"), list[torch.Tensor]()
            for task in range(int(metadata["tasks"])):
                update = golden.get_tensor(f"task{task}/trained/{matrix}") - start
                history.append(consolidate(update, history, energy, plasticity))
                start = start + history[-1]
                expected = golden.get_tensor(f"task{task}/consolidated/{matrix}")
                torch.testing.assert_close(start, expected, rtol=0, atol=1e-5)


def test_consolidate_by_hand() -> None:
    history = [torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])]
    update = torch.tensor([[4.0, 6.0], [8.0, 10.0]])
    # The history spans the first row, which is halved or removed; the second row is new.
    torch.testing.assert_close(consolidate(update, history, 1.0, 0.5), torch.tensor([[2.0, 3.0], [8.0, 10.0]]))
    torch.testing.assert_close(consolidate(update, history, 1.0, 0.0), torch.tensor([[0.0, 0.0], [8.0, 10.0]]))


def test_consolidate_without_history_only_denoises() -> None:
    update = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(consolidate(update, []), denoise(update))


def test_switched_off_consolidation_changes_no_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    update, *history = torch.randn(4, 4, 6, generator=generator)
    assert torch.equal(consolidate(update, history, energy=1, plasticity=1), update)


@pytest.mark.parametrize("extra", ["zero", "same", "scaled", "combination", "negative"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_history_that_spans_nothing_new_adds_no_direction(extra: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    update, a, b = torch.randn(3, 4, 30, generator=generator, dtype=dtype)
    added = {
        "zero": torch.zeros_like(a),
        "same": a.clone(),
        "scaled": a * 1.1e-3,
        "combination": 0.3 * a + 0.7 * b,
        "negative": -3 * b,
    }[extra]
    expected = consolidate(update, [a, b], 0.9, 0.0)
    for history in ([a, b, added], [added, a, b], [a, added, b]):
        torch.testing.assert_close(consolidate(update, history, 0.9, 0.0), expected)


def test_small_history_counts_beside_a_large_one() -> None:
    large, small = torch.tensor([[1e4, 0.0, 0.0]]), torch.tensor([[0.0, 1e-4, 0.0]])
    result = consolidate(torch.ones(1, 3), [large, small], 1.0, 0.0)
    torch.testing.assert_close(result, torch.tensor([[0.0, 0.0, 1.0]]))


def test_a_history_of_zeros_is_no_history() -> None:
    update = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(consolidate(update, [torch.zeros(2, 3)] * 2, 1.0, 0.0), update)


@given(st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_consolidation_never_lengthens_an_update(seed: int, plasticity: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    update, *history = torch.randn(4, 3, 7, generator=generator, dtype=torch.float64)
    result = consolidate(update, history, 0.9, plasticity)
    assert torch.linalg.norm(result) <= torch.linalg.norm(update) * (1 + 1e-9)


# the method


def test_stage_consolidates_every_matrix_by_itself_and_in_place(
    model: PeftModel, make_stage: MakeStage, lora_matrices: Matrices
) -> None:
    method = LifeAlign(LifeAlignConfig())
    history: dict[str, list[torch.Tensor]] = {}
    objects = {name: id(p) for name, p in model.named_parameters()}
    for index in (1, 2, 3):
        stage = make_stage(index)
        start = lora_matrices(model)
        method.before_stage(stage, model)
        change(model, index)
        trained = lora_matrices(model)
        method.after_stage(stage, model)
        for name, matrix in lora_matrices(model).items():
            kept = consolidate(trained[name] - start[name], history.setdefault(name, []))
            history[name].append(kept)
            torch.testing.assert_close(matrix, start[name] + kept)
    assert objects == {name: id(p) for name, p in model.named_parameters()}, "the optimizer's parameters stay"


def test_switched_off_method_leaves_the_trained_weights(
    model: PeftModel, make_stage: MakeStage, lora_matrices: Matrices
) -> None:
    method = LifeAlign(LifeAlignConfig(energy=1, plasticity=1, replay_fraction=0))
    for index in (1, 2):
        stage = make_stage(index)
        method.before_stage(stage, model)
        change(model, index)
        trained = lora_matrices(model)
        method.after_stage(stage, model)
        assert method.training_pairs(make_stage(index + 1), stage.pairs) == stage.pairs
        for name, matrix in lora_matrices(model).items():
            assert torch.equal(matrix, trained[name])


def test_state_brings_everything_back_in_the_middle_of_a_stage(
    make_model: Callable[..., PeftModel], make_stage: MakeStage, lora_matrices: Matrices
) -> None:
    def run(stop: bool) -> tuple[dict[str, torch.Tensor], list[str]]:
        model, method = make_model(), LifeAlign(LifeAlignConfig())
        for index in (1, 2):
            state = method.state_dict()
            method.before_stage(make_stage(index), model)
            change(model, 10 * index)
            if stop and index == 2:
                # Start again as the harness does: after the stage before, before_stage, the last checkpoint. The
                # model is the half-trained one already, so the start of the phase has to come from the checkpoint.
                checkpoint = method.state_dict()
                method = LifeAlign(LifeAlignConfig())
                method.load_state_dict(state)
                method.before_stage(make_stage(index), model)
                method.load_state_dict(checkpoint)
            change(model, 10 * index + 1)
            method.after_stage(make_stage(index), model)
        third = make_stage(3)
        return lora_matrices(model), [p.id for p in method.training_pairs(third, third.pairs)]

    (unbroken, pairs), (resumed, pairs_again) = run(stop=False), run(stop=True)
    assert pairs == pairs_again
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


def test_what_is_scored_before_consolidation_is_consolidated_when_the_next_stage_begins(
    make_model: Callable[..., PeftModel], make_stage: MakeStage, lora_matrices: Matrices
) -> None:
    found: dict[str, list[dict[str, torch.Tensor]]] = {}
    for scored in ("consolidated", "trained"):
        model, method = make_model(), LifeAlign(LifeAlignConfig(scored=scored, energy=0.3))
        seen = found[scored] = []
        for index in (1, 2):
            for phase in ("sft", "preference"):
                stage = make_stage(index, count=3, phase=phase)
                method.before_stage(stage, model)
                seen.append(lora_matrices(model))
                change(model, 2 * index + (phase == "sft"))
                trained = lora_matrices(model)
                method.after_stage(stage, model)
                if scored == "trained":
                    same = all(torch.equal(trained[n], m) for n, m in lora_matrices(model).items())
                    assert same == (phase == "preference"), "only what is scored waits"
                state = method.state_dict()  # a stopped run goes on from here
                method = LifeAlign(LifeAlignConfig(scored=scored, energy=0.3))
                method.load_state_dict(state)
    # Every phase begins with the same weights, whichever of them was scored.
    for ours, theirs in zip(found["consolidated"], found["trained"], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_state_after_a_stage_holds_no_snapshot(model: PeftModel, make_stage: MakeStage) -> None:
    method = LifeAlign(LifeAlignConfig())
    method.before_stage(make_stage(1), model)
    assert any(key.startswith("start/") for key in method.state_dict())
    method.after_stage(make_stage(1), model)
    state = method.state_dict()
    matrices = [name for name, p in model.named_parameters() if p.requires_grad]
    assert set(state) == {"replay/t1", *(f"history/0/{name}" for name in matrices)}
    again = LifeAlign(LifeAlignConfig())
    again.load_state_dict(state)
    assert again.state_dict().keys() == state.keys()


def test_both_phases_of_a_stage_consolidate_and_replay_once(model: PeftModel, make_stage: MakeStage) -> None:
    method = LifeAlign(LifeAlignConfig())
    for phase in ("sft", "preference"):
        stage = make_stage(1, phase=phase)
        method.before_stage(stage, model)
        assert list(method.training_pairs(stage, stage.pairs)) == list(stage.pairs), "a task does not replay itself"
        change(model, 1)
        method.after_stage(stage, model)
    state = method.state_dict()
    assert sum(key.startswith("history/1/") for key in state) == 8
    assert len(state["replay/t1"]) == 2


@pytest.mark.parametrize(
    "bad", [{"focal_gamma": -1}, {"energy": 0}, {"energy": 1.1}, {"plasticity": 2}, {"gamma": 1}, {"focal_gamma": "x"}]
)
def test_settings_are_checked(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LifeAlignConfig.model_validate(bad)


def test_settings_by_default_are_the_papers() -> None:
    assert LifeAlignConfig().model_dump() == {
        "focal_gamma": 2.0,
        "energy": 0.9,
        "plasticity": 0.5,
        "replay_fraction": 0.2,
        "replay_capacity": 3000,
        "replay_rule": "fair",
        "scored": "consolidated",
    }
