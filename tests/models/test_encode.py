"""Long pairs: shortened at turn boundaries, cut or dropped, and always counted."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lifealign_bench.models.encode import encode_pairs, encode_prompt
from lifealign_bench.models.fake import fake_model
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.reporting.live import PlainProgress, RichProgress
from lifealign_bench.util.progress import Progress, Several, far

TOKENIZER = fake_model()[1]  # one token a character, three around each turn


def pair(*turns: str, chosen: str = "yes", rejected: str = "no") -> Pair:
    roles = ("user", "assistant")
    prompt = tuple(Message(roles[i % 2], text) for i, text in enumerate(turns))  # type: ignore[arg-type]
    return Pair("t/train/0", "t", prompt, chosen, rejected)


def text_of(ids: tuple[int, ...]) -> str:
    return str(TOKENIZER.decode(ids))


def test_a_short_pair_is_left_alone() -> None:
    (encoded,), report = encode_pairs(TOKENIZER, [pair("hello")], 64, "shorten")
    assert (report.kept, report.prompts_shortened, report.responses_cut, report.dropped) == (1, 0, 0, 0)
    assert "yes" in text_of(encoded.chosen) and "no" in text_of(encoded.rejected)
    assert encoded.tokens == len(encoded.prompt) + len(encoded.chosen) + len(encoded.rejected)


def test_oldest_turns_go_first_and_whole() -> None:
    long = pair("a" * 40, "b" * 40, "c" * 10)
    (encoded,), report = encode_pairs(TOKENIZER, [long], 60, "shorten")
    assert report.prompts_shortened == 1 and report.responses_cut == 0
    shown = text_of(encoded.prompt)
    assert "a" * 5 not in shown and "b" * 5 not in shown and "c" * 10 in shown
    assert list(encoded.prompt) == encode_prompt(TOKENIZER, long.prompt[2:])


def test_responses_are_cut_at_the_cut_off() -> None:
    (encoded,), report = encode_pairs(TOKENIZER, [pair("q", chosen="x" * 100)], 50, "shorten")
    assert report.responses_cut == 1 and report.kept == 1
    assert len(encoded.prompt) + len(encoded.chosen) == 50
    assert len(encoded.rejected) < 20  # the short one is whole


def test_a_prompt_beyond_the_cut_off_is_dropped_and_named() -> None:
    encoded, report = encode_pairs(TOKENIZER, [pair("z" * 80), pair("ok")], 50, "shorten")
    assert len(encoded) == 1 and report.dropped == 1 and report.dropped_ids == ["t/train/0"]


def test_a_card_may_ask_to_drop_instead_of_shorten() -> None:
    long = pair("a" * 60, "b" * 10, "c")
    _, shortened = encode_pairs(TOKENIZER, [long], 50, "shorten")
    _, dropped = encode_pairs(TOKENIZER, [long], 50, "drop")
    assert (shortened.prompts_shortened, shortened.dropped) == (1, 0)
    assert (dropped.prompts_shortened, dropped.dropped) == (0, 1)


@pytest.mark.parametrize("exchanges", [200, 2000])
def test_the_work_of_shortening_grows_with_what_fits_not_with_the_square_of_the_turns(
    exchanges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Characters that go through the tokenizer, for a conversation of many turns of which a few fit."""
    seen = 0
    template = TOKENIZER.apply_chat_template

    def counted(messages: list[dict[str, str]], **options: bool) -> object:
        nonlocal seen
        seen += sum(len(message["content"]) for message in messages)
        return template(messages, **options)

    monkeypatch.setattr(TOKENIZER, "apply_chat_template", counted)
    turns = [letter * 10 for letter in "ab" * exchanges] + ["c" * 10]
    (encoded,), report = encode_pairs(TOKENIZER, [pair(*turns)], 400, "shorten")
    whole = 20 * exchanges
    assert report.prompts_shortened == 1 and 350 < len(encoded.prompt) <= 400
    assert seen < 3.5 * whole + 40 * 400


def test_long_work_tells_how_far_it_is() -> None:
    class Told(Progress):
        def __init__(self) -> None:
            self.said: list[str] = []

        def prepared(self, text: str) -> None:
            self.said.append(text)

    told, now = Told(), iter(range(100))
    reached = far(told, "Task t, train", 6, clock=lambda: next(now) * 2.0)
    encode_pairs(TOKENIZER, [pair("q")] * 6, 64, "shorten", reached=reached)
    assert told.said == [f"Task t, train: {count} of 6 pairs are tokenized" for count in (2, 5)]
    console = Console(file=io.StringIO(), width=100)
    several = Several([PlainProgress(console), RichProgress(console)])
    several.prepared(told.said[0])
    assert console.file.getvalue().count("2 of 6 pairs are tokenized") == 2  # type: ignore[attr-defined]
