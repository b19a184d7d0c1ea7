"""``lwf`` and ``kl``: a divergence from where the phase began, beside the loss or in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.method import Asked, DemonstrationBatch, Method, PairBatch, Stage
from lifealign_bench.methods import load_method
from lifealign_bench.pairs import Pair
from lifealign_bench.runs.setup import make_method

MakeStage = Callable[..., Stage]
LOGITS = torch.tensor([0.3, -0.2])
# Two tokens and one of the first pair's responses, one and two of the second's, in no order.
OWNER = torch.tensor([2, 0, 3, 1, 0, 3])
DIVERGENCE = torch.tensor([0.5, 0.1, 0.2, 0.3, 0.8, 0.4])
MEANS = torch.tensor([(0.1 + 0.8 + 0.3) / 3, (0.5 + 0.2 + 0.4) / 3])


def make(name: str, **settings: Any) -> Method:
    cls = load_method(name)
    return cls(cls.Config.model_validate(settings))


def batch(pairs: Sequence[Pair], asked: Asked, divergence: torch.Tensor = DIVERGENCE) -> PairBatch:
    none = torch.zeros(2)
    return PairBatch(tuple(pairs), none, none, none, none, torch.zeros(6), OWNER, asked={asked: divergence})


@pytest.mark.parametrize(
    ("name", "settings", "asked"),
    [
        ("lwf", {"strength": 3.0}, "kl_from_kept"),
        ("kl", {"strength": 3.0}, "kl_from_start"),
        ("kl", {"strength": 3.0, "direction": "reverse"}, "kl_to_start"),
    ],
)
def test_the_mean_divergence_of_a_pairs_tokens_is_added(
    name: str, settings: dict[str, Any], asked: Asked, make_stage: MakeStage
) -> None:
    method = make(name, **settings)
    assert method.asks("preference") == (asked,)
    assert method.asks("sft") == ((asked,) if name == "lwf" else ())
    stage = make_stage(1)
    assert list(method.training_pairs(stage, stage.pairs)) == list(stage.pairs)
    divergence = DIVERGENCE.clone().requires_grad_(True)
    loss = method.pair_loss(LOGITS, batch(stage.pairs[:2], asked, divergence))
    torch.testing.assert_close(loss.detach(), -logsigmoid(LOGITS) + 3 * MEANS)
    (slope,) = torch.autograd.grad(loss.sum(), divergence)
    torch.testing.assert_close(slope, torch.ones(6))  # strength / N, and every pair has three tokens
    plain = make(name, strength=0.0)
    assert plain.asks("preference") == (), "what weighs nothing costs nothing"
    assert torch.equal(plain.pair_loss(LOGITS, batch(stage.pairs[:2], asked)), -logsigmoid(LOGITS))


def test_lwf_holds_the_supervised_phase_to_the_model_before_the_stage(model: PeftModel, make_stage: MakeStage) -> None:
    method = make("lwf", strength=3.0)
    started = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    method.before_stage(make_stage(1, phase="sft"), model)
    divergence = torch.tensor([0.1, 0.2, 0.3])
    seen = DemonstrationBatch((), torch.zeros(3), torch.tensor([1, 0, 1]), {"kl_from_kept": divergence})
    seen = replace(seen, pairs=make_stage(1).pairs[:2])
    losses = torch.tensor([2.0, 5.0])
    torch.testing.assert_close(method.demonstration_loss(losses, seen), torch.tensor([2.6, 6.2]))  # sums over tokens
    assert torch.equal(make("lwf", strength=0).demonstration_loss(losses, seen), losses)
    method.after_stage(make_stage(1, phase="sft"), model)
    heir = make("lwf", strength=3.0)
    heir.load_state_dict(method.state_dict())
    with torch.no_grad():
        for name in started:
            model.get_parameter(name).add_(1)
    for one in (method, heir):
        one.before_stage(make_stage(1), model)
        assert all(torch.equal(one.kept_policy()[name], value) for name, value in started.items())
        one.after_stage(make_stage(1), model)
        assert one.state_dict() == {}, "nothing is kept between stages"
        one.before_stage(make_stage(2), model)
        assert all(torch.equal(one.kept_policy()[name], value + 1) for name, value in started.items())


def test_replayed_pairs_have_the_divergence_alone(make_stage: MakeStage) -> None:
    settings = {"on": "replayed", "strength": 3.0, "replay_fraction": 0.3}
    method = make("kl", **settings)
    first, second = make_stage(1), make_stage(2)
    assert list(method.training_pairs(first, first.pairs)) == list(first.pairs)
    method.after_stage(make_stage(1, phase="sft"), None)
    assert method.state_dict() == {}, "nothing is kept before the stage's last phase"
    method.after_stage(first, None)
    heir = make("kl", **settings)
    heir.load_state_dict(method.state_dict())
    for one in (method, heir):
        mixed = one.training_pairs(second, second.pairs)
        assert len(mixed) == 13 and {pair.task for pair in mixed[10:]} == {"t1"}
        loss = one.pair_loss(LOGITS, batch([mixed[12], mixed[0]], "kl_from_start"))
        expected = torch.stack([3 * MEANS[0], -logsigmoid(LOGITS[1])])
        torch.testing.assert_close(loss, expected)
        supervised = make_stage(2, phase="sft")
        assert list(one.training_pairs(supervised, supervised.pairs)) == list(supervised.pairs)


@pytest.mark.parametrize(("fraction", "capacity", "kept"), [(0.2, 3000, 2), (1, 12, 4)])
def test_every_task_has_an_equal_part_of_what_is_kept(
    fraction: float, capacity: int, kept: int, make_stage: MakeStage
) -> None:
    method = make("kl", on="replayed", replay_fraction=fraction, replay_capacity=capacity)
    for index in (1, 2):
        method.after_stage(make_stage(index), None)
    assert [len(ids) for ids in method.state_dict().values() if isinstance(ids, list)] == [kept, kept]


@pytest.mark.parametrize("nothing", [{"replay_fraction": 0}, {"replay_capacity": 0}])
def test_holding_pairs_that_are_not_kept_is_refused(
    nothing: dict[str, Any], fake_config: Callable[..., RunConfig]
) -> None:
    with pytest.raises(UsageError, match="keeps none") as caught:
        make_method(fake_config(method="kl", method_settings={"on": "replayed", **nothing}))
    assert "on=own" in caught.value.remedy
