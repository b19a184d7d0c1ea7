"""Transcripts become turns and nothing else does; long prompts lose their oldest exchanges."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.dialogue import shorten_prompt, split_dialogue, strip_speaker, tidy_turns
from lifealign_bench.pairs import Message

# Text without a label at the start of a line, as a speaker's words are; labels elsewhere are fine.
WORDS = st.text(st.sampled_from("ab:\n Human\u00a0\u2028é"), min_size=1, max_size=20) | st.sampled_from(
    ["Hi, Human: you there?", "I said\n  Human: no", "Humans: many", "Human:x", "Assistant:\u200bx"]
)
SPEECH = WORDS.map(str.strip).filter(
    lambda text: bool(text) and not any(line.startswith(("Human:", "Assistant:")) for line in text.split("\n"))
)


def turn(n: int, content: str) -> Message:
    return Message("user" if n % 2 == 0 else "assistant", content)


def transcript(turns: list[Message], gap: str) -> str:
    return gap.join(f"{'Human' if t.role == 'user' else 'Assistant'}: {t.content}" for t in turns)


@given(st.lists(SPEECH, min_size=1, max_size=6), st.sampled_from(["\n", "\n\n"]), st.sampled_from(["", "\n\n"]))
def test_a_transcript_gives_its_turns_back(speeches: list[str], gap: str, start: str) -> None:
    turns = [turn(n, speech) for n, speech in enumerate(speeches)]
    assert split_dialogue(start + transcript(turns, gap)) == tuple(turns)


@given(st.lists(SPEECH, min_size=1, max_size=5).filter(lambda s: len(s) % 2 == 1), st.sampled_from(["", " ", "\n"]))
def test_a_trailing_label_asks_for_the_answer_and_goes(speeches: list[str], end: str) -> None:
    turns = [turn(n, speech) for n, speech in enumerate(speeches)]
    assert split_dialogue(transcript(turns, "\n\n") + "\n\nAssistant:" + end) == tuple(turns)


@given(SPEECH)
def test_text_that_does_not_begin_with_a_label_is_no_dialogue(text: str) -> None:
    assert split_dialogue(text) is None
    assert split_dialogue(f"{text}\nHuman: hi") is None


@given(st.text(max_size=60))
def test_no_character_but_labels_and_space_is_lost(text: str) -> None:
    turns = split_dialogue("Human: " + text)
    assert turns is not None
    words = " ".join(f"{'Human:' if t.role == 'user' else 'Assistant:'} {t.content}" for t in turns)
    assert words.split() == ("Human: " + text).split() or words.split() == ("Human: " + text).split()[:-1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Humans: are",
        "human: hi",
        "The Human: a film",
        "Assistant: hi\nHuman: hello",
        "Human:hello",
        "  x\nHuman: y",
    ],
)
def test_only_looks_like_a_dialogue(text: str) -> None:
    assert split_dialogue(text) is None


def test_labels_inside_a_line_stay_text() -> None:
    assert split_dialogue("Human: a\nAssistant: Human: b. Human: c\nHuman: d") == (
        Message("user", "a"),
        Message("assistant", "Human: b. Human: c"),
        Message("user", "d"),
    )


@pytest.mark.parametrize(
    ("response", "bare"),
    [
        ("Assistant: yes", "yes"),
        ("\n\nAssistant:  yes ", "yes "),
        ("Assistant: ", ""),
        ("Assistant:", ""),
        ("Assistant: Human: what?", "Human: what?"),
        ("Assistant: Assistant: yes", "Assistant: yes"),
        ("As the Assistant: yes", "As the Assistant: yes"),
        ("Assistants: two", "Assistants: two"),
        ("Assistant:yes", "Assistant:yes"),
        ("- one\nAssistant: two", "- one\nAssistant: two"),
    ],
)
def test_strip_speaker(response: str, bare: str) -> None:
    assert strip_speaker(response) == bare


@given(st.text(max_size=30))
def test_strip_speaker_takes_one_label_only(text: str) -> None:
    assert strip_speaker("Assistant: " + text) == text.lstrip()


ROLES: st.SearchStrategy[Literal["system", "user", "assistant"]] = st.sampled_from(["system", "user", "assistant"])


@given(st.lists(st.builds(Message, ROLES, st.sampled_from(["", " ", "a", " b\n"])), max_size=8))
def test_tidy_turns_alternate_and_keep_all_words(turns: list[Message]) -> None:
    tidy = tidy_turns(turns)
    assert all(a.role != b.role for a, b in pairwise(tidy))
    assert all(t.content and t.content == t.content.strip() for t in tidy)
    assert [w for t in tidy for w in t.content.split()] == [w for t in turns for w in t.content.split()]
    assert tidy_turns(tidy) == tidy


@given(st.integers(1, 6), st.booleans(), st.integers(0, 14))
def test_shorten_prompt_keeps_the_longest_ending_that_fits(exchanges: int, with_system: bool, room: int) -> None:
    turns = tuple(turn(n, str(n)) for n in range(2 * exchanges - 1))
    messages = (Message("system", "s"), *turns) if with_system else turns
    short = shorten_prompt(messages, lambda m: len(m) <= room)
    if len(messages) <= room:
        assert short == messages
    elif room < 1 + with_system:
        assert short is None
    else:
        assert short is not None
        spoken = short[1:] if with_system else short
        assert short[0].role == ("system" if with_system else "user")
        assert spoken == turns[-len(spoken) :] and spoken[0].role == "user"
        assert len(short) <= room < len(short) + 2
