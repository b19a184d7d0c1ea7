"""On-policy methods: advantages and losses by hand, and those of TRL's trainers on the same responses."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from trl import GRPOConfig, GRPOTrainer
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer
from trl.experimental.sdft.loss_utils import compute_full_logit_self_distillation_loss
from trl.trainer.utils import nanstd

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.method import Group, GroupBatch, Method, Response, Stage
from lifealign_bench.methods import load_method
from lifealign_bench.models.logprobs import lay_out, predictions
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.runs.setup import make_method
from lifealign_bench.training.others import OtherPolicies
from tests.methods.golden import (
    PROMPTS,
    QUIET,
    RESPONSES,
    gradients,
    group_loss,
    learned,
    padded,
    prompts,
    random_adapter,
    same,
)

MakeStage = Callable[..., Stage]
grpo: Any = importlib.import_module("lifealign_bench.methods.grpo")


def make(name: str, **settings: Any) -> Method:
    cls = load_method(name)
    return cls(cls.Config.model_validate(settings))


def answering(stage: Stage, tokens: Sequence[Sequence[Sequence[int]]], rewards: Sequence[Sequence[float]]) -> Stage:
    """A stage in which the model says just this, and it is worth so much."""
    said = [tuple(Response(tuple(ids)) for ids in group) for group in tokens]

    def sample(model: Any, pairs: Sequence[Pair], n: int, temperature: float, top_p: float) -> Any:
        assert len(pairs) == len(said) and all(len(group) == n for group in said)
        return said

    return replace(stage, sample=sample, reward=lambda pairs, responses: [tuple(r) for r in rewards])


def test_advantages_by_hand() -> None:
    # Mean 0.5, squares of the distances 0.25, 0.25, 0, 0: the deviation of a sample of four is sqrt(0.5 / 3).
    wanted = 0.5 / (math.sqrt(0.5 / 3) + 1e-4)
    assert grpo.advantages([1.0, 0.0, 0.5, 0.5]) == pytest.approx((wanted, -wanted, 0.0, 0.0))
    assert grpo.advantages([1.0, 0.0, 0.5, 0.5], "none") == pytest.approx((0.5, -0.5, 0.0, 0.0))
    assert grpo.advantages([0.1, 0.1, 0.1]) == (0.0, 0.0, 0.0)
    rewards = torch.tensor([0.2, 0.9, 0.4])
    assert torch.allclose(
        torch.tensor(grpo.advantages(rewards.tolist())).float(),
        (rewards - rewards.mean()) / (nanstd(rewards) + 1e-4),
        atol=1e-5,
    )


def test_grpo_by_hand(make_stage: MakeStage) -> None:
    stage = make_stage(1, phase="on_policy")
    (group,) = make("grpo", n=2).rollouts(
        answering(stage, [[[5, 6], [7]]], [[1.0, 0.0]]),
        None,
        stage.pairs[:1],
    )
    gain = 0.5 / (math.sqrt(0.5) + 1e-4)
    assert group.weights == pytest.approx((gain, -gain))
    tokens = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    reference = torch.tensor([-1.5, -2.0, -3.0])
    batch = GroupBatch((group,), tokens, torch.tensor([0, 0, 1]), {"reference_log_probs": reference})
    method = make("grpo", n=2, beta=0.1)
    # The ratio is 1: -(A_1 + A_2) / 2 is 0; of the divergence only the first token has any: exp(-0.5) + 0.5 - 1.
    divergence = math.exp(-0.5) + 0.5 - 1
    assert method.group_loss(batch).tolist() == pytest.approx([0.1 * divergence / 2 / 2], abs=1e-6)
    # By the tokens' log-probabilities: -A / |y| / n, and beta (1 - exp(ref - pi)) / |y| / n.
    slope = torch.autograd.grad(method.group_loss(batch).sum(), tokens)[0]
    first = -gain / 4 + 0.1 * (1 - math.exp(-0.5)) / 4
    assert slope.tolist() == pytest.approx([first, -gain / 4, gain / 2], abs=1e-6)
    unbiased = make("grpo", n=2, length="constant", scale="none")
    unbiased.before_stage(stage, None)
    slope = torch.autograd.grad(unbiased.group_loss(batch).sum(), tokens)[0]
    assert slope.tolist() == pytest.approx([-gain / 16, -gain / 16, gain / 16], abs=1e-6), "of 8 tokens at most"


def test_rft_takes_the_best(make_stage: MakeStage) -> None:
    stage = make_stage(1, phase="on_policy")
    said = answering(stage, RESPONSES, [[0.1, 0.9, 0.9, 0.2], [0.0, 0.0, 0.3, 0.1]])
    groups = make("rft", n=4, least=0.5).rollouts(said, None, stage.pairs[:2])
    assert [group.responses[0].tokens for group in groups] == [RESPONSES[0][1], RESPONSES[1][2]]
    assert [group.weights for group in groups] == [(1.0,), (0.0,)]
    tokens = torch.tensor([-1.0, -3.0, -5.0])
    batch = GroupBatch(tuple(groups), tokens, torch.tensor([0, 0, 1]))
    assert make("rft").group_loss(batch).tolist() == [2.0, 0.0]


def test_online_dpo_prefers_the_better_and_learns_nothing_from_ties(make_stage: MakeStage) -> None:
    stage = make_stage(1, phase="on_policy")
    tokens = [[[5], [6, 7]], [[8], [9]]]
    method = make("online_dpo", beta=0.5)
    groups = method.rollouts(
        answering(stage, tokens, [[0.2, 0.8], [0.4, 0.4]]),
        None,
        stage.pairs[:2],
    )
    assert [r.tokens for r in groups[0].responses] == [(6, 7), (5,)] and groups[1].weights == (0.0, 0.0)
    batch = GroupBatch(
        tuple(groups),
        torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0]),
        torch.tensor([0, 0, 1, 2, 3]),
        {"reference_log_probs": torch.tensor([-1.5, -2.5, -2.0, 0.0, 0.0])},
    )
    # The better gained 0.5 + 0.5, the worse lost 1: the margin is 0.5 * 2.
    assert method.group_loss(batch).tolist() == pytest.approx([math.log(1 + math.exp(-1.0)), 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"method": "grpo", "method_settings": {"n": 1}}, "n is 1"),
        ({"method": "rft", "method_settings": {"n": 1}}, "n is 1"),
        ({"method": "grpo", "method_settings": {"temperature": 0}}, "at temperature 0"),
        ({"method": "rft", "method_settings": {"temperature": 0}}, "at temperature 0"),
        ({"method": "online_dpo", "method_settings": {"temperature": 0}}, "at temperature 0"),
        ({"method": "sdft", "method_settings": {"shown": "{prompt}"}}, "see the prompt and its demonstration"),
    ],
)
def test_what_cannot_be_compared_is_refused(fake_config: Callable[..., RunConfig], settings: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        make_method(fake_config(**settings))
    assert caught.value.remedy


REWARDS = ((1.0, 0.0, 0.25, 0.5), (0.2, 0.4, 0.4, 0.9))


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({}, {"loss_type": "grpo", "beta": 0.0}),
        ({"beta": 0.04}, {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False}),
        (
            {"beta": 0.04, "unbiased_kl": True, "length": "constant", "scale": "none"},
            {"loss_type": "dr_grpo", "beta": 0.04},
        ),
    ],
)
def test_grpo_is_that_of_trl(make_stage: MakeStage, tmp_path: Path, settings: Any, theirs: Any) -> None:
    model, tokenizer = random_adapter()
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **more: [0.0] * len(completions),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            num_generations=4,
            per_device_train_batch_size=8,
            max_completion_length=8,
            activation_checkpointing=False,
            **theirs,
            **QUIET,
        ),
        processing_class=tokenizer,
        train_dataset=prompts(8),
    )
    if "ref" in model.peft_config:  # TRL's reference of an adapter that is given is its copy
        model.delete_adapter("ref")
        model.set_adapter("default")
    trainer.current_gradient_accumulation_steps = 1
    stage = make_stage(1, phase="on_policy")
    method = make("grpo", n=4, **settings)
    method.before_stage(stage, model)
    groups = method.rollouts(answering(stage, RESPONSES, REWARDS), model, stage.pairs[:2])
    prompt_ids, prompt_mask = padded([p for p in PROMPTS for _ in range(4)], left=True)
    ids, mask = padded([r for group in RESPONSES for r in group], left=False)
    inputs: dict[str, Any] = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": torch.tensor([w for group in groups for w in group.weights]),
    }
    with torch.no_grad(), model.disable_adapter():
        whole = torch.cat([prompt_ids, ids], 1), torch.cat([prompt_mask, mask], 1)
        inputs["ref_per_token_logps"] = trainer._get_per_token_logps_and_entropies(model, *whole, ids.shape[1])[0]
    model.train()
    wanted = trainer._compute_loss(model, inputs)
    torch.autograd.backward(wanted)
    slopes = gradients(model)
    found = group_loss(model, method, groups, ("reference_log_probs",))
    torch.autograd.backward(found)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    same(gradients(model), slopes)


def test_online_dpo_is_that_of_trl(make_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = random_adapter()
    trainer = OnlineDPOTrainer(
        model=model,
        reward_funcs=lambda completions, **more: [0.0] * len(completions),
        args=OnlineDPOConfig(
            output_dir=str(tmp_path), beta=0.3, per_device_train_batch_size=2, missing_eos_penalty=None, **QUIET
        ),
        processing_class=tokenizer,
        train_dataset=prompts(2),
    )
    trainer.ref_model = None  # the model without its adapter
    rewards = [[0.2, 0.8], [0.6, 0.1]]
    said = [group[:2] for group in RESPONSES]
    prompt_ids, prompt_mask = padded([*PROMPTS, *PROMPTS], left=True)
    ids, mask = padded([group[k] for k in (0, 1) for group in said], left=False)
    monkeypatch.setattr(trainer, "_generate", lambda *asked: (prompt_ids, prompt_mask, ids, mask, None))
    worth = torch.tensor([group[k] for k in (0, 1) for group in rewards])
    monkeypatch.setattr(trainer, "_calculate_rewards_from_functions", lambda **asked: worth)
    wanted = trainer.training_step(model, {"prompt": ["say hello"] * 2})
    slopes = gradients(model)
    stage = make_stage(1, phase="on_policy")
    method = make("online_dpo", beta=0.3)
    groups = method.rollouts(answering(stage, said, rewards), model, stage.pairs[:2])
    found = group_loss(model, method, groups, ("reference_log_probs",))
    torch.autograd.backward(found)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    same(gradients(model), slopes)


def test_sdft_shows_the_teacher_the_demonstration(make_stage: MakeStage) -> None:
    stage = make_stage(1, phase="on_policy")
    pair = replace(stage.pairs[0], prompt=(Message("system", "s"), Message("user", "a {prompt}?")), chosen="{c}")
    method = make("sdft", shown="<{prompt}|{demonstration}>")
    (group,) = method.rollouts(
        answering(stage, [[[5, 6]]], []),
        None,
        [pair],
    )
    assert group.teacher == (Message("system", "s"), Message("user", "<a {prompt}?|{c}>"))
    assert group.responses[0].tokens == (5, 6) and method.samples() == 1
    asked = {
        (direction, teacher): make("sdft", direction=direction, teacher=teacher).asks("on_policy")
        for direction in ("forward", "reverse")
        for teacher in ("start", "average", "live", "base")
    }
    assert asked["forward", "start"] == ("kl_from_start",) and asked["reverse", "base"] == ("kl_to_reference",)
    assert asked["forward", "average"] == ("kl_from_kept",) and asked["reverse", "average"] == ("kl_to_kept",)
    assert len(set(asked.values())) == 8 and method.asks("sft") == ()


def test_sdfts_average_teacher_follows_every_step(model: PeftModel, make_stage: MakeStage) -> None:
    stage = make_stage(1, phase="on_policy")
    said = answering(stage, [[[5, 6]]], [])
    name, parameter = next((n, p) for n, p in model.named_parameters() if p.requires_grad)
    start = parameter.detach().clone()
    method = make("sdft", teacher="average", rate=0.25)
    method.before_stage(stage, model)
    method.rollouts(said, model, stage.pairs[:1])
    assert torch.equal(method.kept_policy()[name], start), "before the first step it is the policy"
    wanted = start
    for step in (1, 2):
        parameter.data += step
        heir = make("sdft", teacher="average", rate=0.25)
        heir.before_stage(stage, model)
        heir.load_state_dict(method.state_dict())
        method = heir  # as a run that goes on from a checkpoint
        method.rollouts(said, model, stage.pairs[:1])
        wanted = 0.75 * wanted + 0.25 * parameter.detach()
        torch.testing.assert_close(method.kept_policy()[name], wanted)
    method.after_stage(stage, model)
    assert method.state_dict() == {}, "every phase has a teacher of its own"
    for rate, end in ((0.0, start), (1.0, parameter.detach())):
        one = make("sdft", teacher="average", rate=rate)
        one.load_state_dict({name: start})
        one.rollouts(said, model, stage.pairs[:1])
        assert torch.equal(one.kept_policy()[name], end)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_sdft_is_that_of_trl(make_stage: MakeStage, direction: str) -> None:
    model, _ = random_adapter()
    teacher = (2, 80, 81, 82, 83, 3)
    stage = make_stage(1, phase="on_policy")
    method = make("sdft", direction=direction, teacher="base")
    said = [[RESPONSES[0][0]], [RESPONSES[1][3]]]
    groups = method.rollouts(answering(stage, said, []), model, stage.pairs[:2])

    def logits(prompt: tuple[int, ...], response: Sequence[int]) -> torch.Tensor:
        found: torch.Tensor = model(torch.tensor([[*prompt, *response]])).logits[:, len(prompt) - 1 : -1]
        return found

    losses = []
    for prompt, (response,) in zip(PROMPTS, said, strict=True):
        with torch.no_grad(), model.disable_adapter():
            theirs = logits(teacher, response)
        alpha = 0.0 if direction == "forward" else 1.0
        token = compute_full_logit_self_distillation_loss(logits(prompt, response), theirs, distillation_alpha=alpha)
        losses.append(token.mean())
    wanted = torch.stack(losses).mean()
    torch.autograd.backward(wanted)
    slopes = gradients(model)

    encoded = [replace(one, teacher=teacher) for one in learned(groups, PROMPTS)]
    speaker = SimpleNamespace(model=model, pad_id=0, layout="rows", device=torch.device("cpu"))
    others = OtherPolicies(speaker, method.asks("on_policy"), [], False)  # type: ignore[arg-type]
    answers = others.say(encoded)
    rows = lay_out(encoded, 0, "rows")
    hidden, head = predictions(model, rows)
    asked = others.values(answers, hidden, head, rows.target)
    tokens = torch.zeros(len(rows.target))
    found = method.group_loss(GroupBatch(tuple(groups), tokens, rows.owner, asked)).mean()
    torch.autograd.backward(found)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    same(gradients(model), slopes)


def test_on_policy_replay_keeps_the_best_of_its_own_answers(make_stage: MakeStage) -> None:
    method = make("on_policy_replay", fraction=0.4)
    for index in (1, 2):
        method.after_stage(make_stage(index, phase="on_policy"), None)
    fresh = make("on_policy_replay", fraction=0.4)
    fresh.load_state_dict(method.state_dict())
    stage = make_stage(3, phase="on_policy")
    asked: list[str] = []

    def sample(model: Any, pairs: Sequence[Pair], n: int, temperature: float, top_p: float) -> Any:
        assert (n, temperature, top_p) == (1, 0.1, 1.0)
        asked.extend(pair.id for pair in pairs)
        return [(Response((100 + number,)),) for number, _ in enumerate(pairs)]

    def reward(pairs: Sequence[Pair], said: Any) -> Any:
        # Of the first task the fourth and the last are best, of the second all are alike.
        worth = {"t1/train/3": 0.9, "t1/train/9": 0.8}
        return [(worth.get(pair.id, 0.5),) for pair in pairs]

    stage = replace(stage, sample=sample, reward=reward, demonstrations=lambda pairs: [Response((7,)) for _ in pairs])
    fresh.before_stage(stage, None)
    assert asked == [f"t{task}/train/{row}" for task in (1, 2) for row in range(10)]
    # 0.4 of ten pairs, shared by two tasks.
    mixed = fresh.training_pairs(stage, stage.pairs)
    assert [pair.id for pair in mixed[10:]] == ["t1/train/3", "t1/train/9", "t2/train/0", "t2/train/1"]
    groups = fresh.rollouts(stage, None, mixed)
    assert [group.responses[0].tokens[0] for group in groups] == [7] * 10 + [103, 109, 110, 111]
    # In the first stage there is nothing to replay, and nothing is asked.
    first = make_stage(1, phase="on_policy")
    assert list(make("on_policy_replay").training_pairs(first, first.pairs)) == list(first.pairs)
    some = make("on_policy_replay", fraction=0.1, asked=0.3)
    some.load_state_dict(method.state_dict())
    asked.clear()
    some.before_stage(stage, None)
    assert len(asked) == 6 and len({i.partition("/")[0] for i in asked}) == 2
    assert len(some.training_pairs(stage, stage.pairs)) == 12, "one of each at least"


def test_a_group_of_one_pairs_prompt_is_one_group() -> None:
    pair = Pair("t/train/0", "t", (), "", "")
    group = Group(pair, (Response((5,)), Response((6, 7))), (1.0, 2.0))
    batch = GroupBatch(
        (group, replace(group, responses=(Response((8,)),), weights=(3.0,))), torch.ones(4), torch.tensor([0, 1, 1, 2])
    )
    assert batch.lengths.tolist() == [[1, 2], [1, 0]] and batch.weights.tolist() == [[1.0, 2.0], [3.0, 0.0]]
    assert batch.means(torch.tensor([1.0, 2.0, 4.0, 5.0])).tolist() == [[1.0, 3.0], [5.0, 0.0]]
