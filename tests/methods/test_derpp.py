"""``derpp``: replayed pairs are held to the log-probabilities that their tokens had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid

from lifealign_bench.method import DemonstrationBatch, Method, PairBatch, Stage
from lifealign_bench.methods import load_method
from lifealign_bench.pairs import Pair

MakeStage = Callable[..., Stage]


def make(**settings: Any) -> Method:
    cls = load_method("derpp")
    return cls(cls.Config.model_validate(settings))


def said(stage: Stage, model: PeftModel, pairs: Sequence[Pair]) -> tuple[list[torch.Tensor], PairBatch]:
    """Each pair's log-probabilities of tokens, chosen first, and the batch, its tokens shuffled among responses."""
    found = stage.response_log_probs(model, pairs)
    parts = [(2 * i + r, found[i][r]) for r in (1, 0) for i in reversed(range(len(pairs)))]
    sums = torch.stack([part.sum() for both in found for part in both]).view(-1, 2)
    batch = PairBatch(
        pairs=tuple(pairs),
        chosen=sums[:, 0],
        rejected=sums[:, 1],
        ref_chosen=sums[:, 0].detach(),
        ref_rejected=sums[:, 1].detach(),
        tokens=torch.cat([values for _, values in parts]),
        owner=torch.cat([torch.full((len(values),), owner) for owner, values in parts]),
    )
    return [torch.cat(both) for both in found], batch


def test_the_distance_by_hand(model: PeftModel, make_stage: MakeStage) -> None:
    method = make(alpha=0.5, replay_fraction=0.3)
    first, second = make_stage(1), make_stage(2)
    method.before_stage(first, model)
    method.after_stage(first, model)
    state = method.state_dict()
    ids = state["ids/t1"]
    assert isinstance(ids, list) and len(ids) == 3
    replayed = second.find_pairs([str(i) for i in ids])
    then, _ = said(first, model, replayed)

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2
    heir = make(alpha=0.5, replay_fraction=0.3)
    heir.load_state_dict(state)
    pairs = [second.pairs[0], replayed[2], second.pairs[1], replayed[0]]
    now, batch = said(second, model, pairs)
    logits = torch.tensor([0.3, -0.2, 0.0, 1.0])
    plain = -logsigmoid(logits)
    expected = plain.clone()
    for place, kept in ((1, 2), (3, 0)):
        expected[place] += 0.5 * ((now[place] - then[kept]) ** 2).mean().detach()
        assert expected[place] > plain[place] + 1e-4
    for one in (method, heir):
        one.before_stage(second, model)
        assert list(one.training_pairs(second, second.pairs)) == [*second.pairs, *replayed]
        loss = one.pair_loss(logits, batch)
        torch.testing.assert_close(loss.detach(), expected)
    # Own pairs have no gradient from the distance, replayed ones have.
    gradient = torch.autograd.grad(method.pair_loss(logits, batch).sum(), batch.tokens)[0]
    assert [bool(gradient[batch.owner // 2 == place].any()) for place in range(4)] == [False, True, False, True]


def test_the_supervised_phase_holds_the_chosen_tokens(model: PeftModel, make_stage: MakeStage) -> None:
    method = make(alpha=0.5, replay_fraction=0.3)
    first, second = make_stage(1), make_stage(2, phase="sft")
    method.before_stage(first, model)
    method.after_stage(first, model)
    method.before_stage(second, model)
    own, old = second.pairs[0], method.training_pairs(second, second.pairs)[-1]
    with torch.no_grad():
        then, rejected = first.response_log_probs(model, [old])[0]
    moved = torch.linspace(0.1, 0.3, len(then))
    batch = DemonstrationBatch(
        (own, old), torch.cat([torch.ones(2), then + moved]), torch.tensor([0, 0, *[1] * len(then)])
    )
    assert len(rejected), "what is kept of the rejected response is not looked at"
    found = method.demonstration_loss(torch.tensor([4.0, 7.0]), batch)
    torch.testing.assert_close(found, torch.tensor([4.0, 7.0 + 0.5 * float((moved**2).sum())]))
    assert torch.equal(make(alpha=0).demonstration_loss(torch.ones(2), batch), torch.ones(2))


def test_alpha_0_is_the_loss_of_dpo(model: PeftModel, make_stage: MakeStage) -> None:
    method = make(alpha=0)
    for index in (1, 2):
        method.before_stage(make_stage(index), model)
        method.after_stage(make_stage(index), model)
    stage = make_stage(3)
    method.before_stage(stage, model)
    _, batch = said(stage, model, method.training_pairs(stage, stage.pairs))
    assert len(batch.pairs) == 10 + 2 + 2
    logits = torch.linspace(-1, 1, len(batch.pairs))
    assert torch.equal(method.pair_loss(logits, batch).detach(), -logsigmoid(logits))


@pytest.mark.parametrize(("fraction", "capacity", "kept"), [(0.2, 3000, 2), (1, 12, 4), (1, 2, 0), (0, 3000, 0)])
def test_every_task_has_an_equal_part_of_the_buffer(
    fraction: float, capacity: int, kept: int, model: PeftModel, make_stage: MakeStage
) -> None:
    method = make(replay_fraction=fraction, replay_capacity=capacity)
    for index in (1, 2):
        method.before_stage(make_stage(index), model)
        method.after_stage(make_stage(index), model)
    found = [value for key, value in method.state_dict().items() if key.startswith("ids/")]
    assert [len(ids) for ids in found if isinstance(ids, list)] == ([kept, kept] if kept else [])
