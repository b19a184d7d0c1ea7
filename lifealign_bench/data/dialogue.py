"""Dialogues as chat turns: transcripts split at their speaker labels, turns tidied, long prompts shortened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from lifealign_bench.data.blank import is_blank
from lifealign_bench.pairs import Message

# A label stands at the start of a line and is followed by white space or the end. Elsewhere it is only text, as in the
# "Assistant: Human: ..." of models that spoke in the other's name.
_LABEL = re.compile(r"^(Human|Assistant):(?=\s|\Z)", re.MULTILINE)
_LEADING = re.compile(r"\s*Assistant:(?=\s|\Z)\s*")


def split_dialogue(text: str) -> tuple[Message, ...] | None:
    """The turns of a transcript ``Human: ... Assistant: ...``; ``None`` if the text does not begin with ``Human:``.

    White space around a turn belongs to the layout and goes, and so does a trailing ``Assistant:`` that only asks for
    the answer. Other empty turns and turns of one speaker in a row stay, for :func:`tidy_turns`.
    """
    pieces = _LABEL.split(text.strip())
    if len(pieces) < 3 or pieces[0] or pieces[1] != "Human":
        return None
    turns = [
        Message("user" if label == "Human" else "assistant", content.strip())
        for label, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    if turns[-1] == Message("assistant", ""):
        turns.pop()
    return tuple(turns)


def strip_speaker(response: str) -> str:
    """``response`` without the label ``Assistant:`` at its beginning; one label, nothing else."""
    match = _LEADING.match(response)
    return response[match.end() :] if match else response


def tidy_turns(turns: Iterable[Message]) -> tuple[Message, ...]:
    """Strip white space around every turn, drop empty turns, join neighbours of one role with a line break.

    Many chat templates refuse two turns of one role in a row.
    """
    tidy: list[Message] = []
    for turn in turns:
        content = turn.content.strip()
        if is_blank(content):
            continue
        if tidy and tidy[-1].role == turn.role:
            tidy[-1] = Message(turn.role, f"{tidy[-1].content}\n{content}")
        else:
            tidy.append(Message(turn.role, content))
    return tuple(tidy)


def shorten_prompt(
    messages: tuple[Message, ...], fits: Callable[[tuple[Message, ...]], bool]
) -> tuple[Message, ...] | None:
    """Drop the oldest exchanges of a prompt until it fits.

    Args:
        messages: an optional system turn, then turns that end with the user's.
        fits: whether a prompt is short enough.

    Returns:
        The longest ending that fits, begins with a user turn and keeps the system turn; ``messages`` itself if it
        fits; ``None`` if not even the last user turn fits.
    """
    if fits(messages):
        return messages
    system = messages[:1] if messages and messages[0].role == "system" else ()
    turns = messages[len(system) :]
    # Where a shorter prompt may begin, the shortest first.
    starts = [start for start in range(len(turns) - 1, 0, -1) if turns[start].role == "user"]

    def beginning(place: int) -> tuple[Message, ...]:
        return (*system, *turns[starts[place] :])

    # Twice as many turns each time, until they do not fit: only about as much text is looked at as fits, however long
    # the conversation is. More turns never need less room.
    fitting, beyond = -1, 0
    while beyond < len(starts) and fits(beginning(beyond)):
        fitting, beyond = beyond, 2 * beyond + 1
    beyond = min(beyond, len(starts))
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        if fits(beginning(middle)):
            fitting = middle
        else:
            beyond = middle
    return beginning(fitting) if fitting >= 0 else None
