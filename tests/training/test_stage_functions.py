"""What a method's hooks may ask the harness for: log-probabilities, references, losses, gradients of a memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.method import Method, MethodConfig, Phase, Stage
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.training.phases import PHASES
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]


@pytest.fixture
def session(fake_config: Make) -> Session:
    """One pair a pass or two, and an adapter that is no longer the base model."""
    config = fake_config(sft=True)
    session = Session.build(config, load_data(config, Progress()), Method(MethodConfig()), Progress())
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in session.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return session


def stage_of(session: Session, phase: Phase) -> Stage:
    kind = PHASES.get(phase)
    return session.stage(1, kind, session.references(["fake-upper"]) if kind.refers else {})


def test_margins_are_made_of_log_probabilities_and_references(session: Session) -> None:
    stage = stage_of(session, "preference")
    pairs = stage.pairs[:5]
    found, reference = stage.log_probs(session.model, pairs), stage.references(pairs)
    assert found.shape == reference.shape == (5, 2) and found.requires_grad and not reference.requires_grad
    with session.model.disable_adapter():
        assert torch.allclose(stage.log_probs(session.model, pairs), reference, atol=1e-4)
    assert not torch.allclose(found, reference, atol=1e-2)
    gained = found - reference
    beta = session.config.training.beta
    assert torch.allclose(stage.margins(session.model, pairs), beta * (gained[:, 0] - gained[:, 1]), atol=1e-6)


def test_log_probabilities_of_single_tokens_add_up_to_those_of_responses(session: Session) -> None:
    stage = stage_of(session, "preference")
    encoded = {p.pair.id: p for p in session.train["fake-upper"]}
    found = stage.response_log_probs(session.model, stage.pairs)
    for pair, (chosen, rejected) in zip(stage.pairs, found, strict=True):
        assert len(chosen) == len(encoded[pair.id].chosen) and len(rejected) == len(encoded[pair.id].rejected)
        # Alone in its pass: the same tokens in the same order.
        for alone, packed in zip(stage.response_log_probs(session.model, [pair])[0], (chosen, rejected), strict=True):
            assert torch.allclose(alone, packed, atol=1e-5)
    sums = torch.stack([response.sum() for both in found for response in both]).view(-1, 2)
    assert torch.allclose(sums, stage.log_probs(session.model, stage.pairs), atol=1e-4) and sums.requires_grad


def test_the_supervised_phase_has_log_probabilities_and_no_references(session: Session) -> None:
    stage = stage_of(session, "sft")
    chosen = stage.log_probs(session.model, stage.pairs)[:, 0]
    lengths = torch.tensor([len(p.chosen) for p in session.train["fake-upper"]])
    assert torch.allclose(stage.losses(session.model, stage.pairs), -chosen / lengths, atol=1e-5)
    with pytest.raises(RuntimeError, match="no reference policy"):
        stage.references(stage.pairs)


@pytest.mark.parametrize("phase", ["sft", "preference"])
def test_a_memorys_gradient_is_that_of_its_mean_loss_and_leaves_grad_alone(session: Session, phase: Phase) -> None:
    stage = stage_of(session, phase)
    pairs = stage.pairs[:7]
    trained = {name: p for name, p in session.model.named_parameters() if p.requires_grad}
    whole = torch.autograd.grad(stage.losses(session.model, pairs).mean(), list(trained.values()))
    found = stage.gradient(session.model, pairs)
    assert list(found) == list(trained)
    for name, expected in zip(trained, whole, strict=True):
        assert torch.allclose(found[name], expected, atol=1e-6), name
        assert found[name].dtype == torch.float32
    assert any(bool(g.any()) for g in found.values())
    assert all(p.grad is None for p in trained.values())


def test_gem_sees_a_steps_gradient_whatever_the_passes(fake_config: Make, tmp_path: Path) -> None:
    """A step of many passes is projected as one: on the sum, and once."""
    margins: list[np.ndarray[Any, Any]] = []
    for budget in (33, 1000):
        config = fake_config(
            method="gem",
            token_budget=budget,
            scorers=("preference",),
            method_settings={"memory_pairs": 4},
            out=tmp_path / str(budget),
        )
        margins.append(run(config).scores["preference_margin"].array())
    one, other = margins
    assert np.allclose(one, other, atol=1e-4, equal_nan=True)
