"""``l2``: the pull towards the stage's start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import PeftModel

from lifealign_bench.method import Stage
from lifealign_bench.methods import load_method

MakeStage = Callable[..., Stage]


def test_the_penalty_is_half_the_squared_distance_from_the_stages_start(
    model: PeftModel, make_stage: MakeStage
) -> None:
    cls = load_method("l2")
    method = cls(cls.Config.model_validate({"strength": 3}))
    first = make_stage(1)
    method.before_stage(first, model)
    assert method.penalty(model) is None, "nothing can be forgotten in the first stage"
    method.after_stage(first, model)

    method.before_stage(make_stage(2, phase="sft"), model)
    trained = [p for p in model.parameters() if p.requires_grad]
    nothing = method.penalty(model)
    assert nothing is not None and float(nothing.detach()) == 0
    with torch.no_grad():
        for parameter in trained:
            parameter += 0.5
    method.after_stage(make_stage(2, phase="sft"), model)
    method.before_stage(make_stage(2), model)  # the anchor stays that of the stage

    heir = cls(cls.Config.model_validate({"strength": 3}))
    heir.load_state_dict(method.state_dict())
    count = sum(p.numel() for p in trained)
    for one in (method, heir):
        penalty = one.penalty(model)
        assert penalty is not None
        assert float(penalty.detach()) == pytest.approx(3 / 2 * 0.25 * count)
        (gradient,) = torch.autograd.grad(penalty, [trained[0]])
        torch.testing.assert_close(gradient, torch.full_like(gradient, 3 * 0.5))
    method.after_stage(make_stage(2), model)
    assert method.penalty(model) is None
