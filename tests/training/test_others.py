"""What a loss may ask of other policies: the reference, where the phase began, and the policy after another prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.method import Asked, Group, GroupBatch, Method, MethodConfig, PairBatch, Phase, Response, Stage
from lifealign_bench.models.divergence import differentiable_divergence
from lifealign_bench.models.logprobs import lay_out, predictions
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.training.others import OtherPolicies
from lifealign_bench.training.phases import LearnedGroup
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]
ALL: tuple[Asked, ...] = get_args(Asked)
TEACHER = (2, 80, 81, 82, 83, 3)


def moved(session: Session, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in session.model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def table(session: Session, group: LearnedGroup, prompt: tuple[int, ...]) -> torch.Tensor:
    """(N, V) log-probabilities of the next token, one sequence after the other."""
    found = []
    for branch in group.branches:
        logits = session.model(torch.tensor([[*prompt, *branch]]), use_cache=False).logits[0]
        found.append(logits[len(prompt) - 1 : -1].log_softmax(-1))
    return torch.cat(found)


@pytest.mark.parametrize("moving", [False, True])
def test_every_policy_is_the_one_it_is_called(fake_config: Make, moving: bool) -> None:
    config = fake_config(tasks=("fake-upper",))
    session = Session.build(config, load_data(config, Progress()), Method(MethodConfig()), Progress())
    encoded = session.train["fake-upper"][0]
    responses = (Response((50, 51, 1)), Response((60, 61)))
    group = Group(encoded.pair, responses, (1.0, 1.0))
    plain = LearnedGroup(encoded.pair, encoded.prompt, tuple(r.tokens for r in responses), group)
    taught = LearnedGroup(encoded.pair, encoded.prompt, plain.branches, group, TEACHER)
    targets = torch.tensor([50, 51, 1, 60, 61])
    trained = [p for p in session.model.parameters() if p.requires_grad]

    moved(session, 1)
    kept: dict[str, torch.Tensor] = {}
    others = OtherPolicies(session.speaker, ALL, trained, moving, kept=lambda: kept)
    with torch.no_grad():
        start = {prompt: table(session, plain, prompt) for prompt in (encoded.prompt, TEACHER)}
        with session.model.disable_adapter():
            base = {prompt: table(session, plain, prompt) for prompt in (encoded.prompt, TEACHER)}
    moved(session, 3)
    kept |= {name: p.detach().clone() for name, p in session.model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        third = {prompt: table(session, plain, prompt) for prompt in (encoded.prompt, TEACHER)}
    moved(session, 2)
    before = [p.detach().clone() for p in trained]
    policy = {prompt: table(session, plain, prompt) for prompt in (encoded.prompt, TEACHER)}

    for learned, prompt in ((plain, encoded.prompt), (taught, TEACHER)):
        said = others.say([learned])
        rows = lay_out([learned], 0, session.speaker.layout)
        hidden, head = predictions(session.model, rows)
        found = others.values(said, hidden, head, rows.target)
        assert all(torch.equal(a, b) for a, b in zip(before, trained, strict=True)), "the policy is back"
        assert torch.equal(rows.target, targets) and set(found) == set(ALL)
        reference = start if moving else base
        own = policy[encoded.prompt]
        for name, other in (("reference", reference), ("start", start), ("kept", third), ("teacher", policy)):
            q = other[prompt]
            to, back = (own.exp() * (own - q)).sum(-1), (q.exp() * (q - own)).sum(-1)
            assert torch.allclose(found[f"kl_to_{name}"], to, atol=1e-4), name  # type: ignore[index]
            assert torch.allclose(found[f"kl_from_{name}"], back, atol=1e-4), name  # type: ignore[index]
            if name in ("reference", "start"):
                wanted = q.gather(1, targets[:, None])[:, 0]
                assert torch.allclose(found[f"{name}_log_probs"], wanted, atol=1e-4), name  # type: ignore[index]
        # The gradient goes through the policy alone.
        slopes = torch.autograd.grad(found["kl_from_teacher"].sum(), trained, retain_graph=True)
        q = policy[prompt].detach()
        wanted_slopes = torch.autograd.grad((q.exp() * (q - own)).sum(), trained, retain_graph=True)
        for one, other_slope in zip(slopes, wanted_slopes, strict=True):
            assert torch.allclose(one, other_slope, atol=1e-3)


class Asking(Method):
    """Keeps to where every phase began, in both kinds of phases."""

    seen: list[float]

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        return ("preference", "on_policy")

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        return ("kl_to_start", "start_log_probs")

    def temperature(self) -> float:
        return 2.0

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        self.seen.append(batch.sums(batch.asked["kl_to_start"]).sum().item())
        return super().pair_loss(logits, batch) + batch.sums(batch.asked["kl_to_start"]).sum(1)

    def rollouts(self, stage: Stage, model: Any, pairs: Any) -> list[Group]:
        return [Group(p, (r,), (1.0,)) for p, r in zip(pairs, stage.demonstrations(pairs), strict=True)]

    def group_loss(self, batch: GroupBatch) -> torch.Tensor:
        self.seen.append(batch.asked["kl_to_start"].sum().item())
        return super().group_loss(batch) + batch.means(batch.asked["kl_to_start"]).sum(1)


def test_a_run_asks_where_each_phase_began(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    method = Asking(MethodConfig())
    method.seen = []
    temperatures: list[float] = []

    def divergence(*told: Any, temperature: float, **more: Any) -> torch.Tensor:
        temperatures.append(temperature)
        return differentiable_divergence(*told, temperature=temperature, **more)

    monkeypatch.setattr("lifealign_bench.training.others.differentiable_divergence", divergence)
    monkeypatch.setattr("lifealign_bench.runs.run.make_method", lambda config: method)
    run(fake_config(tasks=("fake-upper",), scorers=("preference",), token_budget=1000))
    first, second, third, fourth = method.seen
    # At a phase's first step the policy is where it began; at the second it is not.
    assert first == pytest.approx(0, abs=1e-5) and third == pytest.approx(0, abs=1e-5)
    assert second > 1e-4 and fourth > 1e-4
    assert temperatures == [2.0] * 4, "the method's"
