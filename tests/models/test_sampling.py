"""Sampled responses: drawn as they should be, each by itself, and with the probabilities of a plain forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.generate import StopTexts
from lifealign_bench.models.sampling import Drawn, draw_responses, pick, response_seed
from lifealign_bench.models.steps import Steps

MODEL, TOKENIZER = fake_model()
MODEL.eval()
PROMPTS: Any = [tuple(TOKENIZER(text)["input_ids"]) for text in ("say hello to them", "a", "count to three")]
CPU = torch.device("cpu")


def said(places: list[int], seeds: list[int], **changes: Any) -> list[Drawn]:
    """What is drawn in one batch; keywords override."""
    prompts = list(dict.fromkeys(PROMPTS[i] for i in places))
    settings: Mapping[str, Any] = {"most": 7, "stop": frozenset(), "temperature": 1.0, "top_p": 1.0} | changes
    steps = Steps(MODEL, prompts, "shared", most=settings["most"], pad_id=0, device=CPU)
    texts = StopTexts([settings.get("texts", ())] * len(places), TOKENIZER.decode)
    asked = {key: value for key, value in settings.items() if key != "texts"}
    return draw_responses(steps, [prompts.index(PROMPTS[i]) for i in places], seeds, finished=texts.finished, **asked)


def test_tokens_are_drawn_by_their_probabilities() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    uniform = torch.rand(40_000, 4, generator=torch.Generator().manual_seed(0))
    rows = logits.expand(len(uniform), 4)
    for temperature in (1.0, 0.5):
        found = pick(rows, uniform, temperature, 1.0).bincount(minlength=4) / len(uniform)
        assert torch.allclose(found, torch.softmax(logits / temperature, 0), atol=0.01)
    # By hand: of 0.64, 0.24, 0.09, 0.03 the fewest that reach 0.8 are the first two, and they share 1 as 0.73 to 0.27.
    found = pick(rows, uniform, 1.0, 0.8).bincount(minlength=4) / len(uniform)
    assert found[1] == found[2] == 0 or found[2] == 0
    assert torch.allclose(found[[3, 0]], torch.tensor([0.731, 0.269]), atol=0.01)
    assert (pick(rows, uniform, 0.0, 1.0) == 3).all()


def test_a_response_does_not_depend_on_what_is_beside_it() -> None:
    seeds = [response_seed(5, name, number) for name, number in (("a", 0), ("a", 1), ("b", 0), ("c", 0))]
    together = said([0, 0, 1, 2], seeds)
    assert len({one.tokens for one in together}) == 4
    for place, seed, one in zip([0, 0, 1, 2], seeds, together, strict=True):
        (alone,) = said([place], [seed])
        assert alone.tokens == one.tokens
        assert alone.log_probs == pytest.approx(one.log_probs, abs=1e-4)
    assert said([2, 1, 0], [seeds[3], seeds[2], seeds[1]])[2].tokens == together[1].tokens


def test_how_many_rows_are_drawn_at_a_time_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Any = ([0, 0, 1, 2, 2], [1, 2, 3, 4, 5])
    ways: list[Any] = [{}, {"temperature": 0.7, "top_p": 0.9}]
    for changes in ways:
        monkeypatch.undo()
        together = said(*asked, **changes)
        monkeypatch.setattr("lifealign_bench.models.sampling._ROW_VALUES", 2 * MODEL.config.vocab_size)
        assert said(*asked, **changes) == together


def test_log_probabilities_are_those_of_a_plain_pass_whatever_the_temperature() -> None:
    for one in said([0, 0, 1], [1, 2, 3], temperature=0.7, top_p=0.9):
        assert one.tokens and not one.ended
    for place, one in zip([0, 1], said([0, 1], [1, 2], temperature=1.7), strict=True):
        ids = torch.tensor([[*PROMPTS[place], *one.tokens]])
        with torch.no_grad():
            table = MODEL(ids).logits[0, len(PROMPTS[place]) - 1 : -1].log_softmax(-1)
        wanted = table.gather(1, ids[0, len(PROMPTS[place]) :, None])[:, 0]
        assert torch.allclose(torch.tensor(one.log_probs), wanted, atol=1e-4)


def test_a_response_ends_with_its_stop_token_or_text() -> None:
    (whole,) = said([0], [4])
    stop = whole.tokens[2]
    (ended,) = said([0], [4], stop=frozenset([stop]))
    assert ended.tokens == whole.tokens[: whole.tokens.index(stop) + 1] and ended.ended and not whole.ended
    text = TOKENIZER.decode([whole.tokens[1]])
    if "�" not in text:
        (ended,) = said([0], [4], texts=(text,))
        assert ended.ended and len(ended.tokens) <= 2


def test_at_temperature_0_all_are_the_greedy_one() -> None:
    one, other = said([1, 1], [1, 2], temperature=0.0)
    assert one.tokens == other.tokens
