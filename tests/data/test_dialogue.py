"""Transcripts become turns and nothing else does; long prompts lose their oldest exchanges."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lifealign_bench.data.cleaning import Cleaner
from lifealign_bench.data.dialogue import shorten_prompt, split_dialogue, strip_speaker, tidy_turns
from lifealign_bench.data.messages import Unusable
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


@given(
    st.lists(SPEECH, min_size=1, max_size=6), st.sampled_from(["\n", "\n\n", "\r\n\r\n"]), st.sampled_from(["", "\n\n"])
)
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


TRANSCRIPTS = Cleaner("t", "prompt", "chosen", "rejected", None, dialogue=True)
PLAIN = Cleaner("t", "prompt", "chosen", "rejected", None, dialogue=False)
ODD_SPEECHES = st.lists(SPEECH, min_size=1, max_size=7).filter(lambda s: len(s) % 2 == 1)
LABEL = st.sampled_from(["Assistant: ", "\n\nAssistant:  ", "Assistant:\n", ""])


def as_row(prompt: str, chosen: str, rejected: str) -> dict[str, str]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


@given(ODD_SPEECHES, SPEECH, SPEECH, LABEL, st.sampled_from(["", "\n\nAssistant:"]))
def test_a_row_of_a_transcript_becomes_turns_and_bare_responses(
    speeches: list[str], chosen: str, rejected: str, label: str, end: str
) -> None:
    assume(chosen != rejected)
    turns = tuple(turn(n, speech) for n, speech in enumerate(speeches))
    row = as_row(transcript(list(turns), "\n\n") + end, label + chosen, label + rejected)
    pair, _ = TRANSCRIPTS.pair(row, "t/train/0")
    assert (pair.prompt, pair.chosen, pair.rejected) == (turns, chosen, rejected)


@given(ODD_SPEECHES, SPEECH, SPEECH)
def test_what_is_turns_already_stays_when_it_is_cleaned_again(speeches: list[str], chosen: str, rejected: str) -> None:
    assume(chosen != rejected)
    turns = [turn(n, speech) for n, speech in enumerate(speeches)]
    first, _ = TRANSCRIPTS.pair(as_row(transcript(turns, "\n"), f"Assistant: {chosen}", rejected), "i")
    messages = [{"role": t.role, "content": t.content} for t in first.prompt]
    again, marks = TRANSCRIPTS.pair({**as_row("", first.chosen, first.rejected), "prompt": messages}, "i")
    assert again == first and not marks & {"dialogue split into turns", "speaker label removed from a response"}


@given(SPEECH.filter(lambda text: text.startswith("Human") or text.startswith("Assistant") or ":" in text), SPEECH)
def test_a_prompt_that_only_looks_like_a_dialogue_is_one_turn_word_for_word(prompt: str, chosen: str) -> None:
    pair, marks = TRANSCRIPTS.pair(as_row(prompt, chosen, chosen + "!"), "i")
    assert pair.prompt == (Message("user", prompt),) and pair.chosen == chosen
    assert "dialogue split into turns" not in marks


@given(st.lists(SPEECH, min_size=1, max_size=4), SPEECH)
def test_without_the_cards_word_no_transcript_is_touched(speeches: list[str], chosen: str) -> None:
    prompt = transcript([turn(n, speech) for n, speech in enumerate(speeches)], "\n\n")
    pair, marks = PLAIN.pair(as_row(prompt, f"Assistant: {chosen}", chosen), "i")
    assert pair.prompt == (Message("user", prompt),)
    assert (pair.chosen, pair.rejected) == (f"Assistant: {chosen}", chosen) and marks == set()


@given(st.integers(1, 4), SPEECH, SPEECH)
def test_a_response_loses_one_label_however_many_it_has(labels: int, chosen: str, rejected: str) -> None:
    row = as_row("Human: a", "Assistant: " * labels + chosen, "Assistant: " * labels + rejected + "!")
    pair, _ = TRANSCRIPTS.pair(row, "i")
    assert pair.chosen == "Assistant: " * (labels - 1) + chosen
    assert pair.rejected == "Assistant: " * (labels - 1) + rejected + "!"


@given(ODD_SPEECHES, st.lists(SPEECH, min_size=2, max_size=4), SPEECH)
def test_a_chosen_response_cut_before_its_last_paragraph_is_whole_again(
    speeches: list[str], paragraphs: list[str], rejected: str
) -> None:
    turns = [turn(n, speech) for n, speech in enumerate(speeches)]
    opening = "\n".join(paragraphs[:-1])
    prompt = transcript([*turns, Message("assistant", opening)], "\n")
    pair, marks = TRANSCRIPTS.pair(as_row(prompt, paragraphs[-1], f"Assistant: {rejected}?"), "i")
    assert pair.prompt == tuple(turns)
    assert pair.chosen == f"{opening}\n{paragraphs[-1]}" and pair.rejected == f"{rejected}?"
    assert "opening of chosen moved back from the prompt" in marks


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_whatever_the_text_it_is_a_sound_pair_or_a_reason(prompt: str, chosen: str, rejected: str) -> None:
    row = as_row(f"Human: {prompt}", f"Assistant: {chosen}", f"Assistant: {rejected}")
    try:
        pair, _ = TRANSCRIPTS.pair(row, "i")
    except Unusable as reason:
        assert str(reason)
        return
    assert pair.prompt[-1].role == "user" and pair.chosen != pair.rejected
    words = [w for t in pair.prompt for w in t.content.split()]
    known = ["Human:", *prompt.split()]
    assert [w for w in known if w not in ("Human:", "Assistant:")] == [
        w for w in words if w not in ("Human:", "Assistant:")
    ]
