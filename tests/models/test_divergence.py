"""KL divergence a token: by hand, against one plain pass a text, and whatever the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy
from torch.nn import functional as F

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.models.divergence import differentiable_divergence, token_divergence
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.vocabulary import Head
from lifealign_bench.results.folder import read_token_ids
from lifealign_bench.runs.directory import RunDirectory
from lifealign_bench.runs.resuming import Ledger, move_to
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method
from lifealign_bench.scoring.scorers import load_scorers
from lifealign_bench.util.distributed import join
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]


def test_a_divergence_is_that_of_the_two_distributions() -> None:
    p, q = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.25, 0.5]])
    # 0.5 ln 2 + 0 - 0.25 ln 2
    assert token_divergence(p.log(), q.log(), None).item() == pytest.approx(0.25 * np.log(2), abs=1e-6)
    assert token_divergence(p.log() + 7, p.log(), None).item() == 0.0


def test_hidden_states_go_through_the_vocabulary_head_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = torch.nn.Linear(4, 9)
    head = Head(layer.weight, layer.bias)
    a, b = torch.randn(2, 11, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = token_divergence(a, b, head)
        monkeypatch.setattr("lifealign_bench.models.divergence._CHUNK_VALUES", 18)
        parts = token_divergence(a, b, head)
        expected = entropy(F.softmax(layer(a), -1), F.softmax(layer(b), -1), axis=1)
    assert np.allclose(whole, expected, atol=1e-6) and np.allclose(whole, parts, atol=1e-6)


@pytest.mark.parametrize("method", ["dpo", "l2p"])
def test_a_run_gives_the_divergence_of_every_response(fake_config: Make, method: str) -> None:
    """Against one unpadded pass a response with the model's own logits; the token after a response counts as well."""
    join(True)
    config = fake_config(method=method, scorers=("preference", "distance"))
    run(config)
    method_ = make_method(config)
    data = load_data(config, Progress())
    session = Session.build(config, data, method_, Progress())
    ledger = Ledger(RunDirectory(config.run_directory()), 3, print)
    move_to(session, ledger, 3)
    frame = pd.read_parquet(config.run_directory() / "stage-3" / "scores.parquet").set_index("pair_id")
    said = read_token_ids(config.run_directory() / "stage-3")
    assert (pd.read_parquet(config.run_directory() / "stage-0" / "scores.parquet")["kl_base"] == 0).all()
    assert (frame["kl_base"] > 0).any()
    for task, pairs in session.test.items():
        for pair in pairs:
            assert frame.loc[pair.pair.id, "kl_base"] == pytest.approx(
                _by_hand(session, pair, said[task][pair.pair.id]), abs=1e-5
            )


def _by_hand(session: Session, pair: EncodedPair, ids: list[int]) -> float:
    ended = len(ids) < session.config.generation.max_new_tokens
    text = torch.tensor([[*pair.prompt, *ids]])
    more = {"prompt_lengths": (len(pair.prompt),)} if session.speaker.layout == "whole" else {}

    def log_probs() -> torch.Tensor:
        with torch.no_grad():
            keep = torch.arange(len(pair.prompt) - 1, text.shape[1] if ended else text.shape[1] - 1)
            positions = torch.arange(text.shape[1])[None]
            logits = session.model(
                input_ids=text,
                attention_mask=torch.ones_like(text),
                position_ids=positions,
                logits_to_keep=keep,
                use_cache=False,
                **more,
            ).logits
        return F.log_softmax(logits[0].float(), -1)

    if session.speaker.layout == "segments":
        session.model.set_attn_implementation("sdpa")
    policy = log_probs()
    with session.model.disable_adapter():
        base = log_probs()
    return float((policy.exp() * (policy - base)).sum(-1).mean())


def test_the_token_budget_changes_no_divergence(fake_config: Make) -> None:
    one = run(fake_config(token_budget=1000, scorers=("distance",)))
    other = run(fake_config(token_budget=65, scorers=("distance",), out=fake_config().out / "b"))
    assert np.allclose(one.scores["kl_base"].array(), other.scores["kl_base"].array(), atol=1e-5)
    assert "kl_base" not in one.metrics  # forgetting of a distance means nothing


def test_the_shape_of_responses_is_counted(fake_config: Make) -> None:
    from lifealign_bench.scoring.scorer import TaskView

    config = fake_config()
    data = load_data(config, Progress())["fake-upper"]
    nothing = np.zeros((4, 2))
    view = TaskView(
        card=data.card,
        pairs=data.test[:4],
        policy=nothing,
        base=nothing,
        lengths=nothing,
        responses=("", "a b c", "a b c d a b c d a b c d", "  \n"),
        distance=np.array([0.0, 1.0, 2.0, 3.0]),
    )
    found = load_scorers(("distance",))["distance"].score(view).values
    assert found["response_words"].tolist() == [0, 3, 12, 0]
    assert found["response_empty"].tolist() == [1, 0, 0, 1]
    # Nine runs of four words, four of them different.
    assert found["response_repeated"].tolist() == pytest.approx([0, 0, 5 / 9, 0])
    assert found["kl_base"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("from_other", [False, True])
@pytest.mark.parametrize(("with_head", "cap"), [(True, None), (True, 2.0), (False, None)])
def test_a_divergence_to_learn_from_is_the_definition_with_its_gradient(
    from_other: bool, with_head: bool, cap: float | None, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some tokens at a time, of which the last are fewer.
    monkeypatch.setattr("lifealign_bench.models.divergence._CHUNK_VALUES", 3 * 11)
    generator = torch.Generator().manual_seed(0)
    policy, other = (2 * torch.randn(8, 5 if with_head else 11, generator=generator) for _ in range(2))
    policy.requires_grad_(True)
    layer = torch.nn.Linear(5, 11).requires_grad_(False)
    head = Head(layer.weight, layer.bias, cap) if with_head else None
    logits = [layer(x) if with_head else x for x in (policy, other)]
    logits = [x if cap is None else cap * torch.tanh(x / cap) for x in logits]
    p, q = ((x / temperature).log_softmax(-1) for x in logits)
    wanted = (q.exp() * (q - p) if from_other else p.exp() * (p - q)).sum(-1)
    found = differentiable_divergence(policy, other, head, from_other=from_other, temperature=temperature)
    assert torch.allclose(found, wanted, atol=1e-5)
    weights = torch.arange(8.0)
    one, other_slope = (torch.autograd.grad((weights * x).sum(), policy)[0] for x in (found, wanted))
    assert torch.allclose(one, other_slope, atol=1e-4)
    same = differentiable_divergence(policy, policy, head, from_other=from_other, temperature=temperature)
    assert torch.allclose(same, torch.zeros(8), atol=1e-6)
